//! Packets through a network under a clock of the test's own.

use super::*;

const MS: Duration = Duration::from_millis(1);

fn host(name: &str, last: u8) -> Host {
    Host {
        name: name.to_owned(),
        region: None,
        address: Ipv4Addr::new(10, 77, 0, last),
    }
}

fn network() -> Network {
    let settings = Settings {
        delay: 10 * MS,
        ..Settings::default()
    };
    Network::new(vec![host("a", 1), host("b", 2), host("c", 3)], 1, &settings)
}

/// An IPv4 packet to the host of that last octet.
fn packet(to: u8, mark: u8) -> Vec<u8> {
    let mut packet = vec![0; 100];
    packet[0] = 0x45;
    packet[16..20].copy_from_slice(&[10, 77, 0, to]);
    packet[99] = mark;
    packet
}

fn arrivals(network: &mut Network, now: Duration) -> Vec<(usize, u8)> {
    let mut arrived = Vec::new();
    while let Some(delivery) = network.due(now) {
        network.delivered(now, &delivery, true);
        arrived.push((delivery.host, delivery.packet[99]));
    }
    arrived
}

#[test]
fn packets_arrive_at_their_host_in_order_when_they_are_due() {
    let mut network = network();
    network.send(MS, 0, &packet(2, 1));
    network.send(MS, 0, &packet(3, 2));
    network.send(MS, 0, &packet(2, 3));
    assert_eq!(arrivals(&mut network, 10 * MS), []);
    assert_eq!(arrivals(&mut network, 12 * MS), [(1, 1), (2, 2), (1, 3)]);
    assert_eq!(network.next_due(), None);
    let stats = network.stats();
    assert_eq!(
        (stats.len(), stats[0].delivered, stats[0].bytes),
        (6, 2, 200)
    );
    assert_eq!(stats[0].delay_p50_ms, Some(11.0));
}

#[test]
fn what_is_no_packet_for_a_host_goes_nowhere() {
    let mut network = network();
    network.send(MS, 0, &packet(99, 1));
    network.send(MS, 0, &[0x60; 60]);
    network.send(MS, 0, &[0x45; 19]);
    network.send(MS, 0, &[]);
    assert_eq!(network.unroutable(), 1);
    assert_eq!(network.next_due(), None);
}

#[test]
fn a_partition_also_loses_what_is_on_its_way_and_heals() {
    let mut network = network();
    let ends = Ends {
        from: "a".to_owned(),
        to: None,
        one_way: false,
    };
    network.send(MS, 0, &packet(2, 1));
    assert_eq!(network.cut(Some(&ends), true), 4);
    network.send(2 * MS, 1, &packet(1, 2));
    network.send(2 * MS, 1, &packet(3, 3));
    assert_eq!(arrivals(&mut network, 30 * MS), [(2, 3)]);
    let lost: u64 = network
        .stats()
        .iter()
        .map(|link| link.dropped_partition)
        .sum();
    assert_eq!(lost, 2);
    assert_eq!(network.cut(None, false), 6);
    network.send(40 * MS, 0, &packet(2, 4));
    assert_eq!(arrivals(&mut network, 60 * MS), [(1, 4)]);
}

#[test]
fn a_change_is_for_the_links_it_names() {
    let mut network = network();
    let ends = Ends {
        from: "a".to_owned(),
        to: Some("b".to_owned()),
        one_way: true,
    };
    let change = Change {
        delay_ms: "50".parse().ok(),
        ..Change::default()
    };
    assert_eq!(network.change(&ends, &change), 1);
    network.send(MS, 0, &packet(2, 1));
    network.send(MS, 1, &packet(1, 2));
    assert_eq!(arrivals(&mut network, 12 * MS), [(0, 2)]);
    assert_eq!(arrivals(&mut network, 52 * MS), [(1, 1)]);
}
