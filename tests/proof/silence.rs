//! A silent table: the functions' own binaries, whose connections are accepted and never answered.

use std::fs::File;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use futures_util::future::join_all;
use indicatif::ProgressBar;
use serde_json::{Value, json};
use tests::emulator::{self, Emulated, function_url_event};
use tests::{BROWSER, World};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::records;
use crate::stack::{self, START};
use crate::times::Times;

/// As Lambda has it, each instance serves one visitor at a time.
const INSTANCES: usize = 16;
/// Of one instance.
const VISIT_EVERY: Duration = Duration::from_millis(250);
/// So much on either side of the silence.
const CALM: Duration = Duration::from_secs(10);
const WITHIN: Duration = Duration::from_millis(300);

#[derive(Debug, Args)]
pub struct Options {
    /// How long the table answers nothing
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    seconds: u64,
}

pub fn prove(options: &Options) -> Result<(), String> {
    let folder = stack::build(&["redirect", "postback"])?;
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    runtime.block_on(silence(&folder, Duration::from_secs(options.seconds)))
}

/// A line to the table that can fall silent: connections are taken, and nothing comes back. What
/// was on it then never arrives.
async fn carry(listener: TcpListener, table: String, silent: watch::Receiver<bool>) {
    while let Ok((caller, _)) = listener.accept().await {
        tokio::spawn(connection(caller, table.clone(), silent.clone()));
    }
}

async fn connection(mut caller: TcpStream, table: String, mut silent: watch::Receiver<bool>) {
    if !*silent.borrow() {
        let Ok(mut answering) = TcpStream::connect(&table).await else {
            return;
        };
        tokio::select! {
            _ = copy_bidirectional(&mut caller, &mut answering) => return,
            _ = silent.wait_for(|is_silent| *is_silent) => {}
        }
    }
    drop(silent.wait_for(|is_silent| !is_silent).await);
}

/// A redirect function with its log.
struct Instance {
    function: Emulated,
    began: Instant,
    start_ms: i64,
}

/// Where a visitor was sent on with, if at all, and how long that took.
type Visited = (Option<String>, Duration);

impl Instance {
    async fn visit(&self) -> Visited {
        let began = Instant::now();
        let event = function_url_event(
            "GET",
            "/r/anna-shoes",
            &[("user-agent", BROWSER)],
            None,
            self.now_ms(),
        );
        let answer = self.function.invoke(event).await.unwrap_or_default();
        let took = began.elapsed();
        let location = answer["headers"]["location"].as_str().unwrap_or_default();
        let id = location.rsplit_once("click_id=");
        (id.map(|(_, id)| id.to_owned()), took)
    }

    fn now_ms(&self) -> i64 {
        self.start_ms + i64::try_from(self.began.elapsed().as_millis()).unwrap_or(0)
    }

    async fn visit_for(&self, lasting: Duration) -> Vec<Visited> {
        let began = Instant::now();
        let mut visits = Vec::new();
        while began.elapsed() < lasting {
            let visit = self.visit().await;
            let rest = VISIT_EVERY.saturating_sub(visit.1);
            visits.push(visit);
            tokio::time::sleep(rest).await;
        }
        visits
    }
}

