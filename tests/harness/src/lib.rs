//! What the black-box tests share: foreign programs run under a deadline, and one rule for what
//! happens where a foreign program is not installed.
//!
//! Invariants:
//! - I1: nothing here waits without a deadline.
//! - I2: a missing foreign program fails the test where `CI=true`, and elsewhere prints exactly one
//!   line that starts with `skipped:`, which `./test` counts.

pub mod command;
pub mod node;

pub use command::{Finished, run};
pub use node::{Node, binary, free_port, wait_until};

use std::io::Write;
use std::path::PathBuf;

/// The repository's root.
pub fn root() -> PathBuf {
    // This crate is `tests/harness`.
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// The interpreter of the Python environment with the foreign clients; `None` means skip `test`.
///
/// # Panics
/// Where `CI=true` and it can't be made.
pub fn python(test: &str) -> Option<PathBuf> {
    if !have(test, &["python3"]) {
        return None;
    }
    let script = root().join("tests/conformance/python/env");
    let made = run(&mut std::process::Command::new(script), DOWNLOAD);
    if made.code == Some(0) {
        return Some(made.stdout.trim().into());
    }
    let why = made.stderr.lines().last().unwrap_or("unknown");
    skip(test, &format!("no Python environment: {why}"));
    None
}

/// Covers downloads on the first run.
pub const DOWNLOAD: std::time::Duration = std::time::Duration::from_secs(1500);

/// True if every program is on the path; otherwise fails in CI or says that `test` is skipped.
pub fn have(test: &str, programs: &[&str]) -> bool {
    let missing: Vec<&str> = programs.iter().copied().filter(|name| !on_path(name)).collect();
    missing.is_empty() || skip(test, &format!("{} not installed", missing.join(", ")))
}

/// Says that `test` is skipped and returns false; fails where `CI=true`.
///
/// # Panics
/// Where `CI=true`: there, what is missing was to be installed.
pub fn skip(test: &str, why: &str) -> bool {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{test}: {why}, and CI=true");
    // Not the macro: the test runner would capture its output and show nothing of it.
    let _ = writeln!(std::io::stderr(), "skipped: {test}: {why}");
    false
}

/// True if the text begins with a UUID in its 36 characters, as member ids end with one: recorded
/// output masks them.
pub fn starts_with_uuid(text: &str) -> bool {
    text.len() >= 36
        && text.bytes().take(36).enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}
