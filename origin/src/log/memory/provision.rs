//! Making a region's logs.

use std::time::Duration;

use chorus_protocol::{Region, subject};

use super::Memory;
use super::bucket::{Keys, RIGHTS, WORKERS};
use super::stored::Stored;
use crate::log::{Answer, LogError, Part, Provision, RIGHT, Regional as _};

impl Provision for Memory {
    fn make_basis(&self, workers: Duration) -> Answer<'_, ()> {
        let own = self.region();
        let made = self
            .make(&subject::control_log(own), true)
            .and_then(|()| self.make(&subject::reactions_log(own), true))
            .and_then(|()| self.make(&subject::dead_log(own), false))
            .and_then(|()| self.make(&subject::presence_log(own), true));
        if made.is_ok() {
            let buckets = &mut self.world();
            let buckets = &mut buckets.state(own).buckets;
            for (name, lease) in [(WORKERS, workers), (RIGHTS, RIGHT)] {
                let bucket = buckets.entry(name.to_owned());
                bucket.or_insert_with(|| Keys::new(lease));
            }
        }
        Box::pin(std::future::ready(made))
    }

    fn make_events(&self) -> Answer<'_, ()> {
        let own = self.region();
        let partitions = 0..self.registry().partitions();
        let mut names = partitions.map(|partition| subject::events_log(own, partition));
        let made = names.try_for_each(|name| {
            self.make(&name, false)?;
            let mut world = self.world();
            world.state(own).durables.entry(name).or_default();
            Ok(())
        });
        Box::pin(std::future::ready(made))
    }

    fn part<'a>(&'a self, region: &'a Region, partition: u16) -> Answer<'a, Option<Part>> {
        Box::pin(self.at(region, move |state| {
            let found = state.logs.get(&subject::events_log(region, partition));
            Ok(found.map(Stored::part))
        }))
    }

    fn seal(&self, partition: u16) -> Answer<'_, ()> {
        let own = self.region();
        Box::pin(self.at(own, move |state| {
            let found = state.logs.get_mut(&subject::events_log(own, partition));
            if let Some(log) = found {
                log.sealed = true;
            }
            Ok(())
        }))
    }

    fn remove(&self, partition: u16) -> Answer<'_, ()> {
        let own = self.region();
        Box::pin(self.at(own, move |state| {
            let name = subject::events_log(own, partition);
            state.logs.remove(&name);
            state.durables.remove(&name);
            Ok(())
        }))
    }

    fn leaders(&self) -> Answer<'_, ()> {
        let own = self.region();
        Box::pin(self.at(own, move |state| {
            let mut logs = self.registry().logs();
            logs.try_for_each(|log| state.log(&log).map(|_| ()))
        }))
    }
}

impl Memory {
    fn make(&self, name: &str, last_only: bool) -> Result<(), LogError> {
        let own = self.region();
        let mut world = self.world();
        world.reach(own, own)?;
        let created_ms = world.created_ms();
        let log = world.state(own).logs.entry(name.to_owned());
        let log = log.or_insert_with(|| Stored::new(created_ms, last_only));
        if log.sealed {
            return Err(LogError::Refused(format!("{name} is sealed")));
        }
        Ok(())
    }
}
