//! Finding the nearest gateway and being welcomed by it, and looking whether another one is nearer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use chorus_protocol::backhaul::{
    CloseCode, Lane, ToGateway, ToPop, VERSIONS, common_version, write_frame,
};
use quinn::{Connection, Endpoint, RecvStream, SendStream};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::config::BackhaulConfig;
use super::frames::Frames;
use super::hub::Welcome;
use super::lanes::{code, known};
use super::metrics::Metrics;
use super::nearest::{ALIKE, Place, nearest};
use super::tls;
use crate::clock::Clock;

/// A welcomed connection.
pub(super) struct Up {
    pub(super) connection: Connection,
    pub(super) gateway: String,
    /// Its place in the configuration.
    pub(super) place: usize,
    pub(super) region: chorus_protocol::Region,
    pub(super) welcome: Welcome,
    pub(super) control: (SendStream, Frames),
    /// What of the control lane came with the welcome.
    pub(super) early: Vec<ToPop>,
    pub(super) posts: (SendStream, RecvStream),
}

/// The sockets to dial from: one for each kind of address.
#[derive(Clone)]
pub(super) struct Sockets {
    v4: Endpoint,
    v6: Option<Endpoint>,
}

impl Sockets {
    /// # Errors
    /// When no UDP socket can be had.
    pub(super) fn open() -> std::io::Result<Self> {
        Ok(Self {
            v4: endpoint(IpAddr::V4(Ipv4Addr::UNSPECIFIED))?,
            // A machine without IPv6 is fine.
            v6: endpoint(IpAddr::V6(Ipv6Addr::UNSPECIFIED)).ok(),
        })
    }

    fn towards(&self, address: SocketAddr) -> Option<Endpoint> {
        match address {
            SocketAddr::V4(_) => Some(self.v4.clone()),
            SocketAddr::V6(_) => self.v6.clone(),
        }
    }

    /// Waits until the peers have been told of the close.
    pub(super) async fn idle(&self) {
        self.v4.wait_idle().await;
        if let Some(v6) = &self.v6 {
            v6.wait_idle().await;
        }
    }
}

fn endpoint(address: IpAddr) -> std::io::Result<Endpoint> {
    let address = SocketAddr::new(address, 0);
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    chorus_quic::endpoint(None, socket.into())
}

/// Handshakes under way: which gateway by its place, or why not.
type Attempts = JoinSet<Result<(usize, Connection), String>>;

/// Shakes hands with these gateways at once; what comes of each, as it comes.
fn shake_all(
    config: &BackhaulConfig,
    sockets: &Sockets,
    places: impl Iterator<Item = usize>,
) -> Result<Attempts, String> {
    let client = tls::client(config).map_err(|error| error.to_string())?;
    let limit = Duration::from_millis(config.bounds.connect_ms_max);
    let mut attempts = JoinSet::new();
    for place in places {
        let (gateway, client) = (config.gateways[place].clone(), client.clone());
        let name = config.server_name.clone();
        let sockets = sockets.clone();
        attempts.spawn(async move {
            let shaken = timeout(limit, shake(&gateway, &name, client, &sockets)).await;
            match shaken {
                Ok(Ok(connection)) => Ok((place, connection)),
                Ok(Err(error)) => Err(format!("{gateway}: {error}")),
                Err(_) => Err(format!("{gateway}: no answer")),
            }
        });
    }
    Ok(attempts)
}

/// The round trips to the other gateways that answer.
pub(super) async fn look(config: &BackhaulConfig, sockets: &Sockets, here: usize) -> Vec<Place> {
    let others = (0..config.gateways.len()).filter(|&place| place != here);
    let Ok(mut attempts) = shake_all(config, sockets, others) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    while let Some(joined) = attempts.join_next().await {
        if let Ok(Ok((place, connection))) = joined {
            found.push((place, connection.rtt()));
            connection.close(code(CloseCode::GoingAway), b"a look");
        }
    }
    found
}

