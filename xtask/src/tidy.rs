//! `cargo xtask tidy`: the conventions that a program can check.
//!
//! Each rule is a function from the tree's files to [`Problem`]s and has a test with a planted
//! violation. Comments and the contents of strings are blanked before code is searched, so a rule
//! can be named in prose, here too.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Our crates, bottom to top: each may depend on those before it only.
const ORDER: [&str; 13] = [
    "wire",
    "messages",
    "config",
    "log",
    "raft",
    "metadata",
    "replica",
    "coordinator",
    "broker",
    "server",
    "client",
    "tools",
    "ottla",
];

/// Built into users' programs, and so needs nothing of a broker; its tests may start one.
const CLIENT: &str = "client";
const CLIENT_NEEDS: [&str; 3] = ["wire", "messages", "config"];

/// Drives the cores, and so must never see the crates that do I/O.
const SIM: &str = "sim";
const SIM_NEVER: [&str; 3] = ["server", "tools", "ottla"];

/// Where a clock, the network, threads and entropy may be named.
const SHELLS: [&str; 10] = [
    "crates/server/",
    // The command line around the simulator, not the simulator.
    "crates/sim/src/main.rs",
    "crates/client/src/net",
    "crates/tools/",
    "crates/ottla/",
    "xtask/",
    "tests/",
    "bench/",
    "examples/",
    "fuzz/",
];

/// The one file outside the shells that may touch the operating system's files.
const DISK: &str = "crates/log/src/disk/os.rs";

/// What only shells may name.
const EFFECTS: [&str; 12] = [
    "tokio",
    "std::net",
    "std::thread",
    "SystemTime",
    "Instant",
    "getrandom",
    "rand",
    "thread_rng",
    "OsRng",
    "RandomState",
    "socket2",
    "std::process",
];

/// What only shells and [`DISK`] may name.
const FILES: [&str; 4] = ["std::fs", "std::os", "rustix", "libc"];

const VAGUE: [&str; 8] = ["common", "util", "utils", "helper", "helpers", "misc", "core", "base"];

/// Code that stands for missing code, or tests that don't test.
const STUBS: [&str; 5] = ["#[ignore", "#[should_panic", "todo!", "unimplemented!", "thread::sleep"];

/// Paths of one machine, and hosts that a mirror replaces; split so that this file passes.
const LOCAL: [&str; 11] = [
    concat!("/ro", "ot/"),
    concat!("/wo", "rk/"),
    concat!("maven", ".apache.org/maven2"),
    concat!("repo1", ".maven.org"),
    concat!("pypi", ".org"),
    concat!("files.python", "hosted.org"),
    concat!("registry.", "npmjs.org"),
    concat!("proxy.", "golang.org"),
    concat!("deb.", "debian.org"),
    concat!("static.", "crates.io"),
    concat!("index.", "crates.io"),
];

const FILE_LINES_MAX: usize = 1500;
const COLUMNS_MAX: usize = 100;
const STATUS_LINES_MAX: usize = 150;

/// A file of the tree.
struct File {
    path: String,
    text: String,
}

/// A violation; line 0 is the file as a whole.
#[derive(Debug, PartialEq)]
struct Problem {
    path: String,
    line: usize,
    message: String,
}

/// Checks every file that git knows or would add.
pub fn run(_arguments: &[String]) -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let listed = Command::new("git")
        // The checker's user need not own the work tree.
        .args(["-c", "safe.directory=*", "ls-files", "-z"])
        .args(["--cached", "--others", "--exclude-standard"])
        .current_dir(&root)
        .output()
        .map_err(|error| format!("git: {error}"))?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let read = |path: &str| {
        // Not text, or deleted but still in the index: nothing to check.
        let text = fs::read_to_string(root.join(path)).ok()?;
        Some(File { path: path.to_owned(), text })
    };
    let files: Vec<File> =
        listed.split('\0').filter(|path| !path.is_empty()).filter_map(read).collect();
    if files.is_empty() {
        return Err("tidy: no files; is this a git work tree?".into());
    }
    let problems = check(&files);
    let lines: Vec<String> = problems
        .iter()
        .map(|problem| format!("{}:{}: {}", problem.path, problem.line, problem.message))
        .collect();
    if lines.is_empty() { Ok(()) } else { Err(lines.join("\n")) }
}

fn check(files: &[File]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in files {
        let mut report = |line: usize, message: String| {
            problems.push(Problem { path: file.path.clone(), line, message });
        };
        names(file, &mut report);
        local(file, &mut report);
        if file.path.ends_with("Cargo.toml") {
            manifest(file, &mut report);
        }
        if file.path == "docs/STATUS.md" && file.text.lines().count() > STATUS_LINES_MAX {
            report(STATUS_LINES_MAX + 1, format!("longer than {STATUS_LINES_MAX} lines"));
        }
        if file.path.ends_with(".rs") && !file.path.contains("/generated/") {
            layout(file, &mut report);
            let code = code_only(&file.text);
            stubs(&code, &mut report);
            effects(file, &code, &mut report);
        }
    }
    problems
}

