//! What nats-server and chorus-origin are told of their supercluster.

use std::fmt::Write as _;
use std::path::Path;

use super::file::{Node, Region, Supercluster, Sync};

/// What every server of ours has, beside its names and addresses.
const BOUNDS: &str = "\
# The largest message: a REST answer of 200 comments fits.
max_payload: 1MB
# Bytes waiting for one client before it counts as too slow and is dropped.
max_pending: 64MB
# A client that does not take its bytes for this long is dropped.
write_deadline: \"10s\"
";

/// The configuration of one server.
pub(super) fn server(supercluster: &Supercluster, region: &Region, node: &Node) -> String {
    let mut out = format!(
        "# nats-server of `{}` in the region `{}`; written by `chorus regions render`.\n\n",
        node.name, region.name
    );
    // Writing into a text cannot fail.
    let _ = write!(
        out,
        "server_name: {}\nserver_tags: [{}, {}]\n\
         listen: {}\n# Where /healthz answers.\nhttp: {}\n{}\n",
        quoted(&node.name),
        quoted(&format!("region:{}", region.name)),
        quoted(&format!("az:{}", node.zone)),
        quoted(&format!("{}:{}", node.address, node.client_port)),
        quoted(&format!("127.0.0.1:{}", node.monitor_port)),
        tls(supercluster, ""),
    );
    let sync = match supercluster.sync {
        Sync::Always => "  sync_interval: \"always\"\n",
        Sync::ServerDefault => "",
    };
    let _ = write!(
        out,
        "jetstream {{\n  store_dir: {}\n  # Copies of one log go to different zones.\n  unique_tag: \"az:\"\n{sync}}}\n\n",
        path(&node.store_dir),
    );
    let others = region.nodes.iter().filter(|it| it.name != node.name);
    // A node alone has a route to itself: JetStream in a supercluster needs a cluster.
    let others: Vec<&Node> = match region.nodes.as_slice() {
        [alone] => vec![alone],
        _ => others.collect(),
    };
    let routes = others
        .iter()
        .map(|it| quoted(&format!("nats-route://{}:{}", it.address, it.route_port)));
    let _ = write!(
        out,
        "cluster {{\n  name: {}\n  listen: {}\n  routes: [{}]\n{}}}\n\n",
        quoted(&region.name),
        quoted(&format!("{}:{}", node.address, node.route_port)),
        routes.collect::<Vec<_>>().join(", "),
        tls(supercluster, "  "),
    );
    let _ = write!(
        out,
        "gateway {{\n  name: {}\n  listen: {}\n  # Only the regions named here.\n  reject_unknown_cluster: true\n  gateways: [\n",
        quoted(&region.name),
        quoted(&format!("{}:{}", node.address, node.gateway_port)),
    );
    for region in &supercluster.regions {
        let urls = region
            .nodes
            .iter()
            .map(|it| quoted(&format!("nats://{}:{}", it.address, it.gateway_port)));
        let urls = urls.collect::<Vec<_>>().join(", ");
        let _ = writeln!(
            out,
            "    {{ name: {}, urls: [{urls}] }}",
            quoted(&region.name)
        );
    }
    let _ = write!(out, "  ]\n{}}}\n\n{BOUNDS}", tls(supercluster, "  "));
    out
}

/// A block `tls` with both sides' certificates checked; nothing where servers talk in the clear.
fn tls(supercluster: &Supercluster, indent: &str) -> String {
    let Some(tls) = &supercluster.tls else {
        return String::new();
    };
    let file = |name: &str| path(&tls.directory.join(name));
    format!(
        "{indent}tls {{\n{indent}  ca_file: {}\n{indent}  cert_file: {}\n{indent}  key_file: {}\n{indent}  verify: true\n{indent}}}\n",
        file("ca.pem"),
        file("node.pem"),
        file("node.key"),
    )
}

/// A region's part of chorus-origin's configuration.
pub(super) fn origin(supercluster: &Supercluster, region: &Region) -> String {
    let scheme = if supercluster.tls.is_some() {
        "tls"
    } else {
        "nats"
    };
    let servers = region
        .nodes
        .iter()
        .map(|it| format!("{scheme}://{}:{}", it.address, it.client_port));
    let peers = supercluster
        .regions
        .iter()
        .filter(|it| it.name != region.name);
    let peers: Vec<String> = peers.map(|it| quoted(&it.name)).collect();
    let sync = match supercluster.sync {
        Sync::Always => "always",
        Sync::ServerDefault => "server-default",
    };
    let events = supercluster.events;
    let bytes_max = events.bytes_max() / u64::from(supercluster.partitions);
    let [first, last] = region.workers;
    format!(
        "# The region `{name}` for chorus-origin; written by `chorus regions render`.\n\n\
         region = {region}\n\n[nats]\nurl = {url}\nreplicas = {replicas}\nsync = {sync}\ncluster = {region}\n\
         peers = [{peers}]\npartitions = {partitions}\n\
         # {per_s} events a second × {bytes} bytes × {days} days, shared by {partitions} partition(s); each replica takes as much.\n\
         events_bytes_max = {bytes_max}\nevents_days = {days}\n\n\
         [gateway]\nworker_first = {first}\nworker_last = {last}\n",
        name = region.name,
        region = quoted(&region.name),
        url = quoted(&servers.collect::<Vec<_>>().join(",")),
        replicas = region.replicas(),
        sync = quoted(sync),
        peers = peers.join(", "),
        partitions = supercluster.partitions,
        per_s = events.per_s,
        bytes = events.bytes,
        days = events.days,
    )
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn path(path: &Path) -> String {
    quoted(&path.display().to_string())
}
