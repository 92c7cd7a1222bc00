//! Loading of session logic: reads, checks and compiles a component.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Linker};

use super::bindings::SessionComponentPre;
use super::bounds::Bounds;
use super::cache::Entry;
use super::engine;
use super::instance::{Host, Instance};
use super::trusted;

/// The interface that the world exports.
const INTERFACE: &str = "chorus:edge/session@0.1.0";
/// Its functions and their numbers of parameters; types of parameters are checked when the first instance is made.
const FUNCTIONS: [(&str, usize); 5] = [
    ("init", 2),
    ("handle", 2),
    ("snapshot", 0),
    ("restore", 1),
    ("stats", 0),
];
/// Bytes of a component's file; a larger one is refused.
const COMPONENT_BYTES_MAX: u64 = 64 << 20;
const MAGIC: [u8; 4] = *b"\0asm";
/// Bytes after the magic of a component: version 13 in layer 1.
const LAYER_COMPONENT: [u8; 4] = [0x0d, 0, 1, 0];
const LAYER_MODULE: [u8; 4] = [1, 0, 0, 0];

/// Why a file cannot be used as session logic.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("{}: {error}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file is something else.
    #[error("{}: {what}, not a WebAssembly component", path.display())]
    NotAComponent {
        /// Which.
        path: PathBuf,
        /// What it is.
        what: String,
    },
    /// The component has imports.
    #[error("{}: imports {}; session logic may import nothing", path.display(), imports.join(", "))]
    Imports {
        /// Which.
        path: PathBuf,
        /// The names of the imports.
        imports: Vec<String>,
    },
    /// The component's exports do not match `wit/edge.wit`.
    #[error("{}: is not of the world chorus:edge/session-component: {missing}", path.display())]
    World {
        /// Which.
        path: PathBuf,
        /// What is missing, by name, and what is there instead.
        missing: String,
    },
    /// It cannot be compiled.
    #[error("{}: cannot be compiled: {reason}", path.display())]
    Compile {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The engine cannot be started on this machine.
    #[error("no WebAssembly engine: {0}")]
    Engine(String),
}

/// A compiled component, shared by all shards.
pub struct Logic {
    digest: String,
    pre: SessionComponentPre<Host>,
    from_cache: bool,
}

impl std::fmt::Debug for Logic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Logic")
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

impl Logic {
    /// Reads, checks and compiles a component, or uses the code that an earlier run compiled into `cache_dir`.
    ///
    /// Compiling takes hundreds of milliseconds, so this must not be called on a shard's thread.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn load(
        path: &Path,
        cache_dir: Option<&Path>,
        bounds: &Bounds,
    ) -> Result<Arc<Self>, LoadError> {
        let wasm = read(path)?;
        check_kind(path, &wasm)?;
        let engine = engine::engine().map_err(LoadError::Engine)?;
        let digest = hex(&Sha256::digest(&wasm));
        let entry = cache_dir.map(|dir| Entry::new(dir, &digest, engine::fingerprint(engine)));
        let cached = entry.as_ref().and_then(|entry| cached(engine, entry));
        let from_cache = cached.is_some();
        let component = match cached {
            Some(component) => component,
            None => compile(engine, path, &wasm)?,
        };
        check_world(engine, path, &component)?;
        let world = |error: wasmtime::Error| LoadError::World {
            path: path.to_owned(),
            missing: format!("{error:#}"),
        };
        let pre = Linker::new(engine)
            .instantiate_pre(&component)
            .and_then(SessionComponentPre::new)
            .map_err(world)?;
        let logic = Self {
            digest,
            pre,
            from_cache,
        };
        // Types of functions are checked only when an instance is made.
        Instance::new(&logic, bounds).map_err(|fault| LoadError::World {
            path: path.to_owned(),
            missing: fault.to_string(),
        })?;
        if let Some(entry) = entry.filter(|_| !from_cache) {
            keep(&entry, &component);
        }
        Ok(Arc::new(logic))
    }

    /// SHA-256 of the component's file, in hexadecimal.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Whether the code came from the cache and was not compiled.
    #[must_use]
    pub fn from_cache(&self) -> bool {
        self.from_cache
    }

    pub(super) fn pre(&self) -> &SessionComponentPre<Host> {
        &self.pre
    }
}

