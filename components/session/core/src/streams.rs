//! The streams a shard follows, what it asked of their logs, and those that were found not to exist.

use std::collections::{BTreeSet, VecDeque};

use chorus_protocol::{Millis, StreamId};

use crate::io::{RequestId, TopicId};
use crate::keyed::{Keyed, Map};
use crate::stream::Stream;
use crate::stream::live::Live;

/// Streams remembered as not existing at the most; the oldest goes.
const MISSING_MAX: usize = 256;
/// For how long, in milliseconds: it may be created any moment.
const MISSING_MS: u64 = 5_000;

/// Streams by topic, and topics by stream.
#[derive(Debug)]
pub(crate) struct Streams {
    by_topic: Map<TopicId, Stream>,
    topics: Map<StreamId, TopicId>,
    /// What was asked of the logs, and for which stream.
    asked: Map<RequestId, TopicId>,
    /// Streams that were found not to exist, the last ones.
    missing: VecDeque<(Millis, StreamId)>,
    /// To be settled before `handle` returns.
    touched: BTreeSet<TopicId>,
    next_topic: TopicId,
}

impl Streams {
    pub(crate) fn new(keyed: &Keyed) -> Self {
        Self {
            by_topic: keyed.map(),
            topics: keyed.map(),
            asked: keyed.map(),
            missing: VecDeque::new(),
            touched: BTreeSet::new(),
            next_topic: 1,
        }
    }

    pub(crate) fn get(&self, topic: TopicId) -> Option<&Stream> {
        self.by_topic.get(&topic)
    }

    pub(crate) fn get_mut(&mut self, topic: TopicId) -> Option<&mut Stream> {
        self.by_topic.get_mut(&topic)
    }

    /// A stream that the host told the state of.
    pub(crate) fn live(&self, topic: TopicId) -> Option<&Live> {
        self.by_topic.get(&topic)?.live.as_deref()
    }

    /// The same, to be changed.
    pub(crate) fn live_mut(&mut self, topic: TopicId) -> Option<&mut Live> {
        self.by_topic.get_mut(&topic)?.live.as_deref_mut()
    }

    /// A stream's id and topic by its name: costs no allocation.
    pub(crate) fn find(&self, name: &str) -> Option<(&StreamId, TopicId)> {
        let (id, &topic) = self.topics.get_key_value(name)?;
        Some((id, topic))
    }

    pub(crate) fn topic(&self, name: &str) -> Option<TopicId> {
        self.topics.get(name).copied()
    }

    /// Adds a stream that is not here.
    pub(crate) fn add(&mut self, id: &StreamId) -> TopicId {
        let topic = self.next_topic;
        self.next_topic = topic.wrapping_add(1).max(1);
        self.topics.insert(id.clone(), topic);
        self.by_topic.insert(topic, Stream::new(id.clone()));
        topic
    }

    /// Gives a stream up, with all that was asked for it.
    pub(crate) fn remove(&mut self, topic: TopicId) -> Option<Stream> {
        let stream = self.by_topic.remove(&topic)?;
        self.topics.remove(&stream.id);
        self.touched.remove(&topic);
        if let Some(live) = &stream.live {
            for request in live.asked() {
                self.asked.remove(&request);
            }
        }
        Some(stream)
    }

    /// The stream is to be settled before `handle` returns.
    pub(crate) fn touch(&mut self, topic: TopicId) {
        self.touched.insert(topic);
    }

    /// The next one to be settled.
    pub(crate) fn next_touched(&mut self) -> Option<TopicId> {
        self.touched.pop_first()
    }

    /// Notes a question to the logs; the stream settles when it is due.
    pub(crate) fn ask(&mut self, request: RequestId, topic: TopicId) {
        self.asked.insert(request, topic);
        self.touched.insert(topic);
    }

    /// Takes a question that was answered or given up: for which stream it was.
    pub(crate) fn take_asked(&mut self, request: RequestId) -> Option<TopicId> {
        self.asked.remove(&request)
    }

    /// Remembers that there is no such stream.
    pub(crate) fn note_missing(&mut self, id: StreamId, now: Millis) {
        self.missing.push_back((now, id));
        if self.missing.len() > MISSING_MAX {
            self.missing.pop_front();
        }
    }

    /// A stream that the host found.
    pub(crate) fn found(&mut self, topic: TopicId) -> Option<&mut Stream> {
        let stream = self.by_topic.get_mut(&topic)?;
        self.missing.retain(|(_, missing)| *missing != stream.id);
        Some(stream)
    }

    /// Whether a stream was found not to exist a short while ago.
    pub(crate) fn is_missing(&self, name: &str, now: Millis) -> bool {
        let lately =
            |(at, id): &(Millis, StreamId)| id.as_str() == name && now.since(*at) < MISSING_MS;
        self.missing.iter().any(lately)
    }

    /// What a snapshot holds: the streams in no order, those not there, the next topic.
    pub(crate) fn parts(
        &self,
    ) -> (
        impl Iterator<Item = (TopicId, &Stream)>,
        &VecDeque<(Millis, StreamId)>,
        TopicId,
    ) {
        let streams = self.by_topic.iter().map(|(&topic, stream)| (topic, stream));
        (streams, &self.missing, self.next_topic)
    }

    /// Takes back what [`Self::parts`] gave.
    pub(crate) fn restore(
        &mut self,
        streams: Vec<(TopicId, Stream)>,
        missing: VecDeque<(Millis, StreamId)>,
        next_topic: TopicId,
    ) {
        for (topic, mut stream) in streams {
            if let Some(live) = &mut stream.live {
                live.restored();
                let asked = live.asked();
                self.asked.extend(asked.map(|request| (request, topic)));
            }
            self.topics.insert(stream.id.clone(), topic);
            self.by_topic.insert(topic, stream);
        }
        self.missing = missing;
        self.next_topic = next_topic;
    }
}
