//! Times and durations as Java reads them on the command line.

/// `yyyy-MM-ddTHH:mm:ss.SSS` with a zone (`Z`, `+hh`, `+hhmm`, `+hh:mm`) or in UTC, in ms since
/// 1970.
///
/// # Errors
/// The words of Java's exceptions.
pub(super) fn date_time(text: &str) -> Result<i64, String> {
    let Some((_, time)) = text.split_once('T').filter(|(_, time)| !time.is_empty()) else {
        return Err(
            "java.text.ParseException: Error parsing timestamp. It does not contain a 'T' \
                    according to ISO8601 format"
                .into(),
        );
    };
    let time = time.split('T').next().unwrap_or_default();
    let with_zone = match time.contains(['+', '-', 'Z']) {
        true => text.to_owned(),
        false => format!("{text}Z"),
    };
    parse(&with_zone)
        .ok_or_else(|| format!("java.text.ParseException: Unparseable date: \"{with_zone}\""))
}

fn parse(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut number = |end: &str| -> Option<i64> {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let value = rest.get(..digits)?.parse().ok()?;
        rest = rest.get(digits..)?.strip_prefix(end)?;
        Some(value)
    };
    let (year, month, day) = (number("-")?, number("-")?, number("T")?);
    let (hour, minute, second) = (number(":")?, number(":")?, number(".")?);
    let millis = number("")?;
    let in_range = (1..=12).contains(&month)
        && (1..=9999).contains(&year)
        && (1..=days_of(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60
        && millis < 1000;
    let zone = zone(rest)?;
    in_range.then(|| {
        let days = days_before(year, month) + day - 1;
        (((days * 24 + hour) * 60 + minute - zone) * 60 + second) * 1000 + millis
    })
}

/// Minutes east of Greenwich.
fn zone(text: &str) -> Option<i64> {
    let (sign, digits) = match text.split_at_checked(1)? {
        ("Z", _) => return Some(0),
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let two = |from: usize| -> Option<i64> {
        let pair = digits.get(from..from + 2)?;
        pair.bytes().all(|digit| digit.is_ascii_digit()).then(|| pair.parse().ok())?
    };
    let hours = two(0)?;
    let minutes = two(3).filter(|_| digits.get(2..3) == Some(":")).or(two(2)).unwrap_or(0);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes))
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970 to the first of a month.
fn days_before(year: i64, month: i64) -> i64 {
    let years = year - 1;
    let to_year = years * 365 + years / 4 - years / 100 + years / 400 - DAYS_TO_1970;
    to_year + (1..month).map(|month| days_of(year, month)).sum::<i64>()
}

/// `PnDTnHnMn.nS` in ms, rounded down.
///
/// # Errors
/// The words of Java's exception.
pub(super) fn duration(text: &str) -> Result<i64, String> {
    parse_duration(&text.to_ascii_uppercase())
        .ok_or_else(|| "Text cannot be parsed to a Duration".to_owned())
}

fn parse_duration(text: &str) -> Option<i64> {
    let (sign, rest) = match text.split_at_checked(1)? {
        ("-", rest) => (-1, rest),
        ("+", rest) => (1, rest),
        _ => (1, text),
    };
    let rest = rest.strip_prefix('P')?;
    let (days, time) = match rest.split_once('T') {
        Some((days, time)) if !time.is_empty() => (days, time),
        Some(_) => return None,
        None => (rest, ""),
    };
    if days.is_empty() && time.is_empty() {
        return None;
    }
    let mut nanos: i128 = 0;
    if !days.is_empty() {
        nanos += whole(days.strip_suffix('D')?)? * 86_400 * NANOS;
    }
    let mut rest = time;
    for (unit, seconds) in [('H', 3600), ('M', 60)] {
        if let Some((number, after)) = rest.split_once(unit) {
            nanos += whole(number)? * seconds * NANOS;
            rest = after;
        }
    }
    if !rest.is_empty() {
        let number = rest.strip_suffix('S')?;
        let (seconds, fraction) = number.split_once(['.', ',']).unwrap_or((number, ""));
        if fraction.len() > 9 || !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        let fraction: i128 = format!("{fraction:0<9}").parse().ok()?;
        let fraction = if seconds.starts_with('-') { -fraction } else { fraction };
        nanos += whole(seconds)? * NANOS + fraction;
    }
    i64::try_from((nanos * sign).div_euclid(1_000_000)).ok()
}

fn whole(text: &str) -> Option<i128> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let plain = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    plain.then(|| text.parse::<i64>().ok().map(i128::from))?
}

const NANOS: i128 = 1_000_000_000;
/// From the first day of the year 1.
const DAYS_TO_1970: i64 = 719_162;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_in_utc_unless_they_say_otherwise() {
        assert_eq!(date_time("1970-01-01T00:00:00.000"), Ok(0));
        assert_eq!(date_time("2020-02-29T12:34:56.789Z"), Ok(1_582_979_696_789));
        assert_eq!(date_time("2020-02-29T12:34:56.789+02:00"), Ok(1_582_972_496_789));
        assert_eq!(date_time("2020-02-29T12:34:56.789-0130"), Ok(1_582_985_096_789));
        assert_eq!(date_time("2020-02-29T12:34:56.789+02"), Ok(1_582_972_496_789));
        for bad in ["2021-02-29T00:00:00.000", "2020-01-01T00:00:00Z", "2020-01-01T24:00:00.000"] {
            assert!(date_time(bad).unwrap_err().contains("Unparseable date"), "{bad}");
        }
        let told = date_time("2020-01-01T00:00:00").unwrap_err();
        let words = "java.text.ParseException: Unparseable date: \"2020-01-01T00:00:00Z\"";
        assert_eq!(told, words);
        assert!(date_time("2020-01-01").unwrap_err().contains("does not contain a 'T'"));
    }

    #[test]
    fn durations_have_signs_in_every_place() {
        assert_eq!(duration("P1DT2H3M4.5S"), Ok(93_784_500));
        assert_eq!(duration("-pt1m"), Ok(-60_000));
        assert_eq!(duration("PT-0.5S"), Ok(-500));
        for bad in ["", "P", "PT", "P1", "1D", "P1H", "PT1D", "PT1.0H"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
