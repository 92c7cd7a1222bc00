//! One connection to a PoP.

use std::time::Duration;

use bytes::Bytes;
use chorus_protocol::client::{ClientMessage, PostComment, React};
use chorus_protocol::codec;
use chorus_protocol::server::ServerMessage;
use chorus_protocol::{ClientId, CommentId, Encoding, StreamId};
use futures_util::{SinkExt, StreamExt};
use hyper::header::{AUTHORIZATION, HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::endpoint::{self, Endpoint, millis};
use crate::error::{ConnectError, SendError};

/// Where the token is given at opening.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenIn {
    /// `Authorization: Bearer …`.
    #[default]
    Header,
    /// `?token=…`, as browsers must.
    Query,
}

/// How to connect.
#[derive(Clone, Debug)]
pub struct Options {
    /// JSON or MessagePack.
    pub encoding: Encoding,
    /// Who the viewer is; without one a viewer may only read.
    pub token: Option<String>,
    /// Where the token is given.
    pub token_in: TokenIn,
    /// Until the connection is upgraded, in milliseconds.
    pub connect_ms_max: u64,
    /// Bytes of one message of the server; a longer one ends the connection.
    pub message_bytes_max: usize,
    /// Bytes read at once: small for a tool with thousands of connections.
    pub read_buffer_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            encoding: Encoding::default(),
            token: None,
            token_in: TokenIn::default(),
            connect_ms_max: 10_000,
            message_bytes_max: 16 << 20,
            read_buffer_bytes: 16 << 10,
        }
    }
}

impl Options {
    /// With this token.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// In this encoding.
    #[must_use]
    pub fn encoding(mut self, encoding: Encoding) -> Self {
        self.encoding = encoding;
        self
    }
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Close {
    /// With a close frame: its code and reason; 1005 when the frame had none.
    Frame {
        /// The code, see the protocol's close codes.
        code: u16,
        /// For people.
        reason: String,
    },
    /// Without one.
    Broken(String),
}

impl Close {
    /// The close code, where there was one.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Frame { code, .. } => Some(*code),
            Self::Broken(_) => None,
        }
    }
}

/// What came over a connection.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A message.
    Message(Box<ServerMessage>),
    /// Something this version cannot read: a newer server's message. The text says why.
    Unreadable(String),
    /// The end. Nothing follows.
    Closed(Close),
}

/// One connection to a PoP. Pings are answered while [`Client::next`] is awaited.
pub struct Client {
    socket: WebSocketStream<Box<dyn endpoint::Bytes>>,
    encoding: Encoding,
    buffer: Vec<u8>,
    closed: Option<Close>,
}

impl Client {
    /// Connects to `http://…`, `https://…`, `ws://…` or `wss://…`.
    ///
    /// # Errors
    /// When the address, the connection or the upgrade fails.
    pub async fn connect(url: &str, options: &Options) -> Result<Self, ConnectError> {
        Self::connect_to(&Endpoint::parse(url)?, options).await
    }

    /// Connects to a PoP whose address is read already.
    ///
    /// # Errors
    /// When the connection or the upgrade fails.
    pub async fn connect_to(endpoint: &Endpoint, options: &Options) -> Result<Self, ConnectError> {
        let within = Duration::from_millis(options.connect_ms_max);
        tokio::time::timeout(within, Self::upgrade(endpoint, options, within))
            .await
            .unwrap_or_else(|_| Err(ConnectError::TimedOut(millis(within))))
    }

