//! The part of an application's manifest (`spin.toml`) that the PoP reads: the component of its `websocket` trigger.
//! Triggers of other types are ignored.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::ws::handshake;

/// The session component and its application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The application's name.
    pub application: String,
    /// The component's file.
    pub source: PathBuf,
    /// The component's variables, with templates replaced.
    pub variables: BTreeMap<String, String>,
}

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The file cannot be read.
    #[error("{}: {error}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file is not a valid manifest.
    #[error("{}: {error}", path.display())]
    Parse {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        error: String,
    },
}

#[derive(Deserialize)]
struct File {
    spin_manifest_version: u32,
    application: Application,
    #[serde(default)]
    variables: BTreeMap<String, Variable>,
    trigger: BTreeMap<String, Vec<toml::Table>>,
    component: BTreeMap<String, toml::Table>,
}

#[derive(Deserialize)]
struct Application {
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Trigger {
    #[serde(default)]
    #[allow(dead_code, reason = "an id is allowed and means nothing here")]
    id: Option<String>,
    route: String,
    component: String,
}

#[derive(Deserialize)]
struct Component {
    source: String,
    #[serde(default)]
    variables: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Variable {
    default: Option<String>,
}

impl Manifest {
    /// Reads a manifest. `environment` looks up environment variables: `SPIN_VARIABLE_NAME` overrides a variable's default.
    ///
    /// # Errors
    /// When it cannot be read, or does not name exactly one session component.
    pub fn read(
        path: &Path,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ManifestError> {
        let text = std::fs::read_to_string(path).map_err(|error| ManifestError::Read {
            path: path.to_owned(),
            error,
        })?;
        let dir = path.parent().unwrap_or(Path::new(""));
        parse(&text, dir, &environment).map_err(|error| ManifestError::Parse {
            path: path.to_owned(),
            error,
        })
    }
}

fn parse(
    text: &str,
    dir: &Path,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Manifest, String> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
    if file.spin_manifest_version != 2 {
        return Err(format!(
            "spin_manifest_version is {}, must be 2",
            file.spin_manifest_version
        ));
    }
    let trigger = match file.trigger.get("websocket").map(Vec::as_slice) {
        Some([trigger]) => trigger,
        Some([]) | None => return Err("there is no [[trigger.websocket]]".to_owned()),
        Some(_) => return Err("there is more than one [[trigger.websocket]]".to_owned()),
    };
    let trigger: Trigger = trigger
        .clone()
        .try_into()
        .map_err(|error| format!("[[trigger.websocket]]: {}", error.message()))?;
    if trigger.route != handshake::PATH {
        return Err(format!(
            "the websocket trigger's route is {}, must be {}",
            trigger.route,
            handshake::PATH
        ));
    }
    let id = &trigger.component;
    let component = file
        .component
        .get(id)
        .ok_or_else(|| format!("there is no [component.{id}]"))?;
    let component: Component = component
        .clone()
        .try_into()
        .map_err(|error| format!("[component.{id}]: {}", error.message()))?;
    let mut variables = BTreeMap::new();
    for (name, template) in component.variables {
        let value = expand(&template, &file.variables, environment)
            .map_err(|error| format!("[component.{id}.variables] {name}: {error}"))?;
        variables.insert(name, value);
    }
    Ok(Manifest {
        application: file.application.name,
        source: dir.join(component.source),
        variables,
    })
}

/// Replaces each `{{ name }}` by the value of the application's variable.
fn expand(
    template: &str,
    variables: &BTreeMap<String, Variable>,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<String, String> {
    let mut value = String::new();
    let mut remaining = template;
    while let Some((before, after)) = remaining.split_once("{{") {
        let (name, behind) = after
            .split_once("}}")
            .ok_or("a template that does not end")?;
        let name = name.trim();
        let variable = variables
            .get(name)
            .ok_or_else(|| format!("there is no variable {name}"))?;
        let given = environment(&format!("SPIN_VARIABLE_{}", name.to_uppercase()));
        let replaced = given.or_else(|| variable.default.clone());
        value.push_str(before);
        value.push_str(&replaced.ok_or_else(|| format!("the variable {name} has no value"))?);
        remaining = behind;
    }
    value.push_str(remaining);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const APP: &str = r#"
spin_manifest_version = 2
[application]
name = "chorus"
[variables]
rate = { default = "30" }
[[trigger.websocket]]
route = "/v1/ws"
component = "session"
[[trigger.http]]
route = "/api/..."
component = "api"
[component.session]
source = "target/components/session.wasm"
[component.session.variables]
comments_per_minute = "{{ rate }}"
[component.api]
source = { url = "https://x", digest = "y" }
"#;

    fn read(text: &str) -> Result<Manifest, String> {
        parse(text, Path::new("/app"), &|_| None)
    }

    #[test]
    fn the_session_component_is_that_of_the_websocket_trigger() {
        let manifest = read(APP).expect("fine");
        assert_eq!(manifest.application, "chorus");
        assert_eq!(
            manifest.source,
            Path::new("/app/target/components/session.wasm")
        );
        assert_eq!(manifest.variables["comments_per_minute"], "30");
        let given = parse(APP, Path::new(""), &|name| {
            (name == "SPIN_VARIABLE_RATE").then(|| "5".to_owned())
        });
        assert_eq!(given.expect("fine").variables["comments_per_minute"], "5");
    }

    #[test]
    fn errors_say_what_is_missing() {
        for (from, to, named) in [
            ("version = 2", "version = 1", "spin_manifest_version is 1"),
            (
                "trigger.websocket",
                "trigger.sockets",
                "no [[trigger.websocket]]",
            ),
            ("\"session\"", "\"other\"", "no [component.other]"),
            ("/v1/ws", "/ws", "must be /v1/ws"),
            ("{{ rate }}", "{{ speed }}", "no variable speed"),
            (
                "{ default = \"30\" }",
                "{ required = true }",
                "has no value",
            ),
        ] {
            let error = read(&APP.replace(from, to)).expect_err(to);
            assert!(error.contains(named), "{error}");
        }
    }
}
