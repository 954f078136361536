//! Clients that are older, or less used: one round each, with a topic made, records written, read
//! by a group and committed.

use std::process::Command;

use harness::{Node, run};

use super::{CLIENT, directory, go, scripts};

#[test]
fn kafka_python_goes_the_whole_round() {
    let Some(python) = harness::python("kafka-python") else { return };
    let mut program = Command::new(python);
    program.arg(scripts().join("smoke.py"));
    round(&mut program);
}

#[test]
fn sarama_goes_the_whole_round() {
    let Some(program) = go("Sarama", "sarama") else { return };
    round(&mut Command::new(program));
}

fn round(program: &mut Command) {
    let directory = directory();
    let node = Node::start(directory.path());
    let said = run(program.arg(node.address()).arg("letters"), CLIENT).success();
    assert_eq!(said, "2000 records\n");
}
