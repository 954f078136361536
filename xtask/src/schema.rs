//! The compact schema language of `crates/messages/schema`: its model, its parser, its printer.
//!
//! A file holds messages; a message holds fields, a field of a struct type holds that struct's
//! fields one level deeper; `struct NAME` holds fields that several fields of the message share.
//!
//! ```text
//! request FetchRequest key 1 versions 4-18 flexible 12+ on broker,controller
//!   ClusterId string 12+ null 12+ tag 0 default null ignorable
//!   Topics []FetchTopic 0+
//!     Topic string 0-12 ignorable is topicName
//! ```
//! Words after a field's versions: `null V` versions in which null is allowed, `tag N` and, if not
//! the field's own versions, `tagged V`; `default X`; `ignorable`: dropped silently where the
//! version lacks it; `key`: part of the collection's key; `is E`: what the value names;
//! `flexible none`: never in the compact encoding.

use std::fmt::Write as _;

/// An inclusive range of versions; `last == i16::MAX` is "and all later ones".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    pub first: i16,
    pub last: i16,
}

impl Versions {
    pub const NONE: Self = Self { first: 0, last: -1 };

    pub fn parse(text: &str) -> Result<Self, String> {
        let bad = || format!("not versions: {text}");
        if text == "none" {
            return Ok(Self::NONE);
        }
        if let Some(first) = text.strip_suffix('+') {
            return Ok(Self { first: first.parse().map_err(|_| bad())?, last: i16::MAX });
        }
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        Ok(Self {
            first: first.parse().map_err(|_| bad())?,
            last: last.parse().map_err(|_| bad())?,
        })
    }

    pub fn is_none(self) -> bool {
        self.last < self.first
    }

    pub fn contains(self, version: i16) -> bool {
        self.first <= version && version <= self.last
    }

    /// The part of `self` that lies inside `other`.
    pub fn within(self, other: Self) -> Self {
        Self { first: self.first.max(other.first), last: self.last.min(other.last) }
    }
}

impl std::fmt::Display for Versions {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            range if range.is_none() => out.write_str("none"),
            Self { first, last: i16::MAX } => write!(out, "{first}+"),
            Self { first, last } if first == last => write!(out, "{first}"),
            Self { first, last } => write!(out, "{first}-{last}"),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// `request`, `response`, `header`, `data`, `metadata`, `coordinator-key`, `coordinator-value`.
    pub kind: String,
    pub name: String,
    /// API key or record type.
    pub key: Option<i16>,
    pub versions: Versions,
    pub flexible: Versions,
    pub unstable: bool,
    pub listeners: Vec<String>,
    pub fields: Vec<Field>,
    pub structs: Vec<Struct>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Struct {
    pub name: String,
    pub fields: Vec<Field>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    pub name: String,
    /// As in the file: `int32`, `string`, `FetchTopic`, `[]FetchTopic`.
    pub kind: String,
    pub versions: Versions,
    pub nullable: Versions,
    pub tag: Option<u32>,
    pub tagged: Versions,
    pub default: Option<String>,
    pub ignorable: bool,
    pub key: bool,
    pub entity: Option<String>,
    pub never_flexible: bool,
    pub fields: Vec<Field>,
}

impl Field {
    /// The type of one element: the kind itself unless an array.
    pub fn element(&self) -> &str {
        self.kind.strip_prefix("[]").unwrap_or(&self.kind)
    }

    pub fn is_array(&self) -> bool {
        self.kind.starts_with("[]")
    }
}

/// True for the type names of the protocol itself.
pub fn is_primitive(kind: &str) -> bool {
    PRIMITIVES.contains(&kind)
}

/// Prints messages in the compact language.
pub fn print(messages: &[Message]) -> String {
    let mut out = String::new();
    for (index, message) in messages.iter().enumerate() {
        if index > 0 {
            out.push('\n');
        }
        let _ = write!(out, "{} {}", message.kind, message.name);
        if let Some(key) = message.key {
            let _ = write!(out, " key {key}");
        }
        let _ = write!(out, " versions {} flexible {}", message.versions, message.flexible);
        if message.unstable {
            out.push_str(" unstable");
        }
        if !message.listeners.is_empty() {
            let _ = write!(out, " on {}", message.listeners.join(","));
        }
        out.push('\n');
        print_fields(&mut out, &message.fields, 1);
        for shared in &message.structs {
            let _ = writeln!(out, "  struct {}", shared.name);
            print_fields(&mut out, &shared.fields, 2);
        }
    }
    out
}

fn print_fields(out: &mut String, fields: &[Field], depth: usize) {
    for field in fields {
        let _ =
            write!(out, "{}{} {} {}", "  ".repeat(depth), field.name, field.kind, field.versions);
        if !field.nullable.is_none() {
            let _ = write!(out, " null {}", field.nullable);
        }
        if let Some(tag) = field.tag {
            let _ = write!(out, " tag {tag}");
            if field.tagged != field.versions {
                let _ = write!(out, " tagged {}", field.tagged);
            }
        }
        match &field.default {
            Some(default) if default.is_empty() => out.push_str(" default \"\""),
            Some(default) => {
                let _ = write!(out, " default {default}");
            }
            None => {}
        }
        for (on, word) in [
            (field.ignorable, " ignorable"),
            (field.key, " key"),
            (field.never_flexible, " flexible none"),
        ] {
            if on {
                out.push_str(word);
            }
        }
        if let Some(entity) = &field.entity {
            let _ = write!(out, " is {entity}");
        }
        out.push('\n');
        print_fields(out, &field.fields, depth + 1);
    }
}

/// Reads messages in the compact language; errors name the line.
pub fn parse(text: &str) -> Result<Vec<Message>, String> {
    let lines: Vec<Line<'_>> = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
        .map(|(index, line)| Line {
            number: index + 1,
            depth: (line.len() - line.trim_start().len()) / 2,
            words: line.split_whitespace().collect(),
        })
        .collect();
    let mut messages = Vec::new();
    let mut rest = lines.as_slice();
    while let Some((head, tail)) = rest.split_first() {
        let mut message =
            parse_head(head).map_err(|error| format!("line {}: {error}", head.number))?;
        rest = tail;
        while let Some((line, tail)) = rest.split_first().filter(|(line, _)| line.depth > 0) {
            if line.words[0] == "struct" {
                rest = tail;
                let fields = parse_fields(&mut rest, 2)?;
                message.structs.push(Struct { name: line.words[1].to_owned(), fields });
            } else {
                message.fields.extend(parse_fields(&mut rest, 1)?);
            }
        }
        messages.push(message);
    }
    Ok(messages)
}

struct Line<'a> {
    number: usize,
    depth: usize,
    words: Vec<&'a str>,
}

