//! Command lines as argparse4j reads them for Apache Kafka's tool: words and long flags may be
//! shortened as long as one is meant, `@FILE` stands for the lines of a file, and a value must not
//! look like a flag.

use std::collections::VecDeque;

/// One flag of a command.
#[derive(Debug)]
pub struct Flag {
    /// With two dashes.
    pub long: &'static str,
    /// With one.
    pub short: &'static str,
    /// A value follows.
    pub value: bool,
    /// It has to be given.
    pub required: bool,
}

/// One command.
#[derive(Debug)]
pub struct Command {
    /// Its name.
    pub name: &'static str,
    /// Its flags besides `--help`.
    pub flags: &'static [Flag],
    /// Of these one may be given.
    pub exclusive: &'static [&'static str],
    /// What `--help` prints.
    pub help: &'static str,
}

/// What a command line asks for.
#[derive(Debug)]
pub enum Asked {
    /// That text on standard output.
    Help(&'static str),
    /// A command with these flags.
    Run(&'static Command, Given),
}

/// Flags and their values, in order.
#[derive(Debug, Default)]
pub struct Given(Vec<(&'static str, Option<String>)>);

impl Given {
    /// True if the flag was given.
    pub fn has(&self, long: &str) -> bool {
        self.0.iter().any(|(name, _)| *name == long)
    }

    /// The flag's values, in order.
    pub fn all<'a>(&'a self, long: &'static str) -> impl Iterator<Item = &'a str> {
        let named = self.0.iter().filter(move |(name, _)| *name == long);
        named.filter_map(|(_, value)| value.as_deref())
    }

    /// The flag's last value, which counts.
    pub fn last(&self, long: &'static str) -> Option<&str> {
        self.all(long).last()
    }

    /// What is said of a word that has no meaning where it is.
    fn unrecognized(&self, word: &str) -> String {
        // It may be the rest of a value with blanks.
        match self.has("add-scram") {
            true => "unrecognized arguments after --add-scram, whose value has to be quoted".into(),
            false => unrecognized(word),
        }
    }
}

/// Reads a command line.
///
/// # Errors
/// What is wrong with it, in a sentence.
pub fn parse(
    args: &[String],
    commands: &[&'static Command],
    help: &'static str,
) -> Result<Asked, String> {
    let mut args = expanded(args)?;
    let Some(first) = args.pop_front() else { return Err("too few arguments".into()) };
    if let Some(flag) = first.strip_prefix('-').filter(|rest| !rest.is_empty()) {
        let long = flag.strip_prefix('-').filter(|rest| !rest.is_empty());
        let help_asked = match long {
            Some(long) => "help".starts_with(long),
            None => flag.starts_with('h'),
        };
        return match help_asked {
            true => Ok(Asked::Help(help)),
            false => Err(unrecognized(&first)),
        };
    }
    let named: Vec<&'static Command> =
        commands.iter().copied().filter(|command| command.name.starts_with(&first)).collect();
    let exact = named.iter().copied().find(|command| command.name == first);
    let command = match (exact, &named[..]) {
        (Some(command), _) => command,
        (None, [command]) => *command,
        _ => {
            let names: Vec<String> =
                commands.iter().map(|command| format!("'{}'", command.name)).collect();
            return Err(format!("invalid choice: '{first}' (choose from {})", names.join(", ")));
        }
    };
    command.parse(args)
}

/// With the lines of files in the place of `@FILE`.
fn expanded(args: &[String]) -> Result<VecDeque<String>, String> {
    let mut all = VecDeque::new();
    for arg in args {
        match arg.strip_prefix('@') {
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|error| {
                    format!("Could not read arguments from file '{path}': {error}")
                })?;
                all.extend(text.lines().map(str::to_owned));
            }
            None => all.push_back(arg.clone()),
        }
    }
    Ok(all)
}

impl Command {
    fn parse(&'static self, mut args: VecDeque<String>) -> Result<Asked, String> {
        let mut given = Given::default();
        while let Some(arg) = args.pop_front() {
            if arg == "--" {
                match args.front() {
                    None => break,
                    Some(arg) => return Err(given.unrecognized(arg)),
                }
            }
            if let Some(long) = arg.strip_prefix("--") {
                let (name, inline) = match long.split_once('=') {
                    Some((name, value)) => (name, Some(value.to_owned())),
                    None => (long, None),
                };
                match self.long(name)? {
                    Some(flag) => self.take(flag, inline, &mut args, &mut given)?,
                    None => return Ok(Asked::Help(self.help)),
                }
            } else if let Some(letters) = arg.strip_prefix('-').filter(|rest| !rest.is_empty()) {
                if self.letters(letters, &mut args, &mut given)? {
                    return Ok(Asked::Help(self.help));
                }
            } else {
                return Err(given.unrecognized(&arg));
            }
        }
        let missing = self.flags.iter().find(|flag| flag.required && !given.has(flag.long));
        match missing {
            Some(flag) => Err(format!("argument {} is required", flag.told())),
            None => Ok(Asked::Run(self, given)),
        }
    }

    /// The flag that a long name, or the beginning of one, means; `None` for `--help`.
    fn long(&'static self, name: &str) -> Result<Option<&'static Flag>, String> {
        if let Some(flag) = self.flags.iter().find(|flag| flag.long == name) {
            return Ok(Some(flag));
        }
        let mut meant: Vec<Option<&'static Flag>> =
            self.flags.iter().filter(|flag| flag.long.starts_with(name)).map(Some).collect();
        meant.extend("help".starts_with(name).then_some(None));
        match meant[..] {
            [flag] => Ok(flag),
            [] => Err(format!("unrecognized arguments: '--{name}'")),
            _ => {
                let long = |flag: &Option<&Flag>| flag.map_or("help", |flag| flag.long).to_owned();
                let names: Vec<String> = meant.iter().map(|f| format!("--{}", long(f))).collect();
                Err(format!("ambiguous option: --{name} could match {}", names.join(", ")))
            }
        }
    }

    /// `-sg` as `-s -g`, `-tID` and `-t=ID` as `-t ID`; true if one of them asks for help.
    fn letters(
        &'static self,
        letters: &str,
        args: &mut VecDeque<String>,
        given: &mut Given,
    ) -> Result<bool, String> {
        for (at, letter) in letters.char_indices() {
            let rest = letters.get(at + letter.len_utf8()..).unwrap_or_default();
            let named = |flag: &&Flag| flag.short.chars().eq([letter]);
            match self.flags.iter().find(named) {
                None if letter == 'h' => return Ok(true),
                None => {
                    let known = letters.strip_suffix(rest).unwrap_or_default();
                    return Err(format!("unrecognized arguments: '-{known}'"));
                }
                Some(flag) if flag.value && !rest.is_empty() => {
                    let value = rest.strip_prefix('=').unwrap_or(rest).to_owned();
                    self.take(flag, Some(value), args, given)?;
                    return Ok(false);
                }
                Some(flag) => self.take(flag, None, args, given)?,
            }
        }
        Ok(false)
    }

    fn take(
        &self,
        flag: &'static Flag,
        inline: Option<String>,
        args: &mut VecDeque<String>,
        given: &mut Given,
    ) -> Result<(), String> {
        let excludes = |other: &&&str| **other != flag.long && given.has(other);
        if self.exclusive.contains(&flag.long)
            && let Some(other) = self.exclusive.iter().find(excludes)
        {
            let other = self.flags.iter().find(|flag| flag.long == *other);
            let other = other.map(Flag::told).unwrap_or_default();
            return Err(format!("argument {}: not allowed with argument {other}", flag.told()));
        }
        let is_flag = |arg: &String| arg.len() > 1 && arg.starts_with('-');
        let value = match (flag.value, inline) {
            (false, Some(value)) => {
                return Err(format!("argument {}: it takes no value: '{value}'", flag.told()));
            }
            (false, None) => None,
            (true, Some(value)) => Some(value),
            (true, None) => match args.front().is_some_and(|next| !is_flag(next)) {
                true => args.pop_front(),
                false => return Err(format!("argument {}: expected one argument", flag.told())),
            },
        };
        given.0.push((flag.long, value));
        Ok(())
    }
}

impl Flag {
    fn told(&self) -> String {
        format!("--{}/-{}", self.long, self.short)
    }
}

/// Names the word, without what may be a value in it: that may be a secret.
fn unrecognized(word: &str) -> String {
    let shown = match word.strip_prefix("--") {
        Some(_) => word.split('=').next().unwrap_or_default(),
        None if word.starts_with('-') => {
            let end = word.char_indices().nth(2).map_or(word.len(), |(at, _)| at);
            word.get(..end).unwrap_or_default()
        }
        None => word,
    };
    format!("unrecognized arguments: '{shown}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    static ONE: Command = Command {
        name: "format",
        flags: &[
            Flag { long: "config", short: "c", value: true, required: true },
            Flag { long: "cluster-id", short: "t", value: true, required: false },
            Flag { long: "standalone", short: "s", value: false, required: false },
            Flag { long: "add-scram", short: "S", value: true, required: false },
            Flag { long: "no", short: "N", value: false, required: false },
        ],
        exclusive: &["standalone", "no"],
        help: "one",
    };
    static TWO: Command = Command { name: "feature", flags: &[], exclusive: &[], help: "two" };

    fn read(line: &str) -> Result<String, String> {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse(&args, &[&ONE, &TWO], "all").map(|asked| match asked {
            Asked::Help(text) => text.to_owned(),
            Asked::Run(command, given) => format!("{} {:?}", command.name, given.0),
        })
    }

    #[test]
    fn words_and_long_flags_may_be_shortened() {
        let whole = read("format --config a --standalone").unwrap();
        assert_eq!(whole, r#"format [("config", Some("a")), ("standalone", None)]"#);
        assert_eq!(read("fo --co a --s").unwrap(), whole);
        assert_eq!(read("fo -ca -s --").unwrap(), whole);
        assert_eq!(read("fo -c=a -s").unwrap(), whole);
        assert_eq!(read("fo --conf=a -s").unwrap(), whole);
        assert_eq!(read("fo -sca").unwrap().len(), whole.len());
        assert!(read("f").unwrap_err().starts_with("invalid choice: 'f'"));
        let told = read("format --c a").unwrap_err();
        assert_eq!(told, "ambiguous option: --c could match --config, --cluster-id");
    }

    #[test]
    fn help_comes_before_what_is_missing() {
        assert_eq!(read("--help bogus").unwrap(), "all");
        assert_eq!(read("-h").unwrap(), "all");
        assert_eq!(read("format -h").unwrap(), "one");
        assert_eq!(read("format -sh").unwrap(), "one");
        assert_eq!(read("feature --h").unwrap(), "two");
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (line, said) in [
            ("", "too few arguments"),
            ("-x", "unrecognized arguments: '-x'"),
            ("format", "argument --config/-c is required"),
            ("format -c", "--config/-c: expected one argument"),
            ("format -c -s", "--config/-c: expected one argument"),
            ("format -c a --standalone=x", "takes no value"),
            ("format -c a -s -N", "--no/-N: not allowed with argument --standalone/-s"),
            ("format x -c a", "unrecognized arguments: 'x'"),
            ("format -c a -- -s", "unrecognized arguments: '-s'"),
            ("format -c a --other", "unrecognized arguments: '--other'"),
            ("format -c a -so", "unrecognized arguments: '-so'"),
            ("@/nowhere", "from file '/nowhere'"),
        ] {
            let told = read(line).unwrap_err();
            assert!(told.contains(said), "{line}: {told}");
        }
        assert!(read("format -c a -s -s").is_ok(), "the same twice excludes nothing");
    }

    #[test]
    fn secrets_are_not_said() {
        for line in [
            "format foo -c a -S SCRAM-SHA-256=[name=a,password=s!cret]",
            "format -c a -S SCRAM-SHA-256=[name=a, password=s!cret]",
            "format -c a -- -SSCRAM-SHA-256=[name=a,password=s!cret]",
            "format -c a -- --add-scram=SCRAM-SHA-256=[name=a,password=s!cret]",
            "format -c a -xSs!cret",
            "-Ss!cret",
            "--add-scram=s!cret",
        ] {
            let told = read(line).unwrap_err();
            assert!(told.starts_with("unrecognized arguments"), "{line}: {told}");
            assert!(!told.contains("s!cret"), "{told}");
        }
    }

    #[test]
    fn a_file_stands_for_its_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("args");
        std::fs::write(&path, "format\n-c\na b\n").unwrap();
        let args = [format!("@{}", path.display()), "-s".to_owned()];
        let asked = parse(&args, &[&ONE], "all").unwrap();
        let Asked::Run(_, given) = asked else { panic!("{asked:?}") };
        assert_eq!((given.last("config"), given.has("standalone")), (Some("a b"), true));
    }
}
