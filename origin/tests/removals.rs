//! Removals over a real nats-server and a real QUIC connection: who may, and that nothing is left.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::time::Duration;

use chorus_protocol::codes::Reason;
use chorus_protocol::event::AuthorRole;
use chorus_protocol::session::ReplayRange;
use chorus_protocol::{CommentId, Outcome, Position};
use common::pop::{Pop, fresh, pop, remove, stored};
use common::{Region, until};

const SOON: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_comment_is_taken_away_by_its_author_or_a_moderator_and_by_nobody_else() {
    let region = Region::start().await;
    let demo = region.stream();
    let mut one = pop(&region, 1).await;
    let mut two = pop(&region, 2).await;
    fresh(&mut two, &region).await;
    let mut said = Vec::new();
    for client_id in ["a", "b", "c"] {
        let post = one.comment(&demo, "ada", client_id);
        assert_eq!(one.post(&post).await, stored(post.comment.id));
        said.push(post.comment.id);
    }
    let answer = async |one: &mut Pop, comment, by| {
        let id = one.mint();
        one.publish_raw(&remove(9, id, (&demo, comment), by)).await;
        (id, one.outcome(9).await)
    };
    let user = AuthorRole::User;
    let (_, outcome) = answer(&mut one, said[0], ("bob", user)).await;
    assert!(outcome.is_refused_for(Reason::Forbidden), "{outcome:?}");
    let (_, outcome) = answer(&mut one, CommentId(5), ("ada", user)).await;
    let missing = Reason::CommentNotFound;
    assert!(outcome.is_refused_for(missing), "{outcome:?}");
    let (first, outcome) = answer(&mut one, said[0], ("ada", user)).await;
    assert_eq!(outcome, stored(first));
    // Again: it is done, under the first one's id.
    let (_, outcome) = answer(&mut one, said[0], ("ada", user)).await;
    let duplicate = true;
    assert_eq!(
        outcome,
        Outcome::Stored {
            id: first,
            duplicate
        }
    );
    let (second, outcome) = answer(&mut one, said[1], ("mod", AuthorRole::Moderator)).await;
    assert_eq!(outcome, stored(second));

    // The other PoP gets both in the log's order, and who comes now sees neither, from the tail or from the store.
    let all = [said[0], said[1], said[2], first, second];
    until("both removals", SOON, async || two.seen(&demo) == all).await;
    let left = async |pop: &Pop| {
        let history = pop.history(&demo).await;
        history.iter().map(|comment| comment.id).collect::<Vec<_>>()
    };
    assert_eq!(left(&two).await, [said[2]]);
    until("the store has them", SOON, async || {
        region.metric("chorus_origin_persist_rows_total").await > 4.5
    })
    .await;
    assert_eq!(left(&two).await, [said[2]]);
    let mut late = pop(&region, 3).await;
    let state = fresh(&mut late, &region).await;
    assert_eq!(state.comment_count, 1);
    let newest = state
        .newest
        .iter()
        .map(|event| event.envelope().unwrap().id);
    assert_eq!(newest.collect::<Vec<_>>(), [said[2]]);
    // A replay brings the removals with what they are about: who gets it sees to them.
    let range = ReplayRange {
        from: Position::default(),
        to: state.at,
        events_max: 100,
    };
    let replayed = late.replay(&demo, range).await;
    let ids = replayed
        .events
        .iter()
        .map(|event| event.envelope().unwrap().id);
    let mut sorted = all.to_vec();
    sorted.sort_unstable();
    assert_eq!(ids.collect::<Vec<_>>(), sorted);
}
