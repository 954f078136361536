//! Apache Kafka's command line tools, one file each: their flags, what they print on standard
//! output, their exit codes. What goes to standard error is ours, in one line, never a stack trace.
//!
//! Owns: the list of tools ([`TOOLS`]), by which `ottla NAME ...` and links of that name find them.

pub mod storage;

/// A tool.
pub struct Tool {
    /// `kafka-storage` and so on.
    pub name: &'static str,
    /// Carries it out with the arguments after its name.
    pub run: fn(&[String]) -> Output,
}

/// Every tool there is.
pub const TOOLS: &[&Tool] = &[&storage::TOOL];

/// What a tool leaves behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// For standard output.
    pub out: String,
    /// For standard error.
    pub err: String,
    /// The exit code.
    pub code: u8,
}

impl Output {
    /// A tool that did what it was asked.
    pub fn done(out: impl Into<String>) -> Self {
        Self { out: out.into(), ..Self::default() }
    }

    /// A tool that did not.
    pub fn failed(err: impl Into<String>) -> Self {
        Self { err: err.into(), code: 1, ..Self::default() }
    }
}

/// The tool of that name, with or without `.sh`.
pub fn find(name: &str) -> Option<&'static Tool> {
    let name = name.strip_suffix(".sh").unwrap_or(name);
    TOOLS.iter().find(|tool| tool.name == name).copied()
}
