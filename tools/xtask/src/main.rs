//! Tasks that cargo cannot do: building the components.

mod component;

use anyhow::{Result, bail};

const USAGE: &str = "usage: cargo xtask component [--fault] [--out DIR]

  component   builds components/session into DIR/session.wasm (default DIR: target/components)
    --fault   builds session-fault.wasm instead, which breaks on command, for tests";

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("component") => component::build(&component::Options::parse(arguments)?),
        Some("help" | "--help" | "-h") | None => {
            println!("{USAGE}");
            Ok(())
        }
        Some(other) => bail!("no such task: {other}\n{USAGE}"),
    }
}
