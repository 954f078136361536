//! How records are written and read as text: formats such as `%k\t%v\n`, and JSON lines.
//!
//! Owns: the language of formats (letters as rpk and kcat users know them), and the JSON of a
//! record, which [`Input::Json`] reads back: bytes that are no UTF-8 stand in `key_base64` and
//! `value_base64`.
//!
//! Invariant I1: writing a record allocates nothing but what a modifier needs.

use std::collections::BTreeMap;
use std::io::{self, Write};

use client::{ConsumerRecord, Record};
use messages::json::{base64, unbase64};
use serde_json::Value;
use serde_json::value::RawValue;
use wire::Bytes;

use crate::time;

/// A format that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Format(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Topic,
    Partition,
    Offset,
    Epoch,
    /// How many records were written before.
    Count,
    Key(Coding),
    Value(Coding),
    KeyLength,
    ValueLength,
    HeaderCount,
    Time(Clock),
    /// Each header by a format of its own.
    Headers(Format),
}

/// How bytes are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Plain,
    Hex,
    Base64,
    /// A JSON string.
    Json,
}

/// How a timestamp is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Clock {
    Millis,
    Seconds,
    Rfc3339,
    Strftime(String),
}

impl Format {
    /// Reads a format.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut letters = text;
        let format = Self::pieces(&mut letters, false)?;
        Ok(format)
    }

    /// Pieces up to the end, or, within a header's format, up to the closing brace.
    fn pieces(rest: &mut &str, nested: bool) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut text = String::new();
        loop {
            let Some(letter) = next(rest) else {
                if nested {
                    return Err("%h{ has no closing brace".into());
                }
                break;
            };
            match letter {
                '}' if nested => break,
                '\\' => text.push(escape(rest)?),
                '%' => match next(rest) {
                    Some('%') => text.push('%'),
                    Some(letter) => {
                        if !text.is_empty() {
                            pieces.push(Piece::Text(std::mem::take(&mut text)));
                        }
                        pieces.push(Self::piece(letter, rest, nested)?);
                    }
                    None => return Err("a lone % at the end: %% is a percent sign".into()),
                },
                other => text.push(other),
            }
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        Ok(Self(pieces))
    }

    fn piece(letter: char, rest: &mut &str, nested: bool) -> Result<Piece, String> {
        Ok(match letter {
            'k' => Piece::Key(Coding::read(rest)?),
            'v' => Piece::Value(Coding::read(rest)?),
            'K' => Piece::KeyLength,
            'V' => Piece::ValueLength,
            't' if !nested => Piece::Topic,
            'p' if !nested => Piece::Partition,
            'o' if !nested => Piece::Offset,
            'e' if !nested => Piece::Epoch,
            'i' if !nested => Piece::Count,
            'H' if !nested => Piece::HeaderCount,
            'd' if !nested => Piece::Time(Clock::read(rest)?),
            'h' if !nested => {
                let inner = rest.strip_prefix('{');
                *rest = inner.ok_or("%h needs the format of a header: %h{%k=%v }")?;
                Piece::Headers(Self::pieces(rest, true)?)
            }
            other => return Err(format!("%{other} is not known; {KNOWN}")),
        })
    }

    /// Writes a record, the `count`th after the first.
    pub fn write(
        &self,
        out: &mut dyn Write,
        record: &ConsumerRecord,
        count: u64,
    ) -> io::Result<()> {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.write_all(text.as_bytes())?,
                Piece::Topic => out.write_all(record.topic.as_bytes())?,
                Piece::Partition => write!(out, "{}", record.partition)?,
                Piece::Offset => write!(out, "{}", record.offset)?,
                Piece::Epoch => write!(out, "{}", record.leader_epoch.unwrap_or(-1))?,
                Piece::Count => write!(out, "{count}")?,
                Piece::Key(coding) => coding.write(out, record.key.as_ref())?,
                Piece::Value(coding) => coding.write(out, record.value.as_ref())?,
                Piece::KeyLength => write!(out, "{}", length(record.key.as_ref()))?,
                Piece::ValueLength => write!(out, "{}", length(record.value.as_ref()))?,
                Piece::HeaderCount => write!(out, "{}", record.headers.len())?,
                Piece::Time(clock) => clock.write(out, record.timestamp)?,
                Piece::Headers(format) => {
                    for (name, value) in &record.headers {
                        format.write_header(out, name, value.as_ref())?;
                    }
                }
            }
        }
        Ok(())
    }

    fn write_header(
        &self,
        out: &mut dyn Write,
        name: &str,
        value: Option<&Bytes>,
    ) -> io::Result<()> {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.write_all(text.as_bytes())?,
                Piece::Key(coding) => coding.write_bytes(out, Some(name.as_bytes()))?,
                Piece::Value(coding) => coding.write(out, value)?,
                Piece::KeyLength => write!(out, "{}", name.len())?,
                Piece::ValueLength => write!(out, "{}", length(value))?,
                // Nothing else is read within a header's format.
                _ => {}
            }
        }
        Ok(())
    }
}

