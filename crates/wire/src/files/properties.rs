//! `meta.properties` of a log directory and `partition.metadata` of a partition.

use std::fmt::Write as _;

use super::FileError;
use crate::Uuid;

/// Identity of a log directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetaProperties {
    /// 1 in KRaft; 0 names the node `broker.id`.
    pub version: i32,
    /// The cluster it belongs to.
    pub cluster_id: Option<String>,
    /// The node it belongs to.
    pub node_id: Option<i32>,
    /// The directory's own id (KIP-858).
    pub directory_id: Option<Uuid>,
}

/// Identity of a partition's directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionMetadata {
    /// The topic.
    pub topic_id: Uuid,
}

/// Reads `meta.properties`; keys it does not know are ignored, as Apache Kafka does.
///
/// # Errors
/// Malformed text or numbers, or another version.
pub fn parse_meta(content: &[u8]) -> Result<MetaProperties, FileError> {
    let mut meta = MetaProperties::default();
    let mut versioned = false;
    for (line, key, value) in parse_properties(content)? {
        let bad = |what| FileError::Line { line, what };
        let value = value.trim();
        match key.as_str() {
            "version" => {
                meta.version = value.parse().map_err(|_| bad("version is not a number"))?;
                versioned = true;
                if !(0..=1).contains(&meta.version) {
                    return Err(bad("unknown version of meta.properties"));
                }
            }
            "cluster.id" => meta.cluster_id = Some(value.to_owned()),
            "node.id" | "broker.id" => {
                meta.node_id = Some(value.parse().map_err(|_| bad("node id is not a number"))?);
            }
            "directory.id" => {
                let id = value.parse().map_err(|_| bad("directory.id is not a base64 id"))?;
                meta.directory_id = Some(id);
            }
            _ => {}
        }
    }
    if versioned { Ok(meta) } else { Err(FileError::Line { line: 0, what: "version is missing" }) }
}

/// The text of `meta.properties`.
pub fn render_meta(meta: &MetaProperties) -> String {
    let mut text = String::from("#\n");
    if let Some(node_id) = meta.node_id {
        let key = if meta.version == 0 { "broker.id" } else { "node.id" };
        let _ = writeln!(text, "{key}={node_id}");
    }
    if let Some(id) = meta.directory_id {
        let _ = writeln!(text, "directory.id={id}");
    }
    let _ = writeln!(text, "version={}", meta.version);
    if let Some(id) = &meta.cluster_id {
        let _ = writeln!(text, "cluster.id={}", escape(id));
    }
    text
}

/// Reads `partition.metadata`.
///
/// # Errors
/// Malformed lines, another version, or a topic id of zero.
pub fn parse_partition_metadata(content: &[u8]) -> Result<PartitionMetadata, FileError> {
    let bad = |line, what| FileError::Line { line, what };
    let text = std::str::from_utf8(content).map_err(|_| bad(0, "not UTF-8"))?;
    let mut lines = text.lines();
    let version = lines.next().and_then(|line| line.strip_prefix("version:"));
    if version.map(str::trim) != Some("0") {
        return Err(bad(1, "expected \"version: 0\""));
    }
    let topic_id = lines.next().and_then(|line| line.strip_prefix("topic_id:"));
    let topic_id = topic_id.and_then(|id| id.trim().parse::<Uuid>().ok());
    let topic_id = topic_id.ok_or(bad(2, "expected \"topic_id: \" and a base64 id"))?;
    if topic_id.is_zero() {
        return Err(bad(2, "topic id of zero"));
    }
    if lines.any(|line| !line.trim().is_empty()) {
        return Err(bad(3, "unexpected line"));
    }
    Ok(PartitionMetadata { topic_id })
}

/// The text of `partition.metadata`; no newline at its end, as Apache Kafka writes it.
pub fn render_partition_metadata(metadata: &PartitionMetadata) -> String {
    format!("version: 0\ntopic_id: {}", metadata.topic_id)
}

/// Reads Java properties as (line, key, value), later ones after earlier. Continued lines are
/// joined and the escapes of `java.util.Properties` undone.
///
/// # Errors
/// Not UTF-8.
pub fn parse_properties(content: &[u8]) -> Result<Vec<(usize, String, String)>, FileError> {
    let text =
        std::str::from_utf8(content).map_err(|_| FileError::Line { line: 0, what: "not UTF-8" })?;
    let mut entries = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, first)) = lines.next() {
        let mut logical = first.trim_start().to_owned();
        if logical.is_empty() || logical.starts_with(['#', '!']) {
            continue;
        }
        while continues(&logical) {
            logical.pop();
            let Some((_, next)) = lines.next() else { break };
            logical.push_str(next.trim_start());
        }
        let (key, value) = split_pair(&logical);
        entries.push((index + 1, key, value));
    }
    Ok(entries)
}

