//! Times and durations: as Java reads them on the command line of Apache Kafka's tools, as our own
//! commands do, and the calendar under both.

/// `yyyy-MM-ddTHH:mm:ss.SSS` with a zone (`Z`, `+hh`, `+hhmm`, `+hh:mm`) or in UTC, in ms since
/// 1970.
///
/// # Errors
/// The words of Java's exceptions.
pub(crate) fn date_time(text: &str) -> Result<i64, String> {
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
    // What follows the zone is nothing to Java.
    parse(&with_zone)
        .map(|(ms, _)| ms)
        .ok_or_else(|| format!("java.text.ParseException: Unparseable date: \"{with_zone}\""))
}

/// A date, or a date and time with or without seconds, fractions and a zone (UTC without one), in
/// ms since 1970.
pub(crate) fn instant(text: &str) -> Option<i64> {
    let (date, time) = text.split_once(['T', ' ']).unwrap_or((text, "00:00"));
    let zone_at = time.find(['Z', 'z', '+', '-']).unwrap_or(time.len());
    let (clock, zone) = time.split_at_checked(zone_at)?;
    let (whole, fraction) = clock.split_once('.').unwrap_or((clock, "000"));
    if fraction.is_empty() || !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let seconds = if whole.matches(':').count() == 1 { ":00" } else { "" };
    let millis = format!("{fraction:0<3}");
    let millis = millis.get(..3)?;
    let zone = if zone.is_empty() { "Z" } else { zone };
    let text = format!("{date}T{whole}{seconds}.{millis}{}", zone.to_ascii_uppercase());
    parse(&text).and_then(|(ms, rest)| rest.is_empty().then_some(ms))
}

/// Year, month, day, hour, minute, second and millisecond of a time in ms since 1970, in UTC.
pub(crate) fn fields(ms: i64) -> [i64; 7] {
    let (days, of_day) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    // Years counted from March: the day that leap years add comes last.
    let from_march = days + 719_468;
    let era = from_march.div_euclid(146_097);
    let of_era = from_march.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, year) = if month < 10 { (month + 3, year) } else { (month - 9, year + 1) };
    let (seconds, millis) = (of_day / 1000, of_day % 1000);
    [year + era * 400, month, day, seconds / 3600, seconds / 60 % 60, seconds % 60, millis]
}

/// The time at the beginning of a text, and what follows it.
fn parse(text: &str) -> Option<(i64, &str)> {
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
    let (zone, rest) = zone(rest)?;
    in_range.then(|| {
        let days = days_before(year, month) + day - 1;
        let ms = (((days * 24 + hour) * 60 + minute - zone) * 60 + second) * 1000 + millis;
        (ms, rest)
    })
}

/// Minutes east of Greenwich, and what follows them.
fn zone(text: &str) -> Option<(i64, &str)> {
    let (sign, digits) = match text.split_at_checked(1)? {
        ("Z", rest) => return Some((0, rest)),
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let two = |from: usize| -> Option<i64> {
        let pair = digits.get(from..from + 2)?;
        pair.bytes().all(|digit| digit.is_ascii_digit()).then(|| pair.parse().ok())?
    };
    let hours = two(0)?;
    let with_colon = two(3).filter(|_| digits.get(2..3) == Some(":")).map(|minutes| (minutes, 5));
    let without = || two(2).map(|minutes| (minutes, 4));
    let (minutes, end) = with_colon.or_else(without).unwrap_or((0, 2));
    let rest = digits.get(end..)?;
    (hours < 24 && minutes < 60).then_some((sign * (hours * 60 + minutes), rest))
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
pub(crate) fn duration(text: &str) -> Result<i64, String> {
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
        assert_eq!(date_time("2020-02-29T12:34:56.789Z:more"), Ok(1_582_979_696_789));
        assert_eq!(date_time("2020-02-29T12:34:56.789+02:x"), Ok(1_582_972_496_789));
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

    #[test]
    fn instants_may_leave_out_what_is_zero() {
        assert_eq!(instant("2020-02-29"), Some(1_582_934_400_000));
        assert_eq!(instant("2020-02-29T12:34"), Some(1_582_979_640_000));
        assert_eq!(instant("2020-02-29 12:34:56.7"), Some(1_582_979_696_700));
        assert_eq!(instant("2020-02-29T12:34:56.789123Z"), Some(1_582_979_696_789));
        assert_eq!(instant("2020-02-29T12:34+02:00"), Some(1_582_972_440_000));
        for bad in ["", "2020", "2020-02-30", "2020-02-29T", "2020-02-29T12", "2020-02-29T12:34."] {
            assert_eq!(instant(bad), None, "{bad}");
        }
        for zone in ["Zx", "Z:", "+02:", "+02:0", "+02:000", "+02000", "+0200Z"] {
            assert_eq!(instant(&format!("2020-02-29T12:34{zone}")), None, "{zone}");
        }
    }

    #[test]
    fn the_calendar_goes_both_ways() {
        assert_eq!(fields(0), [1970, 1, 1, 0, 0, 0, 0]);
        assert_eq!(fields(-1), [1969, 12, 31, 23, 59, 59, 999]);
        assert_eq!(fields(1_582_979_696_789), [2020, 2, 29, 12, 34, 56, 789]);
        for day in 0..200_000 {
            let ms = (day - 100_000) * 86_400_000;
            let [year, month, day, ..] = fields(ms);
            assert_eq!((days_before(year, month) + day - 1) * 86_400_000, ms);
        }
    }
}
