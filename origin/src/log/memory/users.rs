//! Words to users.

use bytes::Bytes;
use chorus_protocol::UserId;
use tokio::sync::mpsc;

use super::Memory;
use super::live::feed;
use crate::log::{Answer, Call, Calls, Regional as _, UserAnswers, UserWords};

impl UserWords for Memory {
    fn tell_user<'a>(&'a self, _user: &'a UserId, body: Vec<u8>) -> Answer<'a, UserAnswers> {
        Box::pin(async move {
            let own = self.region();
            self.at(own, |_| Ok(())).await?;
            let (to, answers) = mpsc::unbounded_channel::<Bytes>();
            let mut world = self.world();
            let mut hearers = std::mem::take(&mut world.hearers);
            hearers.retain(|(region, hearer)| {
                if !matches!(world.reach(own, region), Ok(None)) {
                    return !hearer.is_closed();
                }
                let to = to.clone();
                let call = Call {
                    body: body.clone().into(),
                    reply: Box::new(move |answer| {
                        // Whoever asked may wait no longer.
                        let _ = to.send(answer.into());
                        Box::pin(std::future::ready(()))
                    }),
                };
                hearer.send(call).is_ok()
            });
            world.hearers = hearers;
            drop(world);
            Ok(feed(answers, Some))
        })
    }

    fn hear_users(&self) -> Answer<'_, Calls> {
        let (to, calls) = mpsc::unbounded_channel();
        let own = self.region().clone();
        self.world().hearers.push((own, to));
        Box::pin(std::future::ready(Ok(feed(calls, Some))))
    }
}
