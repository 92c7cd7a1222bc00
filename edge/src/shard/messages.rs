//! Messages to the shard from the backhaul and from the process; most become inputs of the session.

use chorus_protocol::session::Control;
use chorus_protocol::{Outcome, StreamId};

use super::engine::Engine;
use super::logic::SessionLogic;
use crate::component::{self, Input};
use crate::link::ToShard;

impl<L: SessionLogic> Engine<L> {
    /// Handles one message.
    pub(super) fn handle_message(&mut self, message: ToShard) {
        match message {
            ToShard::State { stream, state } => {
                let topic = self.topics.handle(&stream);
                if topic.is_some() {
                    let state = state.map(|state| Box::new((*state).clone()));
                    self.control(topic, &Control::State(state));
                }
            }
            ToShard::Life { stream, life } => {
                let topic = self.topic(&stream);
                if topic.is_some() {
                    self.control(topic, &Control::Life(Box::new((*life).clone())));
                }
            }
            ToShard::Delivered { stream, data } => {
                if let Some(topic) = self.topic(&stream) {
                    let data = data.to_vec();
                    self.inputs
                        .push(Input::Delivered(component::Delivered { topic, data }));
                }
            }
            ToShard::Replayed { request, data } => {
                let data = data.to_vec();
                self.inputs
                    .push(Input::Replayed(component::Replayed { request, data }));
            }
            ToShard::Published(outcomes) => {
                for (request, outcome) in outcomes {
                    self.published(request, outcome);
                }
            }
            ToShard::ReactionsRefused(refused) => {
                self.control(None, &Control::ReactionsRefused(refused.to_vec()));
            }
            ToShard::Counted {
                stream,
                reactions,
                viewers,
            } => {
                if let Some(topic) = self.topic(&stream) {
                    self.inputs.push(Input::Counted(component::Counted {
                        topic,
                        reactions: reactions.into_iter().collect(),
                        viewers,
                    }));
                }
            }
            ToShard::Lease { worker, until } => {
                self.spec.pop.leased(until);
                self.leased = true;
                self.control(
                    None,
                    &Control::Lease {
                        worker,
                        until_ms: until,
                    },
                );
            }
            ToShard::Connected(connected) => {
                self.spec.pop.connected(connected);
                self.control(None, &Control::Backhaul { connected });
            }
            ToShard::Configured(config) => self.inputs.push(Input::Configured(config.to_vec())),
            ToShard::Swap { logic, done } => {
                // Inputs of this turn are handled by the new logic; outputs of earlier turns are applied already.
                let swapped = self.logic.swap(logic, self.now);
                if let Err(error) = &swapped {
                    tracing::warn!(shard = self.spec.shard, %error, "the new logic was not taken");
                }
                if done.send(swapped).is_err() {
                    tracing::debug!("nobody waits for the swap");
                }
            }
            ToShard::BackhaulLost => self.backhaul_lost = true,
            ToShard::Returned(handover) => self.handle_returned(*handover),
            ToShard::Drain { grace } => {
                self.begin_drain(grace);
                self.continue_drain();
            }
        }
    }

    fn topic(&self, stream: &StreamId) -> Option<u32> {
        // None when the session unsubscribed while the message was in the channel.
        self.topics.handle(stream)
    }

    fn control(&mut self, topic: Option<u32>, control: &Control) {
        match rmp_serde::to_vec_named(control) {
            Ok(data) => self
                .inputs
                .push(Input::Control(component::Control { topic, data })),
            Err(error) => tracing::error!(%error, "a control message cannot be encoded"),
        }
    }

    /// Passes the outcome of a publication to the session.
    pub(super) fn published(&mut self, request: u64, outcome: Outcome) {
        let outcome = match outcome {
            Outcome::Stored { id, duplicate } => component::Outcome::Stored(component::Stored {
                id: id.0,
                duplicate,
            }),
            Outcome::Refused {
                reason,
                retry_after_ms,
            } => component::Outcome::Refused(component::Refused {
                reason,
                retry_after_ms,
            }),
            Outcome::Unknown => component::Outcome::Unknown,
        };
        self.answered.push(request);
        self.inputs
            .push(Input::Published(component::Published { request, outcome }));
    }
}
