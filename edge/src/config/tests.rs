//! Valid and invalid configuration files.

use super::*;

const MINIMAL: &str = r#"
[backhaul]
gateways = ["127.0.0.1:7443"]
ca = "ca.pem"
cert = "pop.pem"
key = "pop.key"
"#;

fn check(text: &str) -> Result<Checked, String> {
    let config: Config = toml::from_str(text).map_err(|error| error.to_string())?;
    Checked::try_new(config, &BTreeMap::new()).map_err(|error| error.to_string())
}

#[test]
fn the_least_file_has_the_documented_defaults() {
    let checked = check(MINIMAL).expect("enough");
    assert_eq!(checked.config.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(checked.config.connections_max, 50_000);
    assert_eq!(checked.message_bytes_max(), 8_192);
    assert_eq!(checked.backhaul.server_name, "gateway");
    assert!((1..=SHARDS_MAX).contains(&checked.shards));
}

#[test]
fn errors_name_the_key() {
    for (text, named) in [
        ("", "[backhaul]"),
        ("shardz = 1", "shardz"),
        (&format!("shards = 17\n{MINIMAL}"), "shards is 17"),
        (&format!("{MINIMAL}\n[limits]\nmesage = 1"), "mesage"),
        (
            &format!("{MINIMAL}\n[limits]\nmessage_bytes_max = 1000000"),
            "viewer_bytes_max",
        ),
        (
            &format!("{MINIMAL}\n[component]\ncpu_ms_max = 0"),
            "component.cpu_ms_max",
        ),
        (
            &format!("{MINIMAL}\n[http]\nbody_ms_max = 0"),
            "http.body_ms_max",
        ),
        (
            &format!("{MINIMAL}\n[tokens]\nkeys = [{{alg = \"none\"}}]"),
            "none",
        ),
        (
            &format!("{MINIMAL}\n[tokens]\njwks_file = \"/does/not/exist\""),
            "/does/not/exist",
        ),
        (
            &format!("{MINIMAL}\n[tokens]\nleeway_s = 601"),
            "tokens.leeway_s",
        ),
        (
            &format!("{MINIMAL}\n[tokens]\naudiences = [\"\"]"),
            "tokens.audiences",
        ),
        (
            &format!("{MINIMAL}\n[tokens]\naudience = \"a\""),
            "audience",
        ),
    ] {
        let error = check(text).expect_err(text);
        assert!(error.contains(named), "{error} should name {named}");
    }
}

#[test]
fn what_tokens_must_say_reaches_the_session() {
    let rules = |text: &str| {
        let config: Config = toml::from_str(&format!("{MINIMAL}\n[tokens]\n{text}")).expect("TOML");
        let checked = Checked::try_new(config, &BTreeMap::new()).expect("fine");
        let session: SessionConfig = serde_json::from_slice(&checked.session(0)).expect("JSON");
        session.token_rules
    };
    assert_eq!(rules("").leeway_s, 60);
    let told = rules("audiences = [\"chorus\"]\nissuers = [\"https://id.example\"]\nleeway_s = 5");
    assert_eq!(told.audiences, ["chorus"]);
    assert_eq!(told.issuers, ["https://id.example"]);
    assert_eq!(told.leeway_s, 5);
}

#[test]
fn the_file_wins_over_the_applications_variables() {
    let variables = BTreeMap::from([
        ("comments_per_minute".to_owned(), "7".to_owned()),
        ("messages_per_s".to_owned(), "9".to_owned()),
    ]);
    let config: Config =
        toml::from_str(&format!("{MINIMAL}\n[limits]\nmessages_per_s = 11")).expect("TOML");
    let checked = Checked::try_new(config.clone(), &variables).expect("fine");
    let session: SessionConfig = serde_json::from_slice(&checked.session(3)).expect("JSON");
    assert_eq!(
        (
            session.limits.comments_per_minute,
            session.limits.messages_per_s,
            session.shard
        ),
        (7, 11, 3)
    );
    let wrong = BTreeMap::from([("comments_per_minute".to_owned(), "many".to_owned())]);
    assert!(Checked::try_new(config, &wrong).is_err());
}

#[test]
fn the_example_is_the_defaults() {
    let example: Config = toml::from_str(include_str!("../../edge.example.toml")).expect("TOML");
    let Config {
        limits: given,
        backhaul,
        ..
    } = &example;
    assert!(backhaul.is_some());
    assert_eq!(
        limits(given, &BTreeMap::new()).expect("limits"),
        Limits::default()
    );
    let plain = Config {
        limits: toml::Table::new(),
        backhaul: None,
        ..example
    };
    let (example, default) = (toml::to_string(&plain), toml::to_string(&Config::default()));
    assert_eq!(example.expect("TOML"), default.expect("TOML"));
}
