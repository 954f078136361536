//! Lines for the operator, on standard error, and the limit on those a hostile peer can cause.
//!
//! A line is for people (`2026-11-21T16:30:00.123Z WARN text`) or, for programs, one JSON object
//! with the same three things (`ts`, `level`, `msg`).

use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The levels, the most talkative first.
pub const LEVELS: [&str; 6] = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];

/// Lines below this place in [`LEVELS`] are not written.
static LEAST: AtomicU8 = AtomicU8::new(2);
/// Lines are JSON.
static JSON: AtomicBool = AtomicBool::new(false);

fn place(level: &str) -> u8 {
    LEVELS.iter().position(|known| *known == level).map_or(u8::MAX, |place| place as u8)
}

/// From now on only lines at least as urgent are written.
pub fn set_level(level: &str) {
    LEAST.store(place(level), Ordering::Relaxed);
}

/// The level from which on lines are written.
pub fn level() -> &'static str {
    LEVELS.get(usize::from(LEAST.load(Ordering::Relaxed))).copied().unwrap_or("FATAL")
}

/// From now on lines are JSON, or not.
pub fn set_json(json: bool) {
    JSON.store(json, Ordering::Relaxed);
}

/// Writes one line, if it is urgent enough.
pub fn line(level: &str, text: &str) {
    if place(level) < LEAST.load(Ordering::Relaxed) {
        return;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let line = render(now, level, text, JSON.load(Ordering::Relaxed));
    // A closed standard error must not stop the broker.
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
}

/// One line with its end; nothing in it can begin another one.
fn render(since_epoch: Duration, level: &str, text: &str, json: bool) -> String {
    let ts = timestamp(since_epoch);
    if json {
        let line = serde_json::json!({ "ts": ts, "level": level, "msg": text });
        return format!("{line}\n");
    }
    // Nor move a terminal's cursor.
    let text = text.replace(char::is_control, " ");
    format!("{ts} {level} {text}\n")
}

/// UTC as RFC 3339 with milliseconds.
fn timestamp(since_epoch: Duration) -> String {
    let seconds = since_epoch.as_secs();
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    let millis = since_epoch.subsec_millis();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// The Gregorian date so many days after 1970-01-01. Years are counted from March, so that the day
/// that some have more comes last.
fn date(days: u64) -> (u64, u64, u64) {
    let from_march = days + 719_468;
    let (era, of_era) = (from_march / 146_097, from_march % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, turned) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + turned, month, day)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_calendar_dates() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_795_278_599, "2026-11-21T16:29:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(timestamp(Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn a_text_can_not_begin_another_line() {
        let text = "closed \"x\"\nERROR forged";
        let plain = render(Duration::ZERO, "WARN", text, false);
        assert_eq!(plain, "1970-01-01T00:00:00.000Z WARN closed \"x\" ERROR forged\n");
        let json = render(Duration::ZERO, "WARN", text, true);
        assert_eq!(json.lines().count(), 1);
        let read: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(read["msg"], text);
    }
}
