//! `--validate-regex`: whether a pattern is one that brokers take for a subscription (RE2).
//!
//! Patterns of the syntax that both sides share are judged; what only RE2 knows is refused rather
//! than guessed at.

/// The line for standard output; the error says that it can't be told here.
pub(super) fn judge(pattern: &str) -> Result<String, String> {
    if let Some(wrong) = wrong(pattern) {
        return Ok(format!("The regular expression `{pattern}` is invalid: {wrong}."));
    }
    match regex_lite::Regex::new(pattern) {
        Ok(_) => Ok(format!("The regular expression `{pattern}` is valid.")),
        Err(error) => Err(format!("error: --validate-regex can't judge this pattern: {error}")),
    }
}

/// What RE2 complains of, for the usual mistakes.
fn wrong(pattern: &str) -> Option<&'static str> {
    let mut depth = 0_usize;
    // What a repetition may follow: nothing, something, or another repetition (lazy once).
    let mut operand = Operand::None;
    let mut letters = pattern.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => {
                if letters.next().is_none() {
                    return Some("trailing backslash at end of expression");
                }
                operand = Operand::Some;
            }
            '[' => {
                if !skip_class(&mut letters) {
                    return Some("missing closing ]");
                }
                operand = Operand::Some;
            }
            '(' => {
                depth += 1;
                operand = Operand::None;
                if letters.next_if_eq(&'?').is_some() && matches!(letters.peek(), Some('=' | '!')) {
                    return Some("invalid or unsupported Perl syntax");
                }
            }
            ')' => {
                let Some(outer) = depth.checked_sub(1) else { return Some("unexpected )") };
                depth = outer;
                operand = Operand::Some;
            }
            '|' => operand = Operand::None,
            '*' | '+' | '?' => match operand {
                Operand::None => return Some("missing argument to repetition operator"),
                Operand::Repeated => return Some("invalid nested repetition operator"),
                Operand::Some => {
                    letters.next_if_eq(&'?');
                    operand = Operand::Repeated;
                }
            },
            _ => operand = Operand::Some,
        }
    }
    (depth > 0).then_some("missing closing )")
}

enum Operand {
    None,
    Some,
    Repeated,
}

/// Goes behind a class; false if it never ends.
fn skip_class(letters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> bool {
    letters.next_if_eq(&'^');
    // A bracket that comes first is one of the class.
    letters.next_if_eq(&']');
    while let Some(letter) = letters.next() {
        match letter {
            ']' => return true,
            '\\' => {
                letters.next();
            }
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_named_as_apache_kafka_names_them() {
        for (pattern, wrong) in [
            ("foo.*", None),
            ("(a|b)+?[]x]\\(", None),
            ("[a-", Some("missing closing ]")),
            ("a(b", Some("missing closing )")),
            ("*a", Some("missing argument to repetition operator")),
            ("a**", Some("invalid nested repetition operator")),
            ("(?=a)", Some("invalid or unsupported Perl syntax")),
        ] {
            let told = match wrong {
                None => format!("The regular expression `{pattern}` is valid."),
                Some(wrong) => format!("The regular expression `{pattern}` is invalid: {wrong}."),
            };
            assert_eq!(judge(pattern), Ok(told));
        }
        assert!(judge("\\pN").is_err(), "RE2 knows it, we don't");
    }
}
