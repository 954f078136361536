//! Lines for the operator, on standard error, and the limit on those a hostile peer can cause.

use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The levels, the most talkative first.
const LEVELS: [&str; 6] = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];

/// Lines below this place in [`LEVELS`] are not written.
static LEAST: AtomicU8 = AtomicU8::new(2);

fn place(level: &str) -> u8 {
    LEVELS.iter().position(|known| *known == level).map_or(u8::MAX, |place| place as u8)
}

/// From now on only lines at least as urgent are written.
pub fn set_level(level: &str) {
    LEAST.store(place(level), Ordering::Relaxed);
}

/// Writes one line, if it is urgent enough: seconds since the epoch, level, text.
pub fn line(level: &str, text: &str) {
    if place(level) < LEAST.load(Ordering::Relaxed) {
        return;
    }
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
