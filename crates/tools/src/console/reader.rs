//! What a line of the producer's input means: `[headers DELIMITER][key SEPARATOR]value`, by the
//! properties of Apache Kafka's `LineMessageReader`.
//!
//! Invariant I1: a line that can't be read is an error that names its number and never a record,
//! unless `ignore.error` says that the part is absent then.

use std::borrow::Cow;

use client::Record;
use regex_lite::Regex;

use super::{Properties, is_true};
use crate::java;

/// See the module.
#[derive(Debug)]
pub(super) struct Reader {
    topic: String,
    parse_key: bool,
    key_separator: String,
    parse_headers: bool,
    headers_delimiter: String,
    headers_separator: Regex,
    header_key_separator: String,
    null_marker: Option<String>,
    ignore_errors: bool,
}

impl Reader {
    /// Reads the properties; `topic` is one of them.
    ///
    /// # Errors
    /// Separators that can't be told apart.
    pub fn new(properties: &Properties) -> Result<Self, String> {
        let text = |key: &str, default: &str| {
            properties.get(key).map_or_else(|| default.to_owned(), String::clone)
        };
        let headers_delimiter = text("headers.delimiter", "\t");
        let headers_separator = text("headers.separator", ",");
        let header_key_separator = text("headers.key.separator", ":");
        let key_separator = text("key.separator", "\t");
        let null_marker = properties.get("null.marker").cloned();
        let delimiter = ("headers.delimiter", Some(&headers_delimiter));
        let separator = ("headers.separator", Some(&headers_separator));
        let of_key = ("headers.key.separator", Some(&header_key_separator));
        let marker = ("null.marker", null_marker.as_ref());
        for ((left, value), (right, other)) in [
            (delimiter, separator),
            (delimiter, of_key),
            (separator, of_key),
            (marker, ("key.separator", Some(&key_separator))),
            (marker, separator),
            (marker, delimiter),
            (marker, of_key),
        ] {
            if value.is_some() && value == other {
                return Err(format!("{left} and {right} may not be equal"));
            }
        }
        let headers_separator = Regex::new(&headers_separator).map_err(|error| {
            format!("headers.separator={headers_separator} is no regular expression: {error}")
        })?;
        Ok(Self {
            topic: text("topic", ""),
            parse_key: is_true(properties, "parse.key"),
            key_separator,
            parse_headers: is_true(properties, "parse.headers"),
            headers_delimiter,
            headers_separator,
            header_key_separator,
            null_marker,
            ignore_errors: is_true(properties, "ignore.error"),
        })
    }

    /// Where records go.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The record that a line, the `number`th, stands for.
    ///
    /// # Errors
    /// A separator is missing, or a header's name is the null marker.
    pub fn read(&self, line: &str, number: u64) -> Result<Record, String> {
        let mut record = Record { topic: self.topic.clone(), ..Record::default() };
        let mut rest = line;
        let mut part = |wanted: bool, end: &str, name: &str| {
            if !wanted {
                return Ok(None);
            }
            match rest.split_once(end) {
                Some((part, then)) => {
                    rest = then;
                    Ok(Some(part))
                }
                None if self.ignore_errors => Ok(None),
                None => {
                    let line = beginning(line);
                    Err(format!("No {name} found on line number {number}: '{line}'"))
                }
            }
        };
        let headers = part(self.parse_headers, &self.headers_delimiter, "headers delimiter")?;
        let key = part(self.parse_key, &self.key_separator, "key separator")?;
        if let Some(headers) = headers.filter(|text| !self.is_null(text)) {
            self.read_headers(headers, number, &mut record)?;
        }
        let bytes = |text: &str| text.as_bytes().to_vec().into();
        record.key = key.filter(|text| !self.is_null(text)).map(bytes);
        record.value = Some(rest).filter(|text| !self.is_null(text)).map(bytes);
        Ok(record)
    }

    fn is_null(&self, text: &str) -> bool {
        self.null_marker.as_deref() == Some(text)
    }

    fn read_headers(&self, text: &str, number: u64, record: &mut Record) -> Result<(), String> {
        for pair in java::split_at(text, &self.headers_separator) {
            let Some((name, value)) = pair.split_once(&self.header_key_separator) else {
                if self.ignore_errors {
                    record.headers.push((pair.to_owned(), None));
                    continue;
                }
                let pair = beginning(pair);
                return Err(format!(
                    "No header key separator found in pair '{pair}' on line number {number}"
                ));
            };
            if self.is_null(name) {
                return Err(format!(
                    "Header keys should not be equal to the null marker '{name}' as they can't be \
                     null"
                ));
            }
            let value = Some(value).filter(|text| !self.is_null(text));
            let value = value.map(|text| text.as_bytes().to_vec().into());
            record.headers.push((name.to_owned(), value));
        }
        Ok(())
    }
}

