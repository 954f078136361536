//! Which topics a `--topic` means: a list of patterns, as Apache Kafka's include lists are.
//!
//! Patterns are Java's regular expressions there; here those that need no looking around or back.

use regex_lite::Regex;

/// A pattern that whole names match.
#[derive(Clone, Debug)]
pub(crate) struct TopicFilter(Regex);

fn nests_classes(pattern: &str) -> bool {
    let mut inside = false;
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => drop(letters.next()),
            '[' if inside => return true,
            '[' => inside = true,
            ']' => inside = false,
            _ => {}
        }
    }
    false
}

impl TopicFilter {
    /// Reads a list: blanks and quotes around it don't count, commas separate alternatives.
    ///
    /// # Errors
    /// The words of Apache Kafka's tools about a pattern that is none.
    pub fn new(list: &str) -> Result<Self, String> {
        let quotes = ['"', '\''];
        let pattern = list.trim().replace(',', "|").replace(' ', "");
        Self::pattern(pattern.trim_matches(quotes))
    }

    /// Reads one pattern as it stands.
    ///
    /// # Errors
    /// The words of Apache Kafka's tools about a pattern that is none.
    pub fn pattern(pattern: &str) -> Result<Self, String> {
        let invalid = || format!("{pattern} is an invalid regex.");
        // By itself first: a pattern that only closes our brackets would mean more than it says.
        Regex::new(pattern).map_err(|_| invalid())?;
        // A class in a class is a union in Java, and a class of POSIX here.
        if nests_classes(pattern) {
            return Err(invalid());
        }
        Regex::new(&format!("^(?:{pattern})$")).map(Self).map_err(|_| invalid())
    }

    /// True if the topic is meant.
    pub fn allows(&self, topic: &str) -> bool {
        self.0.is_match(topic)
    }
}

/// True for the topics that a cluster keeps for itself.
pub(crate) fn is_internal(topic: &str) -> bool {
    ["__consumer_offsets", "__transaction_state", "__share_group_state"].contains(&topic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_names_match_and_commas_separate() {
        let filter = TopicFilter::new(" \"a.b, c+\" ").unwrap();
        let allowed: Vec<&str> = ["a.b", "axb", "cc", "c", "ab", "a.bb", "xc"]
            .into_iter()
            .filter(|t| filter.allows(t))
            .collect();
        assert_eq!(allowed, ["a.b", "axb", "cc", "c"]);
        assert!(!TopicFilter::new("").unwrap().allows("a"));
        assert_eq!(TopicFilter::new("[").unwrap_err(), "[ is an invalid regex.");
    }

    #[test]
    fn a_pattern_that_would_mean_more_here_than_in_java_is_refused() {
        for pattern in ["a)|(?:b", "a|b)(?:", "[[:alpha:]]", "[a[b]]"] {
            assert!(TopicFilter::new(pattern).is_err(), "{pattern}");
        }
        assert!(TopicFilter::new("\\[a[bc]").unwrap().allows("[ab"));
    }
}
