//! What provisioning would do, log by log, before it does it.

use std::fmt;

/// A setting as it is and as it would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// As it is.
    pub from: String,
    /// As it would be.
    pub to: String,
}

/// What happens to a log, a durable or a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// There is none: it is made.
    Make,
    /// These settings are changed.
    Set(Vec<Field>),
    /// It is as it should be.
    Leave,
    /// It cannot be made now; why. It is when an origin finds that it can.
    Wait(String),
    /// It is of no use any more, and stays; why.
    LeftOver(String),
    /// These settings cannot be changed: nothing is done at all.
    Refuse(Vec<Field>),
}

/// One thing and what happens to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its name; a durable's is that of its log, a slash and its own.
    pub name: String,
    /// What happens.
    pub change: Change,
}

/// Everything of a region.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan(pub Vec<Step>);

impl Plan {
    pub(super) fn push(&mut self, name: impl Into<String>, change: Change) {
        let name = name.into();
        self.0.push(Step { name, change });
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let settled = |step: &Step| match step.change {
            Change::Leave | Change::LeftOver(_) | Change::Wait(_) => true,
            Change::Make | Change::Set(_) | Change::Refuse(_) => false,
        };
        self.0.iter().all(settled)
    }

    /// What cannot be done; `None`: all can.
    #[must_use]
    pub fn refused(&self) -> Option<String> {
        let steps = self.0.iter();
        let refused = steps.filter(|step| matches!(step.change, Change::Refuse(_)));
        let refused: Vec<String> = refused.map(ToString::to_string).collect();
        (!refused.is_empty()).then(|| refused.join("; "))
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match &self.change {
            Change::Make => write!(f, "create    {name}"),
            Change::Set(fields) => write!(f, "change    {name}: {}", listed(fields)),
            Change::Leave => write!(f, "leave     {name}"),
            Change::Wait(why) => write!(f, "wait      {name}: {why}"),
            Change::LeftOver(why) => write!(f, "left over {name}: {why}"),
            Change::Refuse(fields) => {
                write!(f, "refuse    {name}: cannot be changed: {}", listed(fields))
            }
        }
    }
}

fn listed(fields: &[Field]) -> String {
    let each = fields.iter();
    let each = each.map(|Field { name, from, to }| format!("{name} {from} → {to}"));
    each.collect::<Vec<_>>().join(", ")
}