async fn silence(binaries: &Path, lasting: Duration) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let world = World::in_folder(folder.path(), START).await.stocked().await;
    let keys = std::fs::read_to_string(folder.path().join("keys.json"));
    let keys = keys.map_err(|error| error.to_string())?;
    let (endpoint, silent) = line(&world).await?;
    let environment = emulator::environment(keys, endpoint);

    let log = folder.path().join("log");
    let start_ms = START
        .parse::<jiff::Timestamp>()
        .map_err(|error| error.to_string())?;
    let start_ms = start_ms.as_millisecond();
    let began = Instant::now();
    let instances = join_all((0..INSTANCES).map(async |_| {
        let log = File::options().create(true).append(true).open(&log);
        let log = log.expect("a log can be written");
        let binary = binaries.join("redirect");
        let function = Emulated::start_with_log(&binary, &environment, log).await;
        Instance {
            function,
            began,
            start_ms,
        }
    }))
    .await;
    let instances = Arc::new(instances);
    let postback = Emulated::start(&binaries.join("postback"), &environment).await;
    join_all(instances.iter().map(Instance::visit)).await;
    let warm = tally(&world, &log).await?;

    let everybody = |lasting| {
        let visits = instances
            .iter()
            .map(move |instance| instance.visit_for(lasting));
        async {
            join_all(visits)
                .await
                .into_iter()
                .flatten()
                .collect::<Vec<Visited>>()
        }
    };
    let progress =
        ProgressBar::new_spinner().with_message("visits before, in and after the silence");
    progress.enable_steady_tick(Duration::from_millis(200));
    let before = everybody(CALM).await;
    silent.send_replace(true);
    let order = |id: &str, number: usize| {
        let body = json!({
            "token": world.token, "click_id": id, "order_id": number.to_string(), "amount": "10",
        });
        let headers = [("content-type", "application/json")];
        let body = body.to_string();
        function_url_event(
            "POST",
            "/postback",
            &headers,
            Some(&body),
            instances[0].now_ms(),
        )
    };
    let first = before
        .iter()
        .find_map(|(id, _)| id.clone())
        .unwrap_or_default();
    let posted = async {
        let began = Instant::now();
        let answer = postback.invoke(order(&first, 0)).await.unwrap_or_default();
        (answer, began.elapsed())
    };
    let (during, (unknown, took)) = futures_util::join!(everybody(lasting), posted);
    silent.send_replace(false);
    let after = everybody(CALM).await;
    progress.finish_and_clear();

    for (name, visits) in [
        ("before", &before),
        ("in silence", &during),
        ("after", &after),
    ] {
        println!("{name:<11} {}", told(visits));
    }
    println!(
        "a postback in silence was answered {} after {} ms",
        unknown["statusCode"],
        took.as_millis()
    );
    let (recorded, lost) = tally(&world, &log).await?;
    let (recorded, lost) = (recorded - warm.0, lost - warm.1);
    println!("{recorded} clicks are recorded, {lost} are counted as lost in the log");

    let progress = ProgressBar::new(u64::try_from(during.len()).unwrap_or(0));
    for (number, (id, _)) in during.iter().enumerate() {
        let id = id.as_deref().unwrap_or_default();
        let answer = postback
            .invoke(order(id, number + 1))
            .await
            .unwrap_or_default();
        let body: Value = serde_json::from_str(answer["body"].as_str().unwrap_or_default())
            .unwrap_or(Value::Null);
        if body["result"] != "created" || body["commissions"][0]["amount"] != "1.00" {
            return Err(format!(
                "click {number} of the silence does not earn: {answer}"
            ));
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    println!(
        "all {} clicks of the silence earned 1.00 afterwards",
        during.len()
    );

    let visits = before.len() + during.len() + after.len();
    if recorded + lost < visits || lost == 0 {
        return Err(format!(
            "{visits} visits, but {recorded} recorded and {lost} lost"
        ));
    }
    let late = during.len() - times(&during).within(WITHIN);
    if during.len() < late * 1_000 {
        return Err(format!("{late} visitors waited longer than 300 ms"));
    }
    if unknown["statusCode"] != 503 {
        return Err("the postback's sender was not told to repeat it".to_owned());
    }
    Ok(())
}

/// Serves the world's table over a line, and hands out its address and the switch.
async fn line(world: &World) -> Result<(String, watch::Sender<bool>), String> {
    let listen = async || {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.map_err(|error| error.to_string())?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        Ok::<_, String>((listener, address.to_string()))
    };
    let (served, table) = listen().await?;
    let embedded = world.stack.table.clone();
    tokio::spawn(async move { embedded.serve(served).await });
    let (listener, address) = listen().await?;
    let (switch, silent) = watch::channel(false);
    tokio::spawn(carry(listener, table, silent));
    Ok((format!("http://{address}"), switch))
}

fn times(visits: &[Visited]) -> Times {
    let mut times = Times::default();
    for (_, took) in visits {
        times.add(*took);
    }
    times
}

fn told(visits: &[Visited]) -> String {
    let sent_on = visits.iter().filter(|(id, _)| id.is_some()).count();
    let times = times(visits);
    format!(
        "{} visitors, {sent_on} sent on, {} within 300 ms; {times}",
        visits.len(),
        times.within(WITHIN)
    )
}

/// How many clicks the table holds, and how many the log counts as lost.
async fn tally(world: &World, log: &Path) -> Result<(usize, usize), String> {
    let recorded = records::clicks(&world.stack.table).await?.len();
    let log = std::fs::read_to_string(log).map_err(|error| error.to_string())?;
    Ok((recorded, records::lost(&log)))
}
