//! The types a configuration value can have, and what is wrong with one that has another.

/// The type and range of a key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// `true` or `false`, in any case.
    Boolean,
    /// A 16-bit integer within the bounds, both inclusive.
    Short(i64, i64),
    /// A 32-bit integer within the bounds, both inclusive.
    Int(i64, i64),
    /// A 64-bit integer within the bounds, both inclusive.
    Long(i64, i64),
    /// A number within the bounds, both inclusive.
    Double(f64, f64),
    /// Any text.
    Text,
    /// Any text but none.
    NonEmpty,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// One of these words, in any case.
    OneOfAnyCase(&'static [&'static str]),
    /// A comma-separated list of these words, possibly empty; no words here means any.
    List(&'static [&'static str]),
    /// The same, with one entry at least.
    FullList(&'static [&'static str]),
    /// The name of a Java class.
    Class,
    /// Text that is never shown.
    Password,
    /// A level of gzip: -1, or from 1 to 9.
    GzipLevel,
    /// Where a share group begins: `earliest`, `latest`, or `by_duration:` and an ISO 8601 period.
    OffsetReset,
    /// Replicas to throttle: `*`, or `partition:broker` pairs.
    ThrottledReplicas,
}

/// The types of DescribeConfigs, by their numbers on the wire (KIP-226).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
#[allow(missing_docs)]
pub enum WireType {
    Unknown = 0,
    Boolean = 1,
    String = 2,
    Int = 3,
    Short = 4,
    Long = 5,
    Double = 6,
    List = 7,
    Class = 8,
    Password = 9,
}

/// An operator's or client's mistake in a configuration value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The key.
    pub key: String,
    /// The value as it was given.
    pub value: String,
    /// What is wrong with it, in the words of Apache Kafka: clients show this.
    pub reason: String,
    /// What would be allowed, for the operator's log.
    pub allowed: String,
}

impl Invalid {
    /// A mistake that a sentence of its own tells best.
    pub fn plain(key: &str, sentence: impl Into<String>) -> Self {
        let sentence = sentence.into();
        Self {
            key: key.to_owned(),
            value: String::new(),
            allowed: sentence.clone(),
            reason: sentence,
        }
    }
}

impl std::fmt::Display for Invalid {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.reason == self.allowed && self.value.is_empty() {
            return out.write_str(&self.reason);
        }
        write!(out, "Invalid value {} for configuration {}: {}", self.value, self.key, self.reason)
    }
}

impl std::error::Error for Invalid {}

impl Kind {
    /// The type as DescribeConfigs names it.
    pub fn wire_type(self) -> WireType {
        match self {
            Self::Boolean => WireType::Boolean,
            Self::Short(..) => WireType::Short,
            Self::Int(..) | Self::GzipLevel => WireType::Int,
            Self::Long(..) => WireType::Long,
            Self::Double(..) => WireType::Double,
            Self::Text
            | Self::NonEmpty
            | Self::OneOf(_)
            | Self::OneOfAnyCase(_)
            | Self::OffsetReset => WireType::String,
            Self::List(_) | Self::FullList(_) | Self::ThrottledReplicas => WireType::List,
            Self::Class => WireType::Class,
            Self::Password => WireType::Password,
        }
    }

    /// True for lists, whose entries can be appended and subtracted.
    pub fn is_list(self) -> bool {
        self.wire_type() == WireType::List
    }

