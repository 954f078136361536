//! What is written about commands and tools is made from the lists by which they are found.

use std::fmt::Write as _;

use tools::TOOLS;
use tools::verbs::VERBS;

#[test]
fn readme_lists_exactly_the_tools_there_are() {
    let mut table = String::from("| tool | |\n|---|---|\n");
    for tool in TOOLS {
        let _ = writeln!(table, "| `{}` | {} |", tool.name, tool.about);
    }
    check("tools", &table);
}

#[test]
fn readme_lists_exactly_the_commands_there_are() {
    let mut table = String::from("| command | |\n|---|---|\n");
    for verb in VERBS {
        let _ = writeln!(table, "| `ottla {}` | {} |", verb.words(), verb.about());
    }
    check("commands", &table);
}

/// What README has between the marks of that name is `table`; with UPDATE it becomes so.
#[track_caller]
fn check(name: &str, table: &str) {
    let begin =
        format!("<!-- {name}: made by `UPDATE=1 cargo test -p ottla-tools --test reference` -->\n");
    let end = format!("<!-- /{name} -->");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md");
    // Both tests may write.
    static FILE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _guard = FILE.lock();
    let readme = std::fs::read_to_string(path).unwrap();
    let (before, rest) = readme.split_once(&begin).expect("README has the begin mark");
    let (_, after) = rest.split_once(&end).expect("README has the end mark");
    let wanted = format!("{before}{begin}{table}{end}{after}");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &wanted).unwrap();
        return;
    }
    assert_eq!(readme, wanted, "README is stale: run with UPDATE=1");
}
