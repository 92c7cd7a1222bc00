//! What nats-server and chorus-origin are told of their supercluster.

use std::fmt::Write as _;
use std::path::Path;

use super::file::{Node, Region, Supercluster, Sync};
use super::logs::{self, human};
use super::roles::Role;

/// What every server has, beside its names and addresses.
const BOUNDS: &str = "\
# The largest message: a REST answer of 200 comments fits.
max_payload: 1MB
# Bytes waiting for one client before it counts as too slow and is dropped.
max_pending: 64MB
# A client that does not take its bytes for this long is dropped.
write_deadline: \"10s\"
";

/// Servers among themselves: both sides show a certificate of the servers' authority.
const TLS: &str = "{ ca_file: \"@/ca.pem\", cert_file: \"@/node.pem\", key_file: \"@/node.key\", verify: true, timeout: 5 }";

/// The configuration of one server whose files are in `directory`.
pub(super) fn server(
    supercluster: &Supercluster,
    region: &Region,
    node: &Node,
    directory: &Path,
) -> String {
    let directory = escaped(&directory.display().to_string());
    let tls = TLS.replace('@', &directory);
    let store = supercluster.store.as_ref().map_or_else(
        || format!("{directory}/jetstream"),
        |store| escaped(&store.display().to_string()),
    );
    let sync = match supercluster.sync {
        Sync::Always => {
            "  # What is acknowledged survives a loss of power.\n  sync_interval: \"always\"\n"
        }
        Sync::ServerDefault => "",
    };
    let address = &node.address;
    let name = &region.name;
    let routes: Vec<String> = region
        .nodes
        .iter()
        // One node alone has a route to itself: JetStream across regions needs a cluster in each.
        .filter(|other| other.name != node.name || region.nodes.len() == 1)
        .map(|other| format!("\"nats-route://{}:{}\"", other.address, other.route_port))
        .collect();
    let gateways: Vec<String> = supercluster
        .regions
        .iter()
        .map(|region| {
            let urls = region
                .nodes
                .iter()
                .map(|node| format!("\"nats://{}:{}\"", node.address, node.gateway_port));
            let urls = urls.collect::<Vec<_>>().join(", ");
            format!("    {{ name: \"{}\", urls: [{urls}] }}", region.name)
        })
        .collect();
    format!(
        "# nats-server of `{node}` in the region `{name}`; written by `chorus regions render`.\n\n\
         server_name: \"{node}\"\n\
         server_tags: [\"region:{name}\", \"az:{zone}\"]\n\
         # Where /healthz answers.\nhttp: \"{monitor}\"\n\
         listen: \"{address}:{client}\"\n\
         # Who connects is who its certificate says, of the roles' authority.\n\
         tls {{\n  cert_file: \"{directory}/node.pem\"\n  key_file: \"{directory}/node.key\"\n\
         \x20 ca_file: \"{directory}/roles.pem\"\n  verify_and_map: true\n  timeout: 5\n}}\n\n\
         jetstream {{\n  store_dir: \"{store}\"\n  max_memory_store: 256MB\n{storage}\
         \x20 # Copies of one log go to different zones.\n  unique_tag: \"az:\"\n{sync}}}\n\n\
         cluster {{\n  name: \"{name}\"\n  listen: \"{address}:{route}\"\n  routes: [{routes}]\n  tls {tls}\n}}\n\n\
         gateway {{\n  name: \"{name}\"\n  listen: \"{address}:{gateway}\"\n  # Only the regions named here.\n\
         \x20 reject_unknown_cluster: true\n  tls {tls}\n  gateways: [\n{gateways}\n  ]\n}}\n\n\
         {accounts}\n{BOUNDS}",
        node = node.name,
        zone = node.zone,
        monitor = node.monitor(),
        client = node.client_port,
        route = node.route_port,
        gateway = node.gateway_port,
        routes = routes.join(", "),
        gateways = gateways.join("\n"),
        storage = storage(supercluster, region),
        accounts = accounts(supercluster, region),
    )
}

/// What each log may take, and the sum.
fn storage(supercluster: &Supercluster, region: &Region) -> String {
    let logs = logs::of(supercluster, region);
    let mut out = "  # Bytes of one replica of each log; of a node with three or fewer beside it, one of each:\n".to_owned();
    for log in &logs {
        let size = human(log.bytes_max);
        let _infallible = writeln!(out, "  #   {:<28} {size:>10}  {}", log.name, log.why);
    }
    let sum = logs::node_bytes_max(&logs);
    let _infallible = writeln!(
        out,
        "  # {}: all of them on the disk and 5 % for what an operator adds.\n  max_file_store: {sum}",
        human(sum)
    );
    out
}

