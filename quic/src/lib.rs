//! What both ends of the backhaul ask of QUIC and of the thread it runs on: the socket, the rhythm of
//! acknowledgements, and its pace.

mod pace;
mod socket;

use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use quinn::{AckFrequencyConfig, Endpoint, EndpointConfig, ServerConfig, TokioRuntime, VarInt};

pub use self::pace::Pace;
use self::socket::Socket;

/// Packets the other end may wait with its acknowledgement: one of its own costs it as much as the packet did.
const ACK_EVERY: u32 = 8;
/// How long it may wait.
const ACK_DELAY_MAX: Duration = Duration::from_millis(25);

/// An endpoint on a socket of this process; with a `server` it accepts connections too.
///
/// # Errors
/// When the socket is none that QUIC can use.
pub fn endpoint(server: Option<ServerConfig>, socket: UdpSocket) -> io::Result<Endpoint> {
    let socket = Arc::new(Socket::new(socket)?);
    Endpoint::new_with_abstract_socket(
        EndpointConfig::default(),
        server,
        socket,
        Arc::new(TokioRuntime),
    )
}

/// How often the other end is asked to acknowledge.
#[must_use]
pub fn acks() -> AckFrequencyConfig {
    let mut acks = AckFrequencyConfig::default();
    acks.ack_eliciting_threshold(VarInt::from_u32(ACK_EVERY))
        .max_ack_delay(Some(ACK_DELAY_MAX));
    acks
}
