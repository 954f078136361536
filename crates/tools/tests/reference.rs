//! What is written about the tools is made from the list by which they are found.

use std::fmt::Write as _;

use tools::TOOLS;

const BEGIN: &str =
    "<!-- tools: made by `UPDATE=1 cargo test -p ottla-tools --test reference` -->\n";
const END: &str = "<!-- /tools -->";

#[test]
fn readme_lists_exactly_the_tools_there_are() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md");
    let readme = std::fs::read_to_string(path).unwrap();
    let (before, rest) = readme.split_once(BEGIN).expect("README has the begin mark");
    let (_, after) = rest.split_once(END).expect("README has the end mark");
    let mut table = String::from("| tool | |\n|---|---|\n");
    for tool in TOOLS {
        let _ = writeln!(table, "| `{}` | {} |", tool.name, tool.about);
    }
    let wanted = format!("{before}{BEGIN}{table}{END}{after}");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &wanted).unwrap();
        return;
    }
    assert_eq!(readme, wanted, "README is stale: run with UPDATE=1");
}
