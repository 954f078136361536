//! The shell: sockets, timers and tasks. The only place of this crate that names tokio, a clock
//! or entropy.
//!
//! Owns connections ([`connection`]), the client's table of them and its metadata ([`client`]).

pub mod client;
pub mod connection;
pub mod consumer;
pub mod producer;

use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::options::Backoff;

pub use client::{Client, To};
pub use consumer::{Consumer, Start};
pub use producer::{Delivery, Producer};

/// How much longer an operation may be tried, and how long to pause before the next attempt.
#[derive(Debug)]
pub(crate) struct Patience {
    began: Instant,
    whole: Duration,
    backoff: Backoff,
    failures: u32,
}

impl Patience {
    pub(crate) fn new(whole: Duration, backoff: Backoff) -> Self {
        Self { began: Instant::now(), whole, backoff, failures: 0 }
    }

    /// What is left of it.
    pub(crate) fn left(&self) -> Duration {
        self.whole.saturating_sub(self.began.elapsed())
    }

    /// Pauses before another attempt.
    ///
    /// # Errors
    /// `error` if it can't be helped, a timeout if none is left for another attempt.
    pub(crate) async fn again(&mut self, what: &str, error: Error) -> Result<()> {
        if !error.is_retriable() {
            return Err(error);
        }
        self.failures = self.failures.saturating_add(1);
        let wait = self.backoff.after(self.failures);
        if wait >= self.left() {
            return Err(Error::Timeout { what: format!("{what}: {error}"), after: self.whole });
        }
        pause(wait).await;
        Ok(())
    }
}

/// Waits.
pub(crate) async fn pause(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Runs all at once; their results, in the order they were given.
pub(crate) async fn all<F>(futures: Vec<F>) -> Vec<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let tasks: Vec<_> = futures.into_iter().map(tokio::spawn).collect();
    let mut results = Vec::with_capacity(tasks.len());
    for task in tasks {
        match task.await {
            Ok(result) => results.push(result),
            Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
            // The runtime is shutting down, and so nobody waits for this.
            Err(_) => std::future::pending().await,
        }
    }
    results
}