/// True if an odd number of backslashes ends the line.
fn continues(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// Splits at the first unescaped `=`, `:` or blank, and undoes escapes on both sides.
fn split_pair(line: &str) -> (String, String) {
    let (mut key, mut value) = (String::new(), String::new());
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => key.extend(unescape(&mut chars)),
            '=' | ':' | ' ' | '\t' => {
                let rest = chars.as_str().trim_start();
                let separated = matches!(c, ' ' | '\t');
                let rest =
                    if separated { rest.strip_prefix(['=', ':']).unwrap_or(rest) } else { rest };
                let mut rest = rest.trim_start().chars();
                while let Some(c) = rest.next() {
                    match c {
                        '\\' => value.extend(unescape(&mut rest)),
                        c => value.push(c),
                    }
                }
                break;
            }
            c => key.push(c),
        }
    }
    (key, value)
}

/// The character that an escape stands for, after its backslash; `\uXXXX` in UTF-16 as in Java.
fn unescape(chars: &mut std::str::Chars<'_>) -> Option<char> {
    match chars.next()? {
        't' => Some('\t'),
        'n' => Some('\n'),
        'r' => Some('\r'),
        'f' => Some('\u{c}'),
        'u' => {
            let first = code_unit(chars)?;
            let mut units = vec![first];
            // The other half of a character outside the first plane.
            if (0xd800..0xdc00).contains(&first) && chars.as_str().starts_with("\\u") {
                let mut ahead = chars.clone();
                ahead.nth(1);
                if let Some(second) = code_unit(&mut ahead) {
                    units.push(second);
                    *chars = ahead;
                }
            }
            char::decode_utf16(units).next().map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
        }
        other => Some(other),
    }
}

fn code_unit(chars: &mut std::str::Chars<'_>) -> Option<u16> {
    let digits = chars.as_str().get(..4)?;
    let unit = u16::from_str_radix(digits, 16).ok()?;
    chars.nth(3);
    Some(unit)
}

fn escape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for (index, c) in value.chars().enumerate() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' | ':' | '=' | '#' | '!' => out.extend(['\\', c]),
            ' ' if index == 0 => out.push_str("\\ "),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_apache_kafka_wrote_parses_and_renders_to_the_same_meaning() {
        let text = "#\n#Sat Nov 21 08:08:54 UTC 2026\nnode.id=1\n\
                    directory.id=HWXCytFGzMwXXJfFNtPoKw\nversion=1\n\
                    cluster.id=e035HPV7SJC4qfQn2NdPJg\n";
        let meta = parse_meta(text.as_bytes()).unwrap();
        assert_eq!((meta.version, meta.node_id), (1, Some(1)));
        assert_eq!(meta.directory_id.unwrap().to_string(), "HWXCytFGzMwXXJfFNtPoKw");
        assert_eq!(parse_meta(render_meta(&meta).as_bytes()), Ok(meta));
        let old = MetaProperties { node_id: Some(3), ..Default::default() };
        assert_eq!(parse_meta(render_meta(&old).as_bytes()), Ok(old));
    }

    #[test]
    fn java_escapes_and_continued_lines_are_undone() {
        let text = "a\\:b = c\\=d\n! no\n  key\\\n  more : x\\\n   y\nbare\n";
        let entries = parse_properties(text.as_bytes()).unwrap();
        let entry = |index: usize| (entries[index].1.as_str(), entries[index].2.as_str());
        assert_eq!(entry(0), ("a:b", "c=d"));
        assert_eq!(entry(1), ("keymore", "xy"));
        assert_eq!(entry(2), ("bare", ""));
        let escaped = parse_properties(b"k\\u0065y=\\ud83d\\ude00 \\u00e9\\t!\\u12").unwrap();
        assert_eq!(
            (escaped[0].1.as_str(), escaped[0].2.as_str()),
            ("key", "\u{1f600} \u{e9}\t!12")
        );
        let odd = MetaProperties {
            version: 1,
            cluster_id: Some(" a:b=c\\#!".trim().to_owned()),
            ..Default::default()
        };
        assert_eq!(parse_meta(render_meta(&odd).as_bytes()), Ok(odd));
    }

    #[test]
    fn meta_without_a_known_version_is_refused() {
        assert!(parse_meta(b"node.id=1\n").is_err());
        assert!(parse_meta(b"version=2\n").is_err());
        assert!(parse_meta(b"version=1\nnode.id=x\n").is_err());
        assert!(parse_meta(b"version=1\ndirectory.id=short\n").is_err());
        assert!(parse_meta(&[0xc3]).is_err());
    }

    #[test]
    fn partition_metadata_round_trips_and_is_strict() {
        let text = "version: 0\ntopic_id: WwLB3pKzTr27sftjFwebAg";
        let metadata = parse_partition_metadata(text.as_bytes()).unwrap();
        assert_eq!(render_partition_metadata(&metadata), text);
        assert!(parse_partition_metadata(b"").is_err());
        assert!(parse_partition_metadata(b"version: 1\ntopic_id: x").is_err());
        let zero = "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAA";
        assert!(parse_partition_metadata(zero.as_bytes()).is_err());
        let more = format!("{text}\nmore");
        assert!(parse_partition_metadata(more.as_bytes()).is_err());
    }
}
