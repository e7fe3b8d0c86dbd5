//! `clickledger`: the whole service on one machine, with one command; and the keys of one on AWS.

mod keys;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use clickledger::replay::{self, Part};
use clickledger::stack::{self, Stack, Start};
use clickledger::{demo, embedded, front, reconcile};
use jiff::Timestamp;
use serde_json::json;
use shared::http_types::parse_instant;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

// The options before a subcommand are those of `serve`: a folder that is named there would be
// forgotten, and another one's demo be removed.
/// Conversion tracking and affiliate payouts on one machine.
#[derive(Debug, Parser)]
#[command(name = "clickledger", version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
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
    /// Add the ledger's lines up by themselves, and compare all that was derived from them
    Reconcile {
        /// Where the table, the keys and the clock live
        #[arg(long, default_value = ".clickledger", value_name = "DIR")]
        data: PathBuf,
    },
    /// Make and change the keys of an installation on AWS
    Keys(keys::Keys),
    /// The demo that an empty data folder begins with
    #[command(subcommand)]
    Demo(Demo),
    /// Send real orders through clicks, postbacks, refunds, runs and closed months, and prove the
    /// result to the cent
    #[command(after_help = replay::RULE)]
    Replay(Replay),
}

#[derive(Debug, Subcommand)]
enum Demo {
    /// Remove it with its table, its clock and all API keys but the first admin's, which stays as the
    /// signing keys do. Refused if you made merchants, programs, affiliates or payers of your own
    Remove {
        /// Where the table, the keys and the clock live
        #[arg(long, default_value = ".clickledger", value_name = "DIR")]
        data: PathBuf,
    },
}

#[derive(Debug, Args)]
struct Replay {
    /// Orders as CSV, gzipped or not, with order_id, ordered_on, amount and currency (USD);
    /// the CDNOW set that the program carries if left out
    file: Option<PathBuf>,
    /// Only the orders of the first N days
    #[arg(long, value_name = "N")]
    days: Option<u32>,
    /// Of these, only the first N rows of the file
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
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
    /// Start empty: without it, an empty folder gets three shops and a season of business
    #[arg(long)]
    no_demo: bool,
    /// Make the demo, print what it came to, and exit
    #[arg(long, conflicts_with = "no_demo")]
    once: bool,
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
  clickledger --once --in-memory                the main job in one command: clicks to closed months
  clickledger reconcile                         exit status 1 if one minor unit differs
  clickledger demo remove                       take the demo out again, keep the signing keys
  clickledger --now 2026-01-01T00:00:00Z        begin the books in the past; see POST /dev/clock
  clickledger replay                            18 months of real orders, with the proof";

fn instant(text: &str) -> Result<Timestamp, String> {
    parse_instant(text).ok_or_else(|| "not an instant like 2026-01-01T00:00:00Z".to_owned())
}

/// How long what cannot be dropped is waited for at the end.
const ENDS_WITHIN: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(asked) if asked.exit_code() == 0 => asked.exit(),
        Err(wrong) => {
            eprintln!("clickledger: {}", in_one_line(&wrong));
            return ExitCode::from(2);
        }
    };
    // In a replay, a click that a loaded machine did not record in time is a warning, and earns
    // all the same.
    let is_replay = matches!(options.command, Some(Command::Replay(_)));
    // Stdout is for what was asked for: a key, a report.
    let filter = if is_replay { "error" } else { "warn" };
    shared::lambda::logs(filter, std::io::stderr);
    let done = tokio::runtime::Runtime::new()
        .map_err(|error| error.to_string())
        .and_then(|runtime| {
            let done = runtime.block_on(command(options));
            // Whatever is under way still is dropped: the table survives it, and is written together into its
            // one file once nobody has it any more.
            runtime.shutdown_timeout(ENDS_WITHIN);
            done
        });
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("clickledger: {why}");
            ExitCode::from(2)
        }
    }
}

