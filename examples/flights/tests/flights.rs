//! The example does what its README says, on the built binary.

use std::process::Command;
use std::time::Duration;

use harness::{binary, have, root, run};

#[test]
fn what_came_out_is_what_went_in() {
    if !have("flights", &["npm", "bash"]) {
        return;
    }
    let script = root().join("examples/flights/run");
    let mut command = Command::new(script);
    command.env("OTTLA", binary()).env("FLIGHTS", env!("CARGO_BIN_EXE_flights"));
    let said = run(&mut command, harness::DOWNLOAD + Duration::from_secs(200)).success();
    assert!(said.contains("20000 flights written"), "{said}");
    assert!(said.contains("20000 flights of 59 airports, in order"), "{said}");
    assert!(said.contains("flights since 2001-03-01, in order"), "{said}");
    assert!(said.contains("\n2001-03-01T0"), "{said}");
}
