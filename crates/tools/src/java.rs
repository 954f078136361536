//! What Java prints: numbers, optionals, JSON, paths. Tools whose output must equal that of Apache
//! Kafka's need the platform's habits, too.

use std::borrow::Cow;
use std::fmt::Write as _;

use messages::schema::{Message, Type};
use regex_lite::Regex;
use serde_json::Value;

/// `Double.toString`: plain between 0.001 and 10 million, else with an exponent; always a point.
pub fn double(value: f64) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity".into() } else { "-Infinity".into() };
    }
    if value == 0.0 || (1e-3..1e7).contains(&value.abs()) {
        return format!("{value:?}");
    }
    exponential(&format!("{value:e}"))
}

/// `Float.toString`, by the same rules.
pub fn float(value: f32) -> String {
    // What is special or plain is the same number as a double, but not with the same digits.
    if !value.is_finite() || value == 0.0 {
        return double(f64::from(value));
    }
    if (1e-3..1e7).contains(&value.abs()) {
        return format!("{value:?}");
    }
    exponential(&format!("{value:e}"))
}

/// `1.5e7` as Java writes it.
fn exponential(text: &str) -> String {
    let (digits, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let point = if digits.contains('.') { "" } else { ".0" };
    format!("{digits}{point}E{exponent}")
}

/// Decodes UTF-8 as Java's readers do: U+FFFD for what is none, and one for an encoded surrogate.
pub fn text(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(bytes.len());
    let mut surrogate = 0;
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.valid().is_empty() {
            surrogate = 0;
        }
        match (surrogate, chunk.invalid()) {
            (_, []) => {}
            // The three bytes of a surrogate come as chunks of one byte each.
            (1, [second]) if (0xa0..0xc0).contains(second) => surrogate = 2,
            (2, [third]) if (0x80..0xc0).contains(third) => surrogate = 0,
            (_, invalid) => {
                text.push(char::REPLACEMENT_CHARACTER);
                surrogate = u8::from(invalid == [0xed]);
            }
        }
    }
    Cow::Owned(text)
}

/// `OptionalLong.toString`.
pub fn optional_long(value: Option<i64>) -> String {
    value.map_or_else(|| "OptionalLong.empty".into(), |value| format!("OptionalLong[{value}]"))
}

/// `File.toString`: without doubled and trailing slashes.
pub fn file(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for letter in path.chars() {
        if letter != '/' || !text.ends_with('/') {
            text.push(letter);
        }
    }
    if text.len() > 1 && text.ends_with('/') {
        text.pop();
    }
    text
}

/// `String.split(",")`: what is empty at the end is dropped, in between it stays.
pub fn split(text: &str, at: char) -> Vec<&str> {
    let mut parts: Vec<&str> = text.split(at).collect();
    while parts.len() > 1 && parts.last().is_some_and(|last| last.is_empty()) {
        parts.pop();
    }
    if parts == [""] && !text.is_empty() {
        parts.clear();
    }
    parts
}

/// `String.split` at a pattern: as [`split`], and what matches nothing at the beginning leaves
/// nothing before it.
pub fn split_at<'a>(text: &'a str, pattern: &Regex) -> Vec<&'a str> {
    let mut parts = Vec::new();
    let mut start = 0;
    for found in pattern.find_iter(text).filter(|found| found.end() > 0) {
        parts.extend(text.get(start..found.start()));
        start = found.end();
    }
    if parts.is_empty() {
        return vec![text];
    }
    parts.extend(text.get(start..));
    while parts.last().is_some_and(|last| last.is_empty()) {
        parts.pop();
    }
    parts
}

/// `String.hashCode`.
pub fn string_hash(text: &str) -> i32 {
    text.encode_utf16()
        .fold(0, |hash, unit| i32::wrapping_add(i32::wrapping_mul(hash, 31), i32::from(unit)))
}