/// Dials all gateways at once and takes the nearest that welcomes this process.
///
/// # Errors
/// Says for each gateway why not.
pub(super) async fn dial(
    config: &BackhaulConfig,
    sockets: &Sockets,
    process: u64,
    metrics: &Metrics,
    clock: &Clock,
) -> Result<Up, String> {
    let limit = Duration::from_millis(config.bounds.connect_ms_max);
    let mut attempts = shake_all(config, sockets, 0..config.gateways.len())?;
    let mut reasons = Vec::new();
    let mut shaken: Vec<(usize, Connection)> = Vec::new();
    loop {
        // The first that answers is the nearest or about as near: others have a moment more.
        let joined = if shaken.is_empty() {
            attempts.join_next().await
        } else {
            timeout(ALIKE, attempts.join_next()).await.ok().flatten()
        };
        if let Some(joined) = joined {
            match joined.map_err(|error| error.to_string()).flatten() {
                Ok(found) => shaken.push(found),
                Err(reason) => reasons.push(reason),
            }
            continue;
        }
        let places = shaken.iter().map(|(place, to)| (*place, to.rtt()));
        let Some((place, _)) = nearest(places) else {
            return Err(reasons.join("; "));
        };
        let index = shaken.iter().position(|(of, _)| *of == place);
        let (_, connection) = shaken.swap_remove(index.unwrap_or(0));
        let gateway = config.gateways[place].clone();
        let greeted = greet(config, &connection, process, metrics, clock);
        let (why, reason) = match timeout(limit, greeted).await {
            Ok(Ok(up)) => {
                return Ok(Up {
                    gateway,
                    place,
                    ..up
                });
            }
            Ok(Err(refusal)) => refusal,
            Err(_) => (CloseCode::GoingAway, "no welcome".to_owned()),
        };
        reasons.push(format!("{gateway}: {reason}"));
        connection.close(code(why), b"");
    }
}

async fn shake(
    gateway: &str,
    name: &str,
    client: quinn::ClientConfig,
    sockets: &Sockets,
) -> Result<Connection, String> {
    let addresses = tokio::net::lookup_host(gateway)
        .await
        .map_err(|error| error.to_string())?;
    let mut reason = "no address".to_owned();
    for address in addresses {
        let Some(endpoint) = sockets.towards(address) else {
            continue;
        };
        let connecting = endpoint
            .connect_with(client.clone(), address, name)
            .map_err(|error| error.to_string())?;
        match connecting.await {
            Ok(connection) => return Ok(connection),
            Err(error) => reason = error.to_string(),
        }
    }
    Err(reason)
}

/// The error is what to close with, and why.
async fn greet(
    config: &BackhaulConfig,
    connection: &Connection,
    process: u64,
    metrics: &Metrics,
    clock: &Clock,
) -> Result<Up, (CloseCode, String)> {
    let text = |error: &dyn std::fmt::Display| (CloseCode::GoingAway, error.to_string());
    let (mut control, down) = connection.open_bi().await.map_err(|error| text(&error))?;
    let mut message = Vec::new();
    write_frame(&Lane::Control, &mut message).map_err(|error| text(&error))?;
    let hello = ToGateway::Hello {
        versions: VERSIONS,
        pop: config.pop.clone(),
        process,
        region: config.region.clone(),
        url: config.public_url.clone(),
    };
    write_frame(&hello, &mut message).map_err(|error| text(&error))?;
    let hello_at = clock.now();
    control
        .write_chunk(message.into())
        .await
        .map_err(|error| text(&error))?;
    let mut down = Frames::new(down);
    let mut rest = Vec::new();
    let first = down
        .first(&mut rest)
        .await
        .map_err(|error| text(&error))?
        .ok_or_else(|| text(&"the control lane ended"))?;
    let Some(ToPop::Welcome {
        version,
        region,
        now_ms,
        worker,
        until_ms,
    }) = known(&first, metrics).map_err(|error| text(&error))?
    else {
        return Err(text(&"the first message is no welcome"));
    };
    if common_version(VERSIONS, [version, version]).is_none() {
        let reason = format!("version {version} is not one of {VERSIONS:?}");
        return Err((CloseCode::Version, reason));
    }
    let heard_at = clock.now();
    let early: Result<Vec<ToPop>, _> = rest
        .iter()
        .filter_map(|frame| known(frame, metrics).transpose())
        .collect();
    let (mut posts, answers) = connection.open_bi().await.map_err(|error| text(&error))?;
    let mut lane = Vec::new();
    write_frame(&Lane::Posts, &mut lane).map_err(|error| text(&error))?;
    posts
        .write_chunk(lane.into())
        .await
        .map_err(|error| text(&error))?;
    Ok(Up {
        connection: connection.clone(),
        gateway: String::new(),
        place: 0,
        region,
        welcome: Welcome {
            hello_at,
            heard_at,
            gateway_now: now_ms,
            worker,
            until: until_ms,
        },
        control: (control, down),
        early: early.map_err(|error| text(&error))?,
        posts: (posts, answers),
    })
}
