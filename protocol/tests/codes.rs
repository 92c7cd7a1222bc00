//! The clients' types and the reference say the codes of `protocol/src/codes.rs`.
//!
//! `CHORUS_WRITE=1 cargo test -p chorus-protocol --test codes` writes both anew.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use chorus_protocol::codes::{
    CloseCode, ErrorCode, NoticeKind, Reason, ReceiptStatus, RemovalReason,
};

/// The file is what the table says, or is made so when asked.
fn hold_equal(path: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    if std::env::var_os("CHORUS_WRITE").is_some() {
        fs::write(&path, expected).expect("the file can be written");
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "{} is not what protocol/src/codes.rs says: CHORUS_WRITE=1 cargo test -p chorus-protocol --test codes",
        path.display()
    );
}

type Row = (&'static str, &'static str);

fn union(out: &mut String, name: &str, of: &str, rows: &[Row]) {
    write!(out, "\n/** {of} */\nexport const {name}S = [\n").expect("memory");
    for (code, meaning) in rows {
        writeln!(out, "  /** {meaning} */\n  \"{code}\",").expect("memory");
    }
    let kind: String = name
        .split('_')
        .map(|word| word[..1].to_owned() + &word[1..].to_lowercase())
        .collect();
    writeln!(
        out,
        "] as const;\nexport type {kind} = (typeof {name}S)[number];"
    )
    .expect("memory");
}

fn errors() -> Vec<Row> {
    ErrorCode::ALL
        .iter()
        .map(|c| (c.as_str(), c.meaning()))
        .collect()
}

fn reasons() -> Vec<Row> {
    Reason::ALL
        .iter()
        .map(|c| (c.as_str(), c.meaning()))
        .collect()
}

fn statuses() -> Vec<Row> {
    ReceiptStatus::ALL
        .iter()
        .map(|c| (c.as_str(), c.meaning()))
        .collect()
}

fn removals() -> Vec<Row> {
    RemovalReason::ALL
        .iter()
        .map(|c| (c.as_str(), c.meaning()))
        .collect()
}

fn notices() -> Vec<Row> {
    NoticeKind::ALL
        .iter()
        .map(|c| (c.as_str(), c.meaning()))
        .collect()
}

#[test]
fn the_web_client_has_the_codes_of_the_table() {
    let mut out = String::from(
        "/** The codes of client protocol 1, written by `protocol/tests/codes.rs`: do not edit. */\n",
    );
    union(
        &mut out,
        "ERROR_CODE",
        "The `code` of an `error` and of a REST problem.",
        &errors(),
    );
    union(
        &mut out,
        "REASON",
        "The `reason` of a rejected receipt.",
        &reasons(),
    );
    union(
        &mut out,
        "RECEIPT_STATUSE",
        "The `status` of a receipt.",
        &statuses(),
    );
    union(
        &mut out,
        "REMOVAL_REASON",
        "The `reason` of `comments_removed`.",
        &removals(),
    );
    union(
        &mut out,
        "NOTICE_KIND",
        "The `kind` of a notice.",
        &notices(),
    );
    out = out.replace("export type ReceiptStatuse ", "export type ReceiptStatus ");
    out.push_str("\n/** What the server closes with; `reconnect` says whether to come back. What is not here means yes. */\n");
    out.push_str("export const CLOSE_CODES = {\n");
    for code in CloseCode::ALL {
        writeln!(
            out,
            "  /** {} */\n  {}: {{ reconnect: {} }},",
            code.meaning(),
            code.number(),
            code.reconnect()
        )
        .expect("memory");
    }
    out.push_str("} as const satisfies Record<number, { reconnect: boolean }>;\n");
    hold_equal("clients/web/src/sdk/codes.ts", &out);
}

fn table(head: &str, rows: impl IntoIterator<Item = String>) -> String {
    let columns = head.matches('|').count() - 1;
    let mut out = format!("{head}\n|{}\n", " --- |".repeat(columns));
    for row in rows {
        out.push_str(&row);
        out.push('\n');
    }
    out
}

fn plain(head: &str, rows: Vec<Row>) -> String {
    let rows = rows.into_iter();
    table(
        head,
        rows.map(|(code, meaning)| format!("| `{code}` | {meaning} |")),
    )
}

#[test]
fn the_reference_has_the_codes_of_the_table() {
    let path = "clients/protocol.md";
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    let mut text = fs::read_to_string(file).expect("the reference is there");
    let errors = ErrorCode::ALL
        .iter()
        .map(|code| format!("| `{code}` | {} | {} |", code.http_status(), code.meaning()));
    let closes = CloseCode::ALL.iter().map(|code| {
        let again = if code.reconnect() {
            "yes, with back-off"
        } else {
            "no"
        };
        format!("| {} | {} | {again} |", code.number(), code.meaning())
    });
    for (name, table) in [
        ("errors", table("| code | status | meaning |", errors)),
        ("reasons", plain("| reason | meaning |", reasons())),
        ("statuses", plain("| status | meaning |", statuses())),
        ("removals", plain("| reason | meaning |", removals())),
        ("notices", plain("| kind | meaning |", notices())),
        ("closes", table("| code | meaning | come back? |", closes)),
    ] {
        let begin = format!("<!-- codes: {name} -->\n");
        let from = text.find(&begin).expect("the reference has a place for it") + begin.len();
        let to = from
            + text[from..]
                .find("<!-- /codes -->")
                .expect("the place has an end");
        text.replace_range(from..to, &table);
    }
    hold_equal(path, &text);
}
