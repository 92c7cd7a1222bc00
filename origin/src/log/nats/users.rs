//! Words to users, as requests that every gateway answers.

use chorus_protocol::{UserId, subject};
use futures_util::StreamExt as _;

use super::Nats;
use super::calls::call;
use crate::log::{Answer, Calls, Feed, LogError, Regional as _, UserAnswers, UserWords};

impl UserWords for Nats {
    fn tell_user<'a>(&'a self, user: &'a UserId, body: Vec<u8>) -> Answer<'a, UserAnswers> {
        Box::pin(async move {
            if !self.connected() {
                return Err(LogError::Away("no connection".to_owned()));
            }
            let client = &self.inner.client;
            let inbox = client.new_inbox();
            // A subscription for each: words to users are few.
            let answers = self.subscribe(inbox.clone()).await?;
            client
                .publish_with_reply(subject::user(user), inbox, body.into())
                .await
                .map_err(LogError::away)?;
            Ok(Feed::new(answers.filter_map(|message| {
                // A status says that nobody hears.
                let answer = message.status.is_none().then_some(message.payload);
                std::future::ready(answer)
            })))
        })
    }

    fn hear_users(&self) -> Answer<'_, Calls> {
        Box::pin(async move {
            let client = self.inner.client.clone();
            let calls = self.subscribe(subject::USERS.to_owned()).await?;
            Ok(Feed::new(calls.filter_map(move |message| {
                let call = call(&client, message);
                std::future::ready(call)
            })))
        })
    }
}