type Report<'a> = &'a mut dyn FnMut(usize, String);

/// Crates and modules say what they hold.
fn names(file: &File, report: Report<'_>) {
    let parts: Vec<&str> = file.path.split('/').collect();
    let source = file.path.ends_with(".rs") || file.path.ends_with("Cargo.toml");
    for part in parts.iter().filter(|_| source) {
        let stem = part.strip_suffix(".rs").unwrap_or(part);
        if VAGUE.contains(&stem) {
            report(0, format!("{stem} doesn't say what it holds"));
        }
    }
}

/// Nothing of one machine, no host that a mirror may stand in for.
fn local(file: &File, report: Report<'_>) {
    if file.path.ends_with(".lock") {
        return;
    }
    for (index, line) in file.text.lines().enumerate() {
        for name in LOCAL.iter().filter(|name| line.contains(*name)) {
            report(index + 1, format!("{name} holds on some machines only"));
        }
    }
}

/// Dependencies point down; names are ours.
fn manifest(file: &File, report: Report<'_>) {
    let owner = file.path.strip_prefix("crates/").and_then(|rest| rest.split('/').next());
    let rank = |name: &str| ORDER.iter().position(|known| *known == name);
    if let Some(owner) = owner
        && rank(owner).is_none()
        && owner != SIM
    {
        report(0, format!("{owner} has no place in the order of crates (xtask/src/tidy.rs)"));
    }
    let mut section = "";
    for (index, line) in file.text.lines().enumerate() {
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']', ' ']);
            continue;
        }
        let Some((key, value)) = line.split_once('=') else { continue };
        let names_something = matches!(section, "package" | "lib" | "bin");
        if names_something && key.trim() == "name" && value.to_lowercase().contains("kafka") {
            report(index + 1, "the product's names don't contain Kafka".into());
        }
        let Some(owner) = owner.filter(|_| section.contains("dependencies")) else { continue };
        let name = key.trim().split('.').next().unwrap_or_default();
        let name = name.strip_prefix("ottla_").or(name.strip_prefix("ottla-")).unwrap_or(name);
        if owner == CLIENT
            && section == "dependencies"
            && rank(name).is_some()
            && !CLIENT_NEEDS.contains(&name)
        {
            report(index + 1, format!("{owner} must not depend on {name}: it knows no broker"));
            continue;
        }
        let wrong = match (rank(name), rank(owner)) {
            (Some(_), None) => SIM_NEVER.contains(&name),
            (Some(below), Some(above)) => below >= above,
            (None, _) => name == SIM || (name == "harness" && section != "dev-dependencies"),
        };
        if wrong {
            report(index + 1, format!("{owner} must not depend on {name}: arrows point down"));
        }
    }
}

/// Files, lines and the opening comment.
fn layout(file: &File, report: Report<'_>) {
    if file.text.lines().count() > FILE_LINES_MAX {
        report(FILE_LINES_MAX + 1, format!("longer than {FILE_LINES_MAX} lines"));
    }
    if !file.text.trim_start().starts_with("//!") {
        report(1, "a module opens with //!: what it is for, what it owns".into());
    }
    for (index, line) in file.text.lines().enumerate() {
        // Tables of strings and addresses can't be wrapped.
        let fixed = line.contains('"') || line.contains("://");
        if line.chars().count() > COLUMNS_MAX && !fixed {
            report(index + 1, format!("wider than {COLUMNS_MAX} columns"));
        }
    }
}

fn stubs(code: &str, report: Report<'_>) {
    for (index, line) in code.lines().enumerate() {
        for name in STUBS.iter().filter(|name| line.contains(*name)) {
            report(index + 1, format!("{name} is not allowed"));
        }
    }
}

/// Cores neither perform I/O nor read clocks nor draw random numbers; their tests may read files.
fn effects(file: &File, code: &str, report: Report<'_>) {
    let shell = SHELLS.iter().any(|prefix| file.path.starts_with(prefix));
    let test = ["/tests/", "/benches/", "/examples/"].iter().any(|part| file.path.contains(part))
        || file.path.ends_with("/tests.rs");
    if shell || test {
        return;
    }
    let mut previous = "";
    for (index, line) in code.lines().enumerate() {
        if previous.trim() == "#[cfg(test)]" && line.trim_start().starts_with("mod ") {
            return;
        }
        previous = line;
        for name in EFFECTS.iter().filter(|name| mentions(line, name)) {
            report(index + 1, format!("{name} belongs into a shell, not into a core"));
        }
        if file.path != DISK {
            for name in FILES.iter().filter(|name| mentions(line, name)) {
                report(index + 1, format!("{name} belongs into {DISK} or a shell"));
            }
        }
    }
}

