//! `clickledger`: the whole service on one machine, with one command.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};
use clickledger::front;
use clickledger::stack::{Stack, Start};
use jiff::Timestamp;
use shared::http_types::parse_instant;
use tokio::net::TcpListener;

/// Conversion tracking and affiliate payouts on one machine.
#[derive(Debug, Parser)]
#[command(name = "clickledger", version, after_help = EXAMPLES)]
struct Options {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve everything on 127.0.0.1 until Ctrl-C (the default)
    Serve(Serve),
}

#[derive(Debug, Args)]
struct Serve {
    /// The port on 127.0.0.1; 0 is any free one
    #[arg(long, default_value_t = 8787, value_name = "N")]
    port: u16,
    /// Where the table, the keys and the clock live
    #[arg(long, default_value = ".clickledger", value_name = "DIR")]
    data: PathBuf,
    /// Keep nothing: all is gone at the end
    #[arg(long, conflicts_with = "data")]
    in_memory: bool,
    /// Start empty; there is no demo to leave out yet, so every start does
    #[arg(long)]
    no_demo: bool,
    /// The first admin API key: 32 to 128 visible ASCII characters
    #[arg(long, value_name = "KEY")]
    admin_key: Option<String>,
    /// Once it serves, write its address and admin key there
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// What time it is at the start, in RFC 3339 UTC
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    now: Option<Timestamp>,
    /// Leave daily runs to POST /api/v1/payout-runs
    #[arg(long)]
    no_schedule: bool,
}

const EXAMPLES: &str = "Examples:
  clickledger                                   serve on http://127.0.0.1:8787, data in .clickledger/
  clickledger --in-memory --port 0              try it out and leave nothing behind
  clickledger --now 2026-01-01T00:00:00Z        begin the books in the past; see POST /dev/clock";

fn instant(text: &str) -> Result<Timestamp, String> {
    parse_instant(text).ok_or_else(|| "not an instant like 2026-01-01T00:00:00Z".to_owned())
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    let serve = match options.command {
        Some(Command::Serve(serve)) => serve,
        None => options.serve,
    };
    shared::lambda::logs("warn");
    match run(&serve).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("clickledger: {why}");
            ExitCode::from(2)
        }
    }
}

async fn run(options: &Serve) -> Result<(), String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, options.port));
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| format!("cannot listen on {address}: {error}"))?;
    let port = listener
        .local_addr()
        .map_err(|error| error.to_string())?
        .port();
    let url = format!("http://127.0.0.1:{port}");

    let folder = (!options.in_memory).then_some(options.data.as_path());
    if let Some(folder) = folder {
        std::fs::create_dir_all(folder)
            .map_err(|error| format!("cannot make the folder `{}`: {error}", folder.display()))?;
    }
    let start = Start {
        folder,
        now: options.now.unwrap_or_else(now),
        public_url: &url,
        admin_key: options.admin_key.as_deref(),
        has_schedule: !options.no_schedule,
    };
    let (stack, admin_key) = Stack::start(&start)
        .await
        .map_err(|error| error.to_string())?;
    // Recorded calls are for tests; a service that runs for months has no room for them.
    stack.table.record(false);
    let stack = Arc::new(stack);

    println!("Clickledger serves on {url}");
    match folder {
        Some(folder) => println!("  data       {}", folder.display()),
        None => println!("  data       in memory, gone at the end"),
    }
    println!("  clock      {}", stack.clock.now());
    println!("  admin key  {admin_key}");
    println!("  try        curl -H 'Authorization: Bearer {admin_key}' {url}/api/v1/merchants");
    println!("Ctrl-C ends it.");
    if let Some(file) = &options.ready_file {
        write_ready(file, &url, &admin_key)
            .map_err(|error| format!("cannot write `{}`: {error}", file.display()))?;
    }

    let (kept, scheduled) = (Arc::clone(&stack), Arc::clone(&stack));
    tokio::spawn(async move { kept.clock.keep_on().await });
    tokio::spawn(async move { scheduled.keep_schedule().await });
    front::serve(Arc::clone(&stack), listener, stop())
        .await
        .map_err(|error| error.to_string())?;
    stack.clock.keep().map_err(|error| error.to_string())
}

/// Written whole: whoever waits for the file never reads half of it.
fn write_ready(file: &Path, url: &str, admin_key: &str) -> std::io::Result<()> {
    let text = serde_json::json!({"url": url, "admin_key": admin_key}).to_string();
    let new = file.with_extension("new");
    std::fs::write(&new, text)?;
    std::fs::rename(new, file)
}

/// Ctrl-C or SIGTERM.
async fn stop() {
    use tokio::signal::unix::{SignalKind, signal};

    let Ok(mut terminated) = signal(SignalKind::terminate()) else {
        return drop(tokio::signal::ctrl_c().await);
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminated.recv() => {}
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the edge: the clock starts at real time"
)]
fn now() -> Timestamp {
    Timestamp::now()
}