    async fn upgrade(
        endpoint: &Endpoint,
        options: &Options,
        within: Duration,
    ) -> Result<Self, ConnectError> {
        let stream = endpoint.connect(within).await?;
        let query = match (&options.token, options.token_in) {
            (Some(token), TokenIn::Query) => format!("?token={token}"),
            _ => String::new(),
        };
        // The scheme stands for the form of the address alone: TLS is done by now.
        let mut request = format!("ws://{}/v1/ws{query}", endpoint.authority())
            .into_client_request()
            .map_err(|error| ConnectError::Upgrade(error.to_string()))?;
        let headers = request.headers_mut();
        headers.insert(
            SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static(options.encoding.subprotocol()),
        );
        if let (Some(token), TokenIn::Header) = (&options.token, options.token_in) {
            let bearer = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| {
                ConnectError::Upgrade("the token cannot stand in a header".to_owned())
            })?;
            headers.insert(AUTHORIZATION, bearer);
        }
        let config = WebSocketConfig::default()
            .read_buffer_size(options.read_buffer_bytes)
            .write_buffer_size(0)
            .max_message_size(Some(options.message_bytes_max))
            .max_frame_size(Some(options.message_bytes_max));
        let (socket, _) = client_async_with_config(request, stream, Some(config))
            .await
            .map_err(refused)?;
        Ok(Self {
            socket,
            encoding: options.encoding,
            buffer: Vec::new(),
            closed: None,
        })
    }

    /// How this connection encodes its messages.
    #[must_use]
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// How it ended, once it has.
    #[must_use]
    pub fn closed(&self) -> Option<&Close> {
        self.closed.as_ref()
    }

    /// Sends a message.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn send(&mut self, message: &ClientMessage) -> Result<(), SendError> {
        self.buffer.clear();
        codec::encode(self.encoding, message, &mut self.buffer)
            .map_err(|error| SendError::Encode(error.to_string()))?;
        let bytes = Bytes::copy_from_slice(&self.buffer);
        self.send_bytes(bytes).await
    }

    /// Sends bytes as a message of this connection's encoding, whatever they are.
    ///
    /// # Errors
    /// When the connection is gone, or the bytes of a JSON connection are no UTF-8.
    pub async fn send_bytes(&mut self, bytes: Bytes) -> Result<(), SendError> {
        let message = match self.encoding {
            Encoding::Json => {
                let text = tungstenite::Utf8Bytes::try_from(bytes)
                    .map_err(|error| SendError::Encode(error.to_string()))?;
                Message::Text(text)
            }
            Encoding::MsgPack => Message::Binary(bytes),
        };
        self.send_frame(message).await
    }

    /// Sends any WebSocket message, also one that the protocol does not foresee.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn send_frame(&mut self, message: Message) -> Result<(), SendError> {
        Ok(self.socket.send(message).await?)
    }

    /// Watches a stream, from `resume` on where one is given.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn join(&mut self, stream: &StreamId, resume: Option<&str>) -> Result<(), SendError> {
        self.send(&ClientMessage::JoinStream {
            stream_id: stream.clone(),
            resume: resume.map(str::to_owned),
        })
        .await
    }

    /// Watches a stream no longer.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn leave(&mut self, stream: &StreamId) -> Result<(), SendError> {
        self.send(&ClientMessage::LeaveStream {
            stream_id: stream.clone(),
        })
        .await
    }

    /// Writes a comment.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn post(
        &mut self,
        stream: &StreamId,
        client_id: &ClientId,
        content: &str,
    ) -> Result<(), SendError> {
        self.send(&ClientMessage::PostComment(PostComment {
            stream_id: stream.clone(),
            client_id: client_id.clone(),
            content: content.to_owned(),
            parent_id: None,
            media_ms: None,
        }))
        .await
    }

    /// Takes a comment away; with a key there is a receipt.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn delete(
        &mut self,
        stream: &StreamId,
        comment: CommentId,
        client_id: Option<&ClientId>,
    ) -> Result<(), SendError> {
        self.send(&ClientMessage::DeleteComment {
            stream_id: stream.clone(),
            comment_id: comment,
            client_id: client_id.cloned(),
        })
        .await
    }

    /// Reacts to a stream, or to a comment of it.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn react(
        &mut self,
        stream: &StreamId,
        reaction_type: &str,
        count: Option<u32>,
        comment: Option<CommentId>,
    ) -> Result<(), SendError> {
        self.send(&ClientMessage::React(React {
            stream_id: stream.clone(),
            reaction_type: reaction_type.to_owned(),
            comment_id: comment,
            count,
        }))
        .await
    }

    /// Says who the viewer is, or still is.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn authenticate(&mut self, token: &str) -> Result<(), SendError> {
        self.send(&ClientMessage::Authenticate {
            token: token.to_owned(),
        })
        .await
    }

    /// Sends a `ping` of the protocol.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn ping(&mut self, payload: serde_json::Value) -> Result<(), SendError> {
        self.send(&ClientMessage::Ping(Some(payload))).await
    }

    /// What comes next. May be dropped while awaited: nothing is lost. After the end it says the end again.
    pub async fn next(&mut self) -> Event {
        loop {
            if let Some(close) = &self.closed {
                return Event::Closed(close.clone());
            }
            match self.socket.next().await {
                Some(Ok(message)) => {
                    if let Some(event) = self.read(message) {
                        return event;
                    }
                }
                Some(Err(error)) => self.closed = Some(Close::Broken(error.to_string())),
                None => self.closed = Some(Close::Broken("the connection ended".to_owned())),
            }
        }
    }

    /// What comes before `deadline`; `None` when nothing does.
    pub async fn next_until(&mut self, deadline: Instant) -> Option<Event> {
        timeout_at(deadline, self.next()).await.ok()
    }

    /// Ends the connection with 1000 and waits, for a while, for the other side to agree.
    pub async fn close(mut self) -> Close {
        let frame = CloseFrame {
            code: 1000.into(),
            reason: "".into(),
        };
        if self.socket.close(Some(frame)).await.is_ok() {
            let deadline = Instant::now() + Duration::from_secs(5);
            while let Some(event) = self.next_until(deadline).await {
                if let Event::Closed(close) = event {
                    return close;
                }
            }
        }
        Close::Broken("the close was not answered".to_owned())
    }

    fn read(&mut self, message: Message) -> Option<Event> {
        let bytes = match message {
            Message::Text(text) => Bytes::from(text),
            Message::Binary(bytes) => bytes,
            Message::Close(frame) => {
                self.closed = Some(match frame {
                    Some(frame) => Close::Frame {
                        code: frame.code.into(),
                        reason: frame.reason.as_str().to_owned(),
                    },
                    None => Close::Frame {
                        code: 1005,
                        reason: String::new(),
                    },
                });
                return None;
            }
            // Answered by the library itself.
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => return None,
        };
        Some(match codec::decode_server(self.encoding, &bytes) {
            Ok(message) => Event::Message(Box::new(message)),
            Err(reason) => Event::Unreadable(reason),
        })
    }
}

fn refused(error: tungstenite::Error) -> ConnectError {
    if let tungstenite::Error::Http(response) = &error {
        let body = response.body().as_deref().unwrap_or_default();
        return ConnectError::Refused {
            status: response.status().as_u16(),
            body: String::from_utf8_lossy(body).into_owned(),
        };
    }
    ConnectError::Upgrade(error.to_string())
}
