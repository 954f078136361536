//! Foreign programs under a deadline.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// What a program left behind.
#[derive(Debug)]
pub struct Finished {
    /// Exit code; `None` after a signal.
    pub code: Option<i32>,
    /// All of its standard output, lossily as text.
    pub stdout: String,
    /// All of its standard error, lossily as text.
    pub stderr: String,
}

impl Finished {
    /// The standard output of a program that succeeded.
    ///
    /// # Panics
    /// If it failed, with everything it said.
    #[track_caller]
    pub fn success(self) -> String {
        let Self { code, stdout, stderr } = self;
        assert!(code == Some(0), "exit code {code:?}\n{}\n{}", tail(&stdout), tail(&stderr));
        stdout
    }
}

/// Runs a program to its end and returns what it said.
///
/// # Panics
/// If it can't be started, or has not ended by the deadline (it is killed then).
#[track_caller]
pub fn run(command: &mut Command, deadline: Duration) -> Finished {
    run_with(command, Vec::new(), deadline)
}

/// Runs a program to its end with that standard input, and returns what it said.
///
/// # Panics
/// As [`run`].
#[track_caller]
pub fn run_with(command: &mut Command, input: Vec<u8>, deadline: Duration) -> Finished {
    let until = Instant::now() + deadline;
    let mut child = command
        .stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends before it has read all is no failure of ours.
        thread::spawn(move || drop(stdin.write_all(&input)));
    }
    let stdout = drain(child.stdout.take());
    let stderr = drain(child.stderr.take());
    let late = |child: &mut Child| -> ! {
        let _ = child.kill();
        let _ = child.wait();
        panic!("{command:?} has not ended after {deadline:?}");
    };
    // Both pipes end with the program, so the wait for its exit after that is a formality.
    let Ok(stdout) = stdout.recv_timeout(left(until)) else { late(&mut child) };
    let Ok(stderr) = stderr.recv_timeout(left(until)) else { late(&mut child) };
    let status = child.wait().expect("the exit status of a child");
    Finished { code: status.code(), stdout, stderr }
}

/// The time left until `until`, zero once it is past.
pub fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

/// The last 4 000 characters or so: what failed is usually said at the end.
pub fn tail(text: &str) -> &str {
    let start = text.len().saturating_sub(4000);
    let start = (start..text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len());
    &text[start..]
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receiver
}