/// As much of a line as a message needs.
fn beginning(line: &str) -> Cow<'_, str> {
    match line.char_indices().nth(TOLD_MAX) {
        Some((end, _)) => Cow::Owned(format!("{}...", line.get(..end).unwrap_or_default())),
        None => Cow::Borrowed(line),
    }
}

/// Letters of a line that a message quotes.
const TOLD_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(pairs: &[(&str, &str)]) -> Result<Reader, String> {
        let pairs = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Reader::new(&pairs.collect())
    }

    fn read(pairs: &[(&str, &str)], line: &str) -> String {
        let record = match reader(pairs).unwrap().read(line, 7) {
            Ok(record) => record,
            Err(error) => return error,
        };
        let text = |bytes: Option<wire::Bytes>| {
            bytes.map_or("-".to_owned(), |bytes| String::from_utf8(bytes.to_vec()).unwrap())
        };
        let headers = record.headers.into_iter();
        let headers: Vec<_> =
            headers.map(|(name, value)| format!("{name}={}", text(value))).collect();
        format!("{} {} {}", headers.join("&"), text(record.key), text(record.value))
    }

    const HEADERS: (&str, &str) = ("parse.headers", "true");
    const KEY: (&str, &str) = ("parse.key", " True ");
    const NULL: (&str, &str) = ("null.marker", "N");
    const IGNORE: (&str, &str) = ("ignore.error", "true");

    #[test]
    fn parts_end_at_the_first_separator() {
        assert_eq!(read(&[], "a\tb"), " - a\tb");
        assert_eq!(read(&[KEY], "a\tb\tc"), " a b\tc");
        assert_eq!(read(&[KEY], "a"), "No key separator found on line number 7: 'a'");
        assert!(read(&[KEY], &"\u{e9}".repeat(10_000)).ends_with("\u{e9}\u{e9}...'"));
        assert_eq!(read(&[HEADERS, KEY], "a:1,b:2:3\tk\tv"), "a=1&b=2:3 k v");
        assert_eq!(read(&[HEADERS], "a"), "No headers delimiter found on line number 7: 'a'");
        let more = [HEADERS, KEY, ("headers.delimiter", "||"), ("key.separator", "ä")];
        assert_eq!(read(&more, "a:1||köy|ävä"), "a=1 köy| vä");
        assert_eq!(read(&[KEY, IGNORE], "a"), " - a");
        assert_eq!(read(&[HEADERS, KEY, IGNORE], "a:1\tv"), "a=1 - v");
    }

    #[test]
    fn null_has_a_marker() {
        let all = [HEADERS, KEY, NULL];
        assert_eq!(read(&all, "N\tN\tN"), " - -");
        assert_eq!(read(&all, "a:N\t\t"), "a=-  ");
        assert!(read(&all, "N:1\tk\tv").starts_with("Header keys should not be equal to the null"));
    }

    #[test]
    fn headers_are_split_as_java_splits() {
        let pair =
            |pair: &str| format!("No header key separator found in pair '{pair}' on line number 7");
        assert_eq!(read(&[HEADERS], "a:1,\tv"), "a=1 - v", "what is empty at the end is nothing");
        assert_eq!(read(&[HEADERS], ",\tv"), " - v");
        assert_eq!(read(&[HEADERS], "\tv"), pair(""));
        assert_eq!(read(&[HEADERS], "a:1,,b:2\tv"), pair(""));
        assert_eq!(read(&[HEADERS, IGNORE], "a:1,b\tv"), "a=1&b=- - v");
        let regex = [HEADERS, ("headers.separator", "[;,] *")];
        assert_eq!(read(&regex, "a:1; b:2,c:3\tv"), "a=1&b=2&c=3 - v");
        assert_eq!(read(&[HEADERS, ("headers.separator", "|")], "a:\tv"), pair("a"));
        assert!(reader(&[("headers.separator", "[")]).is_err());
    }

    #[test]
    fn separators_must_be_told_apart() {
        for (pairs, error) in [
            (&[("headers.delimiter", ",")][..], "headers.delimiter and headers.separator"),
            (&[("headers.delimiter", ":")], "headers.delimiter and headers.key.separator"),
            (&[("headers.separator", ":")], "headers.separator and headers.key.separator"),
            (&[("null.marker", ":")], "null.marker and headers.key.separator"),
            (&[("null.marker", "\t")], "null.marker and key.separator"),
            (
                &[("null.marker", ";"), ("headers.delimiter", ";")],
                "null.marker and headers.delimiter",
            ),
        ] {
            assert_eq!(reader(pairs).unwrap_err(), format!("{error} may not be equal"));
        }
        assert!(reader(&[("key.separator", "\t")]).is_ok(), "as the headers' delimiter");
    }
}
