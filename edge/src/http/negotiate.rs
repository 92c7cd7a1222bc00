//! Evaluates `If-None-Match` and `Accept-Encoding` (RFC 9110 sections 13.1.2 and 12.5.3).

use http::HeaderMap;
use http::header::{ACCEPT_ENCODING, IF_NONE_MATCH};

/// A content coding in which files are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Brotli,
    Gzip,
}

impl Coding {
    /// All codings; the first compresses best and is chosen among equal weights.
    pub(super) const ALL: [Self; 2] = [Self::Brotli, Self::Gzip];

    /// Its name in header fields.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }

    /// The suffix of a file that holds another one in this coding.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::Brotli => ".br",
            Self::Gzip => ".gz",
        }
    }

    fn is(self, name: &str) -> bool {
        name.eq_ignore_ascii_case(self.name())
            || self == Self::Gzip && name.eq_ignore_ascii_case("x-gzip")
    }
}

/// The coding to answer in, among those for which `there` is true; `None`: not encoded.
pub(super) fn coding(asked: &HeaderMap, there: impl Fn(Coding) -> bool) -> Option<Coding> {
    let mut weights: [Option<u16>; Coding::ALL.len()] = [None; Coding::ALL.len()];
    let (mut plain, mut others) = (None, None);
    for value in asked.get_all(ACCEPT_ENCODING) {
        let Ok(value) = value.to_str() else {
            continue;
        };
        for item in value.split(',') {
            let mut parts = item.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            let Some(weight) = weight(parts) else {
                continue;
            };
            if name == "*" {
                others = Some(weight);
            } else if name.eq_ignore_ascii_case("identity") {
                plain = Some(weight);
            }
            for (slot, coding) in weights.iter_mut().zip(Coding::ALL) {
                if coding.is(name) {
                    *slot = Some(weight);
                }
            }
        }
    }
    let mut best = None;
    for (given, coding) in weights.into_iter().zip(Coding::ALL) {
        let weight = given.or(others).unwrap_or(0);
        // Unless `identity` is named, its weight is below that of any accepted coding.
        let least = best.map_or(plain.unwrap_or(0), |(weight, _)| weight);
        let better = if best.is_none() {
            weight >= least
        } else {
            weight > least
        };
        if weight > 0 && better && there(coding) {
            best = Some((weight, coding));
        }
    }
    best.map(|(_, coding)| coding)
}

/// The `q` parameter in thousandths, 1,000 without one; `None` when it is invalid.
fn weight<'a>(mut parameters: impl Iterator<Item = &'a str>) -> Option<u16> {
    let Some(given) = parameters.find_map(|it| it.strip_prefix(['q', 'Q'])) else {
        return Some(1_000);
    };
    let number = given.trim_start().strip_prefix('=')?.trim();
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if part.len() > 3 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths = format!("{part:0<3}").parse().ok()?;
    match (whole, thousandths) {
        ("0", thousandths) => Some(thousandths),
        ("1", 0) => Some(1_000),
        _ => None,
    }
}

/// Whether one of the `If-None-Match` fields names this tag or is `*`. `W/` is ignored, because the comparison is the weak
/// one.
pub(super) fn names_tag(asked: &HeaderMap, etag: &str) -> bool {
    asked
        .get_all(IF_NONE_MATCH)
        .iter()
        .any(|value| names(value.as_bytes(), etag.as_bytes()))
}

fn names(value: &[u8], etag: &[u8]) -> bool {
    let mut rest = value.trim_ascii();
    if rest == b"*" {
        return true;
    }
    // A tag may contain commas within its quotes.
    loop {
        rest = match rest {
            [b',' | b' ' | b'\t', after @ ..] => {
                rest = after;
                continue;
            }
            [b'W', b'/', after @ ..] => after,
            tag => tag,
        };
        let Some(inner) = rest.strip_prefix(b"\"") else {
            return false;
        };
        let Some(end) = inner.iter().position(|byte| *byte == b'"') else {
            return false;
        };
        let (tag, after) = rest.split_at(end + 2);
        if tag == etag {
            return true;
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::HeaderName;

    use super::*;

    fn lines(name: HeaderName, values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name.clone(), HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn an_encoding_is_chosen_by_its_weight() {
        let (br, gzip) = (Some(Coding::Brotli), Some(Coding::Gzip));
        for (values, both, gzip_only) in [
            (&["gzip, deflate, br, zstd"][..], br, gzip),
            (&["gzip", "br"], br, gzip),
            (&["br;q=0.5, gzip"], gzip, gzip),
            (&["br;q=0, gzip;q=0.001"], gzip, gzip),
            (&["GZIP ; Q=1.000"], gzip, gzip),
            (&["x-gzip"], gzip, gzip),
            (&["*"], br, gzip),
            (&["*, br;q=0"], gzip, gzip),
            (&["gzip;q=0, *"], br, None),
            (&["identity, gzip;q=0.5"], None, None),
            (&["identity;q=0.5, gzip"], gzip, gzip),
            (&["identity;q=0"], None, None),
            (&["gzip;q=2, br;q=x"], None, None),
            (&["gzip;q=0"], None, None),
            (&["deflate"], None, None),
            (&[""], None, None),
            (&[], None, None),
        ] {
            let asked = lines(ACCEPT_ENCODING, values);
            assert_eq!(coding(&asked, |_| true), both, "{values:?}");
            let only = coding(&asked, |coding| coding == Coding::Gzip);
            assert_eq!(only, gzip_only, "{values:?} and no brotli");
        }
    }

    #[test]
    fn a_tag_is_found_wherever_it_stands() {
        for (values, held) in [
            (&["\"a\""][..], true),
            (&["W/\"a\""], true),
            (&["*"], true),
            (&["\"b\", W/\"a\""], true),
            (&["\"b\"", "\"a\""], true),
            (&["\"b,\",\"a\""], true),
            (&["  \"b\" ,, \"a\" "], true),
            (&["\"x,\"a\"\""], false),
            (&["a"], false),
            (&["\"a"], false),
            (&["\"b\""], false),
            (&["w/\"a\""], false),
            (&[""], false),
            (&[], false),
        ] {
            assert_eq!(
                names_tag(&lines(IF_NONE_MATCH, values), "\"a\""),
                held,
                "{values:?}"
            );
        }
    }
}
