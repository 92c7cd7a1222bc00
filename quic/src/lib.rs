//! The parts of QUIC that both ends of the backhaul use: the UDP socket, the frequency of acknowledgements, and the pace of
//! the runtime's threads.

mod pace;
mod socket;

use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use quinn::{AckFrequencyConfig, Endpoint, EndpointConfig, ServerConfig, TokioRuntime, VarInt};

pub use self::pace::Pace;
use self::socket::Socket;

/// Packets after which the peer acknowledges at the latest: a separate acknowledgement costs it as much CPU as a packet.
const ACK_EVERY: u32 = 8;
/// Time after which the peer acknowledges at the latest.
const ACK_DELAY_MAX: Duration = Duration::from_millis(25);

/// Makes an endpoint on a UDP socket; with a `server` configuration it accepts connections too.
///
/// # Errors
/// When the socket cannot be used for QUIC.
pub fn endpoint(server: Option<ServerConfig>, socket: UdpSocket) -> io::Result<Endpoint> {
    let socket = Arc::new(Socket::new(socket)?);
    Endpoint::new_with_abstract_socket(
        EndpointConfig::default(),
        server,
        socket,
        Arc::new(TokioRuntime),
    )
}

/// The frequency of acknowledgements that the peer is asked for.
#[must_use]
pub fn acks() -> AckFrequencyConfig {
    let mut acks = AckFrequencyConfig::default();
    acks.ack_eliciting_threshold(VarInt::from_u32(ACK_EVERY))
        .max_ack_delay(Some(ACK_DELAY_MAX));
    acks
}