/// True if the line has `name` as a path of whole words; `std::x` also as `std::{..., x, ...}`.
fn mentions(line: &str, name: &str) -> bool {
    let word = |text: &str, name: &str| {
        text.match_indices(name).any(|(at, _)| {
            let inside = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
            !inside(text[..at].chars().next_back())
                && !inside(text[at + name.len()..].chars().next())
        })
    };
    if word(line, name) {
        return true;
    }
    match (name.strip_prefix("std::"), line.split_once("std::{")) {
        (Some(member), Some((_, group))) => word(group, member),
        _ => false,
    }
}

/// The text with comments and the contents of strings and characters blanked, lines kept.
fn code_only(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    let ends_with = |from: usize, pattern: &str| {
        pattern.chars().enumerate().all(|(index, c)| chars.get(from + index) == Some(&c))
    };
    while let Some(&c) = chars.get(at) {
        let end = if ends_with(at, "//") {
            chars[at..].iter().position(|&c| c == '\n').map_or(chars.len(), |length| at + length)
        } else if ends_with(at, "/*") {
            // Not nested: nobody here nests them.
            (at + 2..chars.len()).find(|&end| ends_with(end, "*/")).map_or(chars.len(), |e| e + 2)
        } else if c == '"' {
            string_end(&chars, at)
        } else if c == 'r' && !word_before(&chars, at) && raw_hashes(&chars, at).is_some() {
            raw_end(&chars, at, raw_hashes(&chars, at).unwrap_or(0))
        } else if c == '\'' {
            char_end(&chars, at)
        } else {
            out.push(c);
            at += 1;
            continue;
        };
        let blanked = chars[at..end].iter().map(|&c| if c == '\n' { '\n' } else { ' ' });
        out.extend(blanked);
        at = end;
    }
    out
}

fn word_before(chars: &[char], at: usize) -> bool {
    at > 0 && chars.get(at - 1).is_some_and(|c| c.is_alphanumeric() && *c != 'b' || *c == '_')
}

/// The number of `#` of a raw string that starts here.
fn raw_hashes(chars: &[char], at: usize) -> Option<usize> {
    let hashes = chars[at + 1..].iter().take_while(|&&c| c == '#').count();
    (chars.get(at + 1 + hashes) == Some(&'"')).then_some(hashes)
}

fn raw_end(chars: &[char], at: usize, hashes: usize) -> usize {
    let mut end = at + hashes + 2;
    while end < chars.len() {
        let closing = chars[end + 1..].iter().take(hashes).filter(|&&c| c == '#').count();
        if chars[end] == '"' && closing == hashes {
            return end + 1 + hashes;
        }
        end += 1;
    }
    chars.len()
}

fn string_end(chars: &[char], at: usize) -> usize {
    let mut end = at + 1;
    while end < chars.len() {
        match chars[end] {
            '\\' => end += 1,
            '"' => return end + 1,
            _ => {}
        }
        end += 1;
    }
    chars.len()
}

