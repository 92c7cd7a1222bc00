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
