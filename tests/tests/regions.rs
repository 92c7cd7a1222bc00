//! `chorus regions render`: its files under the real nats-server, its permissions under the real origin.
#![cfg(target_os = "linux")]

#[path = "regions/supercluster.rs"]
mod supercluster;

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_nats::ConnectOptions;
use chorus_client::protocol::StreamId;
use chorus_client::{Endpoint, Options, Rest, Viewer};
use chorus_tests::{SOON, eventually, house, jwt};
use futures_util::StreamExt as _;
use serde_json::json;
use tokio::time::timeout;

use supercluster::{REGIONS, Supercluster, place, render, small};

const SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

#[test]
fn nats_server_takes_every_file_and_a_second_rendering_changes_none() -> Result<()> {
    let (out, net) = place()?;
    let large = fs::read_to_string(house::root()?.join("deploy/regions.toml"))?;
    let installed = |line: &&str| line.starts_with("directory =") || line.starts_with("store =");
    // Used where they are rendered: `nats-server -t` looks for the certificates.
    let large: String = large
        .lines()
        .filter(|line| !installed(line))
        .flat_map(|line| [line, "\n"])
        .collect();
    for (text, nodes) in [(large, 9), (small(&net)?, 3)] {
        render(&text, &out)?;
        let mut checked = 0;
        for entry in fs::read_dir(&out)? {
            let file = entry?.path().join("nats.conf");
            if file.exists() {
                let output = Command::new("nats-server")
                    .arg("-t")
                    .arg("-c")
                    .arg(&file)
                    .output()?;
                ensure!(output.status.success(), "{}: {output:?}", file.display());
                checked += 1;
            }
        }
        assert_eq!(checked, nodes);
        let again = render(&text, &out)?;
        assert!(
            again.contains(": 0 files changed, 0 certificates"),
            "{again}"
        );
        fs::remove_dir_all(&out)?;
    }
    Ok(())
}

#[test]
fn chorus_origin_takes_its_part_of_each_role() -> Result<()> {
    let (out, net) = place()?;
    render(&small(&net)?, &out)?;
    for role in ["origin", "gateway", "persist", "api"] {
        let text = fs::read_to_string(out.join(format!("eu-central/{role}.toml")))?;
        let whole = format!(
            "{text}[store]\nurl = \"sqlite:///x.db\"\n[gateway]\nca = \"c\"\ncert = \"c\"\nkey = \"k\"\n"
        );
        let config =
            chorus_origin::config::Config::try_new(&whole, None).with_context(|| text.clone())?;
        assert_eq!(config.region.as_str(), "eu-central");
        assert_eq!(config.roles.len(), if role == "origin" { 3 } else { 1 });
        assert_eq!(config.nats.workers, [0, 340]);
        assert_eq!(config.nats.peers.len(), 2);
        assert_eq!(config.nats.events_bytes_max, 100 * 650 * 86_400);
    }
    fs::remove_dir_all(&out)?;
    Ok(())
}

/// Who may publish what, of the region eu-central. The role `origin` may what gateway, persist and api may.
const PUBLISH: [(&str, &[&str]); 27] = [
    ("event.eu-central.0.s", &["gateway", "moderate"]),
    ("event.us-east.0.s", &[]),
    ("live.event.eu-central.0.s", &[]),
    ("reaction.eu-central.s.heart", &["gateway"]),
    ("presence.eu-central.g.s", &["gateway"]),
    ("presence.us-east.g.s", &[]),
    ("api.eu-central", &["gateway"]),
    ("api.us-east", &[]),
    ("control.eu-central.s.stream", &["api"]),
    ("control.us-east.s.stream", &[]),
    (
        "control.eu-central.-.region",
        &["gateway", "persist", "api"],
    ),
    ("undone.eu-central.persist", &["persist"]),
    ("undone.eu-central.moderate", &["moderate"]),
    ("undone.eu-central.analyse", &["analyse"]),
    ("$KV.WORKERS_eu-central.w.1", &["gateway"]),
    ("$KV.WORKERS_us-east.w.1", &[]),
    ("$KV.RIGHTS_eu-central.persist", &["persist"]),
    (
        "$JS.API.CONSUMER.MSG.NEXT.EVENTS_eu-central_0.persist",
        &["persist"],
    ),
    (
        "$JS.API.CONSUMER.MSG.NEXT.EVENTS_eu-central_0.analyse",
        &["analyse"],
    ),
    (
        "$JS.ACK.EVENTS_eu-central_0.moderate.1.1.1.1.0",
        &["moderate"],
    ),
    ("$JS.ACK.EVENTS_us-east_0.persist.1.1.1.1.0", &[]),
    (
        "$JS.API.STREAM.UPDATE.EVENTS_eu-central_0",
        &["gateway", "persist", "api"],
    ),
    ("$JS.API.STREAM.UPDATE.EVENTS_us-east_0", &[]),
    ("$JS.API.STREAM.CREATE.MINE", &[]),
    ("$JS.API.STREAM.PURGE.MINE", &[]),
    ("$JS.API.STREAM.DELETE.MINE", &[]),
    (
        "$JS.API.DIRECT.GET.EVENTS_us-east_0",
        &["gateway", "persist", "api", "moderate", "analyse"],
    ),
];

