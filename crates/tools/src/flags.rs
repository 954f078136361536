//! Flags as data, read the way joptsimple reads them for Apache Kafka's tools: a tool declares a
//! [`Spec`], and parsing, the checks between flags, usage and hints at typing errors follow.
//!
//! Owns: `--flag value`, `--flag=value`, `-flag` and clusters of one-letter flags, repeats, flags
//! whose value may be left out, `--`, and what remains. Values stay text until a tool asks.
//!
//! Abbreviations (`--boot` for `--bootstrap-server`) are not accepted: Apache Kafka's tools turn
//! them off, and a script that works here must work there.

use std::fmt::Write as _;
use std::str::FromStr;

use crate::{Failure, Io, java};

/// What follows a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Nothing.
    Nothing,
    /// A value, so described in the usage.
    Value(&'static str),
    /// A value that may be left out.
    Optional(&'static str),
}

/// One flag.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// Its names without dashes; messages use the first.
    pub names: &'static [&'static str],
    /// What follows it.
    pub takes: Takes,
    /// For the usage, in a sentence or few.
    pub help: &'static str,
}

/// A flag without a value.
pub const fn switch(names: &'static [&'static str], help: &'static str) -> Flag {
    Flag { names, takes: Takes::Nothing, help }
}

/// A flag with a value.
pub const fn value(names: &'static [&'static str], of: &'static str, help: &'static str) -> Flag {
    Flag { names, takes: Takes::Value(of), help }
}

/// A flag whose value may be left out.
pub const fn optional(
    names: &'static [&'static str],
    of: &'static str,
    help: &'static str,
) -> Flag {
    Flag { names, takes: Takes::Optional(of), help }
}

/// All that a tool understands besides `--help` and `--version`.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// The tool's name.
    pub tool: &'static str,
    /// What it does, for the usage.
    pub about: &'static str,
    /// Its flags, in the order of the usage.
    pub flags: &'static [Flag],
}

impl Spec {
    /// Reads the arguments. Answers `--version`, `--help` and an empty command line itself, with
    /// the exit codes of Apache Kafka's tools: 0, 1 and 1.
    ///
    /// # Errors
    /// Unknown flags, values that are missing; also what ends the tool here without being wrong.
    pub fn parse(&'static self, args: &[String], io: &mut Io<'_>) -> Result<Parsed, Failure> {
        let parsed = self.read(args)?;
        if args.is_empty() || parsed.has("help") {
            return Err(Failure::new(self.usage()));
        }
        if parsed.has("version") {
            writeln!(io.out, "{KAFKA_VERSION}")?;
            return Err(Failure::Code(0));
        }
        Ok(parsed)
    }

    /// Reads the arguments and answers nothing itself.
    ///
    /// # Errors
    /// Unknown flags, values that are missing.
    pub fn read(&'static self, args: &[String]) -> Result<Parsed, Failure> {
        let mut parsed = Parsed { spec: self, given: Vec::new(), rest: Vec::new() };
        let mut args = args.iter().peekable();
        let mut flags_ended = false;
        while let Some(arg) = args.next() {
            if flags_ended {
                parsed.rest.push(arg.clone());
            } else if arg == "--" {
                flags_ended = true;
            } else if let Some(long) = arg.strip_prefix("--") {
                let (name, inline) = split(long);
                let flag = self.find(name).ok_or_else(|| self.unknown("--", name))?;
                parsed.take(flag, inline, &mut args)?;
            } else if let Some(short) = arg.strip_prefix('-').filter(|rest| !rest.is_empty()) {
                let (name, inline) = split(short);
                match self.find(name) {
                    Some(flag) => parsed.take(flag, inline, &mut args)?,
                    None => self.cluster(short, &mut parsed, &mut args)?,
                }
            } else {
                parsed.rest.push(arg.clone());
            }
        }
        Ok(parsed)
    }

    /// `-abc` as `-a -b -c`, or as `-a bc` if `a` takes a value.
    fn cluster(&self, letters: &str, parsed: &mut Parsed, args: &mut Rest<'_>) -> Out {
        // All letters are checked before the first is carried out, up to one that takes the rest.
        let find = |at: usize, letter: char| {
            let name = letters.get(at..at + letter.len_utf8()).unwrap_or_default();
            self.find(name).ok_or_else(|| self.unknown("-", letters))
        };
        let mut found = Vec::new();
        for (at, letter) in letters.char_indices() {
            let flag = find(at, letter)?;
            let rest = letters.get(at + letter.len_utf8()..).unwrap_or_default();
            let takes = flag.takes != Takes::Nothing;
            found.push((flag, (takes && !rest.is_empty()).then(|| rest.to_owned())));
            if takes {
                break;
            }
        }
        for (flag, inline) in found {
            parsed.take(flag, inline, args)?;
        }
        Ok(())
    }