/// The order in which a `HashMap` made for `capacity` entries gives back what was put in.
/// `new HashMap<>()` is a capacity of 16.
pub fn map_order<K>(keys: Vec<K>, hash: impl Fn(&K) -> i32, capacity: usize) -> Vec<K> {
    let mut buckets = capacity.max(1).next_power_of_two();
    // Growing keeps the order within a bucket, so the final size is all that counts.
    while keys.len() > buckets * 3 / 4 {
        buckets *= 2;
    }
    let place = |key: &K| {
        let hash = hash(key) as u32;
        (hash ^ (hash >> 16)) as usize & (buckets - 1)
    };
    let mut placed: Vec<(usize, K)> = keys.into_iter().map(|key| (place(&key), key)).collect();
    placed.sort_by_key(|(bucket, _)| *bucket);
    placed.into_iter().map(|(_, key)| key).collect()
}

/// The order in which Apache Kafka's admin client gives back the descriptions of these topics:
/// that of three maps one after the other, of futures, a copy of it, and of descriptions.
pub fn described_order(names: Vec<String>) -> Vec<String> {
    let count = names.len();
    let hash = |name: &String| string_hash(name);
    let names = map_order(names, hash, count);
    let names = map_order(names, hash, (count as f64 / 0.75 + 1.0) as usize);
    map_order(names, hash, count)
}

/// `%-Ns`: at least so many characters. `format!` knows no widths beyond 65,535, and what a
/// cluster sends may be longer.
pub fn pad(text: &str, width: usize) -> String {
    let missing = width.saturating_sub(text.chars().count());
    let mut padded = String::with_capacity(text.len() + missing);
    padded.push_str(text);
    padded.extend(std::iter::repeat_n(' ', missing));
    padded
}

/// `Integer.parseInt` and `Long.parseLong`, with the words of their exceptions.
pub fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    let digits = text.strip_prefix('+').filter(|rest| !rest.starts_with(['+', '-']));
    digits.unwrap_or(text).parse().map_err(|_| format!("For input string: \"{text}\""))
}

/// What stands in for the JSON of a byte field, by field name and content.
pub type ByteField<'a> = &'a dyn Fn(&str, &Value) -> Option<String>;

/// A message's JSON with its fields in the order of the schema, as Jackson prints it.
pub fn message_json(message: &Message, json: &Value) -> String {
    message_json_with(message, json, &|_, _| None)
}

/// As [`message_json`], with byte fields replaced where `bytes` knows better.
pub fn message_json_with(message: &Message, json: &Value, bytes: ByteField<'_>) -> String {
    let mut out = String::new();
    write_value(message, Type::Struct(0), json, bytes, &mut out);
    out
}

fn write_value(
    message: &Message,
    kind: Type,
    json: &Value,
    bytes: ByteField<'_>,
    out: &mut String,
) {
    match (kind, json) {
        (_, Value::Array(items)) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_value(message, kind, item, bytes, out);
            }
            out.push(']');
        }
        (Type::Struct(index), Value::Object(object)) => {
            let fields = message.structs.get(index).map_or(&[][..], |found| found.fields);
            let present = fields.iter().filter_map(|field| Some((field, object.get(field.name)?)));
            out.push('{');
            for (index, (field, value)) in present.enumerate() {
                let comma = if index > 0 { "," } else { "" };
                let _ = write!(out, "{comma}\"{}\":", field.name);
                let replaced = match field.element {
                    Type::Bytes => bytes(field.name, value),
                    _ => None,
                };
                match replaced {
                    Some(text) => out.push_str(&text),
                    None => write_value(message, field.element, value, bytes, out),
                }
            }
            out.push('}');
        }
        (Type::Float64, Value::Number(number)) => {
            out.push_str(&double(number.as_f64().unwrap_or(f64::NAN)));
        }
        (Type::Float64, Value::Null) => out.push_str("\"NaN\""),
        (_, Value::String(text)) => string_json(text, out),
        (_, other) => {
            let _ = write!(out, "{other}");
        }
    }
}