/// What is wrong with the options: the first paragraph of what is told of it.
fn in_one_line(wrong: &clap::Error) -> String {
    let told = match wrong.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => "a subcommand is missing".to_owned(),
        _ => wrong.to_string(),
    };
    let first: Vec<&str> = told
        .lines()
        .map(str::trim)
        .take_while(|line| !line.is_empty())
        .collect();
    let first = first.join(" ");
    let first = first.strip_prefix("error: ").unwrap_or(&first);
    format!("{first} (see --help)")
}

/// Whether all is well; false where something was looked at and found to differ.
async fn command(options: Options) -> Result<bool, String> {
    let done = match options.command {
        Some(Command::Serve(serve)) => run(&serve).await,
        None => run(&options.serve).await,
        Some(Command::Replay(replay)) => return replayed(&replay).await,
        Some(Command::Reconcile { data }) => return reconcile::reconcile(&data, now()).await,
        Some(Command::Keys(keys)) => keys::run(&keys, now())
            .await
            .map_err(|error| shared::lambda::whole(error.as_ref())),
        Some(Command::Demo(Demo::Remove { data })) => {
            demo::remove(&data).await.map_err(|error| error.to_string())
        }
    };
    done.map(|()| true)
}

async fn replayed(options: &Replay) -> Result<bool, String> {
    let part = Part {
        days: options.days,
        rows: options.limit,
    };
    let outcome = replay::replay(options.file.as_deref(), part).await;
    let outcome = outcome.map_err(|error| error.to_string())?;
    println!("{outcome}");
    Ok(outcome.differences.is_empty())
}

async fn run(options: &Serve) -> Result<(), String> {
    let stop = Stop::listening().map_err(|error| format!("cannot listen for signals: {error}"))?;
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
    let has_demo = prepare(options, folder)?;
    let until = options.now.unwrap_or_else(now);
    let start = Start {
        folder,
        now: if has_demo { demo::begins(until) } else { until },
        public_url: &url,
        admin_key: options.admin_key.as_deref(),
        has_schedule: !options.no_schedule,
        reconciles: !options.no_schedule,
    };
    let (stack, admin_key) = Stack::start(&start)
        .await
        .map_err(|error| error.to_string())?;
    if stop.is_asked() {
        return Ok(());
    }
    // Recorded calls are for tests; a service that runs for months has no room for them.
    stack.table.record(false);
    let stack = Arc::new(stack);

    let served = tokio::spawn(front::serve(
        Arc::clone(&stack),
        listener,
        stop.clone().asked(),
    ));
    let kept = Arc::clone(&stack);
    tokio::spawn(async move { kept.clock.keep_on().await });
    let made = if has_demo {
        tokio::select! {
            biased;
            // Half a demo is thrown away by the next start.
            () = stop.asked() => return ended(served, &stack).await,
            made = make_demo(&url, &admin_key, until) => Some(made?),
        }
    } else {
        None
    };

    if let Some(made) = &made {
        // Once it has ended, nobody answers there.
        let served = (!options.once).then_some(url.as_str());
        tell_of_demo(made, folder, served)?;
    }
    if options.once {
        return stack.clock.keep().map_err(|error| error.to_string());
    }
    println!("Clickledger serves on {url}");
    match folder {
        Some(folder) => println!("  data       {}", folder.display()),
        None => println!("  data       in memory, gone at the end"),
    }
    println!("  clock      {}", stack.clock.now());
    println!("  admin key  {admin_key}");
    let to_try = match made {
        Some(made) => Some((made.link, made.token)),
        None => folder.and_then(demo::kept),
    };
    if let Some((link, token)) = to_try {
        println!("  a link     {url}{link}");
        println!(
            "  a sale     curl '{url}/postback?token={token}&order_id=my-1&amount=49.99&click_id=<the id at the end of where the link leads>'"
        );
    }
    println!("  try        curl -H 'Authorization: Bearer {admin_key}' {url}/api/v1/merchants");
    println!("Ctrl-C ends it.");
    if let Some(file) = &options.ready_file {
        let text = json!({"url": url, "admin_key": admin_key}).to_string();
        stack::write_secret(file, &text)
            .map_err(|error| format!("cannot write `{}`: {error}", file.display()))?;
    }

    let scheduled = Arc::clone(&stack);
    tokio::spawn(async move { scheduled.keep_schedule().await });
    ended(served, &stack).await
}

