//! A line of the table.

use super::measure::Series;
use crate::stats::Spread;

/// Whether a target was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Met {
    Yes,
    No,
    /// There is none: the line is a fact to compare with.
    Fact,
    NotMeasured,
}

/// One line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// What was measured.
    pub(crate) what: String,
    /// What it should be.
    pub(crate) target: String,
    /// What it is.
    pub(crate) measured: String,
    /// Of this in user space, where it is CPU.
    pub(crate) user: String,
    /// The number in `measured` and that in `user`: by these two builds are compared.
    pub(crate) figures: Option<[f64; 2]>,
    /// What it is compared with.
    pub(crate) beside: String,
    /// The ratio of both, round by round.
    pub(crate) ratio: Option<Spread>,
    pub(crate) met: Met,
    /// What else must be said.
    pub(crate) notes: Vec<String>,
}

impl Line {
    /// A line that compares nothing and has no target.
    pub(super) fn fact(what: impl Into<String>, measured: impl Into<String>) -> Self {
        let none = || "—".to_owned();
        Self {
            what: what.into(),
            target: none(),
            measured: measured.into(),
            user: none(),
            figures: None,
            beside: none(),
            ratio: None,
            met: Met::Fact,
            notes: Vec::new(),
        }
    }

    /// A line about the CPU of some rounds, with so many digits after the point.
    pub(super) fn cpu(what: impl Into<String>, series: &Series, digits: usize) -> Self {
        Self {
            user: format!("{:.digits$} µs", series.user_us()),
            figures: Some(series.figures()),
            ..Self::fact(what, series.words(digits))
        }
    }

    /// A line for what could not be measured.
    pub(super) fn not_measured(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            met: Met::NotMeasured,
            ..Self::fact(what, "not measured").note(why)
        }
    }

    /// Beside something.
    pub(super) fn beside(mut self, beside: impl Into<String>, ratio: Option<Spread>) -> Self {
        self.beside = beside.into();
        self.ratio = ratio;
        self
    }

    /// With the CPU of some other rounds beside it, by its name.
    pub(super) fn over(self, ours: &Series, name: &str, other: &Series, digits: usize) -> Self {
        let beside = format!("{name}{}", other.words(digits));
        self.beside(beside, Some(ours.over(other)))
    }

    /// With a target that is reached or not.
    pub(super) fn target(mut self, target: impl Into<String>, reached: bool) -> Self {
        self.target = target.into();
        self.met = if reached { Met::Yes } else { Met::No };
        self
    }

    /// With a target for its ratio: the median of the rounds' ratios must be within `limit`.
    pub(super) fn limit(self, target: &str, limit: f64) -> Self {
        let ratio = self.ratio.unwrap_or_default().median;
        self.target(target, ratio <= limit)
    }

    /// What else the target wants; says why it is missed.
    pub(super) fn must(mut self, reached: bool, else_why: &str) -> Self {
        if reached {
            return self;
        }
        self.met = Met::No;
        self.note(else_why)
    }

    pub(super) fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }
}
