//! Negotiation of `permessage-deflate` (RFC 7692 section 7.1): which offers are accepted, and the answer to each.
//!
//! Offers are parsed by the grammar of RFC 6455 section 9.1. An offer with an unknown or invalid part is declined; without
//! an accepted offer the connection is not compressed.

/// An accepted offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The offer limits the server's window to 15 bits, which the answer must confirm.
    window: bool,
}

impl Offer {
    /// The answer: neither side uses context takeover.
    #[must_use]
    pub fn answer(self) -> &'static str {
        if self.window {
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=15"
        } else {
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
        }
    }
}

/// The first acceptable offer in a `Sec-WebSocket-Extensions` field.
///
/// Declined are offers with `server_max_window_bits` below 15, because our window has 15 bits, and offers with a repeated or
/// unknown parameter or a number not written as the RFC demands.
#[must_use]
pub fn accept(header: &str) -> Option<Offer> {
    let mut reader = Reader(header);
    loop {
        let offer = reader.extension();
        if offer.is_some() {
            return offer;
        }
        if !reader.skip_to_next() {
            return None;
        }
    }
}

/// Parses a field's value; holds the part not parsed yet.
struct Reader<'a>(&'a str);

impl<'a> Reader<'a> {
    /// Parses an extension up to its comma or the end; `None` when it is not acceptable.
    fn extension(&mut self) -> Option<Offer> {
        if !self.token()?.eq_ignore_ascii_case("permessage-deflate") {
            return None;
        }
        let mut seen: [bool; 4] = [false; 4];
        while self.eat(';') {
            let name = self.token()?;
            let value = if self.eat('=') {
                Some(self.value()?)
            } else {
                None
            };
            let (parameter, fits) = match name {
                "server_no_context_takeover" => (0, value.is_none()),
                "client_no_context_takeover" => (1, value.is_none()),
                "server_max_window_bits" => (2, value == Some("15")),
                "client_max_window_bits" => (3, value.is_none_or(is_window)),
                _ => return None,
            };
            if !fits || std::mem::replace(&mut seen[parameter], true) {
                return None;
            }
        }
        self.blanks();
        let whole = self.0.is_empty() || self.0.starts_with(',');
        whole.then_some(Offer { window: seen[2] })
    }

    /// Skips to after the next comma outside quoted strings; `false` when there is none.
    fn skip_to_next(&mut self) -> bool {
        let mut quoted = false;
        let mut escaped = false;
        for (at, sign) in self.0.char_indices() {
            match sign {
                _ if escaped => escaped = false,
                '\\' if quoted => escaped = true,
                '"' => quoted = !quoted,
                ',' if !quoted => {
                    self.0 = &self.0[at + 1..];
                    return true;
                }
                _ => {}
            }
        }
        false
    }

    fn blanks(&mut self) {
        self.0 = self.0.trim_start_matches([' ', '\t']);
    }

    fn eat(&mut self, sign: char) -> bool {
        self.blanks();
        match self.0.strip_prefix(sign) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    fn token(&mut self) -> Option<&'a str> {
        self.blanks();
        let end = self.0.find(|sign| !is_token(sign)).unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at(end);
        self.0 = rest;
        (!token.is_empty()).then_some(token)
    }

    /// Parses a token, which may be in quotes; escapes are not accepted in them.
    fn value(&mut self) -> Option<&'a str> {
        if !self.eat('"') {
            return self.token();
        }
        let (value, rest) = self.0.split_once('"')?;
        self.0 = rest;
        (!value.is_empty() && value.chars().all(is_token)).then_some(value)
    }
}

/// Whether a character may be in a token (RFC 9110 section 5.6.2).
fn is_token(sign: char) -> bool {
    sign.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(sign)
}