fn next(rest: &mut &str) -> Option<char> {
    let mut letters = rest.chars();
    let letter = letters.next()?;
    *rest = letters.as_str();
    Some(letter)
}

fn escape(rest: &mut &str) -> Result<char, String> {
    match next(rest) {
        Some('n') => Ok('\n'),
        Some('t') => Ok('\t'),
        Some('r') => Ok('\r'),
        Some('0') => Ok('\0'),
        Some(letter @ ('\\' | '%' | '{' | '}')) => Ok(letter),
        Some(other) => Err(format!("\\{other} is not known; \\n, \\t, \\r, \\0 and \\\\ are")),
        None => Err("a lone backslash at the end: \\\\ is a backslash".into()),
    }
}

/// What stands in braces right here, if anything does.
fn braces<'a>(rest: &mut &'a str) -> Result<Option<&'a str>, String> {
    let Some(inner) = rest.strip_prefix('{') else { return Ok(None) };
    let (inner, after) =
        inner.split_once('}').ok_or_else(|| format!("{{{inner} has no closing brace"))?;
    *rest = after;
    Ok(Some(inner))
}

fn length(bytes: Option<&Bytes>) -> i64 {
    bytes.map_or(-1, |bytes| i64::try_from(bytes.len()).unwrap_or(i64::MAX))
}

impl Coding {
    fn read(rest: &mut &str) -> Result<Self, String> {
        match braces(rest)? {
            None => Ok(Self::Plain),
            Some("hex") => Ok(Self::Hex),
            Some("base64") => Ok(Self::Base64),
            Some("json") => Ok(Self::Json),
            Some(other) => Err(format!("{{{other}}} is not known; {{hex}}, {{base64}}, {{json}}")),
        }
    }

    fn write(self, out: &mut dyn Write, bytes: Option<&Bytes>) -> io::Result<()> {
        self.write_bytes(out, bytes.map(|bytes| &bytes[..]))
    }

    fn write_bytes(self, out: &mut dyn Write, bytes: Option<&[u8]>) -> io::Result<()> {
        match (self, bytes) {
            (Self::Json, None) => out.write_all(b"null"),
            (_, None) => Ok(()),
            (Self::Plain, Some(bytes)) => out.write_all(bytes),
            (Self::Hex, Some(bytes)) => bytes.iter().try_for_each(|byte| write!(out, "{byte:02x}")),
            (Self::Base64, Some(bytes)) => out.write_all(base64(bytes).as_bytes()),
            (Self::Json, Some(bytes)) => {
                Ok(serde_json::to_writer(out, &String::from_utf8_lossy(bytes))?)
            }
        }
    }
}

