//! Lines of standard input, as Java's readers tell them apart: ended by `\n`, `\r` or both.
//!
//! Invariant I1: a line takes no more memory than its limit; of a longer one only the length is
//! kept.

use std::io::{self, BufRead};

/// A line without its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// Its bytes.
    Whole(&'a [u8]),
    /// It has more bytes than may be; so many.
    TooLong(usize),
}

/// Reads lines.
#[derive(Debug)]
pub(super) struct Lines {
    limit: usize,
    line: Vec<u8>,
    length: usize,
    /// The last line ended with `\r`: a `\n` now is the rest of that end.
    after_return: bool,
}

impl Lines {
    /// Of up to `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { limit, line: Vec::new(), length: 0, after_return: false }
    }

    /// The next line; none at the end. Returns as soon as the line's end was seen.
    pub fn next(&mut self, input: &mut (dyn BufRead + Send)) -> io::Result<Option<Line<'_>>> {
        self.line.clear();
        self.length = 0;
        let mut begun = false;
        loop {
            let mut bytes = match input.fill_buf() {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if bytes.is_empty() {
                return Ok(begun.then(|| self.line()));
            }
            let mut used = 0;
            if std::mem::take(&mut self.after_return)
                && let Some(rest) = bytes.strip_prefix(b"\n")
            {
                bytes = rest;
                used = 1;
                if bytes.is_empty() {
                    input.consume(used);
                    continue;
                }
            }
            begun = true;
            let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let (content, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            let room = self.limit.saturating_sub(self.length);
            self.line.extend_from_slice(content.get(..room).unwrap_or(content));
            self.length = self.length.saturating_add(content.len());
            used += content.len();
            if let Some(end) = rest.first() {
                self.after_return = *end == b'\r';
                input.consume(used + 1);
                return Ok(Some(self.line()));
            }
            input.consume(used);
        }
    }

    fn line(&self) -> Line<'_> {
        if self.length > self.limit { Line::TooLong(self.length) } else { Line::Whole(&self.line) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte at a time, as a slow pipe does.
    struct Slow<'a>(&'a [u8]);

    impl io::Read for Slow<'_> {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            unreachable!("read by lines only")
        }
    }

    impl BufRead for Slow<'_> {
        fn fill_buf(&mut self) -> io::Result<&[u8]> {
            Ok(&self.0[..self.0.len().min(1)])
        }

        fn consume(&mut self, amount: usize) {
            self.0 = &self.0[amount..];
        }
    }

    fn lines(input: &mut (dyn BufRead + Send), limit: usize) -> Vec<String> {
        let mut lines = Lines::new(limit);
        let mut found = Vec::new();
        while let Some(line) = lines.next(input).unwrap() {
            found.push(match line {
                Line::Whole(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                Line::TooLong(length) => format!("<{length}>"),
            });
        }
        found
    }

    #[test]
    fn lines_end_as_in_java() {
        for (input, expected) in [
            ("", &[][..]),
            ("\n", &[""]),
            ("a", &["a"]),
            ("a\nb\r\nc\rd\n", &["a", "b", "c", "d"]),
            ("\r\r\n\n", &["", "", ""]),
            ("a\r\n", &["a"]),
            ("a\r", &["a"]),
        ] {
            assert_eq!(lines(&mut input.as_bytes(), 10), expected, "{input:?}");
            assert_eq!(lines(&mut Slow(input.as_bytes()), 10), expected, "slowly {input:?}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_counted_and_not_kept() {
        let input = format!("abc\n{}\nabcd\nabcde", "x".repeat(100_000));
        let expected = ["abc", "<100000>", "abcd", "<5>"];
        assert_eq!(lines(&mut input.as_bytes(), 4), expected);
        assert_eq!(lines(&mut Slow(input.as_bytes()), 4), expected);
    }
}
