//! The three programs' configurations.

use std::fmt::Write as _;

use anyhow::{Context, Result, bail};
use toml::{Table, Value};

use super::Sync;
use super::dir::DataDir;
use super::find::House;
use super::identity::{GATEWAY_NAME, Identity, POP_NAME};
use super::ports::NodePorts;
use super::site::Site;

/// Worker numbers of each of several regions.
const WORKERS: i64 = 300;

/// A developer's Ctrl-C does not wait for viewers as an operator's does.
const DRAIN_S: i64 = 1;

/// What is known before the programs start.
pub(crate) struct Plan<'a> {
    pub(crate) dir: &'a DataDir,
    pub(crate) house: &'a House,
    pub(crate) identity: &'a Identity,
    pub(crate) shards: Option<u8>,
    pub(crate) sync: Sync,
    /// Of all regions.
    pub(crate) sites: &'a [Site],
}

/// Writes all of a region; the overrides win.
pub(crate) fn write(
    plan: &Plan<'_>,
    site: &Site,
    edge_set: &[String],
    origin_set: &[String],
) -> Result<()> {
    let dir = plan.dir;
    for node in 0..site.ports.nodes.len() {
        let conf = nats(plan, site, node);
        dir.write(&site.node_file(node, ".conf"), conf.as_bytes())?;
    }
    let mut edge = edge(plan, site);
    for assignment in edge_set {
        set(&mut edge, assignment).with_context(|| format!("--edge-set {assignment}"))?;
    }
    dir.write(&site.file("edge.toml"), toml::to_string(&edge)?.as_bytes())?;
    let mut origin = origin(plan, site);
    same_limits(&edge, &mut origin);
    for assignment in origin_set {
        set(&mut origin, assignment).with_context(|| format!("--origin-set {assignment}"))?;
    }
    let origin = toml::to_string(&origin)?;
    dir.write(&site.file("origin.toml"), origin.as_bytes())
}

/// Limits of users that the PoP and the gateway both hold.
const USER_LIMITS: [&str; 3] = [
    "comments_per_minute",
    "comments_per_stream_30s",
    "reactions_per_minute",
];

/// What the PoP's limits were set to is said once and holds at the gateway, too.
fn same_limits(edge: &Table, origin: &mut Table) {
    let Some(Value::Table(given)) = edge.get("limits") else {
        return;
    };
    let of_users = given
        .iter()
        .filter(|(name, _)| USER_LIMITS.contains(&name.as_str()));
    let limits: Table = of_users
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    origin.insert("limits".to_owned(), limits.into());
}

