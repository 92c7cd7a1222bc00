//! Names of subjects, logs and headers in NATS.

use crate::id::{Region, StreamId};

/// Bytes of a bucket of leases: 1,024 keys of some 200 bytes take a twentieth of it.
pub const LEASES_BYTES_MAX: u64 = 4 << 20;

/// The log of a region's events of one partition: `EVENTS_<region>_<partition>`.
#[must_use]
pub fn events_log(region: &Region, partition: u16) -> String {
    format!("EVENTS_{region}_{partition}")
}

/// A region's mirror of a partition of another region's events: `MIRROR_<own>_<region>_<partition>`.
#[must_use]
pub fn mirror_log(own: &Region, region: &Region, partition: u16) -> String {
    format!("MIRROR_{own}_{region}_{partition}")
}

/// The durable on a log of events that a region's mirror is fed by: `mirror_<own>`.
#[must_use]
pub fn mirror_durable(own: &Region) -> String {
    format!("mirror_{own}")
}

/// Where that durable delivers to: `mirror.<own>.<region>.<partition>`.
#[must_use]
pub fn mirror_delivery(own: &Region, region: &Region, partition: u16) -> String {
    format!("mirror.{own}.{region}.{partition}")
}

/// The partition of a stream's events: the same everywhere for one number of partitions. Another number puts streams
/// elsewhere, so it is a new epoch of a region's logs.
#[must_use]
pub fn partition(stream: &StreamId, partitions: u16) -> u16 {
    let hash = xxhash_rust::xxh3::xxh3_64(stream.as_str().as_bytes());
    // Below 65,536 by the modulus.
    (hash % u64::from(partitions.max(1))) as u16
}

/// Where a stream's events are written: `event.<region>.<partition>.<stream>`.
#[must_use]
pub fn event(region: &Region, partition: u16, stream: &StreamId) -> String {
    format!("event.{region}.{partition}.{stream}")
}

/// All subjects of a partition's log: `event.<region>.<partition>.*`.
#[must_use]
pub fn events_of(region: &Region, partition: u16) -> String {
    format!("event.{region}.{partition}.*")
}

/// A region's control log: `CONTROL_<region>`.
#[must_use]
pub fn control_log(region: &Region) -> String {
    format!("CONTROL_{region}")
}

/// A region's counter log of reactions: `REACTIONS_<region>`.
#[must_use]
pub fn reactions_log(region: &Region) -> String {
    format!("REACTIONS_{region}")
}

/// A region's log of dead letters: `DEAD_<region>`.
#[must_use]
pub fn dead_log(region: &Region) -> String {
    format!("DEAD_{region}")
}

/// Where a role puts what it cannot work on: `undone.<region>.<role>`. Not below `dead.`, which the log of the form before
/// (`DEAD`, one for all regions) still has.
#[must_use]
pub fn dead(region: &Region, role: &str) -> String {
    format!("undone.{region}.{role}")
}

/// A region's log of its gateways' leases, in memory: `PRESENCE_<region>`.
#[must_use]
pub fn presence_log(region: &Region) -> String {
    format!("PRESENCE_{region}")
}

/// Where a gateway writes its lease: `gateway.<region>.<gateway>`.
#[must_use]
pub fn gateway_lease(region: &Region, gateway: &str) -> String {
    format!("gateway.{region}.{gateway}")
}

/// The bucket of a region's leases of worker numbers: `WORKERS_<region>`.
#[must_use]
pub fn workers_bucket(region: &Region) -> String {
    format!("WORKERS_{region}")
}

/// The bucket of a region's leases of rights: `RIGHTS_<region>`.
#[must_use]
pub fn rights_bucket(region: &Region) -> String {
    format!("RIGHTS_{region}")
}

/// The log beneath a bucket: `KV_<bucket>`.
#[must_use]
pub fn bucket_log(bucket: &str) -> String {
    format!("KV_{bucket}")
}

/// Where a stream's life is written: `control.<region>.<stream>.stream`.
#[must_use]
pub fn stream_life(region: &Region, stream: &StreamId) -> String {
    format!("control.{region}.{stream}.stream")
}

/// Where a region says how its logs are laid out: `control.<region>.-.region`.
#[must_use]
pub fn region_record(region: &Region) -> String {
    format!("control.{region}.-.region")
}

/// Where a reaction's total is counted: `reaction.<region>.<stream>.<type>`.
#[must_use]
pub fn reaction(region: &Region, stream: &StreamId, reaction_type: &str) -> String {
    format!("reaction.{region}.{stream}.{reaction_type}")
}

/// Where a log repeats what it has stored: `live.` and the subject.
#[must_use]
pub fn live(subject: &str) -> String {
    format!("live.{subject}")
}

/// Where a PoP's viewers of a stream are counted: `presence.<region>.<pop>.<stream>`.
#[must_use]
pub fn presence(region: &Region, pop: &str, stream: &StreamId) -> String {
    format!("presence.{region}.{pop}.{stream}")
}

/// Where a region's `api` role answers: `api.<region>`.
#[must_use]
pub fn api(region: &Region) -> String {
    format!("api.{region}")
}

/// A reaction type or emote that may stand in a subject: `[a-z0-9_]{1,32}`.
#[must_use]
pub fn is_reaction_type(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_stays_in_its_partition() {
        let stream: StreamId = "demo".parse().expect("a stream");
        assert_eq!(partition(&stream, 1), 0);
        assert_eq!(partition(&stream, 0), 0);
        // Held by this test: logs on disks are laid out by it.
        assert_eq!(partition(&stream, 16), PARTITION_OF_DEMO);
        let mut used = [false; 16];
        for i in 0..400 {
            let stream: StreamId = format!("s{i}").parse().expect("a stream");
            used[usize::from(partition(&stream, 16))] = true;
        }
        assert!(used.into_iter().all(|used| used));
    }

    const PARTITION_OF_DEMO: u16 = 0;
}
