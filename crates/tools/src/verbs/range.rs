//! Places in a partition, as the command line has them: `start`, `end`, an offset, so many after
//! the start (`+10`) or before the end (`-10`), a time (`@2001-03-01`); and ranges of two places.
//!
//! A time is a date, a date and time (UTC unless it names a zone), seconds or milliseconds since
//! 1970, or a duration before now (`@-90m`, `@-1d`).

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use client::admin::{Isolation, OffsetSpec};
use client::{Admin, TopicPartition};

use super::failed;
use crate::{Failure, time};

/// A place in any partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// So many records' offsets after the first.
    Start(i64),
    /// So many before the end.
    End(i64),
    /// Exactly there.
    At(i64),
    /// The first record at or after these milliseconds since 1970.
    Time(i64),
}

/// From a place up to, and without, another; on and on if there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub from: Place,
    pub to: Option<Place>,
}

/// Where a partition's log begins and ends.
pub(super) type Bounds = BTreeMap<TopicPartition, (i64, i64)>;

impl Place {
    /// Reads a place.
    ///
    /// # Errors
    /// What was expected instead.
    pub fn read(text: &str) -> Result<Self, String> {
        let count = |digits: &str| {
            digits.parse::<i64>().ok().filter(|count| *count >= 0 && !digits.starts_with('+'))
        };
        let place = match text {
            "start" | "earliest" | "oldest" => Some(Self::Start(0)),
            "end" | "latest" | "newest" => Some(Self::End(0)),
            _ => match text.split_at_checked(1) {
                Some(("@", when)) => return instant(when).map(Self::Time),
                Some(("+", digits)) => count(digits).map(Self::Start),
                Some(("-", digits)) => count(digits).map(Self::End),
                _ => count(text).map(Self::At),
            },
        };
        place.ok_or_else(|| {
            format!("{text}: expected start, end, an offset, +N, -N or a time such as @2001-03-01")
        })
    }

    /// The offsets of this place in partitions, within their bounds.
    pub async fn resolve(
        self,
        admin: &Admin,
        bounds: &Bounds,
        isolation: Isolation,
    ) -> Result<BTreeMap<TopicPartition, i64>, Failure> {
        let mut at_time = BTreeMap::new();
        if let Self::Time(ms) = self {
            let wanted: Vec<_> =
                bounds.keys().map(|one| (one.clone(), OffsetSpec::Timestamp(ms))).collect();
            at_time = offsets(admin, &wanted, isolation).await?;
        }
        let place = |(partition, (start, end)): (&TopicPartition, &(i64, i64))| {
            let offset = match self {
                Self::Start(after) => start.saturating_add(after),
                Self::End(before) => end.saturating_sub(before),
                Self::At(offset) => offset,
                // No record is that young: the end.
                Self::Time(_) => {
                    at_time.get(partition).copied().filter(|at| *at >= 0).unwrap_or(*end)
                }
            };
            (partition.clone(), offset.min(*end).max(*start))
        };
        Ok(bounds.iter().map(place).collect())
    }
}

impl Range {
    /// Reads `FROM`, `FROM:TO`, `FROM:` or `:TO`.
    ///
    /// # Errors
    /// What was expected instead.
    pub fn read(text: &str) -> Result<Self, String> {
        // A time may have colons itself: the first that leaves two places counts.
        if let Ok(from) = Place::read(text) {
            return Ok(Self { from, to: None });
        }
        let colons = text.match_indices(':').map(|(at, _)| at);
        for colon in colons {
            let (from, to) = (text.get(..colon), text.get(colon + 1..));
            let (from, to) = (from.unwrap_or_default(), to.unwrap_or_default());
            let from = if from.is_empty() { Ok(Place::Start(0)) } else { Place::read(from) };
            let to = if to.is_empty() { Ok(None) } else { Place::read(to).map(Some) };
            if let (Ok(from), Ok(to)) = (from, to) {
                return Ok(Self { from, to });
            }
        }
        Err(format!(
            "{text}: expected a place, or two with a colon between them; a place is start, end, an \
             offset, +N, -N or a time such as @2001-03-01"
        ))
    }
}

/// The bounds of partitions.
pub(super) async fn bounds(
    admin: &Admin,
    partitions: &[TopicPartition],
    isolation: Isolation,
) -> Result<Bounds, Failure> {
    let all = |spec| partitions.iter().map(|one| (one.clone(), spec)).collect::<Vec<_>>();
    let starts = offsets(admin, &all(OffsetSpec::Earliest), isolation).await?;
    let ends = offsets(admin, &all(OffsetSpec::Latest), isolation).await?;
    let both = starts.into_iter().filter_map(|(partition, start)| {
        let end = *ends.get(&partition)?;
        Some((partition, (start, end)))
    });
    Ok(both.collect())
}

