//! Apache Kafka's command line tools, one file each: their flags, what they print on standard
//! output, their exit codes. What goes to standard error is ours, in a line or few, never a stack
//! trace. Our own commands are in [`verbs`].
//!
//! Owns: the list of tools ([`TOOLS`]), by which `ottla NAME ...` and links of that name find them;
//! what a tool is given ([`Io`]) and how it fails ([`Failure`]).
//!
//! Invariants:
//! - I1: a tool writes what it found as it finds it; nothing is collected that grows with the data.
//! - I2: a reader who closed standard output ends a tool quietly, as a success.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

mod cluster;
pub mod configs;
pub mod console;
pub mod consumer_groups;
mod coordinator_records;
pub mod delete_records;
pub mod dump_log;
pub mod flags;
pub mod get_offsets;
mod java;
pub mod storage;
mod time;
mod topic_filter;
pub mod topics;
pub mod verbs;

use std::io::{self, BufRead, Write};

/// A tool.
pub struct Tool {
    /// `kafka-storage` and so on.
    pub name: &'static str,
    /// What it is for, in a sentence.
    pub about: &'static str,
    /// Carries it out with the arguments after its name; the exit code.
    pub run: fn(&[String], &mut Io<'_>) -> u8,
}

/// Every tool there is.
pub const TOOLS: &[&Tool] = &[
    &configs::TOOL,
    &console::consumer::TOOL,
    &console::producer::TOOL,
    &consumer_groups::TOOL,
    &delete_records::TOOL,
    &dump_log::TOOL,
    &get_offsets::TOOL,
    &storage::TOOL,
    &topics::TOOL,
];

/// What a tool reads and writes.
pub struct Io<'a> {
    /// Standard input.
    pub stdin: &'a mut (dyn BufRead + Send),
    /// Standard output: what scripts read, as Apache Kafka's tool writes it.
    pub out: &'a mut dyn Write,
    /// Standard error: for people.
    pub err: &'a mut dyn Write,
}

/// Why a tool stops early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Told on standard error; ends with that exit code.
    Told {
        /// Whole lines without the last line's end.
        text: String,
        /// The exit code.
        code: u8,
    },
    /// Nobody reads standard output any more.
    Closed,
    /// Everything was said; only the exit code is left.
    Code(u8),
}

impl Failure {
    /// Told on standard error, with the exit code of Apache Kafka's tools for nearly everything.
    pub fn new(text: impl Into<String>) -> Self {
        Self::Told { text: text.into(), code: 1 }
    }
}

/// Failed writes to standard output; failures of other files are told with their path instead.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::new(format!("error: standard output: {error}")),
        }
    }
}

/// Runs `body` and turns what it leaves into an exit code.
pub fn finish(io: &mut Io<'_>, body: impl FnOnce(&mut Io<'_>) -> Result<u8, Failure>) -> u8 {
    let outcome = body(io);
    let flushed = io.out.flush().map_err(Failure::from);
    let outcome = match (outcome, flushed) {
        // What was to be done was, or was not; who reads of it changes nothing about that.
        (Ok(code), Ok(()) | Err(Failure::Closed)) => return code,
        (Ok(_), Err(failure)) => Err(failure),
        (failed, _) => failed,
    };
    let (text, code) = match outcome {
        Ok(code) | Err(Failure::Code(code)) => return code,
        // I2.
        Err(Failure::Closed) => return 0,
        Err(Failure::Told { text, code }) => (text, code),
    };
    // Standard error closed as well: there is nobody left to tell.
    let _ = writeln!(io.err, "{text}");
    code
}

/// The tool of that name, with or without `.sh`.
pub fn find(name: &str) -> Option<&'static Tool> {
    let name = name.strip_suffix(".sh").unwrap_or(name);
    TOOLS.iter().find(|tool| tool.name == name).copied()
}

/// Runs a tool on bytes in memory: its exit code, standard output and standard error.
#[cfg(test)]
pub(crate) fn run_for_test(tool: &Tool, args: &[&str], stdin: &str) -> (u8, String, String) {
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut input = stdin.as_bytes();
    let code = (tool.run)(&args, &mut Io { stdin: &mut input, out: &mut out, err: &mut err });
    (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Refuses every write as a closed pipe does.
    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_standard_output_is_a_quiet_success() {
        let mut err = Vec::new();
        let mut io = Io { stdin: &mut io::empty(), out: &mut Closed, err: &mut err };
        let code = finish(&mut io, |io| {
            writeln!(io.out, "line")?;
            Ok(1)
        });
        assert_eq!((code, err), (0, Vec::new()));
    }

    #[test]
    fn a_failure_is_one_even_if_nobody_reads_about_it() {
        let mut err = Vec::new();
        // As a full buffer before it, this finds out at the end only.
        let mut out = io::BufWriter::new(Closed);
        let mut io = Io { stdin: &mut io::empty(), out: &mut out, err: &mut err };
        let code = finish(&mut io, |io| {
            writeln!(io.out, "line")?;
            Ok(1)
        });
        assert_eq!((code, err), (1, Vec::new()));
    }

    #[test]
    fn tools_are_found_by_name_and_say_what_they_lack() {
        let tool = find("kafka-storage.sh").unwrap();
        let (code, out, err) = run_for_test(tool, &[], "");
        assert_eq!((code, out.as_str()), (1, ""));
        assert!(err.ends_with("kafka-storage: error: too few arguments\n"), "{err}");
        assert!(find("kafka-nothing").is_none());
    }

    #[test]
    fn what_is_told_goes_to_standard_error() {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut io = Io { stdin: &mut io::empty(), out: &mut out, err: &mut err };
        assert_eq!(finish(&mut io, |_| Err(Failure::new("error: no"))), 1);
        assert_eq!((out, err), (Vec::new(), b"error: no\n".to_vec()));
    }
}
