//! The one-machine stack as a process: it survives `kill -9`, and says in one line why it cannot start.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::BROWSER;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::binary;

const ADMIN: &str = "process-test-admin-key-0123456789-abc";

struct Process {
    child: Child,
    address: String,
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn command(folder: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(binary("clickledger"));
    command
        .args(["--port", "0", "--no-demo", "--admin-key", ADMIN, "--data"])
        .arg(folder.join("data"))
        .args(more)
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// Starts it, and waits until it says that it serves.
async fn start(folder: &Path, more: &[&str]) -> Process {
    let ready = folder.join("ready.json");
    drop(std::fs::remove_file(&ready));
    let mut command = command(folder, more);
    let child = command.arg("--ready-file").arg(&ready).spawn().unwrap();
    let began = Instant::now();
    while !ready.exists() {
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "it does not get ready"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let ready: Value = serde_json::from_slice(&std::fs::read(&ready).unwrap()).unwrap();
    assert_eq!(ready["admin_key"], ADMIN);
    let address = ready["url"]
        .as_str()
        .unwrap()
        .strip_prefix("http://")
        .unwrap()
        .to_owned();
    Process { child, address }
}

impl Process {
    async fn send(&self, method: &str, path: &str, body: Option<Value>) -> (String, Value) {
        let body = body.map_or_else(String::new, |body| body.to_string());
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nUser-Agent: {BROWSER}\r\nAuthorization: Bearer {ADMIN}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (
            head.to_owned(),
            serde_json::from_str(body).unwrap_or(Value::Null),
        )
    }
}

fn refused(mut command: Command) -> (ExitStatus, String) {
    let output = command.stderr(Stdio::piped()).output().unwrap();
    (output.status, String::from_utf8(output.stderr).unwrap())
}

#[tokio::test]
async fn what_was_answered_survives_kill_9_and_the_clock_never_goes_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = start(folder.path(), &["--now", "2026-07-01T10:00:00Z"]).await;
    let (_, merchant) = process
        .send(
            "POST",
            "/api/v1/merchants",
            Some(json!({"id": "shop", "name": "Shop"})),
        )
        .await;
    let token = merchant["secret"]["postback_token"]
        .as_str()
        .unwrap()
        .to_owned();
    for (resource, body) in [
        (
            "programs",
            json!({"id": "shoes", "merchant": "shop", "name": "Shoes", "currency": "EUR", "destination": "http://127.0.0.1/",
                   "hold_days": 0, "status": "active", "override": "a test", "commission": [{"type": "percent", "percent": "10"}]}),
        ),
        (
            "affiliates",
            json!({"id": "anna", "name": "Anna", "email": "a@example.com", "country": "DE"}),
        ),
        (
            "links",
            json!({"slug": "go", "program": "shoes", "affiliate": "anna"}),
        ),
    ] {
        let (head, answer) = process
            .send("POST", &format!("/api/v1/{resource}"), Some(body))
            .await;
        assert!(head.starts_with("HTTP/1.1 201"), "{head} {answer}");
    }
    let mut head = String::new();
    for _ in 0..50 {
        head = process.send("GET", "/r/go", None).await.0;
        if !head.starts_with("HTTP/1.1 503") {
            break;
        }
    }
    let click_id = head
        .lines()
        .find(|line| line.starts_with("location: "))
        .unwrap();
    let click_id = click_id.rsplit_once("click_id=").unwrap().1.to_owned();
    // The admin's key is not a postback's: the header would be taken for one.
    let path = format!("/postback?token={token}&click_id={click_id}&order_id=A-1&amount=12.30");
    let (head, refused_answer) = process.send("GET", &path, None).await;
    assert!(head.starts_with("HTTP/1.1 401"), "{refused_answer}");
    let post = async |process: &Process| {
        let mut stream = TcpStream::connect(&process.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    assert!(post(&process).await.contains(r#""result":"created""#));
    let turned = process
        .send(
            "POST",
            "/dev/clock",
            Some(json!({"now": "2026-07-03T12:00:00Z"})),
        )
        .await;
    assert!(turned.0.starts_with("HTTP/1.1 200"), "{turned:?}");
    let balances = process
        .send("GET", "/api/v1/affiliates/anna/balances", None)
        .await
        .1;
    assert_eq!(balances["items"][0]["payable"], "1.23");

    process.child.kill().unwrap();
    process.child.wait().unwrap();
    let process = start(folder.path(), &["--now", "2026-07-01T10:00:00Z"]).await;
    let now = process.send("GET", "/dev/clock", None).await.1;
    let instant: jiff::Timestamp = now["now"].as_str().unwrap().parse().unwrap();
    assert!(instant >= "2026-07-03T12:00:00Z".parse().unwrap(), "{now}");
    assert_eq!(
        process
            .send("GET", "/api/v1/affiliates/anna/balances", None)
            .await
            .1,
        balances
    );
    assert!(
        post(&process)
            .await
            .contains(r#""result":"recorded_before""#)
    );

    let (status, line) = refused(command(folder.path(), &[]));
    assert_eq!(
        (status.code(), line.lines().count()),
        (Some(2), 1),
        "{line}"
    );
}

#[tokio::test]
async fn what_cannot_be_served_ends_with_one_line_and_status_2() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let mut taken = Command::new(binary("clickledger"));
    taken.args(["--in-memory", "--port", &port]);
    let (status, line) = refused(taken);
    assert_eq!(
        (status.code(), line.lines().count()),
        (Some(2), 1),
        "{line}"
    );

    let mut unknown = Command::new(binary("clickledger"));
    unknown.arg("--colour");
    let (status, line) = refused(unknown);
    assert_eq!(
        (status.code(), line.as_str()),
        (
            Some(2),
            "clickledger: unexpected argument '--colour' found (see --help)\n"
        )
    );

    // An option of `serve` before another command would be forgotten, and `demo remove` remove the
    // demo of the folder that nobody named.
    let named = folder.path().join("named");
    for subcommand in [&["demo", "remove"][..], &["reconcile"], &["replay"]] {
        let mut misplaced = Command::new(binary("clickledger"));
        misplaced.current_dir(folder.path());
        misplaced.arg("--data").arg(&named).args(subcommand);
        let (status, line) = refused(misplaced);
        assert_eq!(
            (status.code(), line.lines().count()),
            (Some(2), 1),
            "{line}"
        );
        assert!(line.contains("'--data <DIR>'"), "{line}");
    }

    let data = folder.path().join("data");
    std::fs::create_dir_all(&data).unwrap();
    for (file, word) in [("clock", "clock"), ("keys.json", "keys")] {
        std::fs::write(data.join(file), "{").unwrap();
        let (status, line) = refused(command(folder.path(), &[]));
        assert_eq!(
            (status.code(), line.lines().count()),
            (Some(2), 1),
            "{line}"
        );
        assert!(line.contains(word), "{line}");
        std::fs::remove_file(data.join(file)).unwrap();
    }
}

/// Whatever is lost of a data folder, nobody goes on with an empty one as if it were new.
#[tokio::test]
async fn a_folder_that_lost_its_table_or_its_keys_is_not_served() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let begin = async || {
        let _ = std::fs::remove_dir_all(&data);
        start(folder.path(), &[]).await
    };
    let is_refused = |what: &str| {
        let (status, line) = refused(command(folder.path(), &[]));
        assert_eq!(
            (status.code(), line.lines().count()),
            (Some(2), 1),
            "{what}: {line}"
        );
    };
    // After an end that was asked for, all of it is in one file.
    let mut process = begin().await;
    assert_eq!(ended_by(&mut process.child, "-TERM").await, Some(0));
    assert!(!data.join("tables.sqlite-wal").exists());
    let whole = std::fs::read(data.join("tables.sqlite")).unwrap();
    assert!(whole.len() > 8_192, "{}", whole.len());
    std::fs::write(data.join("tables.sqlite"), vec![0x55; whole.len()]).unwrap();
    is_refused("garbage");
    std::fs::write(data.join("tables.sqlite"), "").unwrap();
    is_refused("emptied");
    std::fs::remove_file(data.join("tables.sqlite")).unwrap();
    is_refused("removed");
    std::fs::write(data.join("tables.sqlite"), &whole).unwrap();
    let keys = std::fs::read(data.join("keys.json")).unwrap();
    std::fs::remove_file(data.join("keys.json")).unwrap();
    is_refused("without its keys");
    std::fs::write(data.join("keys.json"), keys).unwrap();
    let mut process = start(folder.path(), &[]).await;

    // After a sudden one, most of it is in the file beside.
    process.child.kill().unwrap();
    process.child.wait().unwrap();
    let mut process = begin().await;
    process.child.kill().unwrap();
    process.child.wait().unwrap();
    std::fs::remove_file(data.join("tables.sqlite-wal")).unwrap();
    is_refused("without the file beside");
}

#[tokio::test]
async fn the_file_with_the_admin_key_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = tempfile::tempdir().unwrap();
    // What an earlier start that died has left, for everybody to read.
    let left = folder.path().join("ready.new");
    std::fs::write(&left, "").unwrap();
    std::fs::set_permissions(&left, std::fs::Permissions::from_mode(0o644)).unwrap();
    let _process = start(folder.path(), &[]).await;
    for (file, mode) in [
        ("ready.json", 0o600),
        ("data", 0o700),
        ("data/admin-key", 0o600),
        ("data/keys.json", 0o600),
    ] {
        let found = std::fs::metadata(folder.path().join(file)).unwrap();
        assert_eq!(found.permissions().mode() & 0o777, mode, "{file}");
    }
}

/// Sends a signal, and answers the exit status.
async fn ended_by(child: &mut Child, signal: &str) -> Option<i32> {
    let mut kill = Command::new("kill");
    kill.arg(signal).arg(child.id().to_string());
    assert!(kill.status().unwrap().success());
    let asked = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        assert!(asked.elapsed() < Duration::from_secs(30), "it does not end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_request_to_end_ends_it_well() {
    let folder = tempfile::tempdir().unwrap();
    for signal in ["-TERM", "-INT"] {
        let mut process = start(folder.path(), &[]).await;
        assert_eq!(ended_by(&mut process.child, signal).await, Some(0));
    }
}

#[tokio::test]
async fn a_request_to_end_ends_it_though_somebody_never_sends_the_rest_of_a_request() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = start(folder.path(), &[]).await;
    let mut stream = TcpStream::connect(&process.address).await.unwrap();
    let half = b"GET /dev/health HTTP/1.1\r\nHost:";
    stream.write_all(half).await.unwrap();
    // Another's whole request is answered after it has arrived.
    process.send("GET", "/dev/health", None).await;
    assert_eq!(ended_by(&mut process.child, "-TERM").await, Some(0));
    drop(stream);
}

#[tokio::test]
async fn a_request_to_end_while_it_starts_or_makes_the_demo_ends_it_well() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut starts = Process {
        child: command(folder.path(), &[]).spawn().unwrap(),
        address: String::new(),
    };
    while !data.exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(ended_by(&mut starts.child, "-INT").await, Some(0));

    let data = folder.path().join("demo");
    let mut command = Command::new(binary("clickledger"));
    command.args(["--port", "0", "--data"]).arg(&data);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut makes = Process {
        child: command.spawn().unwrap(),
        address: String::new(),
    };
    while !data.join("admin-key").exists() {
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_secs(1));
    assert!(data.join("demo-unfinished").exists());
    assert_eq!(ended_by(&mut makes.child, "-INT").await, Some(0));
}

#[tokio::test]
async fn log_lines_go_to_stderr_and_what_was_asked_for_to_stdout() {
    let folder = tempfile::tempdir().unwrap();
    // Where a folder stands in its way, the clock cannot be kept, which is a line of the log.
    std::fs::create_dir_all(folder.path().join("data/clock.new")).unwrap();
    let [out, log] = ["out", "log"].map(|name| folder.path().join(name));
    let mut command = command(folder.path(), &[]);
    command.stdout(std::fs::File::create(&out).unwrap());
    command.stderr(std::fs::File::create(&log).unwrap());
    let mut child = command.spawn().unwrap();
    let lines = |file| std::fs::read_to_string(file).unwrap();
    let began = Instant::now();
    let is_told = |text: &str| (lines(&out) + &lines(&log)).contains(text);
    while !is_told("could not keep the clock") || !is_told("Ctrl-C ends it") {
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "it tells nothing"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(lines(&log).contains("could not keep the clock"));
    assert!(lines(&out).starts_with("Clickledger serves on"));
    assert!(!lines(&out).contains("could not keep the clock"));
}
