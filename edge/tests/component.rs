//! The component host, run with the real session component and with components that must not run.

#[path = "component/built.rs"]
mod built;
#[path = "component/faults.rs"]
mod faults;
#[path = "component/load.rs"]
mod load;
#[path = "component/machine.rs"]
mod machine;
#[path = "component/scenarios.rs"]
mod scenarios;
#[path = "component/script.rs"]
mod script;
#[path = "component/shard.rs"]
mod shard;
#[path = "component/swap.rs"]
mod swap;
