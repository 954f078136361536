//! The keys of a client metrics subscription (KIP-714), resource type 16.
//!
//! Subscriptions are kept and described; no client is asked for metrics until a receiver exists.

use std::collections::BTreeMap;

use crate::value::{Invalid, Kind, MAX_INT, MIN_INT, split_list};

/// The keys: name, type, default.
pub const ROWS: &[(&str, Kind, &str)] = &[
    ("interval.ms", Kind::Int(MIN_INT, MAX_INT), "300000"),
    ("match", Kind::List(&[]), ""),
    ("metrics", Kind::List(&[]), ""),
];

/// What a pattern of `match` can be about.
const SELECTORS: [&str; 6] = [
    "client_instance_id",
    "client_id",
    "client_software_name",
    "client_software_version",
    "client_source_address",
    "client_source_port",
];

/// Why a subscription is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// INVALID_REQUEST.
    Request(String),
    /// INVALID_CONFIG.
    Config(String),
}

/// Checks a subscription.
///
/// # Errors
/// An unknown key or a bad value.
pub fn validate(overrides: &BTreeMap<String, String>) -> Result<(), Refusal> {
    for (key, value) in overrides {
        let Some((_, kind, _)) = ROWS.iter().find(|(name, ..)| name == key) else {
            return Err(Refusal::Request(format!("Unknown client metrics configuration: {key}")));
        };
        kind.check(key, value).map_err(|invalid: Invalid| Refusal::Config(invalid.to_string()))?;
        if key == "interval.ms" {
            let number = value.trim().parse::<i64>().unwrap_or_default();
            if !(100..=3_600_000).contains(&number) {
                return Err(Refusal::Request(format!(
                    "Invalid value {number} for interval.ms, interval must be between 100 and \
                     3600000 (1 hour)"
                )));
            }
        }
        if key == "match"
            && let Some(bad) = split_list(value).find(|pattern| !is_pattern(pattern))
        {
            let text = format!("Illegal client matching pattern: {bad}");
            return Err(Refusal::Config(text));
        }
    }
    Ok(())
}

/// `selector=expression`, with brackets of the expression in pairs: the full grammar of Java's
/// expressions is judged by whoever evaluates them.
fn is_pattern(pattern: &str) -> bool {
    let Some((selector, expression)) = pattern.split_once('=') else { return false };
    let mut depth = 0i32;
    let mut escaped = false;
    for byte in expression.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            _ => {}
        }
        if depth < 0 {
            return false;
        }
    }
    SELECTORS.contains(&selector.trim()) && depth == 0 && !escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscriptions_are_checked_as_apache_kafka_checks_them() {
        let check = |key: &str, value: &str| {
            validate(&BTreeMap::from([(key.to_owned(), value.to_owned())]))
        };
        assert!(check("interval.ms", "100").is_ok());
        assert!(matches!(check("interval.ms", "99"), Err(Refusal::Request(_))));
        assert!(matches!(check("interval.ms", "x"), Err(Refusal::Config(_))));
        assert!(matches!(check("nosuch", "x"), Err(Refusal::Request(_))));
        for (pattern, ok) in
            [("client_id=a.*", true), ("foo", false), ("foo=bar", false), ("client_id=[", false)]
        {
            assert_eq!(check("match", pattern).is_ok(), ok, "{pattern}");
        }
    }
}