impl Clock {
    fn read(rest: &mut &str) -> Result<Self, String> {
        // The pattern of strftime may have braces of its own, so brackets end it.
        if let Some(pattern) = rest.strip_prefix("{strftime[") {
            let (pattern, after) =
                pattern.split_once("]}").ok_or("%d{strftime[ has no closing ]}")?;
            *rest = after;
            strftime(&mut io::sink(), pattern, 0).map_err(|error| error.to_string())?;
            return Ok(Self::Strftime(pattern.to_owned()));
        }
        match braces(rest)? {
            None | Some("ms") => Ok(Self::Millis),
            Some("s") => Ok(Self::Seconds),
            Some("rfc3339") => Ok(Self::Rfc3339),
            Some(other) => Err(format!(
                "%d{{{other}}} is not known; {{ms}}, {{s}}, {{rfc3339}}, {{strftime[...]}}"
            )),
        }
    }

    fn write(&self, out: &mut dyn Write, ms: i64) -> io::Result<()> {
        match self {
            Self::Millis => write!(out, "{ms}"),
            Self::Seconds => write!(out, "{}", ms.div_euclid(1000)),
            Self::Rfc3339 => strftime(out, "%Y-%m-%dT%H:%M:%S.%LZ", ms),
            Self::Strftime(pattern) => strftime(out, pattern, ms),
        }
    }
}

/// The usual conversions of strftime, in UTC.
fn strftime(out: &mut dyn Write, pattern: &str, ms: i64) -> io::Result<()> {
    let [year, month, day, hour, minute, second, millis] = time::fields(ms);
    let mut rest = pattern;
    while let Some(letter) = next(&mut rest) {
        if letter != '%' {
            write!(out, "{letter}")?;
            continue;
        }
        match next(&mut rest) {
            Some('Y') => write!(out, "{year:04}")?,
            Some('m') => write!(out, "{month:02}")?,
            Some('d') => write!(out, "{day:02}")?,
            Some('H') => write!(out, "{hour:02}")?,
            Some('M') => write!(out, "{minute:02}")?,
            Some('S') => write!(out, "{second:02}")?,
            Some('L') => write!(out, "{millis:03}")?,
            Some('s') => write!(out, "{}", ms.div_euclid(1000))?,
            Some('F') => write!(out, "{year:04}-{month:02}-{day:02}")?,
            Some('T') => write!(out, "{hour:02}:{minute:02}:{second:02}")?,
            Some('z') => out.write_all(b"+0000")?,
            Some('Z') => out.write_all(b"UTC")?,
            Some('%') => out.write_all(b"%")?,
            other => {
                let other = other.map(String::from).unwrap_or_default();
                return Err(io::Error::other(format!(
                    "%{other} of strftime is not known; %Y %m %d %H %M %S %L %s %F %T %z %Z %% are"
                )));
            }
        }
    }
    Ok(())
}

const KNOWN: &str = "%t topic, %p partition, %o offset, %e leader epoch, %k key, %v value, \
                     %K and %V their lengths, %h{...} headers, %H how many, %d time, %i count";

/// Writes a record as a JSON object on a line of its own.
pub(super) fn write_json(out: &mut dyn Write, record: &ConsumerRecord) -> io::Result<()> {
    out.write_all(b"{\"topic\":")?;
    serde_json::to_writer(&mut *out, &*record.topic)?;
    write!(
        out,
        ",\"partition\":{},\"offset\":{},\"timestamp\":{}",
        record.partition, record.offset, record.timestamp
    )?;
    out.write_all(b",")?;
    json_bytes(out, "key", record.key.as_ref())?;
    out.write_all(b",")?;
    json_bytes(out, "value", record.value.as_ref())?;
    out.write_all(b",\"headers\":[")?;
    for (index, (name, value)) in record.headers.iter().enumerate() {
        out.write_all(if index == 0 { b"{\"name\":" } else { b",{\"name\":" })?;
        serde_json::to_writer(&mut *out, name)?;
        out.write_all(b",")?;
        json_bytes(out, "value", value.as_ref())?;
        out.write_all(b"}")?;
    }
    out.write_all(b"]}\n")
}

fn json_bytes(out: &mut dyn Write, field: &str, bytes: Option<&Bytes>) -> io::Result<()> {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => write!(out, "\"{field}\":null"),
        Some((_, Ok(text))) => {
            write!(out, "\"{field}\":")?;
            Ok(serde_json::to_writer(out, text)?)
        }
        Some((bytes, Err(_))) => write!(out, "\"{field}_base64\":\"{}\"", base64(bytes)),
    }
}