    /// Checks `value` against the type and range.
    ///
    /// # Errors
    /// What would be allowed instead.
    pub fn check(self, key: &str, value: &str) -> Result<(), Invalid> {
        let shown = if self == Self::Password { "[hidden]" } else { value };
        let refuse = |(reason, allowed): (String, String)| Invalid {
            key: key.to_owned(),
            value: shown.to_owned(),
            reason,
            allowed,
        };
        let trimmed = value.trim();
        let hollow = !trimmed.is_empty() && value.split(',').any(|entry| entry.trim().is_empty());
        if matches!(self, Self::List(_) | Self::FullList(_)) && hollow {
            let text = format!("Configuration '{key}' values must not be empty.");
            return Err(Invalid::plain(key, text));
        }
        match self {
            Self::Boolean if parse_bool(value).is_some() => Ok(()),
            Self::Boolean => Err((
                "Expected value to be either true or false".to_owned(),
                "expected true or false".to_owned(),
            )),
            Self::Short(low, high) => integer::<i16>(trimmed, "SHORT", 16, low, high),
            Self::Int(low, high) => integer::<i32>(trimmed, "INT", 32, low, high),
            Self::Long(low, high) => integer::<i64>(trimmed, "LONG", 64, low, high),
            Self::GzipLevel => match integer::<i32>(trimmed, "INT", 32, MIN_INT, MAX_INT) {
                Ok(()) if trimmed != "0" && Self::Int(-1, 9).check(key, trimmed).is_ok() => Ok(()),
                Ok(()) => Err((
                    "Value must be between 1 and 9 or equal to -1".to_owned(),
                    "expected -1, or an integer from 1 to 9".to_owned(),
                )),
                error => error,
            },
            Self::OffsetReset if is_offset_reset(trimmed) => Ok(()),
            Self::OffsetReset => Err((
                format!(
                    "Invalid value '{trimmed}' for configuration {key}. The value must be either \
                     'earliest', 'latest' or of the format 'by_duration:<PnDTnHnMn.nS>'."
                ),
                "expected earliest, latest, or by_duration:PnDTnHnMn.nS".to_owned(),
            )),
            Self::Double(low, high) => match trimmed.parse::<f64>() {
                Ok(number) if (low..=high).contains(&number) => Ok(()),
                Ok(number) => {
                    let end = if number < low {
                        format!("Value must be at least {low}")
                    } else {
                        format!("Value must be no more than {high}")
                    };
                    Err((end, format!("expected a number from {low} to {high}")))
                }
                Err(_) => Err((
                    "Not a number of type DOUBLE".to_owned(),
                    format!("expected a number from {low} to {high}"),
                )),
            },
            Self::Text | Self::Class | Self::Password | Self::List([]) => Ok(()),
            Self::NonEmpty if !trimmed.is_empty() => Ok(()),
            Self::NonEmpty => {
                Err(("String must be non-empty".to_owned(), "expected some text".to_owned()))
            }
            Self::OneOf(words) if words.contains(&trimmed) => Ok(()),
            Self::OneOfAnyCase(words)
                if words.iter().any(|word| word.eq_ignore_ascii_case(trimmed)) =>
            {
                Ok(())
            }
            Self::OneOf(words) | Self::OneOfAnyCase(words) => Err((
                format!("String must be one of: {}", words.join(", ")),
                format!("expected one of {}", words.join(", ")),
            )),
            Self::FullList(_) if split_list(value).next().is_none() => Err((
                "Configuration '".to_owned() + key + "' must not be empty.",
                "expected at least one entry".to_owned(),
            )),
            Self::List(words) | Self::FullList(words) => {
                let strange = |word: &&str| !words.is_empty() && !words.contains(word);
                match split_list(value).find(strange) {
                    None => Ok(()),
                    Some(_) => Err((
                        format!("String must be one of: {}", words.join(", ")),
                        format!("expected a list of {}", words.join(", ")),
                    )),
                }
            }
            Self::ThrottledReplicas => {
                let pair = |entry: &str| {
                    let number = |text: &str| {
                        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
                    };
                    entry.split_once(':').is_some_and(|(left, right)| number(left) && number(right))
                };
                if trimmed == "*" || split_list(value).all(pair) {
                    Ok(())
                } else {
                    let form = "[partitionId]:[brokerId],[partitionId]:[brokerId],...";
                    Err((
                        format!(
                            "{key} must be the literal '*' or a list of replicas in the \
                             following format: {form}"
                        ),
                        format!("expected * or {form}"),
                    ))
                }
            }
        }
        .map_err(refuse)
    }
}

fn integer<T: std::str::FromStr + Into<i64>>(
    text: &str,
    name: &str,
    bits: u32,
    low: i64,
    high: i64,
) -> Result<(), (String, String)> {
    let Ok(number) = text.parse::<T>() else {
        let reason = format!("Not a number of type {name}");
        return Err((reason, format!("expected a {bits}-bit integer")));
    };
    let number: i64 = number.into();
    if (low..=high).contains(&number) {
        return Ok(());
    }
    let reason = if number < low {
        format!("Value must be at least {low}")
    } else {
        format!("Value must be no more than {high}")
    };
    let unbounded = high == i64::from(i32::MAX) || high == i64::MAX || high == i64::from(i16::MAX);
    let allowed = match unbounded {
        true => format!("expected an integer of at least {low}"),
        false => format!("expected an integer from {low} to {high}"),
    };
    Err((reason, allowed))
}

fn is_offset_reset(text: &str) -> bool {
    let Some(period) = text.strip_prefix("by_duration:") else {
        return text == "earliest" || text == "latest";
    };
    let Some(period) = period.strip_prefix('P') else { return false };
    let (days, time) = match period.split_once('T') {
        Some((days, time)) if !time.is_empty() => (days, time),
        Some(_) => return false,
        None => (period, ""),
    };
    // Each unit at most once, in this order, each with a number before it.
    let units = |text: &str, units: &str| {
        let mut rest = text;
        for unit in units.chars() {
            if let Some((number, after)) = rest.split_once(unit) {
                if number.is_empty() || number.parse::<f64>().is_err() || number.starts_with('-') {
                    return false;
                }
                rest = after;
            }
        }
        rest.is_empty()
    };
    !(days.is_empty() && time.is_empty()) && units(days, "D") && units(time, "HMS")
}