fn read(path: &Path) -> Result<Vec<u8>, LoadError> {
    let failed = |error| LoadError::Read {
        path: path.to_owned(),
        error,
    };
    let bytes = std::fs::metadata(path).map_err(failed)?.len();
    if bytes > COMPONENT_BYTES_MAX {
        return Err(failed(io::Error::other(format!(
            "{bytes} bytes are more than the {COMPONENT_BYTES_MAX} allowed"
        ))));
    }
    std::fs::read(path).map_err(failed)
}

fn check_kind(path: &Path, wasm: &[u8]) -> Result<(), LoadError> {
    let what = match wasm.split_first_chunk::<4>() {
        Some((&MAGIC, rest)) if rest.starts_with(&LAYER_COMPONENT) => return Ok(()),
        Some((&MAGIC, rest)) if rest.starts_with(&LAYER_MODULE) => {
            "a core WebAssembly module (build it with `cargo xtask component`)"
        }
        Some((&MAGIC, _)) => "WebAssembly of a version this host does not know",
        _ if wasm.is_empty() => "an empty file",
        _ => "not WebAssembly",
    };
    Err(LoadError::NotAComponent {
        path: path.to_owned(),
        what: what.to_owned(),
    })
}

fn compile(engine: &Engine, path: &Path, wasm: &[u8]) -> Result<Component, LoadError> {
    Component::from_binary(engine, wasm).map_err(|error| LoadError::Compile {
        path: path.to_owned(),
        reason: format!("{error:#}"),
    })
}

fn cached(engine: &Engine, entry: &Entry) -> Option<Component> {
    let reject = |reason: &dyn std::fmt::Display| {
        tracing::warn!(%reason, "compiled component in the cache is not used; compiling again");
    };
    let code = entry
        .read()
        .inspect_err(|error| reject(error))
        .ok()
        .flatten()?;
    trusted::deserialize(engine, &code)
        .inspect_err(|error| reject(error))
        .ok()
}

fn keep(entry: &Entry, component: &Component) {
    let written = component
        .serialize()
        .map_err(|error| format!("{error:#}"))
        .and_then(|code| entry.write(&code).map_err(|error| error.to_string()));
    if let Err(reason) = written {
        tracing::warn!(%reason, "compiled component cannot be cached; the next start compiles again");
    }
}

fn check_world(engine: &Engine, path: &Path, component: &Component) -> Result<(), LoadError> {
    let kind = component.component_type();
    let imports: Vec<String> = kind
        .imports(engine)
        .map(|(name, _)| name.to_owned())
        .collect();
    if !imports.is_empty() {
        return Err(LoadError::Imports {
            path: path.to_owned(),
            imports,
        });
    }
    let missing = |missing: String| LoadError::World {
        path: path.to_owned(),
        missing,
    };
    let exports: Vec<String> = kind
        .exports(engine)
        .map(|(name, _)| name.to_owned())
        .collect();
    let Some(item) = kind.get_export(engine, INTERFACE) else {
        let there = if exports.is_empty() {
            "nothing".to_owned()
        } else {
            exports.join(", ")
        };
        return Err(missing(format!(
            "it does not export {INTERFACE} (it exports {there})"
        )));
    };
    let ComponentItem::ComponentInstance(interface) = item.ty else {
        return Err(missing(format!("its export {INTERFACE} is no interface")));
    };
    for (name, wanted) in FUNCTIONS {
        let item = interface.get_export(engine, name).map(|item| item.ty);
        let Some(ComponentItem::ComponentFunc(function)) = item else {
            return Err(missing(format!(
                "its {INTERFACE} lacks the function {name}"
            )));
        };
        let takes = function.params().count();
        if takes != wanted {
            return Err(missing(format!(
                "the function {name} of its {INTERFACE} takes {takes} parameters instead of {wanted}"
            )));
        }
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