    fn find(&self, name: &str) -> Option<&'static Flag> {
        self.flags.iter().chain(EVERYWHERE).find(|flag| flag.names.contains(&name))
    }

    fn unknown(&self, dashes: &str, name: &str) -> Failure {
        let mut text = format!("error: unknown option {dashes}{name}");
        let names = self.flags.iter().chain(EVERYWHERE).flat_map(|flag| flag.names);
        let nearest = config::nearest(name, names.copied());
        let prefix = || {
            let mut starting = self
                .flags
                .iter()
                .flat_map(|flag| flag.names)
                .filter(|known| name.len() > 1 && known.starts_with(name));
            let first = starting.next();
            first.filter(|_| starting.next().is_none()).copied()
        };
        if let Some(known) = nearest.or_else(prefix) {
            let dashes = if known.len() == 1 { "-" } else { "--" };
            let _ = write!(text, "\n  did you mean {dashes}{known}?");
        }
        Failure::new(text)
    }

    /// A wrong command line, with where to look.
    pub fn misuse(&self, what: &str) -> Failure {
        Failure::new(format!("error: {what}\n  {} --help lists the options", self.tool))
    }

    /// What the tool is for and its flags.
    pub fn usage(&self) -> String {
        let all = lines(self.flags.iter().chain(EVERYWHERE));
        format!("usage: {} [OPTION]...\n\n{}\n{all}", self.tool, self.about)
    }

    /// Its flags and `--help`, in lines.
    pub fn options(&self) -> String {
        lines(self.flags.iter().chain(EVERYWHERE.iter().take(1)))
    }

    /// A flag that takes no value and is given one: `--yes=false` must not mean yes to us, as it
    /// does to joptsimple.
    pub fn switch_with_value(&self, args: &[String]) -> Option<String> {
        let args = args.iter().take_while(|arg| *arg != "--");
        let mut named = args.filter_map(|arg| arg.strip_prefix("--")?.split_once('='));
        let (name, _) = named
            .find(|(name, _)| self.find(name).is_some_and(|flag| flag.takes == Takes::Nothing))?;
        Some(dashed(name))
    }
}

fn lines<'a>(flags: impl Iterator<Item = &'a Flag>) -> String {
    let mut text = String::new();
    for flag in flags {
        let names: Vec<String> = flag.names.iter().map(|name| dashed(name)).collect();
        let of = match flag.takes {
            Takes::Nothing => String::new(),
            Takes::Value(of) => format!(" <{of}>"),
            Takes::Optional(of) => format!(" [<{of}>]"),
        };
        let _ = write!(text, "\n  {}{of}", names.join(", "));
        for line in wrap(flag.help, HELP_COLUMNS) {
            let _ = write!(text, "\n      {line}");
        }
    }
    text
}

type Out = Result<(), Failure>;
type Rest<'a> = std::iter::Peekable<std::slice::Iter<'a, String>>;

/// A command line that was read.
#[derive(Clone, Debug)]
pub struct Parsed {
    spec: &'static Spec,
    given: Vec<(&'static Flag, Option<String>)>,
    /// What belongs to no flag, in order.
    pub rest: Vec<String>,
}

impl Parsed {
    fn take(&mut self, flag: &'static Flag, inline: Option<String>, args: &mut Rest<'_>) -> Out {
        let value = match (flag.takes, inline) {
            // As joptsimple has it: `--list=anything` is `--list`.
            (Takes::Nothing, _) => None,
            (_, Some(inline)) => Some(inline),
            (Takes::Value(of), None) => Some(args.next().cloned().ok_or_else(|| {
                let name = flag.names.first().map_or_else(String::new, |name| dashed(name));
                self.spec.misuse(&format!("{name} needs a value: <{of}>"))
            })?),
            (Takes::Optional(_), None) => {
                let option = |next: &&String| next.len() > 1 && next.starts_with('-');
                match args.peek() {
                    Some(next) if !option(next) => args.next().cloned(),
                    _ => None,
                }
            }
        };
        self.given.push((flag, value));
        Ok(())
    }

    fn of<'a>(&'a self, name: &str) -> impl Iterator<Item = Option<&'a str>> + use<'a> {
        let wanted = self.spec.find(name);
        debug_assert!(wanted.is_some(), "{name} is not declared");
        let given = self.given.iter();
        given
            .filter(move |(flag, _)| wanted.is_some_and(|wanted| std::ptr::eq(wanted, *flag)))
            .map(|(_, value)| value.as_deref())
    }