/// The words of a comma-separated list.
pub fn split_list(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|word| !word.is_empty())
}

/// A value as Apache Kafka shows it: parsed by its type and written again.
pub fn shown(kind: Kind, value: &str) -> String {
    let trimmed = value.trim();
    match kind {
        Kind::Boolean => trimmed.to_ascii_lowercase(),
        Kind::List(_) | Kind::FullList(_) | Kind::ThrottledReplicas => {
            let mut words: Vec<&str> = Vec::new();
            for word in split_list(value) {
                if !words.contains(&word) {
                    words.push(word);
                }
            }
            words.join(",")
        }
        Kind::Short(..) | Kind::Int(..) | Kind::Long(..) | Kind::GzipLevel => {
            trimmed.parse::<i64>().map_or_else(|_| trimmed.to_owned(), |number| number.to_string())
        }
        _ => trimmed.to_owned(),
    }
}

/// A boolean as Java's configuration parser takes it.
pub fn parse_bool(value: &str) -> Option<bool> {
    let value = value.trim();
    if value.eq_ignore_ascii_case("true") {
        return Some(true);
    }
    value.eq_ignore_ascii_case("false").then_some(false)
}

/// The largest 64-bit integer.
pub(crate) const MAX: i64 = i64::MAX;
/// The smallest one.
pub(crate) const MIN: i64 = i64::MIN;
/// The largest 32-bit integer.
pub(crate) const MAX_INT: i64 = i32::MAX as i64;
/// The smallest one.
pub(crate) const MIN_INT: i64 = i32::MIN as i64;
/// The largest 16-bit integer.
pub(crate) const MAX_SHORT: i64 = i16::MAX as i64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_out_of_type_or_range_say_what_is_allowed() {
        let error = Kind::Int(1, 9).check("k", "10").unwrap_err();
        assert_eq!(error.allowed, "expected an integer from 1 to 9");
        assert_eq!(
            error.to_string(),
            "Invalid value 10 for configuration k: Value must be no more than 9"
        );
        let error = Kind::Long(-1, i64::MAX).check("retention.ms", "soon").unwrap_err();
        assert_eq!(
            error.to_string(),
            "Invalid value soon for configuration retention.ms: Not a number of type LONG"
        );
        assert!(Kind::Int(1, 9).check("k", "x").is_err());
        assert!(Kind::Short(1, 9).check("k", "40000").is_err());
        assert!(Kind::Boolean.check("k", "TRUE").is_ok());
        assert!(Kind::List(&["a", "b"]).check("k", "a, b").is_ok());
        assert!(Kind::List(&["a", "b"]).check("k", "").is_ok());
        assert!(Kind::FullList(&["a", "b"]).check("k", " ,").is_err());
        let hollow = Kind::List(&["a", "b"]).check("k", "a,").unwrap_err();
        assert_eq!(hollow.to_string(), "Configuration 'k' values must not be empty.");
        assert!(Kind::List(&["a", "b"]).check("k", "a,c").is_err());
        assert!(Kind::Double(0.0, 1.0).check("k", "NaN").is_err());
        assert!(Kind::OneOfAnyCase(&["UPGRADE"]).check("k", "upgrade").is_ok());
        assert!(Kind::ThrottledReplicas.check("k", "0:1,1:2").is_ok());
        assert!(Kind::ThrottledReplicas.check("k", "0:1:2").is_err());
    }

    #[test]
    fn values_are_shown_as_they_were_understood() {
        assert_eq!(shown(Kind::Boolean, " TRUE"), "true");
        assert_eq!(shown(Kind::List(&[]), " a , b,a"), "a,b");
        assert_eq!(shown(Kind::Long(0, MAX), " 5000 "), "5000");
    }

    #[test]
    fn offset_resets_and_gzip_levels_have_grammars_of_their_own() {
        for (text, ok) in [
            ("latest", true),
            ("EARLIEST", false),
            ("by_duration:PT1H", true),
            ("by_duration:P1DT2H3M4.5S", true),
            ("by_duration:-PT1H", false),
            ("by_duration:P", false),
            ("by_duration:x", false),
        ] {
            assert_eq!(Kind::OffsetReset.check("k", text).is_ok(), ok, "{text}");
        }
        for (text, ok) in [("-1", true), ("0", false), ("1", true), ("10", false), ("x", false)] {
            assert_eq!(Kind::GzipLevel.check("k", text).is_ok(), ok, "{text}");
        }
    }

    #[test]
    fn a_password_is_not_shown_in_its_refusal() {
        let refusal = Kind::Password.check("k", "secret");
        assert!(refusal.is_ok());
        assert_eq!(Kind::Password.wire_type() as i8, 9);
    }
}
