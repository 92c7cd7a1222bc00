//! Leases of gateways.

use std::time::Duration;

use chorus_origin::log::GatewayWord;
use tokio::time::timeout;

use super::{Place, two};

/// A lease lasts three seconds; a busy machine takes longer to say that it is over.
const OVER: Duration = Duration::from_secs(20);

pub(super) async fn a_gateways_lease_is_heard_everywhere_and_ends_by_itself(place: &dyn Place) {
    let [eu, us] = two(place).await;
    let mut words = us.follow_gateways().await.unwrap();
    us.settle().await.unwrap();
    eu.lease_gateway("g1", b"one".to_vec()).await.unwrap();
    eu.lease_gateway("g1", b"two".to_vec()).await.unwrap();
    us.lease_gateway("g2", b"its own".to_vec()).await.unwrap();
    let held: Vec<GatewayWord> = us.gateway_leases(eu.region()).await.unwrap();
    let held: Vec<_> = held
        .iter()
        .map(|word| (&*word.gateway, &word.body[..]))
        .collect();
    assert_eq!(held, [("eu.g1", &b"two"[..])]);

    // Given back: it ends at once, the other one by itself.
    eu.lease_gateway("g1", Vec::new()).await.unwrap();
    assert_eq!(us.gateway_leases(eu.region()).await.unwrap(), []);
    let (mut of_g1, mut of_g2) = (Vec::new(), Vec::new());
    let mut last = 0;
    while of_g2.len() < 2 {
        let word = timeout(OVER, words.next()).await.expect("in time").unwrap();
        if word.gateway == "eu.g1" {
            assert!(word.seq > last, "in order");
            last = word.seq;
            of_g1.push(word.body);
        } else {
            assert_eq!(word.gateway, "us.g2");
            of_g2.push(word.body);
        }
    }
    assert_eq!(of_g1[..3], [&b"one"[..], b"two", b""]);
    assert_eq!(of_g2, [&b"its own"[..], b""], "its end is said, too");
    assert_eq!(us.gateway_leases(us.region()).await.unwrap(), []);
}

pub(super) async fn a_word_to_a_user_is_heard_in_every_region_and_answered_by_each(
    place: &dyn Place,
) {
    let [eu, us] = two(place).await;
    let (mut in_eu, mut in_us) = (
        eu.hear_users().await.unwrap(),
        us.hear_users().await.unwrap(),
    );
    eu.settle().await.unwrap();
    us.settle().await.unwrap();
    let user = "Ann Ö.>*".parse().unwrap();
    let mut answers = eu.tell_user(&user, b"word".to_vec()).await.unwrap();
    for (calls, answer) in [(&mut in_eu, b"eu"), (&mut in_us, b"us")] {
        let call = timeout(OVER, calls.next()).await.expect("heard").unwrap();
        assert_eq!(call.body, &b"word"[..]);
        call.answer(answer.to_vec()).await;
    }
    let mut said = Vec::new();
    while said.len() < 2 {
        let answer = timeout(OVER, answers.next()).await;
        said.push(answer.expect("answered").unwrap());
    }
    said.sort();
    assert_eq!(said, [&b"eu"[..], b"us"]);
}
