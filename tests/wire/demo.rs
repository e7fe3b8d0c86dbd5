//! The demo as a process: made once, said on the terminal, kept, and taken out again.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use shared::report::sha256;
use tests::World;

use crate::binary;

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(binary("clickledger"));
    command.args(arguments).arg("--data").arg(folder);
    command.output().unwrap()
}

/// The same folder once more, with something in it that somebody made for themselves.
async fn with_own(data: &Path, resource: &str, body: Value) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(data).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    let world = World::in_folder(copy.path(), "2026-10-05T12:00:00Z").await;
    world.made(resource, body).await;
    copy
}

#[tokio::test]
async fn the_demo_is_made_in_one_command_and_removed_by_another() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let once = ["--once", "--port", "0", "--now", "2026-10-05T12:00:00Z"];

    // Somebody loses patience with the first one.
    let mut command = Command::new(binary("clickledger"));
    command.args(once).arg("--data").arg(data);
    let mut cut = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let marker = data.join("demo-unfinished");
    while !marker.exists() {
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(500));
    cut.kill().unwrap();
    cut.wait().unwrap();

    let made = run(data, &once);
    let told = String::from_utf8(made.stdout).unwrap();
    assert!(made.status.success(), "{told}");
    assert!(!marker.exists());
    for line in [
        "clicks",
        "conversions",
        "reversals",
        "payouts",
        "2026-08 is closed",
    ] {
        assert!(told.contains(line), "no `{line}` in {told}");
    }
    let report = std::fs::read(data.join("payouts-house-2026-09.csv")).unwrap();
    let digest = format!("2026-09 is closed, sha256 {}", sha256(&report));
    assert!(told.contains(&digest), "{told}");

    let books = run(data, &["reconcile"]);
    let agreed = String::from_utf8(books.stdout).unwrap();
    assert!(
        books.status.success() && agreed.contains("all agrees"),
        "{agreed}"
    );

    let again = run(data, &once);
    assert_eq!(again.status.code(), Some(2));
    // Whoever starts it later has something to try as well.
    let later = ["--port", "0", "--now", "2026-10-05T12:00:00Z"];
    let mut command = Command::new(binary("clickledger"));
    command.args(later).arg("--data").arg(data);
    let mut later = command.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(later.stdout.take().unwrap()).lines();
    let told: Vec<String> = lines
        .map_while(Result::ok)
        .take_while(|line| !line.contains("Ctrl-C"))
        .collect();
    later.kill().unwrap();
    later.wait().unwrap();
    let told = told.join("\n");
    assert!(told.contains("a link     http://127.0.0.1:"), "{told}");
    assert!(told.contains("/postback?token=pb."), "{told}");
    let keys = std::fs::read(data.join("keys.json")).unwrap();

    let shop = json!({"id": "my-shop", "name": "My shop"});
    let program = json!({
        "id": "my-program", "merchant": "demo-kaffa", "name": "My program", "currency": "EUR",
        "destination": "https://kaffa.example/", "commission": [],
    });
    let affiliate = json!({
        "id": "my-affiliate", "name": "Anna", "email": "anna@example.com", "country": "DE",
    });
    let payer = json!({
        "id": "my-payer", "legal_name": "My payer", "address": {"town": "Bonn", "country": "DE"},
    });
    for (resource, body, named) in [
        ("merchants", shop, "the merchant `my-shop`"),
        ("programs", program, "the program `my-program`"),
        ("affiliates", affiliate, "the affiliate `my-affiliate`"),
        ("payers", payer, "the payer `my-payer`"),
    ] {
        let own = with_own(data, resource, body).await;
        let kept = run(own.path(), &["demo", "remove"]);
        let line = String::from_utf8(kept.stderr).unwrap();
        assert_eq!(kept.status.code(), Some(2), "{line}");
        assert!(line.contains(named), "{line}");
        assert!(own.path().join("tables.sqlite").exists());
    }

    let removed = run(data, &["demo", "remove"]);
    assert!(removed.status.success(), "{removed:?}");
    assert!(!data.join("tables.sqlite").exists() && !data.join("clock").exists());
    assert_eq!(std::fs::read(data.join("keys.json")).unwrap(), keys);
    assert_eq!(run(data, &["demo", "remove"]).status.code(), Some(2));
}
