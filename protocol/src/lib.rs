//! What every part of Chorus agrees on: ids, the clients' messages and their codecs, positions, the
//! backhaul's messages, subjects and limits.
//!
//! **Invariant**: nothing here reads a clock, draws randomness, looks at the environment or opens
//! anything; time and entropy are handed in.

pub mod backhaul;
pub mod client;
pub mod codec;
pub mod codes;
pub mod comment;
pub mod event;
pub mod gap;
pub mod id;
pub mod limits;
pub mod outcome;
pub mod position;
pub mod presence;
pub mod rate;
pub mod server;
pub mod session;
pub mod stream;
pub mod subject;
pub mod text;
pub mod time;
pub mod timing;
pub mod tokens;

pub use codec::Encoding;
pub use comment::{Comment, CommentRecord, CommentView};
pub use event::{Envelope, Event};
pub use id::{ClientId, CommentId, IdError, PopId, Region, StreamId, UserId};
pub use outcome::Outcome;
pub use position::{Offset, Position};
pub use time::Millis;
