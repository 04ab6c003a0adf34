//! The documents tell the truth, as far as a program can check it.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The targets of the Markdown links in `text`.
fn links(text: &str) -> Vec<&str> {
    text.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect()
}

/// The problem with a link in a document that lies in `folder`, if there is one.
fn broken(folder: &Path, link: &str) -> Option<String> {
    if link.starts_with("http://") || link.starts_with("https://") || link.starts_with('#') {
        return None;
    }
    let (path, anchor) = link.split_once('#').map_or((link, None), |(path, anchor)| (path, Some(anchor)));
    let path = folder.join(path);
    let Some(anchor) = anchor else { return (!path.exists()).then(|| format!("{link}: no such file")) };
    let Ok(text) = fs::read_to_string(&path) else { return Some(format!("{link}: no such file")) };
    let found = if path.extension().is_some_and(|extension| extension == "md") {
        text.lines().any(|line| line.starts_with('#') && slug(line) == anchor)
    } else {
        // In source an anchor names an item: `#fn_name` or `#Type`.
        ["fn ", "struct ", "enum ", "trait ", "mod "].iter().any(|item| {
            text.match_indices(&format!("{item}{anchor}")).any(|(at, found)| {
                !text[at + found.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_')
            })
        })
    };
    (!found).then(|| format!("{link}: no such anchor"))
}

fn slug(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

/// The problems of a table of features: rows of promise, state, code, example, test.
fn problems(folder: &Path, table: &str) -> Vec<String> {
    let mut problems = Vec::new();
    for row in table.lines().filter(|line| line.starts_with("| ")).skip(1) {
        let cells: Vec<&str> =
            row.trim().trim_start_matches('|').trim_end_matches('|').split('|').map(str::trim).collect();
        let [promise, state, evidence @ ..] = cells.as_slice() else {
            problems.push(format!("not a row: {row}"));
            continue;
        };
        if evidence.len() != 3 {
            problems
                .push(format!("{promise}: code, example and test are three cells, not {}", evidence.len()));
        }
        match *state {
            "works" => {
                for (cell, what) in evidence.iter().zip(["code", "example", "test"]) {
                    if links(cell).is_empty() {
                        problems.push(format!("{promise}: says that it works, and links no {what}"));
                    }
                }
            }
            "planned" => {}
            partly if partly.starts_with("in part: ") => {}
            other => problems.push(format!("{promise}: {other:?} is no state")),
        }
        problems.extend(links(row).into_iter().filter_map(|link| broken(folder, link)));
    }
    problems
}

#[test]
fn every_feature_that_works_has_code_an_example_and_a_test() {
    let docs = root().join("docs");
    let text = fs::read_to_string(docs.join("features.md")).unwrap();
    assert_eq!(problems(&docs, &text), Vec::<String>::new());
    // One row for each promise, or more where parts of one are in different states.
    let rows = text.lines().filter(|line| line.starts_with("| ")).count() - 1;
    assert!(rows >= 36, "{rows} rows");
}

#[test]
fn the_check_finds_what_is_wrong() {
    let docs = root().join("docs");
    let head = "| promise | state | code | example | test |\n|---|---|---|---|---|\n";
    let check = |row: &str| problems(&docs, &format!("{head}{row}\n"));
    let good = "| a | works | [code](../src/lib.rs) | [example](../README.md) | [test](../tests/docs/main.rs#problems) |";
    assert_eq!(check(good), Vec::<String>::new());
    assert!(
        check("| a | works | [code](../src/lib.rs) | | [test](../tests/docs/main.rs) |")[0]
            .contains("no example")
    );
    assert!(check(&good.replace("lib.rs", "gone.rs"))[0].contains("no such file"));
    assert!(check(&good.replace("#problems", "#problem"))[0].contains("no such anchor"));
    assert!(check(&good.replace("works", "done"))[0].contains("no state"));
    assert_eq!(check("| a | planned | | | |"), Vec::<String>::new());
}

#[test]
fn links_between_documents_resolve() {
    let mut problems = Vec::new();
    let mut documents =
        vec![root().join("README.md"), root().join("CHANGELOG.md"), root().join("CONTRIBUTING.md")];
    documents.extend(fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path()));
    for document in
        documents.iter().filter(|path| path.extension().is_some_and(|extension| extension == "md"))
    {
        let text = fs::read_to_string(document).unwrap();
        let folder = document.parent().unwrap();
        problems.extend(links(&text).into_iter().filter_map(|link| broken(folder, link)));
    }
    assert_eq!(problems, Vec::<String>::new());
}