/// Whether a value is a window size in bits, written as the RFC demands: no sign and no leading zero.
fn is_window(value: &str) -> bool {
    matches!(value, "8" | "9" | "10" | "11" | "12" | "13" | "14" | "15")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str =
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    const WINDOW: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=15";

    #[test]
    fn each_offer_has_its_answer() {
        for (offer, answer) in [
            ("permessage-deflate", Some(PLAIN)),
            ("Permessage-Deflate", Some(PLAIN)),
            ("permessage-deflate; client_max_window_bits", Some(PLAIN)),
            ("permessage-deflate;client_max_window_bits=8", Some(PLAIN)),
            (
                "permessage-deflate ; client_max_window_bits = 15 ",
                Some(PLAIN),
            ),
            (
                "permessage-deflate; client_max_window_bits=\"10\"",
                Some(PLAIN),
            ),
            (
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
                Some(PLAIN),
            ),
            (
                "permessage-deflate; server_max_window_bits=15",
                Some(WINDOW),
            ),
            (
                "permessage-deflate; client_max_window_bits=15; server_max_window_bits=15",
                Some(WINDOW),
            ),
            // The first acceptable one.
            (
                "x-other, permessage-deflate;client_max_window_bits=10;server_no_context_takeover",
                Some(PLAIN),
            ),
            (
                "permessage-deflate; server_max_window_bits=10, permessage-deflate",
                Some(PLAIN),
            ),
            (
                "permessage-deflate; server_max_window_bits=10, permessage-deflate; server_max_window_bits=15",
                Some(WINDOW),
            ),
            (", ,permessage-deflate,", Some(PLAIN)),
            (
                "x-other; a=\"permessage-deflate, \\\"\", permessage-deflate",
                Some(PLAIN),
            ),
            // Our window has 15 bits.
            ("permessage-deflate; server_max_window_bits=14", None),
            ("permessage-deflate; server_max_window_bits", None),
            // Repeated parameters.
            (
                "permessage-deflate; client_max_window_bits; client_max_window_bits",
                None,
            ),
            (
                "permessage-deflate; client_max_window_bits=10; client_max_window_bits=10",
                None,
            ),
            (
                "permessage-deflate; server_max_window_bits=15; server_max_window_bits=15",
                None,
            ),
            (
                "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
                None,
            ),
            (
                "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
                None,
            ),
            // Numbers not written as the RFC demands.
            ("permessage-deflate; client_max_window_bits=08", None),
            ("permessage-deflate; client_max_window_bits=+8", None),
            ("permessage-deflate; client_max_window_bits=7", None),
            ("permessage-deflate; client_max_window_bits=16", None),
            ("permessage-deflate; client_max_window_bits=8.0", None),
            ("permessage-deflate; client_max_window_bits=", None),
            ("permessage-deflate; client_max_window_bits=\"\"", None),
            ("permessage-deflate; client_max_window_bits=\" 8\"", None),
            ("permessage-deflate; server_max_window_bits=015", None),
            ("permessage-deflate; server_max_window_bits=+15", None),
            // Values of parameters that have none, and unknown names.
            ("permessage-deflate; server_no_context_takeover=1", None),
            ("permessage-deflate; client_no_context_takeover=\"\"", None),
            ("permessage-deflate; x", None),
            ("permessage-bzip2", None),
            ("", None),
            // Invalid bytes after it.
            ("permessage-deflate;", None),
            ("permessage-deflate; ;", None),
            ("permessage-deflate x", None),
            ("permessage-deflate; client_max_window_bits x", None),
            ("permessage-deflate; client_max_window_bits=10 x", None),
            ("permessage-deflate; client_max_window_bits=\"10\"x", None),
            ("permessage-deflate; client_max_window_bits=\"10", None),
            ("permessage-deflate=1", None),
            ("permessage-deflate/", None),
            ("permessage-deflate; client_max_window_bits\u{a0}", None),
        ] {
            assert_eq!(accept(offer).map(Offer::answer), answer, "{offer}");
        }
    }
}
