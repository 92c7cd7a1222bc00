//! The real origin and PoP in three regions.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
use chorus_client::protocol::StreamId;
use chorus_client::{Endpoint, Options, Rest, Viewer};
use chorus_tests::{SOON, eventually, house, jwt};
use serde_json::json;

use crate::supercluster::{REGIONS, Supercluster};

const SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

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
    // The role persist of every region wrote both: the other region's from its mirror.
    let persist = ready
        .iter()
        .filter(|(_, role, _)| matches!(*role, "persist" | "origin"));
    for (region, _, rest) in persist {
        let what = format!("the store of {region} has both");
        eventually(&what, 2 * SOON, async || {
            let metrics = rest.get("/metrics").await.ok()?.text();
            let rows = "chorus_origin_persist_rows_total 2";
            metrics.lines().any(|line| line == rows).then_some(())
        })
        .await?;
    }
    let ended = rest
        .post(&format!("/api/streams/{stream}/end"), &json!({}))
        .await?;
    assert_eq!(ended.status, 200, "{}", ended.text());

    let violations = supercluster.violations();
    assert!(violations.is_empty(), "{violations:#?}");
    supercluster.done()
}