/// How a line becomes a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// Fields with texts between them.
    Fields(Vec<Field>),
    /// An object as [`write_json`] writes it; only `value` need be there.
    Json,
}

/// A field and the text that ends it; nothing ends the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    what: What,
    end: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Key(Coding),
    Value(Coding),
    Partition,
    Time,
}

impl Input {
    /// Lines of values.
    pub fn values() -> Self {
        Self::Fields(vec![Field { what: What::Value(Coding::Plain), end: String::new() }])
    }

    /// Reads a format for lines: fields with a text between any two.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut fields: Vec<Field> = Vec::new();
        for piece in Format::read(text.strip_suffix("\\n").unwrap_or(text))?.0 {
            let what = match piece {
                Piece::Text(text) => match fields.last_mut() {
                    Some(last) => {
                        last.end = text;
                        continue;
                    }
                    None => return Err("the format of a line begins with a field".into()),
                },
                Piece::Key(Coding::Json) | Piece::Value(Coding::Json) => {
                    return Err("{json} is for writing; --input json reads JSON".into());
                }
                Piece::Key(coding) => What::Key(coding),
                Piece::Value(coding) => What::Value(coding),
                Piece::Partition => What::Partition,
                Piece::Time(Clock::Millis) => What::Time,
                _ => return Err("a line has %k, %v, %p and %d (in ms) only".into()),
            };
            if fields.last().is_some_and(|last| last.end.is_empty()) {
                return Err("two fields need a text between them".into());
            }
            if fields
                .iter()
                .any(|field| std::mem::discriminant(&field.what) == std::mem::discriminant(&what))
            {
                return Err("a field stands there twice".into());
            }
            fields.push(Field { what, end: String::new() });
        }
        if fields.last().is_none_or(|last| !last.end.is_empty()) {
            return Err("the format of a line ends with a field".into());
        }
        Ok(Self::Fields(fields))
    }

    /// Makes a record of a line without its end; what the line does not say stays as it is in
    /// `record`.
    ///
    /// # Errors
    /// What is wrong with the line.
    pub fn fill(&self, line: &[u8], record: &mut Record) -> Result<(), String> {
        match self {
            Self::Json => fill_json(line, record),
            Self::Fields(fields) => {
                let mut rest = line;
                for field in fields {
                    let text = match field.end.as_bytes() {
                        [] => std::mem::take(&mut rest),
                        end => {
                            let at = rest.windows(end.len()).position(|window| window == end);
                            let at = at.ok_or_else(|| format!("it lacks {:?}", field.end))?;
                            let (text, after) = rest.split_at(at);
                            rest = after.get(end.len()..).unwrap_or_default();
                            text
                        }
                    };
                    match field.what {
                        What::Key(coding) => record.key = Some(decode(coding, text)?),
                        What::Value(coding) => record.value = Some(decode(coding, text)?),
                        What::Partition => record.partition = Some(number(text)?),
                        What::Time => record.timestamp = Some(number(text)?),
                    }
                }
                Ok(())
            }
        }
    }
}

/// A key as a command line has it: `text` unless `coding` says `hex` or `base64`.
///
/// # Errors
/// What is wrong with it.
pub(super) fn key(text: &str, coding: Option<&str>) -> Result<Bytes, String> {
    let coding = match coding {
        None | Some("text") => Coding::Plain,
        Some("hex") => Coding::Hex,
        Some("base64") => Coding::Base64,
        Some(other) => return Err(format!("{other}: expected text, hex or base64")),
    };
    decode(coding, text.as_bytes())
}

fn number<T: std::str::FromStr>(text: &[u8]) -> Result<T, String> {
    let text = String::from_utf8_lossy(text);
    text.trim().parse().map_err(|_| format!("{text:?} is no number"))
}

