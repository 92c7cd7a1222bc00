//! Neighbours of different builds understand each other: what a PoP, a gateway, a session and a log say in each version is
//! recorded in `recorded/VERSION.json` and is read by this build.
//!
//! `CHORUS_WRITE=1` adds the samples that are not recorded yet; what is recorded is never written over.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "values of MessagePack: structs are maps, all else is left alone"
)]

#[path = "backhaul/samples.rs"]
mod samples;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use chorus_protocol::Outcome;
use chorus_protocol::backhaul::{
    Datagram, Held, Lane, Publish, Request, Response, ToGateway, ToPop, VERSIONS,
};
use chorus_protocol::session::Control;
use rmpv::Value;
use serde::de::DeserializeOwned;

use crate::samples::{Sample, samples};

const WHAT_TO_DO: &str = "the build before would not be understood: add a version";

/// Fields whose maps go by what they are of and not by names of ours: positions and totals.
const DATA: [&str; 6] = ["at", "have", "from", "to", "reactions", "by"];

/// Fields that a sender may leave out where they say nothing, by the sample in which they do.
const OPTIONAL: [(&str, &[&str]); 10] = [
    (
        "Response::Pops bare",
        &["url", "connections", "state", "since_ms"],
    ),
    ("ToGateway::Hold new", &["have", "full", "knows"]),
    ("StreamState", &["life_seq", "description", "settings"]),
    ("Publish::Reactions free", &["users"]),
    ("Request::Rest bare", &["authorization", "content_type"]),
    ("Response::Rest bare", &["headers"]),
    ("Datagram::Totals", &["viewers"]),
    ("Outcome::Refused for good", &["retry_after_ms"]),
    ("comment event", &["role", "target"]),
    (
        "comment record",
        &["parent_id", "mentions", "media_ms", "badges"],
    ),
];

type Recorded = BTreeMap<String, String>;

fn path(version: u16) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded");
    folder.join(format!("{version}.json"))
}

fn recorded(version: u16) -> Recorded {
    let text = fs::read_to_string(path(version)).unwrap_or_else(|_| "{}".to_owned());
    serde_json::from_str(&text).expect("names and bytes")
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal");
    (0..text.len()).step_by(2).map(digits).collect()
}

#[test]
fn what_is_recorded_of_every_version_is_understood() {
    let samples = samples();
    let newest = VERSIONS[1];
    if std::env::var_os("CHORUS_WRITE").is_some() {
        let mut all = recorded(newest);
        for sample in &samples {
            all.entry(sample.name.to_owned())
                .or_insert_with(|| to_hex(&sample.bytes));
        }
        let text = serde_json::to_string_pretty(&all).expect("encodes") + "\n";
        fs::write(path(newest), text).expect("the file can be written");
    }
    for version in VERSIONS[0]..=newest {
        let recorded = recorded(version);
        assert!(!recorded.is_empty(), "version {version} is not recorded");
        for (name, bytes) in &recorded {
            let sample = samples.iter().find(|sample| sample.name == name);
            let sample = sample.unwrap_or_else(|| panic!("{name}: no sample; {WHAT_TO_DO}"));
            assert!(
                (sample.reads)(&from_hex(bytes)),
                "{name} of version {version}: {WHAT_TO_DO}"
            );
        }
    }
    let recorded = recorded(newest);
    for sample in &samples {
        assert!(
            recorded.contains_key(sample.name),
            "{} is not recorded: CHORUS_WRITE=1 cargo test -p chorus-protocol --test backhaul",
            sample.name
        );
    }
}

#[test]
fn a_field_of_tomorrow_is_passed_over_wherever_it_stands() {
    let mut structs = 0;
    for sample in samples() {
        let Ok(value) = decode(&sample.bytes) else {
            continue;
        };
        let mut places = Vec::new();
        find_structs(&value, false, &mut Vec::new(), &mut places);
        structs += places.len();
        for place in places {
            for front in [true, false] {
                let mut value = value.clone();
                let fields = fields_at(&mut value, &place);
                let field = ("tomorrow".into(), Value::Array(vec![1.into(), Value::Nil]));
                fields.insert(if front { 0 } else { fields.len() }, field);
                assert!(
                    (sample.reads)(&encode(&value)),
                    "{} with one more field at {place:?}: {WHAT_TO_DO}",
                    sample.name
                );
            }
        }
    }
    assert!(structs > 80, "only {structs} places");
}

