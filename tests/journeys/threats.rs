//! The table of threats names tests: each of them exists.

use std::collections::BTreeSet;
use std::path::Path;

/// What can be attacked; each has a row at least.
const SURFACES: [&str; 10] = [
    "redirect",
    "postback",
    "API",
    "console",
    "exports",
    "outbound calls",
    "keys",
    "tenants",
    "logs",
    "personal data",
];

const NOT_YET: &str = "does not exist yet";

/// Whether a source has a test of that name; of a script the check itself.
fn has_test(source: &str, path: &str, name: &str) -> bool {
    if path.ends_with(".py") {
        return source.contains(&format!("\ndef {name}("));
    }
    let mut lines_before: Vec<&str> = Vec::new();
    for line in source.lines() {
        let declares = line
            .trim_start()
            .trim_start_matches("async ")
            .strip_prefix("fn ")
            .and_then(|rest| rest.strip_prefix(name))
            .is_some_and(|rest| rest.starts_with('('));
        if declares {
            let is_attribute = |line: &&&str| line.trim_start().starts_with(['#', '/']);
            let attributes = || lines_before.iter().rev().take_while(is_attribute);
            // One that is passed over proves nothing.
            let is_ignored = attributes().any(|line| line.contains("[ignore"));
            return !is_ignored
                && attributes()
                    .any(|line| line.contains("test]") || line.contains("tokio::test("));
        }
        lines_before.push(line);
    }
    false
}

#[test]
fn every_test_that_the_table_of_threats_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let table = std::fs::read_to_string(root.join("tests/threats.md")).unwrap();
    let mut surfaces = BTreeSet::new();
    let mut named = 0;
    for row in table.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [surface, attack, defence, tests] = cells.as_slice() else {
            panic!("not four cells: {row}");
        };
        if *surface == "where" {
            continue;
        }
        assert!(SURFACES.contains(surface), "{surface}");
        surfaces.insert((*surface).to_owned());
        if *defence == NOT_YET {
            assert_eq!(*tests, "", "{row}");
            continue;
        }
        assert!(!attack.is_empty() && !defence.is_empty(), "{row}");
        let tests: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "no test: {row}");
        for test in tests {
            let (path, name) = test.split_once("::").unwrap_or_else(|| panic!("{test}"));
            let source = std::fs::read_to_string(root.join(path));
            let source = source.unwrap_or_else(|error| panic!("{path}: {error}"));
            assert!(
                has_test(&source, path, name),
                "`{path}` has no test `{name}`"
            );
            named += 1;
        }
    }
    assert_eq!(surfaces, SURFACES.map(str::to_owned).into());
    assert!(named > 0);
}

#[test]
fn a_test_is_known_by_its_attribute_and_whole_name() {
    let source = "#[test]\nfn one() {}\n\n/// Says why.\n#[tokio::test(start_paused = true)]\n\
                  async fn two() {}\n\nfn three() {}\n\n    #[test]\n    fn four(a: u8) {}\n\n\
                  #[test]\n#[ignore = \"slow\"]\nfn six() {}\n";
    for name in ["one", "two", "four"] {
        assert!(has_test(source, "a.rs", name), "{name}");
    }
    for name in ["three", "on", "five", "six"] {
        assert!(!has_test(source, "a.rs", name), "{name}");
    }
    assert!(has_test("\ndef check():", "a.py", "check"));
    assert!(!has_test("\ndef checks():", "a.py", "check"));
}
