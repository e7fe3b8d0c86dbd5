//! The one-machine stack as a process of its own: started, killed, ended, looked at.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clickledger::embedded::Embedded;
use serde_json::Value;

use crate::client::Client;
use crate::records;

pub const ADMIN: &str = "proof-admin-key-0123456789-abcdefghij";
/// The clock of every stack begins there.
pub const START: &str = "2026-07-01T10:00:00Z";

/// Builds binaries in the profile that this test was built in, and answers the folder they are in.
///
/// Together with this test, and with its features: then all that both are made of is there already.
pub fn build(names: &[&str]) -> Result<PathBuf, String> {
    let folder = std::env::current_exe().map_err(|error| error.to_string())?;
    let folder = folder.ancestors().nth(2).ok_or("no target folder")?;
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    cargo.args(["build", "--locked", "--profile", profile]);
    cargo
        .arg("--target-dir")
        .arg(folder.parent().unwrap_or(folder));
    cargo.args(["--package", "tests", "--test", "proof"]);
    if cfg!(feature = "few-shards") {
        cargo.args(["--features", "tests/few-shards"]);
    }
    for name in names {
        cargo.args(["--package", name, "--bin", name]);
    }
    let status = cargo.status().map_err(|error| error.to_string())?;
    if !status.success() {
        return Err(format!("cargo build ended with {status}"));
    }
    Ok(folder.to_owned())
}

/// A stack on a folder, always at the same address.
pub struct Stack {
    binary: PathBuf,
    folder: tempfile::TempDir,
    port: u16,
    child: Option<Child>,
}

impl Stack {
    /// Not started yet.
    pub fn new(binary: PathBuf) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let free =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| error.to_string())?;
        let port = free.local_addr().map_err(|error| error.to_string())?.port();
        Ok(Self {
            binary,
            folder,
            port,
            child: None,
        })
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Starts it, and waits until it says that it serves.
    pub fn start(&mut self) -> Result<(), String> {
        let ready = self.folder.path().join("ready.json");
        drop(std::fs::remove_file(&ready));
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log())
            .map_err(|error| error.to_string())?;
        let child = Command::new(&self.binary)
            .args(["--no-demo", "--now", START, "--admin-key", ADMIN])
            .args(["--port", &self.port.to_string(), "--data"])
            .arg(self.data())
            .arg("--ready-file")
            .arg(&ready)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|error| format!("{}: {error}", self.binary.display()))?;
        self.child = Some(child);
        let began = Instant::now();
        while !ready.exists() {
            if Duration::from_secs(60) < began.elapsed() || self.has_ended() {
                return Err(format!("it does not get ready: {}", self.last_of_log()));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Whether the process is gone although nobody killed it.
    pub fn has_ended(&mut self) -> bool {
        let child = self.child.as_mut();
        child.is_none_or(|child| !matches!(child.try_wait(), Ok(None)))
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }

    /// Memory in use now, in KiB.
    pub fn resident_kib(&self) -> Option<u64> {
        let status = format!("/proc/{}/status", self.child.as_ref()?.id());
        let status = std::fs::read_to_string(status).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }

    /// Kills it, and adds its books up by the second path.
    pub fn reconcile(&mut self) -> Result<String, String> {
        self.kill();
        let mut command = Command::new(&self.binary);
        command.args(["reconcile", "--data"]).arg(self.data());
        let output = command.output().map_err(|error| error.to_string())?;
        let told = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if output.status.success() {
            Ok(told)
        } else {
            Err(format!("reconcile ended with {}: {told}", output.status))
        }
    }

    /// The keys that it signs with, as it keeps them.
    pub fn keys(&self) -> Result<String, String> {
        std::fs::read_to_string(self.data().join("keys.json")).map_err(|error| error.to_string())
    }

    /// What tells each recorded click from the others; once it is killed.
    pub fn recorded_clicks(&self) -> Result<BTreeSet<String>, String> {
        let table = Embedded::in_folder(&self.data()).map_err(|error| error.to_string())?;
        let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
        runtime.block_on(records::clicks(&table))
    }

    /// How many clicks the log counts as lost.
    pub fn lost_clicks(&self) -> usize {
        records::lost(&std::fs::read_to_string(self.log()).unwrap_or_default())
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn last_of_log(&self) -> String {
        last_line(&self.log())
    }

    /// How many lines of the log are errors, and the last of them.
    pub fn errors(&self) -> (usize, String) {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        let errors: Vec<&str> = log
            .lines()
            .filter(|line| line.contains(r#""level":"ERROR""#))
            .collect();
        (
            errors.len(),
            errors.last().copied().unwrap_or_default().to_owned(),
        )
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.kill();
    }
}

fn last_line(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().last().unwrap_or_default().to_owned()
}

/// Shop `shop` with its token, programs of 10 % by id and days of hold, and affiliates by id and
/// payout details, each with a link `<affiliate>-<program>`.
pub fn set_up(
    client: &Client,
    programs: &[(&str, u16)],
    affiliates: &[(String, Value)],
) -> Result<String, String> {
    let shop = serde_json::json!({"id": "shop", "name": "Shop"});
    let shop = client.made("merchants", &shop)?;
    for (id, hold_days) in programs {
        let program = serde_json::json!({
            "id": id, "merchant": "shop", "name": id, "currency": "EUR", "hold_days": hold_days,
            "destination": "https://shop.example/", "click_window": "3650d", "status": "active",
            "override": "a proof", "commission": [{"type": "percent", "percent": "10"}],
        });
        client.made("programs", &program)?;
    }
    for (id, payout) in affiliates {
        let affiliate = serde_json::json!({
            "id": id, "name": id, "email": "x@example.com", "country": "DE", "payout": payout,
        });
        client.made("affiliates", &affiliate)?;
        for (program, _) in programs {
            let slug = format!("{id}-{program}");
            let link = serde_json::json!({"slug": slug, "program": program, "affiliate": id});
            client.made("links", &link)?;
        }
    }
    let token = shop["secret"]["postback_token"].as_str();
    Ok(token.ok_or("a new merchant has a token")?.to_owned())
}