fn accounts(supercluster: &Supercluster, region: &Region) -> String {
    let users: String = Role::ALL
        .into_iter()
        .filter(|role| *role != Role::System)
        .map(|role| user(supercluster, region, role))
        .collect();
    format!(
        "accounts {{\n  CHORUS {{\n    jetstream: enabled\n    users: [\n{users}    ]\n  }}\n\
         \x20 SYS {{ users: [{{ user: \"{system}\" }}] }}\n}}\nsystem_account: SYS\n",
        system = Role::System.user(region),
    )
}

fn user(supercluster: &Supercluster, region: &Region, role: Role) -> String {
    let may = role.permissions(supercluster, region);
    let responds = if may.responds {
        "          allow_responses: { max: 1, expires: \"30s\" }\n"
    } else {
        ""
    };
    format!(
        "      {{ user: \"{}\", permissions: {{\n          publish: [{}]\n          subscribe: [{}]\n{responds}      }} }}\n",
        role.user(region),
        list(&may.publish),
        list(&may.subscribe),
    )
}

fn list(subjects: &[String]) -> String {
    let each = subjects.iter().map(|subject| format!("\"{subject}\""));
    let separator = ",\n            ";
    each.collect::<Vec<_>>().join(separator)
}

/// A region's part of the configuration of the chorus-origin that runs as `role` and has its certificate in `directory`.
pub(super) fn origin(
    supercluster: &Supercluster,
    region: &Region,
    role: Role,
    directory: &Path,
) -> String {
    let directory = escaped(&directory.display().to_string());
    let urls = region
        .nodes
        .iter()
        .map(|node| format!("tls://{}:{}", node.address, node.client_port));
    let names = |names: &mut dyn Iterator<Item = &str>| {
        let each = names.map(|name| format!("\"{name}\""));
        each.collect::<Vec<_>>().join(", ")
    };
    let peers = supercluster.regions.iter().map(|peer| peer.name.as_str());
    let sync = match supercluster.sync {
        Sync::Always => "always",
        Sync::ServerDefault => "server-default",
    };
    let logs = supercluster.logs;
    let [first, last] = region.workers;
    format!(
        "# A chorus-origin of the region `{region}` as `{role}`, written by `chorus regions render`.\n\
         # What is not of NATS ([gateway], [store], [tokens]) is to be added: see origin/origin.example.toml.\n\n\
         region = \"{region}\"\nroles = [{roles}]\n\n\
         [nats]\nurl = \"{urls}\"\n\
         ca = \"{directory}/ca.pem\"\ncert = \"{directory}/{role}.pem\"\nkey = \"{directory}/{role}.key\"\n\
         inbox = \"{inbox}\"\n\
         replicas = {replicas}\nsync = \"{sync}\"\ncluster = \"{region}\"\npeers = [{peers}]\n\
         partitions = {partitions}\nworkers = [{first}, {last}]\n\
         # {per_s} events/s × {bytes} B × {days} days × 86400 s, shared by {partitions} partition(s); each replica takes as much.\n\
         events_bytes_max = {events_bytes_max}\nevents_days = {days}\n\
         control_bytes_max = {control}\nreactions_bytes_max = {reactions}\ndead_bytes_max = {dead}\n\
         presence_bytes_max = {presence}\n\
         mirror_bytes_max = {mirror}\nmirror_days = {mirror_days}\n",
        region = region.name,
        role = role.name(),
        roles = names(&mut role.of_origin().iter().copied()),
        urls = urls.collect::<Vec<_>>().join(","),
        inbox = role.inbox(region),
        replicas = region.replicas(),
        peers = names(&mut peers.filter(|peer| *peer != region.name.as_str())),
        partitions = supercluster.partitions,
        per_s = logs.events_per_s,
        bytes = logs.events_bytes,
        days = logs.events_days,
        events_bytes_max = logs::events_bytes_max(supercluster),
        control = logs.control_bytes,
        reactions = logs.reactions_bytes,
        dead = logs.dead_bytes,
        presence = logs.presence_bytes,
        mirror = logs::mirror_bytes_max(supercluster),
        mirror_days = logs.mirror_days(),
    )
}

/// Within quotes.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}
