//! The house's rules that a compiler does not check: who may know whom, how long files are, what documents claim.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use chorus_tests::house;

/// Lines of code in a file, comments and empty lines apart; longer ones are split by responsibility.
const LINES_MAX: usize = 450;
/// The directories with source of ours.
const SOURCES: [&str; 12] = [
    "protocol",
    "tokens",
    "quic",
    "telemetry",
    "components",
    "edge",
    "origin",
    "clients",
    "tools",
    "tests",
    "deploy",
    "fuzz",
];

/// Directories that a command makes: a fresh clone has none of them.
const MADE: [&str; 6] = [
    "target",
    "node_modules",
    "dist",
    "build",
    "corpus",
    "artifacts",
];

/// A source file, by its path from the repository's root.
struct Source {
    path: String,
    text: String,
}

fn walk(directory: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let made = MADE.contains(&name.as_str());
        if path.is_dir() && !made && !name.starts_with('.') {
            walk(&path, found)?;
        } else if path.is_file() {
            found.push(path);
        }
    }
    Ok(())
}

fn sources(endings: &[&str]) -> Result<Vec<Source>> {
    let root = house::root()?;
    let mut paths = Vec::new();
    for directory in SOURCES {
        if root.join(directory).is_dir() {
            walk(&root.join(directory), &mut paths)?;
        }
    }
    let mut sources = Vec::new();
    for path in paths {
        let relative = path.strip_prefix(&root)?.to_string_lossy().into_owned();
        if endings.iter().any(|ending| relative.ends_with(ending)) {
            let text = fs::read_to_string(&path).with_context(|| relative.clone())?;
            sources.push(Source {
                path: relative,
                text,
            });
        }
    }
    assert!(sources.len() > 3, "the walk found nothing: {endings:?}");
    Ok(sources)
}

/// What a file says outside of comments.
fn code(source: &Source) -> String {
    source
        .text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Where a text has a word by itself: the rest after each place.
fn after_word<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = &'a str> {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).filter_map(move |(at, _)| {
        let before = text[..at].chars().next_back();
        let rest = &text[at + word.len()..];
        let alone = !before.is_some_and(part_of_word) && !rest.starts_with(part_of_word);
        alone.then_some(rest)
    })
}

fn has_word(text: &str, word: &str) -> bool {
    after_word(text, word).next().is_some()
}

/// Whether a file uses a crate: by a path that begins with it.
fn uses(text: &str, name: &str) -> bool {
    after_word(text, name).any(|rest| rest.starts_with("::"))
        || text.contains(&format!("use {name};"))
}

