//! A line of the table.

use crate::stats::Spread;

/// Whether a target was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Met {
    /// It was.
    Yes,
    /// It was not.
    No,
    /// There is none: the line is a fact to compare with.
    Fact,
    /// It was not measured.
    NotMeasured,
}

impl Met {
    /// Whether a value is within its limit.
    pub(crate) fn when(reached: bool) -> Self {
        if reached { Self::Yes } else { Self::No }
    }
}

/// One line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// What was measured.
    pub(crate) what: String,
    /// The same in a word or two, for plots; empty: it is not drawn.
    pub(crate) short: &'static str,
    /// What it should be.
    pub(crate) target: String,
    /// What it is.
    pub(crate) measured: String,
    /// What it is compared with.
    pub(crate) beside: String,
    /// The ratio of both, round by round.
    pub(crate) ratio: Option<Spread>,
    /// What the ratio may be.
    pub(crate) limit: Option<f64>,
    /// Whether the target was reached.
    pub(crate) met: Met,
    /// What else must be said.
    pub(crate) notes: Vec<String>,
}

impl Line {
    /// A line that compares nothing and has no target.
    pub(crate) fn fact(what: impl Into<String>, measured: String) -> Self {
        Self {
            what: what.into(),
            short: "",
            target: "—".to_owned(),
            measured,
            beside: "—".to_owned(),
            ratio: None,
            limit: None,
            met: Met::Fact,
            notes: Vec::new(),
        }
    }

    /// A line for what could not be measured.
    pub(crate) fn not_measured(what: &str, why: &str) -> Self {
        Self {
            met: Met::NotMeasured,
            notes: vec![why.to_owned()],
            ..Self::fact(what, "not measured".to_owned())
        }
    }

    /// A line whose target is a ratio: the median of the rounds' ratios must be within `limit`.
    pub(crate) fn ratio(
        (short, what): (&'static str, impl Into<String>),
        target: impl Into<String>,
        (measured, beside): (String, String),
        ratio: Spread,
        limit: f64,
    ) -> Self {
        Self {
            short,
            target: target.into(),
            beside,
            ratio: Some(ratio),
            limit: Some(limit),
            met: Met::when(ratio.median <= limit),
            ..Self::fact(what, measured)
        }
    }

    /// With something else that must be said.
    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }
}
