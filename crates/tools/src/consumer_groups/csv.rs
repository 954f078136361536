//! Offsets as CSV, as `--export` writes and `--from-file` reads it.
//!
//! Quoting is that of Jackson with its defaults: texts of more than 24 characters, and those with
//! a character that sorts before `-`.

use std::fmt::Write as _;

use client::TopicPartition;

/// A line: the group if it is named, the partition, the offset.
pub(super) type Line = (Option<String>, TopicPartition, i64);

/// Writes a line with its end.
pub(super) fn write(group: Option<&str>, partition: &TopicPartition, offset: i64) -> String {
    let mut line = String::new();
    for text in group.into_iter().chain([partition.topic.as_str()]) {
        let quoted = text.chars().count() > 24 || text.chars().any(|letter| letter < '-');
        match quoted {
            true => {
                let _ = write!(line, "\"{}\",", text.replace('"', "\"\""));
            }
            false => {
                let _ = write!(line, "{text},");
            }
        }
    }
    let _ = writeln!(line, "{},{offset}", partition.partition);
    line
}

/// Reads a file: lines `topic,partition,offset` if there is one group and the first line is such
/// a line, else `group,topic,partition,offset`.
pub(super) fn read(content: &str, one_group: bool) -> Result<Vec<Line>, String> {
    let mut lines: Vec<&str> = content.split('\n').collect();
    while lines.len() > 1 && lines.last().is_some_and(|last| last.is_empty()) {
        lines.pop();
    }
    let plain = one_group && lines.first().is_some_and(|first| parse(first, false).is_some());
    let parsed = lines.iter().enumerate().map(|(index, line)| {
        let shape = if plain { "topic,partition,offset" } else { "group,topic,partition,offset" };
        let wrong = || format!("java.io.IOException: line {}: expected {shape}", index + 1);
        parse(line, !plain).ok_or_else(wrong)
    });
    parsed.collect()
}

fn parse(line: &str, with_group: bool) -> Option<Line> {
    let mut fields = fields(line.trim_end_matches('\r'))?.into_iter();
    if line.trim().is_empty() || fields.len() > 3 + usize::from(with_group) {
        return None;
    }
    let group = if with_group { Some(fields.next()?) } else { None };
    let topic = fields.next().unwrap_or_default();
    // What a line leaves out is 0.
    let mut number = || -> Option<i64> {
        match fields.next().unwrap_or_default().trim() {
            "" => Some(0),
            digits => digits.parse().ok(),
        }
    };
    let partition = i32::try_from(number()?).ok()?;
    Some((group, TopicPartition::new(topic, partition), number()?))
}

fn fields(line: &str) -> Option<Vec<String>> {
    let mut fields = vec![String::new()];
    let mut letters = line.chars().peekable();
    let mut quoted = false;
    while let Some(letter) = letters.next() {
        let field = fields.last_mut()?;
        match letter {
            '"' if quoted && letters.next_if_eq(&'"').is_some() => field.push('"'),
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => quoted = true,
            ',' if !quoted => fields.push(String::new()),
            other => field.push(other),
        }
    }
    (!quoted).then_some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let partition = TopicPartition::new("a-topic-of-more-than-24-letters", 3);
        let line = write(Some("g \"1\",2"), &partition, 7);
        assert_eq!(line, "\"g \"\"1\"\",2\",\"a-topic-of-more-than-24-letters\",3,7\n");
        let read_again = read(&line, true).unwrap();
        assert_eq!(read_again, [(Some("g \"1\",2".to_owned()), partition, 7)]);
        assert_eq!(write(None, &TopicPartition::new("t.-_", 0), -1), "t.-_,0,-1\n");
    }

    #[test]
    fn the_shape_follows_from_the_first_line_and_the_number_of_groups() {
        let t = |partition| TopicPartition::new("t", partition);
        let lines = read("t,0,5\nt,1\n", true).unwrap();
        assert_eq!(lines, [(None, t(0), 5), (None, t(1), 0)]);
        let lines = read("g,t,0,5\r\n", true).unwrap();
        assert_eq!(lines, [(Some("g".to_owned()), t(0), 5)]);
        // For several groups the first field is a group, and what a line leaves out is 0.
        let lines = read("t,0,5\n", false).unwrap();
        assert_eq!(lines, [(Some("t".to_owned()), TopicPartition::new("0", 5), 0)]);
        assert!(read("topic,partition,offset\nt,0,5\n", true).is_err(), "no header");
        assert!(read("", true).is_err());
        assert!(read("t,0,5,6,7\n", true).is_err());
    }
}
