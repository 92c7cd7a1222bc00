//! Words to users, and which users the host knows of.

use chorus_protocol::Encoding;
use chorus_protocol::presence::UserWord;
use chorus_protocol::server::ServerMessage;
use chorus_protocol::session::Control;
use chorus_session_core::{Input, Opened, Transport};
use serde::Serialize;
use serde_json::json;

use super::{studio, watch};
use crate::pop::Pop;

scenarios!("words":
    the_host_knows_who_is_here_and_how_often,
    a_number_that_is_opened_again_is_another_connection,
    a_notice_reaches_all_connections_of_the_user_and_nobody_else,
    a_user_is_disconnected_with_the_reason_and_may_come_back,
    a_word_of_tomorrow_changes_nothing,
);

fn here(pop: &Pop<'_>) -> Vec<(String, u64)> {
    let mut here: Vec<_> = pop.users.values().cloned().collect();
    here.sort();
    here
}

fn known(users: &[(&str, u64)]) -> Vec<(String, u64)> {
    let name = |user: &str| format!("user:{user}");
    users.iter().map(|(user, n)| (name(user), *n)).collect()
}

fn say(pop: &mut Pop<'_>, user: &str, word: &impl Serialize) {
    let control = Control::User {
        user: user.parse().expect("a user"),
        word: rmp_serde::to_vec_named(word).expect("can be written"),
    };
    let data = rmp_serde::to_vec_named(&control).expect("can be written");
    pop.feed(vec![Input::Control { topic: None, data }]);
}

fn the_host_knows_who_is_here_and_how_often(pop: &mut Pop<'_>) {
    let origin = studio(pop);
    let first = watch(pop, &origin, Encoding::Json, Some(("ann", "user")));
    let second = watch(pop, &origin, Encoding::MsgPack, Some(("ann", "user")));
    let bob = watch(pop, &origin, Encoding::Json, Some(("bob", "user")));
    assert_eq!(here(pop), known(&[("ann", 2), ("bob", 1)]));
    let nobody = watch(pop, &origin, Encoding::Json, None);
    assert_eq!(here(pop), known(&[("ann", 2), ("bob", 1)]));
    // Who says later who it is, once however often.
    for _ in 0..2 {
        let token = pop.token("eve", "user");
        pop.say(nobody, "authenticate", &json!({"token": token}));
    }
    assert_eq!(here(pop), known(&[("ann", 2), ("bob", 1), ("eve", 1)]));
    pop.gone(first);
    pop.gone(bob);
    assert_eq!(here(pop), known(&[("ann", 1), ("eve", 1)]));
    pop.gone(second);
    pop.gone(nobody);
    assert!(here(pop).is_empty());
    assert!(pop.counts.iter().all(|(topic, ..)| *topic < 1 << 31));
}

fn a_number_that_is_opened_again_is_another_connection(pop: &mut Pop<'_>) {
    let origin = studio(pop);
    let first = watch(pop, &origin, Encoding::Json, Some(("ann", "user")));
    let again = Opened {
        connection: first,
        transport: Transport::WebSocket,
        encoding: Encoding::Json,
        token: Some(pop.token("bob", "user")),
    };
    pop.feed(vec![Input::Opened(again)]);
    assert_eq!(here(pop), known(&[("bob", 1)]));
    pop.gone(first);
    assert!(here(pop).is_empty());
}

fn a_notice_reaches_all_connections_of_the_user_and_nobody_else(pop: &mut Pop<'_>) {
    let origin = studio(pop);
    let first = watch(pop, &origin, Encoding::Json, Some(("ann", "user")));
    let second = pop.open(Encoding::MsgPack, Some(pop.token("ann", "user")));
    let bob = watch(pop, &origin, Encoding::Json, Some(("bob", "user")));
    let word = UserWord::Notice {
        kind: "mention".to_owned(),
        message: "bob speaks of you".to_owned(),
    };
    say(pop, "ann", &word);
    say(pop, "nobody", &word);
    let fields = json!({"message": "bob speaks of you"});
    let notice = ServerMessage::Notice {
        stream_id: None,
        kind: "mention".to_owned(),
        fields: fields.as_object().expect("an object").clone(),
    };
    for connection in [first, second] {
        assert_eq!(pop.take(connection), std::slice::from_ref(&notice));
    }
    assert!(pop.take(bob).is_empty());
}

fn a_user_is_disconnected_with_the_reason_and_may_come_back(pop: &mut Pop<'_>) {
    let origin = studio(pop);
    let first = watch(pop, &origin, Encoding::Json, Some(("ann", "user")));
    let second = watch(pop, &origin, Encoding::Json, Some(("ann", "moderator")));
    let bob = watch(pop, &origin, Encoding::Json, Some(("bob", "user")));
    let reason = "enough".to_owned();
    say(pop, "ann", &UserWord::Disconnect { reason });
    for (connection, closed) in [(first, Some(4403)), (second, Some(4403)), (bob, None)] {
        assert_eq!(pop.closed(connection), closed);
    }
    assert_eq!(here(pop), known(&[("bob", 1)]));
    let again = watch(pop, &origin, Encoding::Json, Some(("ann", "user")));
    assert_eq!(pop.closed(again), None);
    assert_eq!(here(pop), known(&[("ann", 1), ("bob", 1)]));
}

fn a_word_of_tomorrow_changes_nothing(pop: &mut Pop<'_>) {
    let origin = studio(pop);
    let ann = watch(pop, &origin, Encoding::Json, Some(("ann", "user")));
    say(pop, "ann", &json!({"Applaud": {"hands": 2}}));
    say(pop, "ann", &7);
    assert!(pop.take(ann).is_empty());
    assert_eq!(pop.closed(ann), None);
}