/// After a character literal; after the quote alone if it starts a lifetime.
fn char_end(chars: &[char], at: usize) -> usize {
    if chars.get(at + 1) == Some(&'\\') {
        let close = chars.iter().enumerate().skip(at + 3).find(|(_, c)| **c == '\'');
        return close.map_or(chars.len(), |(end, _)| end + 1);
    }
    if chars.get(at + 2) == Some(&'\'') { at + 3 } else { at + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The problems of one file, as `line: start of message`.
    fn problems(path: &str, text: &str) -> Vec<String> {
        let file = File { path: path.into(), text: text.into() };
        let found = check(&[file]).into_iter();
        found.map(|problem| format!("{}: {}", problem.line, problem.message)).collect()
    }

    #[track_caller]
    fn finds(path: &str, text: &str, expected: &str) {
        let found = problems(path, text);
        assert!(found.len() == 1 && found[0].contains(expected), "{expected}: {found:?}");
    }

    fn clean(path: &str, text: &str) {
        assert_eq!(problems(path, text), Vec::<String>::new());
    }

    #[test]
    fn dependency_that_points_up_is_found() {
        let upward = "[dependencies]\nserver.workspace = true\n";
        finds("crates/log/Cargo.toml", upward, "2: log must not depend on server");
        finds("crates/log/Cargo.toml", "[dev-dependencies]\nraft = {}\n", "2: log must not");
        finds("crates/wire/Cargo.toml", "[dependencies]\nottla_log = {}\n", "2: wire must not");
        finds("crates/sim/Cargo.toml", upward, "2: sim must not depend on server");
        finds("crates/log/Cargo.toml", "[dependencies]\nsim.workspace = true\n", "on sim");
        finds("crates/log/Cargo.toml", "[dependencies]\nharness = {}\n", "on harness");
        finds("crates/client/Cargo.toml", upward, "2: client must not depend on server");
        clean("crates/client/Cargo.toml", "[dev-dependencies]\nserver.workspace = true\n");
        clean("crates/sim/Cargo.toml", "[dependencies]\nbroker.workspace = true\n");
        clean("crates/log/Cargo.toml", "[dependencies]\nwire.workspace = true\nbytes = \"1\"\n");
        clean("tests/x/Cargo.toml", "[dev-dependencies]\nharness.workspace = true\n");
    }

    #[test]
    fn crate_without_a_place_in_the_order_is_found() {
        finds("crates/extra/Cargo.toml", "", "0: extra has no place");
    }

    #[test]
    fn effect_in_a_core_is_found() {
        for text in ["use std::net::IpAddr;", "use std::{fmt, thread};", "let a = Instant::now();"]
        {
            finds("crates/raft/src/lib.rs", &format!("//! x\n{text}\n"), "2: ");
        }
        finds("crates/log/src/disk/os.rs", "//! x\nuse tokio::io;\n", "tokio belongs");
        clean("crates/server/src/lib.rs", "//! x\nuse tokio::time::Instant;\n");
        clean("crates/client/src/net.rs", "//! x\nuse tokio::time::Instant;\n");
        clean("crates/raft/src/lib.rs", "//! x\nlet s = \"tokio\"; // Instant\nInstantiate\n");
    }

    #[test]
    fn file_access_outside_the_disk_is_found() {
        let text = "//! x\nuse std::fs;\n";
        finds("crates/log/src/segment.rs", text, "2: std::fs belongs into");
        clean(DISK, text);
        clean("crates/log/tests/golden.rs", text);
        clean("crates/log/src/a.rs", "//! x\n#[cfg(test)]\nmod tests {\nuse std::fs;\n}\n");
    }

    #[test]
    fn vague_name_is_found() {
        finds("crates/log/src/util.rs", "//! x\n", "0: util doesn't say");
        finds("crates/log/src/helpers/a.rs", "//! x\n", "0: helpers doesn't say");
        clean("crates/log/src/utility_bill.rs", "//! x\n");
    }

    #[test]
    fn long_file_and_wide_line_are_found() {
        let long = format!("//! x\n{}", "\n".repeat(FILE_LINES_MAX));
        finds("crates/log/src/a.rs", &long, "longer than 1500 lines");
        clean("crates/messages/src/generated/a.rs", &long);
        let wide = format!("//! x\n// {}\n", "é".repeat(COLUMNS_MAX - 2));
        finds("crates/log/src/a.rs", &wide, "2: wider than 100 columns");
        clean("crates/log/src/a.rs", &format!("//! x\n// {}\n", "é".repeat(COLUMNS_MAX - 3)));
        clean("crates/log/src/a.rs", &format!("//! x\n\"{}\"\n", "a".repeat(COLUMNS_MAX)));
    }

    #[test]
    fn module_without_an_opening_comment_is_found() {
        finds("crates/log/src/a.rs", "use x;\n", "1: a module opens with //!");
    }

    #[test]
    fn stubs_and_sleeps_are_found() {
        for name in STUBS {
            finds("tests/x/tests/a.rs", &format!("//! x\n{name}\n"), "2: ");
            clean(
                "tests/x/tests/a.rs",
                &format!("//! x {name}\n/* {name} */ '\"' r#\"{name}\"#\n"),
            );
        }
    }

    #[test]
    fn machine_path_and_registry_host_are_found() {
        for name in LOCAL {
            finds("docs/a.md", &format!("see {name}x\n"), "1: ");
            clean("Cargo.lock", name);
        }
    }

    #[test]
    fn others_name_in_ours_is_found() {
        let text = "[package]\nname = \"ottla-kafka\"\n";
        finds("crates/log/Cargo.toml", text, "2: the product's names");
        finds("tests/x/Cargo.toml", "[[bin]]\nname = \"kafkad\"\n", "2: the product's names");
    }

    #[test]
    fn status_that_grew_is_found() {
        finds("docs/STATUS.md", &"x\n".repeat(STATUS_LINES_MAX + 1), "151: longer than 150");
        clean("docs/STATUS.md", &"x\n".repeat(STATUS_LINES_MAX));
    }

    #[test]
    fn blanking_keeps_code_after_literals() {
        let code = code_only("a(\"x\\\"y\", 'z', '\\'', '\\u{7f}', br\"q\", &'a b) // c\nd");
        assert_eq!(code.split_whitespace().collect::<Vec<_>>().join(""), "a(,,,,b,&ab)d");
    }
}