/// Waits for the front's end, and keeps the time.
async fn ended(served: JoinHandle<std::io::Result<()>>, stack: &Stack) -> Result<(), String> {
    let served = served.await.map_err(|error| error.to_string())?;
    served.map_err(|error| error.to_string())?;
    stack.clock.keep().map_err(|error| error.to_string())
}

/// What the demo came to, and where the last closed month's report is.
fn tell_of_demo(made: &demo::Made, folder: Option<&Path>, url: Option<&str>) -> Result<(), String> {
    let month = &made.report_month;
    println!("{}", demo::told(&made.summary));
    match (folder, url) {
        (Some(folder), _) => {
            let file = demo::finish(folder, made).map_err(|error| error.to_string())?;
            println!("  report       {}\n", file.display());
        }
        (None, Some(url)) => {
            println!("  report       GET {url}/api/v1/reports/payouts/{month}?format=csv\n");
        }
        (None, None) => println!(),
    }
    Ok(())
}

/// Makes the folder ready; whether the demo is to be made in it.
fn prepare(options: &Serve, folder: Option<&Path>) -> Result<bool, String> {
    let Some(folder) = folder else {
        return Ok(!options.no_demo);
    };
    let failed =
        |error: std::io::Error| format!("cannot make the folder `{}`: {error}", folder.display());
    embedded::make_folder(folder).map_err(failed)?;
    let is_new = demo::is_new(folder).map_err(failed)?;
    if options.once && !is_new {
        let folder = folder.display();
        return Err(format!(
            "`{folder}` holds data already; use --in-memory, another --data, or `demo remove`"
        ));
    }
    let has_demo = is_new && !options.no_demo;
    if has_demo {
        demo::begin(folder).map_err(failed)?;
    }
    Ok(has_demo)
}

/// Makes the demo, and shows how far it is.
async fn make_demo(url: &str, admin_key: &str, until: Timestamp) -> Result<demo::Made, String> {
    let (url, admin_key) = (url.to_owned(), admin_key.to_owned());
    let bar = indicatif::ProgressBar::new(0);
    if let Ok(style) = indicatif::ProgressStyle::with_template("making the demo: {bar:40} {msg}") {
        bar.set_style(style);
    }
    if bar.is_hidden() {
        eprintln!("making the demo (--no-demo starts empty)");
    }
    let made = tokio::task::spawn_blocking(move || {
        let made = demo::make(&url, &admin_key, until, |done, all| {
            bar.set_length(all);
            bar.set_position(done);
            bar.set_message(format!("day {done} of {all}"));
        });
        bar.finish_and_clear();
        made
    });
    let made = made.await.map_err(|error| error.to_string())?;
    made.map_err(|error| format!("the demo could not be made: {error}"))
}

/// Ctrl-C or SIGTERM, which end the process by no other way once they are listened for.
#[derive(Clone)]
struct Stop(watch::Receiver<bool>);

impl Stop {
    fn listening() -> std::io::Result<Self> {
        let mut interrupted = signal(SignalKind::interrupt())?;
        let mut terminated = signal(SignalKind::terminate())?;
        let (tell, told) = watch::channel(false);
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupted.recv() => {}
                _ = terminated.recv() => {}
            }
            tell.send_replace(true);
        });
        Ok(Self(told))
    }

    fn is_asked(&self) -> bool {
        *self.0.borrow()
    }

    async fn asked(mut self) {
        drop(self.0.wait_for(|is_asked| *is_asked).await);
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the edge: the clock starts at real time"
)]
fn now() -> Timestamp {
    Timestamp::now()
}
