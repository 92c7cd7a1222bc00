//! The session's scenarios, run by the component in its host.

use chorus_edge::component::{Bounds, Instance};
use chorus_session_scenarios::{Machine, Pop, all};

use crate::built::{logic, session};
use crate::machine::{Bare, Supervised};

#[test]
fn every_scenario_passes_in_an_instance() {
    let logic = logic(&session());
    let bounds = Bounds {
        // A busy machine may take long for a `restore`, which a scenario does at every turn.
        state_cpu_ms_max: 10_000,
        ..Bounds::default()
    };
    let make = || -> Box<dyn Machine> {
        Box::new(Bare(Instance::new(&logic, &bounds).expect("an instance")))
    };
    let scenarios = all();
    assert!(scenarios.len() >= 20, "{}", scenarios.len());
    for scenario in scenarios {
        println!("{}", scenario.name);
        scenario.check(&make);
    }
}

#[test]
fn every_scenario_passes_under_a_supervisor() {
    let logic = logic(&session());
    let make = || -> Box<dyn Machine> {
        Box::new(Supervised {
            logic: logic.clone(),
            supervisor: None,
        })
    };
    for scenario in all() {
        println!("{}", scenario.name);
        let mut pop = Pop::new(&make, false);
        (scenario.run)(&mut pop);
    }
}
