//! `cargo xtask component`: builds a core module with cargo, makes a component of it, and checks its imports and exports.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, bail, ensure};
use wit_component::{ComponentEncoder, DecodedWasm};

const TARGET: &str = "wasm32-unknown-unknown";
const PROFILE: &str = "component";

/// Options: which component to build, and the output directory.
#[derive(Debug, Default)]
pub(crate) struct Options {
    fault: bool,
    out: Option<PathBuf>,
}

impl Options {
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self::default();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--fault" => options.fault = true,
                "--out" => {
                    options.out = Some(arguments.next().context("--out needs a directory")?.into())
                }
                other => bail!("component: no such option: {other}"),
            }
        }
        Ok(options)
    }
}

pub(crate) fn build(options: &Options) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .context("xtask lives two folders deep")?;
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let (name, features): (&str, &[&str]) = if options.fault {
        ("session-fault.wasm", &["--features", "fault"])
    } else {
        ("session.wasm", &[])
    };
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(root)
        .args([
            "build",
            "--package",
            "chorus-session",
            "--target",
            TARGET,
            "--profile",
            PROFILE,
        ])
        .args(features)
        .status()
        .context("cargo could not be started")?;
    ensure!(status.success(), "the component did not compile");

    let module = target
        .join(TARGET)
        .join(PROFILE)
        .join("chorus_session.wasm");
    let module =
        fs::read(&module).with_context(|| format!("{} cannot be read", module.display()))?;
    let component = ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .and_then(|mut encoder| encoder.encode())
        .map_err(|error| anyhow::anyhow!("the module cannot become a component: {error:#}"))?;
    check(&component)?;

    let directory = options
        .out
        .clone()
        .unwrap_or_else(|| target.join("components"));
    fs::create_dir_all(&directory)?;
    let path = directory.join(name);
    fs::write(&path, &component)
        .with_context(|| format!("{} cannot be written", path.display()))?;
    println!("{} ({} bytes, no imports)", path.display(), component.len());
    Ok(())
}

/// Checks that the component imports nothing and exports the session interface.
fn check(component: &[u8]) -> Result<()> {
    let decoded = wit_component::decode(component).map_err(|error| anyhow::anyhow!("{error:#}"))?;
    let DecodedWasm::Component(resolve, world) = decoded else {
        bail!("the encoder wrote no component");
    };
    let world = &resolve.worlds[world];
    let imports: Vec<String> = world
        .imports
        .keys()
        .map(|key| resolve.name_world_key(key))
        .collect();
    ensure!(
        imports.is_empty(),
        "the component imports {}",
        imports.join(", ")
    );
    let exports: Vec<String> = world
        .exports
        .keys()
        .map(|key| resolve.name_world_key(key))
        .collect();
    ensure!(
        exports
            .iter()
            .any(|name| name.starts_with("chorus:edge/session")),
        "the component exports only {exports:?}"
    );
    Ok(())
}
