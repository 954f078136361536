//! The types a configuration value can have, and what is wrong with one that has another.

/// The type and range of a key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// `true` or `false`, in any case.
    Boolean,
    /// A 32-bit integer within the bounds, both inclusive.
    Int(i64, i64),
    /// A 64-bit integer within the bounds, both inclusive.
    Long(i64, i64),
    /// A number within the bounds, both inclusive.
    Double(f64, f64),
    /// Any text.
    Text,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A comma-separated list of these words; empty means any word.
    List(&'static [&'static str]),
}

/// An operator's or client's mistake in a configuration value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The key.
    pub key: String,
    /// The value as it was given.
    pub value: String,
    /// What would be allowed.
    pub allowed: String,
}

impl std::fmt::Display for Invalid {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Invalid value {} for configuration {}: {}", self.value, self.key, self.allowed)
    }
}

impl std::error::Error for Invalid {}

impl Kind {
    /// Checks `value` against the type and range.
    ///
    /// # Errors
    /// What would be allowed instead.
    pub fn check(self, key: &str, value: &str) -> Result<(), Invalid> {
        let allowed = match self {
            Self::Boolean if parse_bool(value).is_some() => return Ok(()),
            Self::Boolean => "expected true or false".to_owned(),
            Self::Int(low, high) => match value.trim().parse::<i32>() {
                Ok(number) if (low..=high).contains(&i64::from(number)) => return Ok(()),
                Ok(_) => format!("expected an integer from {low} to {high}"),
                Err(_) => "expected a 32-bit integer".to_owned(),
            },
            Self::Long(low, high) => match value.trim().parse::<i64>() {
                Ok(number) if (low..=high).contains(&number) => return Ok(()),
                Ok(_) => format!("expected an integer from {low} to {high}"),
                Err(_) => "expected a 64-bit integer".to_owned(),
            },
            Self::Double(low, high) => match value.trim().parse::<f64>() {
                Ok(number) if (low..=high).contains(&number) => return Ok(()),
                _ => format!("expected a number from {low} to {high}"),
            },
            Self::Text => return Ok(()),
            Self::OneOf(words) if words.contains(&value.trim()) => return Ok(()),
            Self::OneOf(words) => format!("expected one of {}", words.join(", ")),
            Self::List([]) => return Ok(()),
            Self::List(words) => {
                if split_list(value).all(|word| words.contains(&word)) {
                    return Ok(());
                }
                format!("expected a list of {}", words.join(", "))
            }
        };
        Err(Invalid { key: key.to_owned(), value: value.to_owned(), allowed })
    }
}

/// The words of a comma-separated list.
pub fn split_list(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|word| !word.is_empty())
}

/// A boolean as Java's configuration parser takes it.
pub fn parse_bool(value: &str) -> Option<bool> {
    let value = value.trim();
    if value.eq_ignore_ascii_case("true") {
        return Some(true);
    }
    value.eq_ignore_ascii_case("false").then_some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_out_of_type_or_range_say_what_is_allowed() {
        let error = Kind::Int(1, 9).check("k", "10").unwrap_err();
        assert_eq!(error.allowed, "expected an integer from 1 to 9");
        assert!(Kind::Int(1, 9).check("k", "x").is_err());
        assert!(Kind::Boolean.check("k", "TRUE").is_ok());
        assert!(Kind::List(&["a", "b"]).check("k", "a, b").is_ok());
        assert!(Kind::List(&["a", "b"]).check("k", "a,c").is_err());
        assert!(Kind::Double(0.0, 1.0).check("k", "NaN").is_err());
    }
}