fn parse_head(line: &Line<'_>) -> Result<Message, String> {
    let [kind, name, ..] = line.words.as_slice() else {
        return Err("a message needs a name".into());
    };
    let mut message = Message {
        kind: (*kind).to_owned(),
        name: (*name).to_owned(),
        key: None,
        versions: Versions::NONE,
        flexible: Versions::NONE,
        unstable: false,
        listeners: Vec::new(),
        fields: Vec::new(),
        structs: Vec::new(),
    };
    let mut words = line.words[2..].iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().copied().ok_or(format!("{word} needs a value"));
        match *word {
            "key" => message.key = Some(value()?.parse().map_err(|_| "bad key")?),
            "versions" => message.versions = Versions::parse(value()?)?,
            "flexible" => message.flexible = Versions::parse(value()?)?,
            "on" => message.listeners = value()?.split(',').map(str::to_owned).collect(),
            "unstable" => message.unstable = true,
            other => return Err(format!("unknown word {other}")),
        }
    }
    Ok(message)
}

fn parse_fields(rest: &mut &[Line<'_>], depth: usize) -> Result<Vec<Field>, String> {
    let mut fields = Vec::new();
    while let Some((line, tail)) = rest.split_first() {
        if line.depth < depth || line.words[0] == "struct" {
            break;
        }
        if line.depth > depth {
            return Err(format!("line {}: indented too far", line.number));
        }
        let mut field =
            parse_field(line).map_err(|error| format!("line {}: {error}", line.number))?;
        *rest = tail;
        field.fields = parse_fields(rest, depth + 1)?;
        fields.push(field);
    }
    Ok(fields)
}

fn parse_field(line: &Line<'_>) -> Result<Field, String> {
    let [name, kind, versions, ..] = line.words.as_slice() else {
        return Err("a field needs a name, a type and versions".into());
    };
    let mut field = Field {
        name: (*name).to_owned(),
        kind: (*kind).to_owned(),
        versions: Versions::parse(versions)?,
        nullable: Versions::NONE,
        tag: None,
        tagged: Versions::NONE,
        default: None,
        ignorable: false,
        key: false,
        entity: None,
        never_flexible: false,
        fields: Vec::new(),
    };
    let mut words = line.words[3..].iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().copied().ok_or(format!("{word} needs a value"));
        match *word {
            "null" => field.nullable = Versions::parse(value()?)?,
            "tag" => {
                field.tag = Some(value()?.parse().map_err(|_| "bad tag")?);
                field.tagged = field.versions;
            }
            "tagged" => field.tagged = Versions::parse(value()?)?,
            "default" => {
                let text = value()?;
                field.default = Some(if text == "\"\"" { String::new() } else { text.to_owned() });
            }
            "ignorable" => field.ignorable = true,
            "key" => field.key = true,
            "is" => field.entity = Some(value()?.to_owned()),
            "flexible" => field.never_flexible = value()? == "none",
            other => return Err(format!("unknown word {other}")),
        }
    }
    Ok(field)
}

const PRIMITIVES: [&str; 13] = [
    "bool", "int8", "int16", "uint16", "int32", "uint32", "int64", "float64", "string", "bytes",
    "records", "uuid", "varint",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_survives_printing_and_parsing() {
        let text = "\
request FetchRequest key 1 versions 4-18 flexible 12+ unstable on broker,controller
  ClusterId string 12+ null 12+ tag 0 default null ignorable
  Name string 0-12 default \"\" key flexible none is topicName
  Topics []FetchTopic 0+ null 3 tag 2 tagged 12+
    Partition int32 0+ default -1
  struct Shared
    Id uuid 1

metadata NoOpRecord key 20 versions none flexible none
";
        let messages = parse(text).unwrap();
        assert_eq!(print(&messages), text);
    }

    #[test]
    fn a_wrong_line_is_named() {
        let error = parse("data X versions 0 flexible none\n  A int32 0 colour red\n").unwrap_err();
        assert_eq!(error, "line 2: unknown word colour");
    }
}
