//! `GET /api/pops`: where else a browser may connect. Answered here, also while the gateway is away.

use chorus_protocol::codes::ErrorCode;
use chorus_protocol::presence::{Pop, PopState};
use chorus_protocol::{Millis, PopId, Region};
use http::{Method, StatusCode};
use serde::Serialize;

use super::answer::{Answer, body, not_allowed, problem};
use super::request::Request;
use crate::backhaul::Heard;

/// The path.
pub(super) const PATH: &str = "/api/pops";

/// This PoP.
#[derive(Clone, Debug)]
pub struct Here {
    /// Its name.
    pub pop: PopId,
    /// Its region.
    pub region: Region,
    /// Where browsers reach it.
    pub url: Option<String>,
}

#[derive(Serialize)]
struct Listed<'a> {
    pop: &'a PopId,
    region: &'a Region,
    url: Option<&'a str>,
    connections: u64,
    state: PopState,
}

#[derive(Serialize)]
struct List<'a> {
    here: &'a PopId,
    pops: Vec<Listed<'a>>,
    /// Seconds since the others were heard of, where the gateway is away.
    #[serde(skip_serializing_if = "Option::is_none")]
    stale_s: Option<u64>,
}

impl Here {
    /// This PoP as its gateway would list it.
    pub(super) fn now(&self, connections: usize, draining: bool) -> Pop {
        Pop {
            pop: self.pop.clone(),
            region: self.region.clone(),
            url: self.url.clone(),
            connections: connections as u64,
            state: if draining {
                PopState::Draining
            } else {
                PopState::Serving
            },
            since_ms: Millis(0),
        }
    }
}

/// The methods of the path.
pub(super) fn refused(request: &Request) -> Option<Answer> {
    let allowed = matches!(request.method, Method::GET | Method::HEAD);
    (!allowed).then(|| not_allowed("GET, HEAD"))
}

/// All that browsers reach, and this one.
pub(super) fn answer(here: &Pop, heard: &Heard) -> Answer {
    let others = heard.pops.iter();
    let others = others.filter(|pop| pop.pop != here.pop && pop.url.is_some());
    let mut pops: Vec<Listed<'_>> = others
        .chain([here])
        .map(|pop| Listed {
            pop: &pop.pop,
            region: &pop.region,
            url: pop.url.as_deref(),
            connections: pop.connections,
            state: pop.state,
        })
        .collect();
    pops.sort_by_key(|pop| (pop.region, pop.pop));
    let list = List {
        here: &here.pop,
        pops,
        stale_s: heard.stale.map(|stale| stale.as_secs()),
    };
    match serde_json::to_vec(&list) {
        Ok(json) => body(StatusCode::OK, "application/json", json),
        Err(error) => problem(
            StatusCode::INTERNAL_SERVER_ERROR,
            ErrorCode::Internal,
            &error.to_string(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn pop(name: &str, region: &str, url: Option<&str>) -> Pop {
        let here = Here {
            pop: name.parse().expect("a PoP"),
            region: region.parse().expect("a region"),
            url: url.map(str::to_owned),
        };
        here.now(3, false)
    }

    #[test]
    fn those_that_browsers_reach_are_listed_and_this_one_as_it_is_now() {
        let before = Pop {
            connections: 9,
            ..pop("b", "eu", None)
        };
        let heard = Heard {
            pops: [
                pop("c", "ap", Some("https://c.example")),
                pop("a", "eu", Some("https://a.example")),
                before,
                pop("d", "us", None),
            ]
            .into(),
            stale: None,
        };
        let here = Pop {
            state: PopState::Draining,
            ..pop("b", "eu", None)
        };
        let answer = answer(&here, &heard);
        assert_eq!(
            std::str::from_utf8(answer.body()),
            Ok(concat!(
                r#"{"here":"b","pops":["#,
                r#"{"pop":"c","region":"ap","url":"https://c.example","connections":3,"state":"serving"},"#,
                r#"{"pop":"a","region":"eu","url":"https://a.example","connections":3,"state":"serving"},"#,
                r#"{"pop":"b","region":"eu","url":null,"connections":3,"state":"draining"}]}"#
            ))
        );
    }

    #[test]
    fn without_a_gateway_the_answer_says_how_old_it_is() {
        let heard = Heard {
            stale: Some(Duration::from_secs(7)),
            ..Heard::default()
        };
        let answer = answer(&pop("b", "eu", None), &heard);
        let list: serde_json::Value = serde_json::from_slice(answer.body()).expect("JSON");
        assert_eq!(list["stale_s"], 7);
        assert_eq!(list["pops"].as_array().map(Vec::len), Some(1));
    }
}
