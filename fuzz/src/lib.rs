//! Mutation fuzzing of every parser of outside bytes, on stable Rust and without a service.
//!
//! A case is a pure function of its target and a 64-bit seed: a valid input from our own encoders
//! ([`corpus`], [`batches`], [`log_files`]), mutations of it ([`mutate`]), and the target's check.
//! So a seed is all that has to be reported, and no corpus has to be kept.
//!
//! Owns the targets ([`targets`]), the memory meter ([`memory`]) and the loop around them.
//!
//! Invariants:
//! - I1: no target panics, whatever its input.
//! - I2: a decoder's peak memory is bounded by its input (64 times that and 1 MiB unless the
//!   target says otherwise).
//! - I3: what was accepted once is accepted again after re-encoding, as the same bytes.
//!
//! Does not: follow coverage. The generators know the formats instead.

pub mod batches;
pub mod corpus;
pub mod log_files;
pub mod memory;
pub mod mutate;
pub mod random;
pub mod targets;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use wire::Bytes;

use random::Random;
pub use targets::TARGETS;

/// What a target is given.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// Which message, codec or file the bytes are of.
    pub choice: usize,
    /// The version of it.
    pub version: i16,
    /// Switches of the check: configuration, limits.
    pub flags: u64,
    /// The bytes.
    pub bytes: Bytes,
}

/// One parser and what must hold for it.
pub struct Target {
    /// Its name on the command line.
    pub name: &'static str,
    /// Cases the test runs.
    pub cases: u64,
    /// Makes an input, mutated or not.
    pub make: fn(&mut Random) -> Input,
    /// Parses it; the error is the property that was broken.
    pub check: fn(&Input) -> Result<(), String>,
}

impl Target {
    /// The target of that name.
    pub fn find(name: &str) -> Option<&'static Self> {
        TARGETS.iter().find(|target| target.name == name)
    }

    /// Runs one case.
    ///
    /// # Errors
    /// The broken property, with all that is needed to see it again.
    pub fn run(&self, seed: u64) -> Result<(), Failure> {
        let input = (self.make)(&mut Random::new(seed));
        let outcome = catch_unwind(AssertUnwindSafe(|| (self.check)(&input)));
        let reason = match outcome {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(reason)) => reason,
            Err(panic) => panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or(panic.downcast_ref::<&str>().copied())
                .map_or("panic".into(), |text| format!("panic: {text}")),
        };
        Err(Failure { target: self.name, seed, input, reason })
    }
}

/// A broken property.
#[derive(Debug)]
pub struct Failure {
    /// The target.
    pub target: &'static str,
    /// The case.
    pub seed: u64,
    /// What the seed gives.
    pub input: Input,
    /// What was broken.
    pub reason: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Input { choice, version, flags, bytes } = &self.input;
        writeln!(out, "{} seed {}: {}", self.target, self.seed, self.reason)?;
        writeln!(
            out,
            "choice {choice}, version {version}, flags {flags:#x}, {} bytes",
            bytes.len()
        )?;
        for line in bytes.chunks(32).take(HEX_BYTES_MAX.div_ceil(32)) {
            for byte in line.iter().take(HEX_BYTES_MAX) {
                write!(out, "{byte:02x}")?;
            }
            writeln!(out)?;
        }
        let Self { target, seed, .. } = self;
        write!(out, "replay: cargo run --release -p ottla-fuzz -- {target} --seed {seed}")
    }
}

/// Bytes of an input that are printed.
const HEX_BYTES_MAX: usize = 192;
