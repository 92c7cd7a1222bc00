//! What runs a session.

use chorus_protocol::Millis;
use chorus_session_core::{Input, Output, Session};

/// The contract of `wit/edge.wit`, in the core's types.
pub trait Machine {
    /// Starts empty.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    fn init(&mut self, config: &[u8], seed: u64) -> Result<(), String>;
    /// Takes a batch.
    fn handle(&mut self, now: u64, inputs: Vec<Input>) -> Vec<Output>;
    /// Everything it knows.
    fn snapshot(&mut self) -> Vec<u8>;
    /// Becomes what `snapshot` wrote.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    fn restore(&mut self, bytes: &[u8]) -> Result<(), String>;
    /// It takes snapshots by itself and cannot be put in another one's place.
    fn keeps_its_snapshots(&self) -> bool {
        false
    }
}

/// Makes new machines, not yet started.
pub type Make<'a> = &'a dyn Fn() -> Box<dyn Machine>;

/// The core itself.
#[derive(Debug, Default)]
pub struct Native(Option<Session>);

impl Machine for Native {
    fn init(&mut self, config: &[u8], seed: u64) -> Result<(), String> {
        self.0 = Some(Session::init(config, seed).map_err(|error| error.to_string())?);
        Ok(())
    }

    fn handle(&mut self, now: u64, inputs: Vec<Input>) -> Vec<Output> {
        let mut outputs = Vec::new();
        let session = self.0.as_mut().expect("started");
        session.handle(Millis(now), inputs, &mut outputs);
        outputs
    }

    fn snapshot(&mut self) -> Vec<u8> {
        self.0.as_ref().expect("started").snapshot()
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.0 = Some(Session::restore(bytes).map_err(|error| error.to_string())?);
        Ok(())
    }
}