fn decode(coding: Coding, text: &[u8]) -> Result<Bytes, String> {
    let wrong = |what: &str| format!("{:?} is not {what}", String::from_utf8_lossy(text));
    match coding {
        Coding::Plain | Coding::Json => Ok(Bytes::copy_from_slice(text)),
        Coding::Base64 => {
            let text = std::str::from_utf8(text).ok().and_then(unbase64);
            text.ok_or_else(|| wrong("base64"))
        }
        Coding::Hex => {
            let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
            let pair = |pair: &[u8]| match pair {
                [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
                _ => None,
            };
            let bytes: Option<Vec<u8>> = text.chunks(2).map(pair).collect();
            bytes.map(Bytes::from).ok_or_else(|| wrong("hexadecimal"))
        }
    }
}

fn fill_json(line: &[u8], record: &mut Record) -> Result<(), String> {
    let fields: BTreeMap<String, &RawValue> = serde_json::from_slice(line)
        .map_err(|error| format!("a JSON object was expected: {error}"))?;
    for (field, raw) in &fields {
        // A document is its own text, as it was written: order, digits, blanks.
        if field == "value" && !raw.get().starts_with(['"', 'n']) {
            record.value = Some(Bytes::copy_from_slice(raw.get().as_bytes()));
            continue;
        }
        let value: Value = serde_json::from_str(raw.get()).map_err(|error| error.to_string())?;
        let value = &value;
        match field.as_str() {
            "key" | "key_base64" => record.key = bytes_of(field, value)?,
            "value" | "value_base64" => record.value = bytes_of(field, value)?,
            "partition" => record.partition = small(field, value)?,
            "timestamp" => record.timestamp = whole(field, value)?,
            "headers" => record.headers = headers_of(value)?,
            // Where it came from; it goes elsewhere now.
            "topic" | "offset" => {}
            other => return Err(format!("field {other:?} is not known; {FIELDS}")),
        }
    }
    let valued = fields.contains_key("value") || fields.contains_key("value_base64");
    if valued { Ok(()) } else { Err("it has neither value nor value_base64".into()) }
}

fn bytes_of(field: &str, value: &Value) -> Result<Option<Bytes>, String> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) if field.ends_with("_base64") => {
            let bytes = unbase64(text).ok_or_else(|| format!("{field} is not base64"))?;
            Ok(Some(bytes))
        }
        Value::String(text) => Ok(Some(Bytes::copy_from_slice(text.as_bytes()))),
        _ => Err(format!("{field} is a string or null")),
    }
}

fn whole(field: &str, value: &Value) -> Result<Option<i64>, String> {
    if value.is_null() {
        return Ok(None);
    }
    value.as_i64().map(Some).ok_or_else(|| format!("{field} is a whole number"))
}

fn small(field: &str, value: &Value) -> Result<Option<i32>, String> {
    let number = whole(field, value)?.map(i32::try_from).transpose();
    number.map_err(|_| format!("{field} is a whole number of 32 bits"))
}

fn headers_of(value: &Value) -> Result<Vec<(String, Option<Bytes>)>, String> {
    let wrong = || "headers is an array of objects with name and value".to_owned();
    let header = |header: &Value| {
        let name = header.get("name").and_then(Value::as_str).ok_or_else(wrong)?;
        let value = match (header.get("value"), header.get("value_base64")) {
            (Some(text), None) => bytes_of("header", text)?,
            (None, Some(text)) => bytes_of("header_base64", text)?,
            (None, None) => None,
            _ => return Err(wrong()),
        };
        Ok((name.to_owned(), value))
    };
    value.as_array().ok_or_else(wrong)?.iter().map(header).collect()
}

const FIELDS: &str = "key, value, key_base64, value_base64, headers, timestamp and partition are";

#[cfg(test)]
mod tests {
    use super::*;
    use wire::batch::TimestampType;

    fn record() -> ConsumerRecord {
        ConsumerRecord {
            topic: "letters".into(),
            partition: 2,
            offset: 17,
            timestamp: 1_582_979_696_789,
            timestamp_type: TimestampType::CreateTime,
            leader_epoch: None,
            key: Some(Bytes::from_static(b"k")),
            value: Some(Bytes::from_static(b"caf\xe9")),
            headers: vec![("h".into(), Some(Bytes::from_static(b"1"))), ("h".into(), None)],
        }
    }