    /// What the command line was read by.
    pub fn spec(&self) -> &'static Spec {
        self.spec
    }

    /// True if the flag was given.
    pub fn has(&self, name: &str) -> bool {
        self.of(name).next().is_some()
    }

    /// The flag's values, in order.
    pub fn values<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        self.of(name).flatten()
    }

    /// These flags and their values as they stand on the command line.
    pub fn in_order(&self, names: &[&str]) -> Vec<(&'static str, Option<&str>)> {
        let named = |flag: &Flag| flag.names.iter().copied().find(|name| names.contains(name));
        let given = self.given.iter();
        given.filter_map(|(flag, value)| Some((named(flag)?, value.as_deref()))).collect()
    }

    /// The values between commas, as joptsimple separates them: nothing is lost but the empty.
    pub fn separated<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        self.values(name).flat_map(|value| value.split(',')).filter(|value| !value.is_empty())
    }

    /// The flag's value.
    ///
    /// # Errors
    /// The flag was given several times.
    pub fn value(&self, name: &str) -> Result<Option<&str>, Failure> {
        let mut values = self.values(name);
        let first = values.next();
        match values.next() {
            None => Ok(first),
            Some(_) => Err(self.spec.misuse(&format!("{} was given more than once", dashed(name)))),
        }
    }

    /// The flag's value as a number, or what `T` else is.
    ///
    /// # Errors
    /// The flag was given several times, or its value is not a `T`.
    pub fn number<T: FromStr>(&self, name: &str) -> Result<Option<T>, Failure> {
        let Some(text) = self.value(name)? else { return Ok(None) };
        let wrong = || self.spec.misuse(&format!("{} {text}: expected a number", dashed(name)));
        java::number(text).map(Some).map_err(|_| wrong())
    }

    /// As [`Self::value`], in the words in which Apache Kafka's tools say it where they print what
    /// went wrong on standard output.
    pub fn once(&self, name: &str) -> Result<Option<&str>, String> {
        self.value(name).map_err(|_| {
            format!("Found multiple arguments for option {name}, but you asked for only one")
        })
    }

    /// As [`Self::number`], in the words of Apache Kafka's tools.
    pub fn once_number<T: FromStr>(&self, name: &str) -> Result<Option<T>, String> {
        let Some(text) = self.once(name)? else { return Ok(None) };
        let number = java::number(text);
        number.map(Some).map_err(|_| format!("Cannot parse argument '{text}' of option {name}"))
    }

    /// Checks that all of `names` were given.
    ///
    /// # Errors
    /// The first that was not.
    pub fn require(&self, names: &[&str]) -> Out {
        match names.iter().find(|name| !self.has(name)) {
            Some(name) => Err(self.spec.misuse(&format!("{} is required", dashed(name)))),
            None => Ok(()),
        }
    }

    /// Checks that with `used` none of `others` was given.
    ///
    /// # Errors
    /// The first that was.
    pub fn exclude(&self, used: &str, others: &[&str]) -> Out {
        let Some(other) = others.iter().find(|name| self.has(used) && self.has(name)) else {
            return Ok(());
        };
        let (used, other) = (dashed(used), dashed(other));
        Err(self.spec.misuse(&format!("{used} can't be used with {other}")))
    }

    /// Checks that exactly one of `names` was given.
    ///
    /// # Errors
    /// None was, or several.
    pub fn exactly_one(&self, names: &[&str]) -> Out {
        if names.iter().filter(|name| self.has(name)).count() == 1 {
            return Ok(());
        }
        let names: Vec<String> = names.iter().map(|name| dashed(name)).collect();
        Err(self.spec.misuse(&format!("exactly one is required of {}", names.join(", "))))
    }
}

fn split(arg: &str) -> (&str, Option<String>) {
    match arg.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (arg, None),
    }
}

fn dashed(name: &str) -> String {
    if name.len() == 1 { format!("-{name}") } else { format!("--{name}") }
}

/// The words of `text` in lines of at most `columns`.
fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// What every tool understands.
const EVERYWHERE: &[Flag] = &[
    switch(&["help"], "Print this."),
    switch(&["version"], "Print the version of Apache Kafka whose tool this equals."),
];
/// The release whose output and exit codes the tools have; scripts compare it.
pub const KAFKA_VERSION: &str = "4.3.1";
const HELP_COLUMNS: usize = 74;

#[cfg(test)]
mod tests {
    use super::*;

    static SPEC: Spec = Spec {
        tool: "kafka-test",
        about: "Tests.",
        flags: &[
            switch(&["list"], "Lists."),
            switch(&["q"], "Quiet."),
            value(&["topic", "t"], "name", "A topic."),
            optional(&["state"], "states", "States."),
        ],
    };

