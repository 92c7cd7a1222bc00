//! Words to a user: each of the user's connections is told, or closed.

use chorus_protocol::UserId;
use chorus_protocol::codes::CloseCode;
use chorus_protocol::presence::UserWord;
use chorus_protocol::server::ServerMessage;

use super::Session;
use crate::io::Output;

impl Session {
    /// A word of a later version is passed over.
    pub(crate) fn user_word(&mut self, user: &UserId, word: &[u8], out: &mut Vec<Output>) {
        let Ok(word) = rmp_serde::from_slice::<UserWord>(word) else {
            self.stats.user_words_malformed += 1;
            return;
        };
        self.stats.user_words += 1;
        let connections = self.conns.of_user(user);
        match word {
            UserWord::Disconnect { reason } => {
                for connection in connections {
                    self.close(connection, CloseCode::Forbidden, &reason, out);
                }
            }
            UserWord::Notice { kind, message } => {
                let fields = [("message".to_owned(), message.into())];
                let notice = ServerMessage::Notice {
                    stream_id: None,
                    kind,
                    fields: fields.into_iter().collect(),
                };
                for connection in connections {
                    self.tell(connection, &notice, out);
                }
            }
        }
    }
}
