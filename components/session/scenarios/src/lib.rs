//! What a session must do, whoever runs it: the core natively, or the component inside its host.
//!
//! [`all`] names the scenarios; each gets a factory of [`Machine`]s and panics when the machine does wrong. Each
//! runs twice: as it is, and with a snapshot taken and restored into a new machine before every batch.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    clippy::wildcard_enum_match_arm,
    reason = "a test library: a panic is its verdict"
)]

pub mod behaviour;
pub mod load;
pub mod machine;
pub mod origin;
pub mod pop;
mod publication;
pub mod sim;
pub mod tokens;

pub use machine::{Machine, Make, Native};
pub use pop::Pop;

/// Something a session must do.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// `behaviour::case`.
    pub name: &'static str,
    /// Panics when it is not done.
    pub run: fn(&mut Pop<'_>),
}

impl std::fmt::Debug for Scenario {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Scenario {
    /// Runs it on new machines, twice: see the crate.
    pub fn check(&self, make: Make<'_>) {
        for restarts in [false, true] {
            let mut pop = Pop::new(make, restarts);
            (self.run)(&mut pop);
        }
    }
}

/// Every scenario.
#[must_use]
pub fn all() -> Vec<Scenario> {
    behaviour::all()
}

/// Runs the named scenario on the core itself.
pub fn check_natively(name: &str) {
    let scenario = all().into_iter().find(|scenario| scenario.name == name);
    let scenario = scenario.unwrap_or_else(|| panic!("no scenario {name}"));
    scenario.check(&|| Box::new(Native::default()));
}
