//! Lines for the operator, on standard error, and the limit on those a hostile peer can cause.

use std::io::Write;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Writes one line: seconds since the epoch, level, text.
pub fn line(level: &str, text: &str) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // A closed standard error must not stop the broker.
    let _ = writeln!(
        std::io::stderr().lock(),
        "{}.{:03} {level} {text}",
        now.as_secs(),
        now.subsec_millis()
    );
}

/// At most one line a second; what was left out is counted in the next.
#[derive(Debug, Default)]
pub struct Limited(Mutex<(Option<Instant>, u64)>);

impl Limited {
    /// Writes the line, or counts it.
    pub fn line(&self, level: &str, text: &str) {
        let Ok(mut state) = self.0.lock() else { return };
        let (last, dropped) = &mut *state;
        if last.is_some_and(|last| last.elapsed() < Duration::from_secs(1)) {
            *dropped += 1;
            return;
        }
        *last = Some(Instant::now());
        let more = std::mem::take(dropped);
        drop(state);
        if more == 0 {
            line(level, text);
        } else {
            line(level, &format!("{text} (and {more} more like it)"));
        }
    }
}
