//! The examples of `clients/protocol.md` do what they say: the programs that mint a token are run as they stand there.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use chorus_protocol::Millis;
use chorus_protocol::tokens::{TokenKey, TokenRules, TokensConfig};
use chorus_tokens::{Role, Verifier};

/// The section of the reference that tells of tokens.
fn section() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../clients/protocol.md");
    let text = fs::read_to_string(path).expect("the reference");
    let (_, rest) = text.split_once("\n### Tokens\n").expect("a section");
    let end = rest.find("\n## ").expect("another section behind it");
    rest[..end].to_owned()
}

/// The code block of a language.
fn block<'a>(section: &'a str, language: &str) -> &'a str {
    let (_, rest) = section
        .split_once(&format!("```{language}\n"))
        .unwrap_or_else(|| panic!("no block of {language}"));
    let (block, after) = rest.split_once("```").expect("the end of the block");
    assert!(
        !after.contains(&format!("```{language}\n")),
        "one block of {language}"
    );
    block
}

fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
    String::from_utf8(output.stdout)
        .expect("text")
        .trim()
        .to_owned()
}

fn file(name: &str, text: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, text).expect("writes");
    path
}

fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("now");
    Millis(u64::try_from(since.as_millis()).expect("a date"))
}

#[test]
fn the_documented_programs_mint_tokens_that_verify() {
    let section = section();
    let secret = run(Command::new("sh").arg("-c").arg(block(&section, "sh")));
    let python = file("mint.py", block(&section, "python"));
    let node = file("mint.mjs", block(&section, "js"));
    let key = TokenKey::HS256 {
        kid: None,
        secret: secret.clone(),
    };
    let rules = TokenRules {
        leeway_s: 0,
        ..TokenRules::default()
    };
    let verifier = Verifier::try_new(&[key], None, &rules).expect("the secret is a key");
    for (program, path) in [("python3", python), ("node", node)] {
        let token = run(Command::new(program).arg(path).arg(&secret));
        let who = verifier
            .verify(&token, now())
            .unwrap_or_else(|error| panic!("{program}: {error}: {token}"));
        assert_eq!(
            (who.user.as_str(), &*who.name),
            ("u-17", "Ada"),
            "{program}"
        );
        assert_eq!(who.role, Role::User, "{program}");
        let left = who.expires.since(now());
        assert!((3_500_000..=3_600_000).contains(&left), "{program}: {left}");
    }
}

#[test]
fn the_documented_configuration_is_one() {
    let section = section();
    let text = block(&section, "toml");
    let lines: Vec<&str> = text.lines().filter(|line| *line != "[tokens]").collect();
    let config: TokensConfig = toml::from_str(&lines.join("\n")).expect("the section");
    assert_eq!(config.check(), Ok(()));
    assert_eq!(config.keys.len(), 2);
    assert_eq!(config.audiences, ["chorus"]);
    assert_eq!(config.leeway_s, TokenRules::default().leeway_s);
    Verifier::try_new(&config.keys, None, &config.rules()).expect("keys that can be used");
}