    fn shown(format: &str) -> String {
        let mut out = Vec::new();
        Format::read(format).unwrap().write(&mut out, &record(), 3).unwrap();
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn formats_have_every_part_of_a_record() {
        assert_eq!(shown("%t-%p@%o %i %e\\n"), "letters-2@17 3 -1\n");
        assert_eq!(shown("%k=%v{hex} %K/%V %v{base64} 100%%"), "k=636166e9 1/4 Y2Fm6Q== 100%");
        assert_eq!(shown("%H:%h{%k=%v;}\\t%d"), "2:h=1;h=;\t1582979696789");
        assert_eq!(shown("%d{rfc3339}"), "2020-02-29T12:34:56.789Z");
        assert_eq!(shown("%d{strftime[%F %T]} %d{s}"), "2020-02-29 12:34:56 1582979696");
        assert_eq!(shown("%k{json}%h{%v{json},}"), "\"k\"\"1\",null,");
        for bad in ["%", "%x", "%v{rot13}", "%h", "%h{%k", "%d{x}", "%d{strftime[%Q]}", "\\q"] {
            assert!(Format::read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn json_that_was_written_is_read_back() {
        let mut out = Vec::new();
        write_json(&mut out, &record()).unwrap();
        let mut back = Record::default();
        Input::Json.fill(out.trim_ascii_end(), &mut back).unwrap();
        let record = record();
        assert_eq!(
            (back.key, back.value, back.headers),
            (record.key, record.value, record.headers)
        );
        assert_eq!((back.partition, back.timestamp), (Some(2), Some(record.timestamp)));
    }

    fn filled(input: &Input, line: &str) -> Result<Record, String> {
        let mut record = Record::default();
        input.fill(line.as_bytes(), &mut record).map(|()| record)
    }

    #[test]
    fn json_says_what_is_wrong_with_it() {
        let input = Input::Json;
        let document = filled(&input, "{\"value\": {\"a\": [1]}}").unwrap();
        assert_eq!(document.value.unwrap(), "{\"a\": [1]}");
        let exact = "{\"z\":1,\"a\":123456789012345678901,\"z\":1.10}";
        let document = filled(&input, &format!("{{\"value\":{exact}}}")).unwrap();
        assert_eq!(document.value.unwrap(), exact);
        assert_eq!(filled(&input, "{\"key\": \"k\", \"value\": null}").unwrap().value, None);
        for bad in [
            "",
            "5",
            "{}",
            "{\"valeu\": \"a\"}",
            "{\"value\": \"a\", \"key\": 5}",
            "{\"value_base64\": \"*\"}",
            "{\"value\": \"a\", \"partition\": 1.5}",
            "{\"value\": \"a\", \"partition\": 4294967296}",
            "{\"value\": \"a\", \"headers\": {\"a\": 1}}",
        ] {
            assert!(filled(&input, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn lines_are_cut_into_fields() {
        let input = Input::read("%k\\t%v\\n").unwrap();
        let record = filled(&input, "a\tb\tc").unwrap();
        assert_eq!((record.key.unwrap(), record.value.unwrap()), ("a".into(), Bytes::from("b\tc")));
        assert!(filled(&input, "no tab").is_err());
        let input = Input::read("%p %d %v{hex}").unwrap();
        let record = filled(&input, "3 12 00fF").unwrap();
        assert_eq!((record.partition, record.timestamp), (Some(3), Some(12)));
        assert_eq!(record.value.unwrap(), Bytes::from_static(b"\x00\xff"));
        for bad in ["3 12 0", "3 12 0g", "x 12 00", "3 x 00"] {
            assert!(filled(&input, bad).is_err(), "{bad}");
        }
        for bad in ["", "%k%v", "x%v", "%v ", "%t %v", "%v{json}", "%v %v", "%d{s} %v"] {
            assert!(Input::read(bad).is_err(), "{bad}");
        }
    }
}
