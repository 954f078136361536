//! `kafka-console-producer` and `kafka-console-consumer`: lines of standard input to a topic, and
//! records of topics to standard output, as by Apache Kafka 4.3.1.
//!
//! Owns what both are made of: flags under two names and `KEY=VALUE` arguments.
//!
//! Invariants:
//! - I1: memory is bounded, however much comes in: a line by what a record may have, records on
//!   their way by `buffer.memory`, records to print by what a fetch may have.
//! - I2: whatever is on its way when the tool ends, by the end of its input, an error or a signal,
//!   is sent, or told on standard error; a group is left.

pub mod consumer;
pub mod producer;

mod deserializer;
mod formatter;
mod lines;
mod reader;

use std::collections::BTreeMap;

use client::Options;

use crate::flags::Parsed;
use crate::{Failure, Io, cluster};

/// Properties, by key.
type Properties = BTreeMap<String, String>;

/// A flag that has an old name, too.
#[derive(Clone, Copy, Debug)]
struct Renamed {
    old: &'static str,
    new: &'static str,
}

impl Renamed {
    /// Both at once are refused.
    fn check(self, parsed: &Parsed) -> Result<(), Failure> {
        parsed.exclude(self.new, &[self.old])
    }

    /// What stands behind either, as `KEY=VALUE`; what has no `=` is an empty value.
    fn pairs(self, parsed: &Parsed) -> Properties {
        let given = parsed.values(self.new).chain(parsed.values(self.old));
        let pairs = given.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    /// The properties of the file that either names.
    fn file(self, parsed: &Parsed) -> Result<Properties, Failure> {
        let new = parsed.value(self.new)?;
        match new.or(parsed.value(self.old)?) {
            Some(path) => cluster::read_properties(path),
            None => Ok(Properties::new()),
        }
    }
}

/// What Java takes for true: the word, in any case.
fn is_true(properties: &Properties, key: &str) -> bool {
    properties.get(key).is_some_and(|value| value.trim().eq_ignore_ascii_case("true"))
}

/// Reads what a client goes by; what is passed over is told.
fn options(properties: &Properties, io: &mut Io<'_>) -> Result<Options, Failure> {
    let options = cluster::told_options(properties, io);
    options.map_err(|error| Failure::new(format!("error: {error}")))
}