    fn read(args: &[&str]) -> Result<Parsed, String> {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        SPEC.read(&args).map_err(|failure| match failure {
            Failure::Told { text, .. } => text,
            other => format!("{other:?}"),
        })
    }

    #[test]
    fn values_stand_behind_a_flag_or_an_equals_sign() {
        let parsed =
            read(&["--topic", "a", "--topic=b=c", "-t", "d", "-te", "-topic", "f"]).unwrap();
        assert_eq!(parsed.values("topic").collect::<Vec<_>>(), ["a", "b=c", "d", "e", "f"]);
        let parsed = read(&["--topic", "--list"]).unwrap();
        assert_eq!(parsed.value("topic").unwrap(), Some("--list"), "a value, dashes and all");
        assert!(!parsed.has("list"));
        assert_eq!(read(&["--topic="]).unwrap().value("topic").unwrap(), Some(""));
        assert!(read(&["--list=yes"]).unwrap().has("list"));
        assert!(read(&["--topic"]).unwrap_err().starts_with("error: --topic needs a value"));
    }

    #[test]
    fn an_optional_value_is_not_a_flag() {
        let parsed = read(&["--state", "--list"]).unwrap();
        assert!(parsed.has("state") && parsed.has("list"));
        assert_eq!(parsed.value("state").unwrap(), None);
        assert_eq!(read(&["--state", "Stable"]).unwrap().value("state").unwrap(), Some("Stable"));
        assert_eq!(read(&["--state", "-"]).unwrap().value("state").unwrap(), Some("-"));
    }

    #[test]
    fn one_letter_flags_come_in_clusters() {
        let parsed = read(&["-qtname", "rest", "--", "--list"]).unwrap();
        assert!(parsed.has("q"));
        assert_eq!(parsed.value("t").unwrap(), Some("name"));
        assert_eq!(parsed.rest, ["rest", "--list"]);
        assert!(read(&["-qx"]).is_err());
    }

    #[test]
    fn a_typing_error_is_told_with_the_nearest_flag() {
        let told = "error: unknown option --lst\n  did you mean --list?";
        assert_eq!(read(&["--lst"]).unwrap_err(), told);
        let told = "error: unknown option --top\n  did you mean --topic?";
        assert_eq!(read(&["--top"]).unwrap_err(), told, "no abbreviations, but a hint");
        assert_eq!(read(&["--zzzzzz"]).unwrap_err(), "error: unknown option --zzzzzz");
    }

    #[test]
    fn rules_between_flags_name_the_flags() {
        let parsed = read(&["--list", "--topic", "a", "--topic", "b"]).unwrap();
        let text = |out: Result<(), Failure>| match out {
            Err(Failure::Told { text, code: 1 }) => text.lines().next().unwrap().to_owned(),
            other => format!("{other:?}"),
        };
        assert_eq!(text(parsed.require(&["list", "state"])), "error: --state is required");
        let excluded = text(parsed.exclude("topic", &["state", "list"]));
        assert_eq!(excluded, "error: --topic can't be used with --list");
        assert!(parsed.exclude("state", &["list"]).is_ok());
        let one = text(parsed.exactly_one(&["list", "topic"]));
        assert_eq!(one, "error: exactly one is required of --list, --topic");
        assert!(parsed.exactly_one(&["list", "state"]).is_ok());
        let twice = text(parsed.value("topic").map(|_| ()));
        assert_eq!(twice, "error: --topic was given more than once");
    }

    #[test]
    fn numbers_have_signs_and_nothing_else() {
        let number = |text: &str| read(&["--topic", text]).unwrap().number::<i32>("topic").ok();
        assert_eq!(number("-5"), Some(Some(-5)));
        assert_eq!(number("+5"), Some(Some(5)));
        assert_eq!(number("5x"), None);
        assert_eq!(number("+-5"), None);
    }

    #[test]
    fn help_and_version_have_apache_kafkas_exit_codes() {
        let run = |args: &[&str]| {
            let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let mut stdin = std::io::empty();
            let mut io = Io { stdin: &mut stdin, out: &mut out, err: &mut err };
            let code = crate::finish(&mut io, |io| SPEC.parse(&args, io).map(|_| 7));
            (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
        };
        assert_eq!(run(&["--version"]), (0, "4.3.1\n".into(), String::new()));
        let (code, out, err) = run(&["--help"]);
        assert_eq!((code, out.as_str()), (1, ""));
        assert!(err.contains("\n  --topic, -t <name>\n      A topic.\n"), "{err}");
        assert_eq!(run(&[]).0, 1);
        assert_eq!(run(&["--list"]).0, 7);
    }
}