/// Only this machine's user can use it: loopback or an address of `chorus wan`, and a password in a file of mode 0600.
fn nats(plan: &Plan<'_>, site: &Site, node: usize) -> String {
    let store = plan.dir.file(&site.node_file(node, ""));
    let sync = match plan.sync {
        Sync::ServerDefault => "",
        Sync::Always => ", sync_interval: \"always\"",
    };
    let (ip, ports) = (site.ip, &site.ports.nodes[node]);
    let name = site.node_name("", node);
    let mut conf = format!(
        "server_name: \"chorus{}\"\n\
         listen: \"{ip}:{}\"\n\
         http: \"{ip}:{}\"\n\
         jetstream {{ store_dir: {}{sync} }}\n\
         authorization {{ user: \"chorus\", password: {} }}\n",
        if name.is_empty() {
            format!("-{}", site.region)
        } else {
            name
        },
        ports.clients,
        ports.http,
        quoted(&store.display().to_string()),
        quoted(&plan.identity.nats_password),
    );
    let regions = plan.sites.len();
    if regions == 1 && site.ports.nodes.len() == 1 {
        return conf;
    }
    let login = format!("chorus:{}", plan.identity.nats_password);
    let password = quoted(&plan.identity.nats_password);
    let peers = format!("authorization {{ user: \"chorus\", password: {password} }}");
    let urls = |of: &Site, port: fn(&NodePorts) -> u16| -> String {
        let nodes = of.ports.nodes.iter();
        let urls = nodes.map(|it| format!("\"nats://{login}@{}:{}\"", of.ip, port(it)));
        urls.collect::<Vec<_>>().join(", ")
    };
    let region = site.region;
    // Also one server alone has a route, to itself: JetStream over regions needs a cluster in each.
    let _ = write!(
        conf,
        "server_tags: [\"region:{region}\"]\n\
         cluster {{\n  name: \"{region}\"\n  listen: \"{ip}:{}\"\n  {peers}\n  routes: [{}]\n}}\n",
        ports.cluster,
        urls(site, |it| it.cluster),
    );
    if regions > 1 {
        let gateways = plan.sites.iter().map(|other| {
            let urls = urls(other, |it| it.gateway);
            format!("    {{ name: \"{}\", urls: [{urls}] }}\n", other.region)
        });
        let gateways: String = gateways.collect();
        let _ = write!(
            conf,
            "gateway {{\n  name: \"{region}\"\n  listen: \"{ip}:{}\"\n  {peers}\n  gateways: [\n{gateways}  ]\n}}\n",
            ports.gateway,
        );
    }
    conf
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn origin(plan: &Plan<'_>, site: &Site) -> Table {
    let (ip, nodes) = (site.ip, &site.ports.nodes);
    let login = format!("chorus:{}", plan.identity.nats_password);
    let nats_urls = nodes
        .iter()
        .map(|node| format!("nats://{login}@{ip}:{}", node.clients));
    let nats_urls = nats_urls.collect::<Vec<_>>().join(",");
    let replicas = i64::try_from(nodes.len()).unwrap_or(1);
    let shared = |name: &str| plan.dir.file(name).display().to_string();
    let file = |name: &str| shared(&site.file(name));
    let sync = match plan.sync {
        Sync::ServerDefault => "server-default",
        Sync::Always => "always",
    };
    let mut nats = table([
        ("url", nats_urls.into()),
        ("replicas", replicas.into()),
        ("sync", sync.into()),
    ]);
    // Of several nodes one may be full without costing a post.
    if nodes.len() == 1 {
        nats.insert("directory".to_owned(), file("nats").into());
    }
    if nodes.len() > 1 || plan.sites.len() > 1 {
        nats.insert("cluster".to_owned(), site.region.into());
    }
    if plan.sites.len() > 1 {
        let first = i64::try_from(site.index).unwrap_or_default() * WORKERS;
        let workers = [first, first + WORKERS - 1].map(Value::from).to_vec();
        nats.insert("workers".to_owned(), workers.into());
        let others = plan.sites.iter().filter(|it| it.region != site.region);
        let peers: Vec<Value> = others.map(|it| it.region.into()).collect();
        nats.insert("peers".to_owned(), peers.into());
    }
    table([
        ("region", site.region.into()),
        // The machine's other cores are the viewers'.
        ("threads", 1.into()),
        ("admin_listen", format!("{ip}:{}", site.ports.admin).into()),
        ("nats", nats.into()),
        (
            "gateway",
            table([
                ("listen", format!("{ip}:{}", site.ports.gateway).into()),
                ("ca", shared("tls/ca.pem").into()),
                ("cert", shared("tls/gateway.pem").into()),
                ("key", shared("tls/gateway.key").into()),
            ])
            .into(),
        ),
        (
            "store",
            table([(
                "url",
                format!("sqlite://{}", file("origin/chorus.db")).into(),
            )])
            .into(),
        ),
        ("tokens", tokens(plan)),
        (
            "dev",
            table([("token_secret", plan.identity.token_secret.as_str().into())]).into(),
        ),
    ])
}

fn edge(plan: &Plan<'_>, site: &Site) -> Table {
    let shared = |name: &str| plan.dir.file(name).display().to_string();
    // Its own region's first: of gateways that are alike near the first is taken.
    let others = plan.sites.iter().filter(|it| it.region != site.region);
    let gateways: Vec<Value> = [site]
        .into_iter()
        .chain(others)
        .map(|it| format!("{}:{}", it.ip, it.ports.gateway).into())
        .collect();
    let mut edge = table([
        ("listen", site.listen.to_string().into()),
        ("pop", site.name(POP_NAME).into()),
        ("region", site.region.into()),
        (
            "public_url",
            format!("http://{}", super::reachable(site.listen)).into(),
        ),
        ("app", plan.house.app.display().to_string().into()),
        ("state_dir", shared(&site.file("edge")).into()),
        ("drain_s", DRAIN_S.into()),
        // Who develops looks at them where the page is.
        ("public_metrics", true.into()),
        (
            "backhaul",
            table([
                ("gateways", gateways.into()),
                ("server_name", GATEWAY_NAME.into()),
                ("ca", shared("tls/ca.pem").into()),
                ("cert", shared("tls/pop.pem").into()),
                ("key", shared("tls/pop.key").into()),
            ])
            .into(),
        ),
        ("tokens", tokens(plan)),
    ]);
    if let Some(shards) = plan.shards {
        edge.insert("shards".to_owned(), i64::from(shards).into());
    }
    if let Some(assets) = &plan.house.assets {
        edge.insert("assets_dir".to_owned(), assets.display().to_string().into());
    }
    edge
}

fn tokens(plan: &Plan<'_>) -> Value {
    let key = table([
        ("alg", "HS256".into()),
        ("secret", plan.identity.token_secret.as_str().into()),
    ]);
    table([("keys", Value::Array(vec![key.into()]))]).into()
}

fn table<const N: usize>(entries: [(&str, Value); N]) -> Table {
    entries
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

/// Sets `a.b=value`; the value is TOML, or else a text.
fn set(root: &mut Table, assignment: &str) -> Result<()> {
    let (key, text) = assignment.split_once('=').context("must be KEY=VALUE")?;
    let value = toml::from_str::<Table>(&format!("value = {text}"))
        .ok()
        .and_then(|mut parsed| parsed.remove("value"))
        .unwrap_or_else(|| Value::String(text.to_owned()));
    let mut names: Vec<&str> = key.split('.').collect();
    let Some(last) = names.pop().filter(|name| !name.is_empty()) else {
        bail!("no key named");
    };
    let mut at = root;
    for name in names {
        let entry = at
            .entry(name.to_owned())
            .or_insert_with(|| Value::Table(Table::new()));
        let Value::Table(inner) = entry else {
            bail!("`{name}` is a value, not a section");
        };
        at = inner;
    }
    at.insert(last.to_owned(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overrides_reach_into_sections_with_toml_values_or_texts() {
        let mut root = table([("pop", "a".into())]);
        set(&mut root, "limits.comments_per_minute=600").expect("sets");
        set(&mut root, "pop=b c").expect("sets");
        set(&mut root, "io_uring=false").expect("sets");
        assert_eq!(
            toml::to_string(&root).ok().as_deref(),
            Some("io_uring = false\npop = \"b c\"\n\n[limits]\ncomments_per_minute = 600\n")
        );
        assert!(set(&mut root, "pop.deeper=1").is_err());
        let mut origin = Table::new();
        set(&mut root, "limits.messages_per_s=7").expect("sets");
        same_limits(&root, &mut origin);
        assert_eq!(
            toml::to_string(&origin).ok().as_deref(),
            Some("[limits]\ncomments_per_minute = 600\n"),
            "what holds users holds at the gateway, too"
        );
        assert!(set(&mut root, "nothing").is_err());
        assert!(set(&mut root, "=1").is_err());
    }
}