async fn offsets(
    admin: &Admin,
    wanted: &[(TopicPartition, OffsetSpec)],
    isolation: Isolation,
) -> Result<BTreeMap<TopicPartition, i64>, Failure> {
    let found = admin.list_offsets(wanted, isolation).await.map_err(failed)?.into_iter();
    let found = found.map(|(partition, listed)| match listed {
        Ok(listed) => Ok((partition, listed.offset)),
        Err(error) => {
            let code = super::exit_code(error.code);
            Err(super::told(format!("error: {partition}: {error}"), code))
        }
    });
    found.collect()
}

/// A time in milliseconds since 1970. Nothing is older than that: before it are the numbers by
/// which ListOffsets means the start and the end.
fn instant(text: &str) -> Result<i64, String> {
    any_instant(text).map(|ms| ms.max(0))
}

fn any_instant(text: &str) -> Result<i64, String> {
    let wrong = || {
        format!(
            "@{text}: expected a date (2001-03-01), a date and time (2001-03-01T12:00:00Z), \
             seconds or milliseconds since 1970, or a duration before now (-90m)"
        )
    };
    if let Some(ago) = text.strip_prefix('-') {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        return duration(ago).map(|ms| now - ms).ok_or_else(wrong);
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let number: i64 = text.parse().map_err(|_| wrong())?;
        // Ten digits of seconds last until the year 2286, ten of milliseconds ended in April 1970.
        return Ok(if text.len() <= SECONDS_DIGITS { number * 1000 } else { number });
    }
    time::instant(text).ok_or_else(wrong)
}

/// `90m`, `1d12h`: in milliseconds.
fn duration(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit())?;
        let number: i64 = rest.get(..digits)?.parse().ok()?;
        let after = rest.get(digits..)?;
        let unit_end = after.find(|letter: char| letter.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(unit_end)?;
        let ms = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        total = total.checked_add(number.checked_mul(ms)?)?;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

const SECONDS_DIGITS: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_words_numbers_and_times() {
        assert_eq!(Place::read("start"), Ok(Place::Start(0)));
        assert_eq!(Place::read("latest"), Ok(Place::End(0)));
        assert_eq!(Place::read("+3"), Ok(Place::Start(3)));
        assert_eq!(Place::read("-3"), Ok(Place::End(3)));
        assert_eq!(Place::read("17"), Ok(Place::At(17)));
        assert_eq!(Place::read("@2001-03-01"), Ok(Place::Time(983_404_800_000)));
        assert_eq!(Place::read("@2001-03-01T01:00+01:00"), Ok(Place::Time(983_404_800_000)));
        assert_eq!(Place::read("@983404800"), Ok(Place::Time(983_404_800_000)));
        assert_eq!(Place::read("@983404800000"), Ok(Place::Time(983_404_800_000)));
        for before_all in ["@1969-12-31", "@1969-12-31T23:59:59.999", "@-100000d"] {
            assert_eq!(Place::read(before_all), Ok(Place::Time(0)), "{before_all}");
        }
        for bad in ["", "begin", "+", "--1", "+-1", "1.5", "@", "@2001-02-30", "@-", "@-5", "@-5y"]
        {
            assert!(Place::read(bad).is_err(), "{bad}");
        }
        let Ok(Place::Time(hour_ago)) = Place::read("@-1h") else { panic!() };
        let Ok(Place::Time(also)) = Place::read("@-59m60s") else { panic!() };
        assert!((also - hour_ago).abs() < 60_000, "{hour_ago} {also}");
    }

    #[test]
    fn ranges_have_a_place_on_either_side() {
        let range = |from, to| Ok(Range { from, to });
        assert_eq!(Range::read("end"), range(Place::End(0), None));
        assert_eq!(Range::read(":end"), range(Place::Start(0), Some(Place::End(0))));
        assert_eq!(Range::read("5:10"), range(Place::At(5), Some(Place::At(10))));
        assert_eq!(Range::read("5:"), range(Place::At(5), None));
        assert_eq!(Range::read("-5:-1"), range(Place::End(5), Some(Place::End(1))));
        let (from, to) = (Place::Time(983_404_800_000), Place::Time(983_408_400_000));
        assert_eq!(Range::read("@2001-03-01:@2001-03-01T01:00:00"), range(from, Some(to)));
        assert_eq!(Range::read("@2001-03-01T01:00:00Z"), range(to, None));
        for both in [
            "@2001-03-01T00:00:00Z:@2001-03-01T01:00:00Z",
            "@2001-03-01T00:00Z:@2001-03-01T01:00",
            "@2001-03-01T02:00:00+02:@2001-03-01T03:00:00+02",
            "@2001-03-01T02:30:00+02:30:@2001-03-01T03:30:00+0230",
            "@2001-02-28T23:00:00-01:00:@2001-03-01T00:00:00-0100",
        ] {
            assert_eq!(Range::read(both), range(from, Some(to)), "{both}");
        }
        for bad in ["5:x", ":@", "1:2:3", "@2001-03-01T25:00", "@2001-03-01T01:00Zx"] {
            assert!(Range::read(bad).is_err(), "{bad}");
        }
    }
}