/// All that is wrong at once: one look is enough to mend it.
fn nothing_wrong(found: &[String]) {
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

/// The crates of the workspace with the house's crates that each depends on (tests and builds apart).
fn dependencies() -> Result<BTreeMap<String, Vec<String>>> {
    let mut graph = BTreeMap::new();
    for manifest in manifests()? {
        let toml: toml::Table = manifest
            .text
            .parse()
            .with_context(|| manifest.path.clone())?;
        let Some(name) = toml
            .get("package")
            .and_then(|package| package.get("name"))
            .and_then(|name| name.as_str())
        else {
            continue;
        };
        let mut houses = Vec::new();
        let mut tables = vec![toml.get("dependencies")];
        if let Some(targets) = toml.get("target").and_then(|targets| targets.as_table()) {
            tables.extend(targets.values().map(|target| target.get("dependencies")));
        }
        for table in tables
            .into_iter()
            .flatten()
            .filter_map(|table| table.as_table())
        {
            houses.extend(
                table
                    .keys()
                    .filter(|key| key.starts_with("chorus"))
                    .cloned(),
            );
        }
        graph.insert(name.to_owned(), houses);
    }
    Ok(graph)
}

fn manifests() -> Result<Vec<Source>> {
    let mut manifests = sources(&["/Cargo.toml"])?;
    manifests.retain(|manifest| !manifest.path.starts_with("fuzz/"));
    Ok(manifests)
}

#[test]
fn the_house_depends_in_one_direction() -> Result<()> {
    let graph = dependencies()?;
    let allowed: [(&str, &[&str]); 14] = [
        ("chorus-protocol", &[]),
        ("chorus-quic", &[]),
        ("chorus-telemetry", &[]),
        ("chorus-tokens", &["chorus-protocol"]),
        ("chorus-session-core", &["chorus-protocol", "chorus-tokens"]),
        (
            "chorus-session",
            &["chorus-session-core", "chorus-protocol"],
        ),
        (
            "chorus-session-scenarios",
            &["chorus-session-core", "chorus-protocol"],
        ),
        (
            "chorus-edge",
            &["chorus-protocol", "chorus-quic", "chorus-telemetry"],
        ),
        (
            "chorus-origin",
            &[
                "chorus-protocol",
                "chorus-quic",
                "chorus-telemetry",
                "chorus-tokens",
            ],
        ),
        ("chorus-client", &["chorus-protocol"]),
        (
            "chorus",
            &["chorus-client", "chorus-protocol", "chorus-telemetry"],
        ),
        (
            "chorus-bench",
            &[
                "chorus-client",
                "chorus-protocol",
                "chorus-session-core",
                "chorus-telemetry",
            ],
        ),
        ("xtask", &[]),
        ("chorus-tests", &["chorus-client", "chorus-protocol"]),
    ];
    let allowed: BTreeMap<&str, &[&str]> = allowed.into_iter().collect();
    for (name, houses) in &graph {
        let may = allowed
            .get(name.as_str())
            .with_context(|| format!("{name} is new: say here what it may depend on"))?;
        for house in houses {
            assert!(
                may.contains(&house.as_str()),
                "{name} must not depend on {house}"
            );
        }
    }
    for name in allowed.keys() {
        assert!(
            graph.contains_key(*name),
            "{name} is gone: take it from the list"
        );
    }
    Ok(())
}

#[test]
fn each_foreign_world_has_one_door() -> Result<()> {
    // The crate, where it may be named, and where it is looked for.
    let doors: [(&str, &[&str], &str); 3] = [
        (
            "async_nats",
            &["origin/src/log.rs", "origin/src/log/"],
            "origin/src/",
        ),
        (
            "quinn",
            &[
                "edge/src/backhaul.rs",
                "edge/src/backhaul/",
                "origin/src/gateway.rs",
                "origin/src/gateway/",
                "quic/src/",
            ],
            "",
        ),
        (
            "wasmtime",
            &["edge/src/component.rs", "edge/src/component/"],
            "edge/src/",
        ),
    ];
    let mut found = Vec::new();
    for source in sources(&[".rs"])? {
        // Tests may look through any door.
        if source.path.contains("/tests/") || source.path.starts_with("tests/") {
            continue;
        }
        for (name, places, within) in doors {
            let elsewhere = !places.iter().any(|place| source.path.starts_with(place));
            if source.path.starts_with(within) && elsewhere && uses(&code(&source), name) {
                found.push(format!("{} names {name}", source.path));
            }
        }
    }
    nothing_wrong(&found);
    Ok(())
}

#[test]
fn protocol_and_cores_have_no_clock_no_randomness_and_no_environment() -> Result<()> {
    let forbidden = [
        "std::time::Instant",
        "SystemTime",
        "std::env",
        "std::fs",
        "std::net",
        "std::thread",
        "RandomState",
        "getrandom",
        "thread_rng",
        "tokio",
    ];
    let mut found = Vec::new();
    for source in sources(&[".rs"])? {
        let core = source.path.starts_with("protocol/src/")
            || source.path.starts_with("tokens/src/")
            || source.path.starts_with("components/session/core/src/");
        if !core {
            continue;
        }
        for word in forbidden {
            if has_word(&code(&source), word) {
                found.push(format!("{} names {word}", source.path));
            }
        }
    }
    nothing_wrong(&found);
    Ok(())
}

#[test]
fn files_are_short_enough_to_read() -> Result<()> {
    let mut found = Vec::new();
    for source in sources(&[".rs", ".ts"])? {
        let lines = code(&source)
            .lines()
            .filter(|line| !line.trim().is_empty())
            .count();
        if lines > LINES_MAX {
            found.push(format!("{} has {lines} lines of {LINES_MAX}", source.path));
        }
    }
    nothing_wrong(&found);
    Ok(())
}

#[test]
fn nothing_is_left_for_later_and_no_machine_is_named() -> Result<()> {
    // Put together here, so that this file does not find itself.
    let words = [
        "TO".to_owned() + "DO",
        "FIX".to_owned() + "ME",
        "X".to_owned() + "XX",
        "dbg".to_owned() + "!",
    ];
    let machines = [
        "/ho".to_owned() + "me/",
        "/ro".to_owned() + "ot/",
        "/wo".to_owned() + "rk/",
    ];
    let endings = [
        ".rs", ".ts", ".toml", ".md", ".html", ".css", ".json", ".mjs", ".wit", ".sh", ".py",
    ];
    for source in sources(&endings)? {
        for word in words.iter().chain(&machines) {
            assert!(
                !source.text.contains(word.as_str()),
                "{} has {word}",
                source.path
            );
        }
    }
    Ok(())
}

#[test]
fn every_rust_file_says_what_it_is_for() -> Result<()> {
    for source in sources(&[".rs"])? {
        let first = source
            .text
            .lines()
            .find(|line| !line.starts_with("#!"))
            .unwrap_or_default();
        assert!(
            first.starts_with("//! ") && first.len() > 12,
            "{} has no purpose in its first line",
            source.path
        );
    }
    Ok(())
}

#[test]
fn every_crate_takes_the_workspace_lints() -> Result<()> {
    for manifest in manifests()? {
        let toml: toml::Table = manifest
            .text
            .parse()
            .with_context(|| manifest.path.clone())?;
        let takes = toml
            .get("lints")
            .and_then(|lints| lints.get("workspace"))
            .and_then(|value| value.as_bool());
        assert_eq!(takes, Some(true), "{}", manifest.path);
    }
    Ok(())
}

#[test]
fn documents_name_commands_and_files_that_exist() -> Result<()> {
    let root = house::root()?;
    let makefile = fs::read_to_string(root.join("Makefile"))?;
    for document in ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"] {
        let text = fs::read_to_string(root.join(document)).with_context(|| document.to_owned())?;
        for span in text.split('`').skip(1).step_by(2) {
            if let Some(target) = span.strip_prefix("make ") {
                let target = target.split_whitespace().next().unwrap_or_default();
                let known = makefile
                    .lines()
                    .any(|line| line.starts_with(&format!("{target}:")));
                assert!(known, "{document} names `make {target}`");
            }
            let looks_like_a_path = span.contains('/')
                && SOURCES
                    .iter()
                    .any(|directory| span.starts_with(&format!("{directory}/")))
                && !span.contains([' ', '*', '<', '{', '…'])
                && !span.split('/').any(|part| MADE.contains(&part));
            if looks_like_a_path {
                assert!(root.join(span).exists(), "{document} names {span}");
            }
        }
    }
    Ok(())
}

#[test]
fn every_invariant_names_its_check() -> Result<()> {
    let root = house::root()?;
    let text = fs::read_to_string(root.join("ARCHITECTURE.md"))?;
    let sources = sources(&[".rs", ".ts"])?;
    let mut invariants = 0;
    for paragraph in text.split("\n- ").flat_map(|part| part.split("\n\n")) {
        if !paragraph.contains("**Invariant:**") {
            continue;
        }
        invariants += 1;
        let (_, check) = paragraph
            .split_once("Check:")
            .with_context(|| format!("an invariant without a check: {paragraph}"))?;
        let named: Vec<&str> = check.split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "a check without a name: {paragraph}");
        for name in named {
            let function = name.rsplit("::").next().unwrap_or(name);
            let exists = root.join(name).exists()
                || sources
                    .iter()
                    .any(|source| source.text.contains(&format!("fn {function}")))
                || name.starts_with("cargo ")
                || name.starts_with("make ");
            assert!(
                exists,
                "ARCHITECTURE.md names a check that is not there: {name}"
            );
        }
    }
    assert!(invariants >= 5, "only {invariants} invariants");
    Ok(())
}