#[test]
fn a_field_that_may_be_missing_may_be() {
    let samples = samples();
    for (name, fields) in OPTIONAL {
        let sample = samples.iter().find(|sample| sample.name == name);
        let sample = sample.expect("a sample of that name");
        for field in fields {
            let mut value = decode(&sample.bytes).expect("MessagePack");
            remove(&mut value, field);
            assert!(
                (sample.reads)(&encode(&value)),
                "{name} without {field}: {WHAT_TO_DO}"
            );
        }
    }
}

#[test]
fn every_message_has_a_sample() {
    let samples = samples();
    every::<Lane>("Lane", &samples);
    every::<ToGateway>("ToGateway", &samples);
    every::<ToPop>("ToPop", &samples);
    every::<Held>("Held", &samples);
    every::<Publish>("Publish", &samples);
    every::<Outcome>("Outcome", &samples);
    every::<Request>("Request", &samples);
    every::<Response>("Response", &samples);
    every::<Datagram>("Datagram", &samples);
    every::<Control>("Control", &samples);
}

/// Serde's error says which variants there are.
fn every<T: DeserializeOwned + std::fmt::Debug>(of: &str, samples: &[Sample]) {
    let error = serde_json::from_str::<T>("\"?\"").expect_err("no such variant");
    let error = error.to_string();
    let variants: Vec<&str> = error.split('`').skip(3).step_by(2).collect();
    assert!(!variants.is_empty(), "{error}");
    for variant in variants {
        let name = format!("{of}::{variant}");
        let named = |it: &Sample| it.name.split(' ').next() == Some(name.as_str());
        assert!(samples.iter().any(named), "{name} has no sample");
    }
}

fn decode(bytes: &[u8]) -> Result<Value, rmpv::decode::Error> {
    let mut rest = bytes;
    let value = rmpv::decode::read_value(&mut rest)?;
    // A text of JSON begins with what is a number in MessagePack.
    assert!(rest.is_empty() || bytes[0] == b'{');
    Ok(value)
}

fn encode(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, value).expect("encodes");
    bytes
}

/// The places of all structs: which entry of a map or list to take, from the outside in. An enum's map has one entry with
/// a name in capitals.
fn find_structs(value: &Value, data: bool, at: &mut Vec<usize>, found: &mut Vec<Vec<usize>>) {
    match value {
        Value::Map(entries) => {
            let variant = |name: &str| name.starts_with(|first: char| first.is_uppercase());
            let is_enum = entries.len() == 1 && entries[0].0.as_str().is_some_and(variant);
            if !data && !is_enum {
                found.push(at.clone());
            }
            for (index, (name, inner)) in entries.iter().enumerate() {
                let data = !data && name.as_str().is_some_and(|name| DATA.contains(&name));
                at.push(index);
                find_structs(inner, data, at, found);
                at.pop();
            }
        }
        Value::Array(items) => {
            for (index, inner) in items.iter().enumerate() {
                at.push(index);
                find_structs(inner, false, at, found);
                at.pop();
            }
        }
        _ => {}
    }
}

fn fields_at<'a>(value: &'a mut Value, place: &[usize]) -> &'a mut Vec<(Value, Value)> {
    let inner = place.iter().fold(value, |value, &index| match value {
        Value::Map(entries) => &mut entries[index].1,
        Value::Array(items) => &mut items[index],
        other => panic!("nothing is in {other}"),
    });
    match inner {
        Value::Map(entries) => entries,
        other => panic!("no struct: {other}"),
    }
}

fn remove(value: &mut Value, field: &str) {
    match value {
        Value::Map(entries) => {
            entries.retain(|(name, _)| name.as_str() != Some(field));
            for (_, inner) in entries {
                remove(inner, field);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|inner| remove(inner, field)),
        _ => {}
    }
}