/// The same for subscriptions.
const SUBSCRIBE: [(&str, &[&str]); 8] = [
    ("live.event.*.*.s", &["gateway"]),
    ("live.reaction.*.s.*", &["gateway"]),
    ("live.control.*.*.stream", &["gateway"]),
    ("presence.*.*.s", &["gateway", "api"]),
    ("api.eu-central", &["api"]),
    ("api.us-east", &[]),
    ("_INBOX.>", &[]),
    ("event.>", &[]),
];

fn may(role: &str, allowed: &[&str]) -> bool {
    let of_origin = ["gateway", "persist", "api"];
    let all = role == "operator";
    all || allowed.contains(&role)
        || (role == "origin" && allowed.iter().any(|role| of_origin.contains(role)))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_may_do_what_it_must_and_nothing_else() -> Result<()> {
    let supercluster = Supercluster::start().await?;
    // Said last, by a role that may not, its refusal comes last.
    const LAST: &str = "nobody.may.say.this";
    let mut wrong = Vec::new();
    for role in [
        "origin", "gateway", "persist", "api", "moderate", "analyse", "operator",
    ] {
        let (client, mut refusals) = supercluster.connect("eu-central", role).await?;
        for (subject, _) in PUBLISH {
            client.publish(subject, "".into()).await?;
        }
        let mut subscriptions = Vec::new();
        for (subject, _) in SUBSCRIBE {
            subscriptions.push(client.subscribe(subject).await?);
        }
        client.publish(LAST, "".into()).await?;
        let mut said = String::new();
        // The operator is refused nothing: it waits its time.
        let patience = Duration::from_secs(if role == "operator" { 1 } else { 10 });
        while let Ok(Some(refusal)) = timeout(patience, refusals.recv()).await {
            said += &format!("{refusal}\n");
            if refusal.contains(LAST) {
                break;
            }
        }
        ensure!(role == "operator" || said.contains(LAST), "{role}: {said}");
        let said = said.to_lowercase();
        let rows = PUBLISH.iter().map(|row| ("publish", row));
        for (verb, (subject, allowed)) in rows.chain(SUBSCRIBE.iter().map(|row| ("subscri", row))) {
            let refused = said.lines().any(|line| {
                line.contains(verb) && line.contains(&format!("\"{}\"", subject.to_lowercase()))
            });
            if refused == may(role, allowed) {
                wrong.push(format!("{role}: {verb} {subject}: refused {refused}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // What the other test looks for is there when something is refused.
    assert!(!supercluster.violations().is_empty());

    // Of the servers themselves `system` may ask, and it hears no event.
    let (system, _) = supercluster.connect("eu-central", "system").await?;
    let mut events = system.subscribe("test.>").await?;
    let inbox = system.new_inbox();
    let mut answers = system.subscribe(inbox.clone()).await?;
    system
        .publish_with_reply("$SYS.REQ.SERVER.PING", inbox, "".into())
        .await?;
    for _ in REGIONS {
        timeout(SOON, answers.next())
            .await?
            .context("an answer of each server")?;
    }
    let (operator, _) = supercluster.connect("us-east", "operator").await?;
    operator.publish("test.secret", "".into()).await?;
    operator.flush().await?;
    assert!(
        timeout(Duration::from_millis(300), events.next())
            .await
            .is_err()
    );
    supercluster.done()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_certificate_of_ours_is_neither_client_nor_server() -> Result<()> {
    let mut supercluster = Supercluster::start().await?;
    let out = supercluster.out.clone();
    let root = || ConnectOptions::new().add_root_certificates(out.join("eu-central/ca.pem"));
    let url = format!("tls://{}:4222", supercluster.address("eu-central"));
    assert!(root().connect(&url).await.is_err(), "without a certificate");
    let server = out.join("eu-central-1/node");
    let as_server =
        root().add_client_certificate(server.with_extension("pem"), server.with_extension("key"));
    assert!(as_server.connect(&url).await.is_err(), "with a server's");
    let other = root().add_client_certificate(
        out.join("us-east/operator.pem"),
        out.join("us-east/operator.key"),
    );
    assert!(other.connect(&url).await.is_err(), "with another region's");

    // Two servers that want in: `mars` is in no file of theirs, `venus` shows a role's certificate.
    let address = supercluster.address("eu-central");
    let net = address.trim_end_matches(char::is_numeric).to_owned();
    let mut text = small(&net)?.replace("[682, 1023]", "[682, 1000]");
    for (number, name) in [(4, "mars"), (5, "venus")] {
        text += &format!(
            "[[regions]]\nname = \"{name}\"\nworkers = [{number}001, {number}001]\n\
             nodes = [{{ name = \"{name}-1\", address = \"{net}{number}\", zone = \"a\" }}]\n"
        );
    }
    let text = text.replace("4001", "1001").replace("5001", "1002");
    let before: Vec<String> = REGIONS
        .iter()
        .map(|region| fs::read_to_string(out.join(format!("{region}-1/nats.conf"))))
        .collect::<Result<_, _>>()?;
    render(&text, &out)?;
    for (region, conf) in REGIONS.iter().zip(before) {
        fs::write(out.join(format!("{region}-1/nats.conf")), conf)?;
    }
    for end in ["pem", "key"] {
        fs::copy(
            out.join(format!("eu-central/operator.{end}")),
            out.join(format!("venus-1/node.{end}")),
        )?;
    }
    supercluster.start_nats("mars-1")?;
    supercluster.start_nats("venus-1")?;
    eventually("both are refused", SOON, async || {
        let said = supercluster.log("eu-central-1", "log");
        let mars = said.contains("Rejecting connection from gateway \"mars\"");
        (mars && said.contains("TLS gateway handshake error")).then_some(())
    })
    .await?;
    for region in REGIONS {
        let gateways = supercluster.gateways(region).await?;
        let others = REGIONS.iter().filter(|other| **other != region);
        assert_eq!(gateways, others.map(|it| (*it).to_owned()).collect());
    }
    supercluster.done()
}

impl Supercluster {
    /// Starts a chorus-origin as `role`, with what the rendered part leaves out.
    fn start_origin(&mut self, region: &str, role: &str, admin: u16) -> Result<Rest> {
        let directory = self.out.join(region);
        let node = self.out.join(format!("{region}-1"));
        let address = self.address(region);
        let part = fs::read_to_string(directory.join(format!("{role}.toml")))?;
        let (own, node) = (directory.display(), node.display());
        let text = format!(
            "admin_listen = \"{address}:{admin}\"\n{part}\n\
             [gateway]\nlisten = \"{address}:7443\"\nlease_ms = 3000\n\
             ca = \"{node}/roles.pem\"\ncert = \"{node}/node.pem\"\nkey = \"{node}/node.key\"\n\
             [store]\nurl = \"sqlite://{own}/store.db\"\n\
             [tokens]\nkeys = [{{ alg = \"HS256\", secret = \"{SECRET}\" }}]\n"
        );
        let file = directory.join(format!("{role}-whole.toml"));
        fs::write(&file, text)?;
        let mut command = Command::new(house::binary("chorus-origin")?);
        command.arg("--config").arg(&file).arg("--exit-with-parent");
        self.run(command, &directory.join(format!("{role}.log")))?;
        Ok(Rest::new(&format!("http://{address}:{admin}"))?)
    }

    /// Starts a PoP of a region; its certificate is that of a role, for which a gateway's own authority stands here.
    fn start_pop(&mut self, region: &str) -> Result<String> {
        let directory = self.out.join(region);
        let address = self.address(region);
        let own = directory.display();
        let state = self.out.join("edge").join(region);
        let text = format!(
            "listen = \"{address}:8080\"\npop = \"pop-{region}\"\nregion = \"{region}\"\nshards = 1\n\
             app = \"spin.toml\"\nstate_dir = \"{}\"\n\
             [backhaul]\ngateways = [\"{address}:7443\"]\nserver_name = \"{address}\"\n\
             ca = \"{own}/ca.pem\"\ncert = \"{own}/api.pem\"\nkey = \"{own}/api.key\"\n\
             [tokens]\nkeys = [{{ alg = \"HS256\", secret = \"{SECRET}\" }}]\n",
            state.display()
        );
        let file = directory.join("edge.toml");
        fs::write(&file, text)?;
        let mut command = Command::new(house::binary("chorus-edge")?);
        command.arg("--config").arg(&file).arg("--exit-with-parent");
        self.run(command, &directory.join("edge.log"))?;
        Ok(format!("http://{address}:8080"))
    }
}

async fn is_ready(what: &str, rest: &Rest) -> Result<()> {
    eventually(what, 4 * SOON, async || {
        let ready = rest.get("/readyz").await.ok()?;
        (ready.status == 200).then_some(())
    })
    .await
}

/// The roles as processes of their own in one region, in one process in the other: under the permissions that were rendered
/// a comment, a reaction and the end of a stream cross from one to the other, and nats-server refuses nothing.
#[tokio::test(flavor = "multi_thread")]
async fn under_its_permissions_a_real_origin_is_refused_nothing() -> Result<()> {
    let mut supercluster = Supercluster::start().await?;
    let mut ready = Vec::new();
    for (region, role, admin) in [
        ("eu-central", "gateway", 7480),
        ("eu-central", "persist", 7481),
        ("eu-central", "api", 7482),
        ("us-east", "origin", 7480),
        ("ap-southeast", "origin", 7480),
    ] {
        ready.push((
            region,
            role,
            supercluster.start_origin(region, role, admin)?,
        ));
    }
    let pops = [
        supercluster.start_pop("eu-central")?,
        supercluster.start_pop("us-east")?,
    ];
    for (region, role, rest) in &ready {
        is_ready(&format!("{role} of {region}"), rest)
            .await
            .with_context(|| supercluster.log(region, &format!("{role}.log")))?;
    }
    for (pop, region) in pops.iter().zip(REGIONS) {
        is_ready("a PoP", &Rest::new(pop)?)
            .await
            .with_context(|| supercluster.log(region, "edge.log"))?;
    }

    let token = |user: &str| jwt::hs256(SECRET, &jwt::claims(user, "admin", 600));
    let rest = Rest::new(&pops[0])?.token(token("ada")?);
    let made = rest
        .post("/api/streams", &json!({ "title": "two regions" }))
        .await?;
    let stream = made.json()?["stream_id"]
        .as_str()
        .map(StreamId::new)
        .transpose()?;
    let stream = stream.with_context(|| made.text())?;
    let mut viewers = Vec::new();
    for (pop, user) in pops.iter().zip(["ada", "bob"]) {
        let options = Options::default().token(token(user)?);
        let mut viewer = Viewer::connect(&Endpoint::parse(pop)?, &stream, &options).await?;
        viewer.join_and_wait(None, SOON).await?;
        viewers.push(viewer);
    }
    let [ada, bob] = viewers.as_mut_slice() else {
        anyhow::bail!("two viewers");
    };
    let of_ada = ada.post_durable("from Frankfurt", SOON).await?;
    let of_bob = bob.post_durable("from Virginia", SOON).await?;
    ada.react("sad", 1).await?;
    for viewer in [ada, bob] {
        viewer
            .wait("both comments and the reaction", SOON, |viewer| {
                viewer.seen.missing([&of_ada, &of_bob]).is_empty()
                    && viewer.reactions.get("sad") == Some(&1)
            })
            .await?;
    }
    // The role persist wrote it: it is in the store, and nothing is left to do.
    eventually("the store has it", SOON, async || {
        let metrics = ready[1].2.get("/metrics").await.ok()?.text();
        let rows = metrics
            .lines()
            .find(|line| line.starts_with("chorus_origin_persist_rows_total "))?;
        (!rows.ends_with(" 0")).then_some(())
    })
    .await?;
    let ended = rest
        .post(&format!("/api/streams/{stream}/end"), &json!({}))
        .await?;
    assert_eq!(ended.status, 200, "{}", ended.text());

    let violations = supercluster.violations();
    assert!(violations.is_empty(), "{violations:#?}");
    supercluster.done()
}
