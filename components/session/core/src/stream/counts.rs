//! What is counted of a stream: totals of all PoPs, and the reactions taken here that the host does not know yet.

use std::collections::BTreeMap;

use chorus_protocol::UserId;
use chorus_protocol::subject::is_reaction_type;

use super::live::Live;

/// Reaction types of one stream at the most; others are not counted.
const REACTION_TYPES_MAX: usize = 64;

impl Live {
    /// Takes reactions of a user, or of the platform's own services, whom no limit holds.
    pub(crate) fn react(&mut self, user: Option<&UserId>, kind: &str, count: u32) {
        let kinds: &mut BTreeMap<String, u64> = match user {
            // Cloning an id copies no text.
            Some(user) => self.taken_by.entry(user.clone()).or_default(),
            None => &mut self.taken,
        };
        match kinds.get_mut(kind) {
            Some(taken) => *taken = taken.saturating_add(count.into()),
            None => {
                kinds.insert(kind.to_owned(), count.into());
            }
        }
    }

    /// Takes totals of the host.
    pub(crate) fn count(&mut self, reactions: Vec<(String, u64)>, viewers: Option<u64>) {
        for (kind, total) in reactions {
            let known = self.reactions.get(&kind).copied();
            if known == Some(total) || !is_reaction_type(&kind) {
                continue;
            }
            if known.is_none() && self.reactions.len() >= REACTION_TYPES_MAX {
                continue;
            }
            self.changed.insert(kind.clone());
            self.reactions.insert(kind, total);
        }
        if let Some(viewers) = viewers {
            self.viewers = viewers;
        }
    }
}
