//! How commands show what they found: one list of objects, as a table, as JSON or by name.
//!
//! Invariant I1: whatever a name or a value holds, a table has a line for each row and nothing that
//! a terminal would obey: control characters are escaped.

use std::io::Write;

use serde_json::Value;

use crate::Failure;
use crate::flags::Parsed;

/// The form that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// Columns for people.
    Table,
    /// One JSON array.
    Json,
    /// A JSON object a line.
    Lines,
    /// The first column only.
    Name,
}

/// A column of a table.
pub(super) struct Column {
    pub title: &'static str,
    /// The field of the row.
    pub field: &'static str,
}

/// A column whose title is its field in capitals.
pub(super) const fn column(title: &'static str, field: &'static str) -> Column {
    Column { title, field }
}

impl Output {
    pub fn of(parsed: &Parsed) -> Result<Self, Failure> {
        match parsed.value("output")? {
            None | Some("table") => Ok(Self::Table),
            Some("json") => Ok(Self::Json),
            Some("jsonl") => Ok(Self::Lines),
            Some("name") => Ok(Self::Name),
            Some(other) => {
                let text = format!("--output {other}: expected table, json, jsonl or name");
                Err(parsed.spec().misuse(&text))
            }
        }
    }

    /// True for the two that programs read.
    pub fn is_json(self) -> bool {
        matches!(self, Self::Json | Self::Lines)
    }

    /// Writes rows, each a JSON object.
    pub fn rows(
        self,
        out: &mut dyn Write,
        columns: &[Column],
        rows: &[Value],
    ) -> std::io::Result<()> {
        match self {
            Self::Table => table(out, columns, rows),
            Self::Lines => rows.iter().try_for_each(|row| writeln!(out, "{row}")),
            Self::Name => {
                let first = columns.first().map_or("", |column| column.field);
                rows.iter().try_for_each(|row| writeln!(out, "{}", cell(row, first)))
            }
            Self::Json => {
                for (index, row) in rows.iter().enumerate() {
                    write!(out, "{}\n{row}", if index == 0 { "[" } else { "," })?;
                }
                writeln!(out, "{}", if rows.is_empty() { "[]" } else { "\n]" })
            }
        }
    }
}

fn table(out: &mut dyn Write, columns: &[Column], rows: &[Value]) -> std::io::Result<()> {
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| columns.iter().map(|column| cell(row, column.field)).collect())
        .collect();
    let titles: Vec<String> = columns.iter().map(|column| column.title.to_owned()).collect();
    let width = |index: usize| {
        let all = std::iter::once(&titles).chain(&cells);
        all.filter_map(|line| line.get(index)).map(|text| text.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    // Numbers stand under each other's ones.
    let number = |column: &Column| {
        rows.iter()
            .all(|row| matches!(row.get(column.field), None | Some(Value::Number(_) | Value::Null)))
    };
    let right: Vec<bool> =
        columns.iter().map(|column| !rows.is_empty() && number(column)).collect();
    for line in std::iter::once(&titles).chain(&cells) {
        let mut text = String::new();
        for ((cell, width), right) in line.iter().zip(&widths).zip(&right) {
            if !text.is_empty() {
                text.push_str("  ");
            }
            let padding = " ".repeat(width - cell.chars().count());
            match right {
                true => text.extend([padding.as_str(), cell]),
                false => text.extend([cell.as_str(), &padding]),
            }
        }
        writeln!(out, "{}", text.trim_end())?;
    }
    Ok(())
}

fn cell(row: &Value, field: &str) -> String {
    row.get(field).map_or_else(|| "-".to_owned(), plain)
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => escape(text),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(","),
        Value::Object(fields) => {
            let pairs = fields.iter().map(|(key, value)| format!("{key}={}", plain(value)));
            escape(&pairs.collect::<Vec<_>>().join(","))
        }
    }
}

/// I1.
pub(super) fn escape(text: &str) -> String {
    if !text.contains(char::is_control) {
        return text.to_owned();
    }
    let escaped = text.chars().map(|letter| match letter.is_control() {
        true => letter.escape_default().to_string(),
        false => letter.to_string(),
    });
    escaped.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const COLUMNS: &[Column] = &[column("NAME", "name"), column("SIZE", "size")];

    fn shown(output: Output, rows: &[Value]) -> String {
        let mut out = Vec::new();
        output.rows(&mut out, COLUMNS, rows).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn rows_are_tables_or_json() {
        let rows = [json!({"name": "a", "size": 5}), json!({"name": "letters", "size": 12})];
        assert_eq!(shown(Output::Table, &rows), "NAME     SIZE\na           5\nletters    12\n");
        assert_eq!(shown(Output::Name, &rows), "a\nletters\n");
        let array: Value = serde_json::from_str(&shown(Output::Json, &rows)).unwrap();
        assert_eq!(array, json!(rows));
        assert_eq!(shown(Output::Json, &[]), "[]\n");
        assert_eq!(shown(Output::Lines, &rows).lines().count(), 2);
        assert_eq!(shown(Output::Table, &[]), "NAME  SIZE\n");
    }

    #[test]
    fn a_terminal_obeys_nothing_that_comes_from_data() {
        let rows = [json!({"name": "a\u{1b}[2J\nb", "size": null})];
        assert_eq!(shown(Output::Table, &rows).lines().count(), 2);
        assert!(shown(Output::Table, &rows).contains("a\\u{1b}[2J\\nb     -"));
    }
}
