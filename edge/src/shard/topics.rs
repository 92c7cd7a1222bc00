//! Topics and their members, in groups that get the same frame; the lists of members are made for iteration.

use std::collections::HashMap;

use chorus_protocol::{StreamId, UserId};

use crate::component::{Audience, Encoding};

/// A connection's membership in a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Membership {
    pub(crate) topic: u32,
    /// The index in the group's list.
    pub(crate) index: u32,
    pub(crate) group: u8,
}

/// Number of groups: audience (viewers, moderators) × encoding × compression.
pub(crate) const GROUPS: usize = 8;

/// The group of a member.
pub(crate) fn group(moderator: bool, msgpack: bool, deflate: bool) -> u8 {
    u8::from(moderator) << 2 | u8::from(msgpack) << 1 | u8::from(deflate)
}

/// The groups that get a broadcast, with or without compression.
pub(crate) fn groups(
    audience: Audience,
    encoding: Encoding,
    deflate: bool,
) -> impl Iterator<Item = u8> {
    let msgpack = matches!(encoding, Encoding::Msgpack);
    let audiences: &[bool] = match audience {
        Audience::Everyone => &[false, true],
        Audience::Viewers => &[false],
        Audience::Moderators => &[true],
    };
    audiences
        .iter()
        .map(move |moderator| group(*moderator, msgpack, deflate))
}

/// A topic of the session.
#[derive(Debug)]
pub(crate) struct Topic {
    /// The stream whose topic it is; `None` where its name is none that is known.
    pub(crate) stream: Option<StreamId>,
    members: [Vec<u32>; GROUPS],
}

impl Topic {
    /// The slots of a group's members.
    pub(crate) fn members(&self, group: u8) -> &[u32] {
        self.members
            .get(usize::from(group))
            .map_or(&[], Vec::as_slice)
    }

    /// Adds a slot to a group; returns its index.
    pub(crate) fn add(&mut self, group: u8, slot: u32) -> u32 {
        let members = &mut self.members[usize::from(group) % GROUPS];
        members.push(slot);
        u32::try_from(members.len() - 1).unwrap_or(u32::MAX)
    }

    /// Removes a member; returns the slot that was moved to `index`, if any.
    pub(crate) fn remove(&mut self, group: u8, index: u32) -> Option<u32> {
        let members = &mut self.members[usize::from(group) % GROUPS];
        let index = index as usize;
        if index >= members.len() {
            return None;
        }
        members.swap_remove(index);
        if members.is_empty() {
            *members = Vec::new();
        }
        members.get(index).copied()
    }

    /// The slots of all members.
    pub(crate) fn slots(&self) -> impl Iterator<Item = u32> + '_ {
        self.members.iter().flatten().copied()
    }
}

/// The topics of a shard.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    by_handle: HashMap<u32, Topic>,
    by_stream: HashMap<StreamId, u32>,
    /// Topics of users: they have no members, only a number of connections.
    users: HashMap<u32, UserId>,
}

impl Topics {
    /// Adds a topic; returns the stream to subscribe to, if it is a stream's topic.
    pub(crate) fn open(&mut self, handle: u32, name: &str) -> Option<StreamId> {
        if let Some(followed) = self.by_handle.get(&handle) {
            return followed.stream.clone();
        }
        let user = name
            .strip_prefix("user:")
            .and_then(|id| UserId::new(id).ok());
        if let Some(user) = user {
            self.users.insert(handle, user);
            return None;
        }
        let stream = name
            .strip_prefix("stream:")
            .and_then(|id| StreamId::new(id).ok());
        if let Some(stream) = &stream {
            self.by_stream.insert(stream.clone(), handle);
        }
        self.by_handle.insert(
            handle,
            Topic {
                stream: stream.clone(),
                members: Default::default(),
            },
        );
        stream
    }

    /// Removes a topic.
    pub(crate) fn close(&mut self, handle: u32) -> Option<Topic> {
        let topic = self.by_handle.remove(&handle)?;
        if let Some(stream) = &topic.stream
            && self.by_stream.get(stream) == Some(&handle)
        {
            self.by_stream.remove(stream);
        }
        Some(topic)
    }

    /// The user whose topic it is.
    pub(crate) fn user(&self, handle: u32) -> Option<&UserId> {
        self.users.get(&handle)
    }

    /// Removes a user's topic.
    pub(crate) fn close_user(&mut self, handle: u32) -> Option<UserId> {
        self.users.remove(&handle)
    }

    pub(crate) fn get(&self, handle: u32) -> Option<&Topic> {
        self.by_handle.get(&handle)
    }

    pub(crate) fn get_mut(&mut self, handle: u32) -> Option<&mut Topic> {
        self.by_handle.get_mut(&handle)
    }

    /// The session's handle of a stream's topic.
    pub(crate) fn handle(&self, stream: &StreamId) -> Option<u32> {
        self.by_stream.get(stream).copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_handle.len()
    }

    /// Removes all topics; returns the streams that were subscribed to, and the users.
    pub(crate) fn clear(&mut self) -> (Vec<StreamId>, Vec<UserId>) {
        self.by_handle.clear();
        let streams = self.by_stream.drain().map(|(stream, _)| stream).collect();
        let users = self.users.drain().map(|(_, user)| user).collect();
        (streams, users)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_member_takes_the_place_of_the_one_that_left() {
        let mut topics = Topics::default();
        assert!(topics.open(7, "stream:demo").is_some());
        assert!(topics.open(8, "user:someone").is_none());
        let someone = topics.close_user(8);
        assert_eq!(someone, Some("someone".parse().expect("a user")));
        let topic = topics.get_mut(7).expect("open");
        let group = group(false, true, false);
        for slot in [10, 11, 12] {
            topic.add(group, slot);
        }
        assert_eq!(topic.remove(group, 0), Some(12));
        assert_eq!(topic.members(group), [12, 11]);
        assert_eq!(topic.remove(group, 1), None);
        assert_eq!(topic.remove(group, 9), None);
        assert_eq!(topics.handle(&"demo".parse().expect("an id")), Some(7));
        assert!(topics.close(7).is_some());
        assert!(topics.handle(&"demo".parse().expect("an id")).is_none());
    }

    #[test]
    fn a_broadcast_reaches_each_group_of_its_audience_once() {
        let mut seen = Vec::new();
        for encoding in [Encoding::Json, Encoding::Msgpack] {
            for deflate in [false, true] {
                seen.extend(groups(Audience::Everyone, encoding, deflate));
                assert_eq!(groups(Audience::Moderators, encoding, deflate).count(), 1);
            }
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..8).collect::<Vec<u8>>());
    }
}
