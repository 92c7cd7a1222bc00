//! A value for each ordered pair of hosts, as a table on the terminal.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Times in ms from the host of a row to the host of a column; `what` stands in the corner.
#[derive(Default)]
pub(super) struct Matrix<'a> {
    rows: BTreeMap<&'a str, BTreeMap<&'a str, Option<f64>>>,
}

impl<'a> Matrix<'a> {
    pub(super) fn put(&mut self, from: &'a str, to: &'a str, ms: Option<f64>) {
        self.rows.entry(from).or_default().insert(to, ms);
    }

    pub(super) fn table(&self, what: &str) -> String {
        let names = || self.rows.keys();
        let first = names().map(|name| name.len()).max().unwrap_or(0);
        let first = first.max(what.len());
        let width = |name: &str| name.len().max(7) + 2;
        let mut text = format!("{what:<first$}");
        for name in names() {
            let _infallible = write!(text, "{name:>width$}", width = width(name));
        }
        for (from, row) in &self.rows {
            let _infallible = write!(text, "\n{from:<first$}");
            for to in names() {
                let cell = match row.get(to) {
                    Some(Some(ms)) => format!("{ms:.1}"),
                    Some(None) => "lost".to_owned(),
                    None => "-".to_owned(),
                };
                let _infallible = write!(text, "{cell:>width$}", width = width(to));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_from_and_columns_are_to() {
        let mut matrix = Matrix::default();
        matrix.put("eu", "viewer-us", Some(54.5));
        matrix.put("viewer-us", "eu", None);
        assert_eq!(
            matrix.table("ms"),
            "ms              eu  viewer-us\neu               -       54.5\nviewer-us     lost          -"
        );
    }
}