/// A string in quotes, escaped as Jackson does.
pub fn string_json(text: &str, out: &mut String) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if control < ' ' => {
                let _ = write!(out, "\\u{:04X}", u32::from(control));
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_look_like_javas() {
        let pairs = [
            (0.0, "0.0"),
            (1024.0, "1024.0"),
            (1e7, "1.0E7"),
            (1.25e10, "1.25E10"),
            (0.0005, "5.0E-4"),
            (-0.5, "-0.5"),
            (f64::INFINITY, "Infinity"),
        ];
        for (value, text) in pairs {
            assert_eq!(double(value), text);
        }
    }

    #[test]
    fn floats_have_digits_of_their_own() {
        let pairs = [
            (2.610_078_8e20, "2.6100788E20"),
            (0.1, "0.1"),
            (1e-5, "1.0E-5"),
            (-0.0, "-0.0"),
            (f32::NAN, "NaN"),
            (f32::NEG_INFINITY, "-Infinity"),
        ];
        for (value, text) in pairs {
            assert_eq!(float(value), text);
        }
    }

    #[test]
    fn what_is_not_utf_8_is_replaced_as_in_java() {
        for (bytes, expected) in [
            (&b"plain"[..], "plain"),
            (b"a\xffb\xfe", "a\u{fffd}b\u{fffd}"),
            // Cut short: one for what could have begun a letter.
            (b"\xe2\x82x", "\u{fffd}x"),
            (b"\xe2\x82", "\u{fffd}"),
            // A surrogate, and two of them; what only begins like one.
            (b"\xed\xa0\x80x", "\u{fffd}x"),
            (b"\xed\xa0\x80\xed\xb0\x80", "\u{fffd}\u{fffd}"),
            (b"\xed\xa0", "\u{fffd}"),
            (b"\xc0\x80", "\u{fffd}\u{fffd}"),
            (b"\xf0\x9f\x98\x80", "\u{1f600}"),
        ] {
            assert_eq!(text(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn paths_and_lists_look_like_javas() {
        assert_eq!(file("a//b/"), "a/b");
        assert_eq!(file("/"), "/");
        assert_eq!(split("a,,b,,", ','), ["a", "", "b"]);
        assert_eq!(split("", ','), [""]);
        assert!(split(",", ',').is_empty());
    }

    #[test]
    fn maps_have_the_order_of_javas() {
        assert_eq!(string_hash("__consumer_offsets"), -970_371_369);
        let names = ["__consumer_offsets", "__mine", "a", "a.b", "b", "c1", "c2", "r1"];
        // As kafka-topics --describe of 4.3.1 showed them.
        let order = described_order(names.map(str::to_owned).to_vec());
        assert_eq!(order, ["a", "b", "a.b", "__mine", "__consumer_offsets", "c1", "c2", "r1"]);
    }

    #[test]
    fn padding_never_cuts_and_has_no_limit() {
        assert_eq!(pad("äb", 4), "äb  ");
        assert_eq!(pad("abc", 2), "abc");
        assert_eq!(pad("", 100_000).len(), 100_000);
    }

    #[test]
    fn numbers_fail_in_javas_words() {
        assert_eq!(number::<i32>("+7"), Ok(7));
        assert_eq!(number::<i32>("+-7").unwrap_err(), "For input string: \"+-7\"");
        assert_eq!(number::<i32>("").unwrap_err(), "For input string: \"\"");
    }

    #[test]
    fn json_has_the_order_of_the_schema_and_upper_case_escapes() {
        let message = Message::find("TopicRecord").unwrap();
        let json = serde_json::json!({ "topicId": "AAAAAAAAAAAAAAAAAAAAAQ", "name": "a\u{1f}\"" });
        assert_eq!(
            message_json(message, &json),
            "{\"name\":\"a\\u001F\\\"\",\"topicId\":\"AAAAAAAAAAAAAAAAAAAAAQ\"}"
        );
    }
}
