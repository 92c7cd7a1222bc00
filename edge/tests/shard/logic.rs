//! Session logic that does what viewers' messages say.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use chorus_edge::component::{
    Audience, Broadcast, Close, Encoding, Input, Join, Keep, Leave, Logic, Outcome, Output,
    Publish, Send, Stats, Subscribe, Verdict,
};
use chorus_edge::shard::SessionLogic;
use chorus_protocol::Millis;

/// The one topic.
pub(crate) const TOPIC: u32 = 7;
/// The one blob.
pub(crate) const BLOB: u64 = 3;
/// The stream of the topic.
pub(crate) const STREAM: &str = "demo";

/// Notes of the inputs that the logic got, for assertions.
pub(crate) type Heard = Arc<Mutex<Vec<String>>>;

/// Every connection joins the topic. `say X` broadcasts X, `me X` sends X to the sender, `later X` does so with `patient`;
/// `blob` sends head, blob and tail; `leave`, `close`, `post` and `panic` cause these; `nonsense` has invalid outputs; `reset`
/// returns [`Verdict::Reset`].
#[derive(Default)]
pub(crate) struct Puppet {
    pub(crate) heard: Heard,
    encodings: BTreeMap<u64, Encoding>,
    subscribed: bool,
    blob: Vec<u8>,
}

impl Puppet {
    pub(crate) fn new(heard: Heard, blob: Vec<u8>) -> Self {
        Self {
            heard,
            blob,
            ..Self::default()
        }
    }

    fn note(&self, text: String) {
        self.heard.lock().unwrap().push(text);
    }

    fn opened(&mut self, connection: u64, encoding: Encoding, outputs: &mut Vec<Output>) {
        self.encodings.insert(connection, encoding);
        if !self.subscribed {
            self.subscribed = true;
            outputs.push(Output::Subscribe(Subscribe {
                topic: TOPIC,
                name: format!("stream:{STREAM}"),
            }));
            outputs.push(Output::Keep(Keep {
                blob: BLOB,
                data: self.blob.clone(),
            }));
        }
        outputs.push(Output::Join(Join {
            connection,
            topic: TOPIC,
            audience: Audience::Viewers,
        }));
    }

    fn say(text: &str, outputs: &mut Vec<Output>) {
        for encoding in [Encoding::Json, Encoding::Msgpack] {
            outputs.push(Output::Broadcast(Broadcast {
                topic: TOPIC,
                audience: Audience::Everyone,
                encoding,
                data: text.as_bytes().to_vec(),
            }));
        }
    }

    fn told(&mut self, connection: u64, text: &str, outputs: &mut Vec<Output>) -> Verdict {
        let told = |head: &str, blob, tail: &str, patient| {
            Output::Send(Send {
                connection,
                head: head.into(),
                blob,
                tail: tail.into(),
                patient,
            })
        };
        let send = |head: &str, blob, tail: &str| told(head, blob, tail, false);
        match text.split_once(' ').unwrap_or((text, "")) {
            ("say", what) => Self::say(what, outputs),
            ("me", what) => outputs.push(send(what, None, "")),
            ("later", what) => outputs.push(told(what, None, "", true)),
            ("blob", _) => outputs.push(send("<", Some(BLOB), ">")),
            ("leave", _) => outputs.push(Output::Leave(Leave {
                connection,
                topic: TOPIC,
            })),
            ("moderate", _) => {
                outputs.push(Output::Join(Join {
                    connection,
                    topic: TOPIC,
                    audience: Audience::Moderators,
                }));
            }
            ("close", _) => outputs.push(Output::Close(Close {
                connection,
                code: 4403,
                reason: "as asked".into(),
            })),
            ("post", _) => outputs.push(Output::Publish(Publish {
                request: 11,
                connection,
                event: vec![1, 2, 3],
            })),
            ("unsubscribe", _) => outputs.push(Output::Unsubscribe(TOPIC)),
            ("wake", _) => outputs.push(Output::WakeAt(0)),
            ("nonsense", _) => {
                outputs.push(Output::Join(Join {
                    connection: u64::MAX,
                    topic: TOPIC,
                    audience: Audience::Viewers,
                }));
                outputs.push(Output::Join(Join {
                    connection,
                    topic: 99,
                    audience: Audience::Viewers,
                }));
                outputs.push(Output::Leave(Leave {
                    connection,
                    topic: 99,
                }));
                outputs.push(Output::Close(Close {
                    connection: 5,
                    code: 0,
                    reason: "x".repeat(500),
                }));
                outputs.push(Output::Forget(1_234));
                outputs.push(Output::Unsubscribe(1_234));
                outputs.push(send("", Some(1_234), ""));
                outputs.push(send("still here", None, ""));
            }
            ("panic", what) => panic!("the logic was told to: {what}"),
            ("reset", _) => {
                self.subscribed = false;
                self.encodings.clear();
                return Verdict::Reset;
            }
            _ => {}
        }
        Verdict::Fine
    }
}

impl SessionLogic for Puppet {
    fn handle(&mut self, _: Millis, inputs: &mut Vec<Input>, outputs: &mut Vec<Output>) -> Verdict {
        let mut verdict = Verdict::Fine;
        for input in inputs.drain(..) {
            match input {
                Input::Opened(opened) => {
                    if let Some(token) = &opened.token {
                        self.note(format!("token {token}"));
                    }
                    self.opened(opened.connection, opened.encoding, outputs);
                }
                Input::Frame(frame) => {
                    let text = String::from_utf8_lossy(&frame.data).into_owned();
                    verdict = self.told(frame.connection, &text, outputs);
                }
                Input::Closed(connection) => {
                    self.encodings.remove(&connection);
                    self.note("closed".to_owned());
                }
                Input::Lagged(_) => self.note("lagged".to_owned()),
                Input::Timer => Self::say("timer", outputs),
                Input::Published(published) => match published.outcome {
                    Outcome::Stored(stored) => Self::say(
                        &format!("stored {} {}", published.request, stored.id),
                        outputs,
                    ),
                    Outcome::Refused(refused) => {
                        Self::say(&format!("refused {}", refused.reason), outputs)
                    }
                    Outcome::Unknown => Self::say("unknown", outputs),
                },
                Input::Delivered(delivered) => {
                    let text = format!(
                        "delivered {} {}",
                        delivered.topic,
                        String::from_utf8_lossy(&delivered.data)
                    );
                    Self::say(&text, outputs);
                }
                Input::Control(control) => self.note(format!(
                    "control {:?} {}",
                    control.topic,
                    control.data.len()
                )),
                Input::Counted(counted) => self.note(format!("counted {:?}", counted.viewers)),
                Input::Replayed(replayed) => self.note(format!("replayed {}", replayed.request)),
                Input::Configured(config) => self.note(format!("configured {}", config.len())),
            }
        }
        if verdict == Verdict::Reset {
            outputs.clear();
        }
        verdict
    }

    fn settle(&mut self) {}

    fn swap(&mut self, _: Arc<Logic>, _: Millis) -> Result<(), String> {
        Err("a puppet stays a puppet".to_owned())
    }

    fn restarted(&self, _: BTreeMap<String, u64>) -> Result<Self, String> {
        self.note("fresh".to_owned());
        Ok(Self::new(Arc::clone(&self.heard), self.blob.clone()))
    }

    fn stats(&self) -> Stats {
        Stats::default()
    }

    fn counted(&mut self) -> BTreeMap<String, u64> {
        BTreeMap::new()
    }
}
