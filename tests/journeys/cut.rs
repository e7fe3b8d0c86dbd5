//! A day's run that dies at any call to the table, and the one that resumes it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clickledger::embedded::Cut;
use serde_json::{Value, json};
use tests::World;
use tokio::sync::Semaphore;

/// The run that is cut: a Sunday and a month's last day, so every schedule pays.
const DAY: &str = "2026-05-31";
/// Cuts at every call instead of at every one that writes and some that read.
const EVERY_CALL: &str = "CUT_EVERY_CALL";

struct Shop {
    merchant: &'static str,
    program: &'static str,
    currency: &'static str,
    amount: &'static str,
}

const SHOPS: [Shop; 3] = [
    Shop {
        merchant: "shop",
        program: "shoes",
        currency: "EUR",
        amount: "99.99",
    },
    Shop {
        merchant: "agency-shop",
        program: "hats",
        currency: "EUR",
        amount: "30",
    },
    Shop {
        merchant: "agency-shop",
        program: "tea",
        currency: "JPY",
        amount: "4999",
    },
];

/// Two payers, a currency without decimals, and 21 affiliates: of each program some to be
/// paid, in debt, under their minimum, before their pay day, without details, suspended.
async fn month_end(folder: &Path) -> World {
    let world = World::in_folder(folder, "2026-05-29T10:00:00Z").await;
    let agency = json!({
        "id": "agency", "legal_name": "Agency", "address": {"town": "Wien", "country": "AT"},
    });
    world.made("payers", agency).await;
    let mut tokens: BTreeMap<&str, String> = BTreeMap::new();
    for (merchant, payer) in [("shop", "house"), ("agency-shop", "agency")] {
        let made = json!({"id": merchant, "name": merchant, "payer": payer});
        let made = world.made("merchants", made).await;
        let token = made["secret"]["postback_token"].as_str().unwrap();
        tokens.insert(merchant, token.to_owned());
    }
    for shop in &SHOPS {
        let program = json!({
            "id": shop.program, "merchant": shop.merchant, "name": shop.program,
            "currency": shop.currency, "destination": "https://shop.example/", "hold_days": 0,
            "status": "active", "override": "a test",
            "commission": [{"type": "percent", "percent": "10"}],
        });
        world.made("programs", program).await;
    }
    let mut slugs = Vec::new();
    for number in 0..21 {
        let (shop, kind) = (&SHOPS[number % 3], number / 3);
        let id = format!("a{number:02}");
        let mut affiliate =
            json!({"id": id, "name": id, "email": "x@example.com", "country": "DE"});
        let schedule = [
            "daily", "daily", "daily", "weekly", "monthly", "daily", "daily",
        ][kind];
        let minimum = if kind == 2 { "1000" } else { "0" };
        if kind != 5 {
            affiliate["payout"] = json!({
                "currency": shop.currency, "method": "manual", "schedule": schedule,
                "minimum": {shop.currency: minimum},
            });
        }
        if kind == 6 {
            affiliate["status"] = json!("suspended");
        }
        world.made("affiliates", affiliate).await;
        let link = json!({"slug": id, "program": shop.program, "affiliate": id});
        world.made("links", link).await;
        slugs.push((id, shop, kind));
    }
    // The suspended ones' sales were made before; their clicks count all the same.
    for (day, order) in [("2026-05-29", "first"), ("2026-05-31", "second")] {
        world.turn_to(&format!("{day}T12:00:00Z")).await;
        for (id, shop, kind) in &slugs {
            if *kind == 6 {
                continue;
            }
            let token = &tokens[shop.merchant];
            let name = format!("{id}-{order}");
            if *kind == 1 && order == "second" {
                let back = json!({"token": token, "order_id": format!("{id}-first")});
                assert_eq!(world.json("/postback/reversal", &back).await.status, 200);
            }
            let click_id = world.click(id).await;
            let amount = if *kind == 1 && order == "second" {
                "10"
            } else {
                shop.amount
            };
            let sale =
                json!({"token": token, "click_id": click_id, "order_id": name, "amount": amount});
            assert_eq!(world.json("/postback", &sale).await.status, 200);
        }
    }
    for (id, shop, kind) in &slugs {
        if *kind == 6 {
            let bonus = json!({
                "id": format!("bonus {id}"), "payer": if shop.merchant == "shop" { "house" } else { "agency" },
                "affiliate": id, "kind": "bonus", "currency": shop.currency, "amount": "7",
                "reason": "a test",
            });
            world.made("adjustments", bonus).await;
        }
    }
    world
}

/// A stack of its own on a copy of the folder, at 00:30 of the day after.
async fn copy_of(folder: &Path) -> (tempfile::TempDir, World) {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let from: PathBuf = entry.unwrap().path();
        std::fs::copy(&from, copy.path().join(from.file_name().unwrap())).unwrap();
    }
    let world = World::in_folder(copy.path(), "2026-06-01T00:30:00Z").await;
    (copy, world)
}

async fn run(world: &World) -> tests::Answer {
    world.post("payout-runs", json!({"day": DAY})).await
}

/// All that both tables hold, less the times and the number of attempts.
async fn everything(world: &World) -> Vec<String> {
    let items = world.items().await.into_iter();
    let mut items: Vec<String> = items
        .map(|item| {
            let shown = item.iter().filter(|(name, _)| {
                !matches!(
                    name.as_str(),
                    "recorded_at" | "created_at" | "gates_closed_at" | "epoch"
                )
            });
            let shown: Vec<String> = shown
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            shown.join(" ")
        })
        .collect();
    items.sort();
    items
}

#[expect(
    clippy::disallowed_methods,
    reason = "which cuts are made is no configuration of the product"
)]
fn is_every_call() -> bool {
    std::env::var_os(EVERY_CALL).is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_cut_at_any_call_and_resumed_leaves_the_same_tables() {
    let folder = tempfile::tempdir().unwrap();
    drop(month_end(folder.path()).await);

    let (_copy, world) = copy_of(folder.path()).await;
    world.stack.table.clear_calls();
    let answer = run(&world).await;
    let calls = world.stack.table.calls();
    let expected = Arc::new((answer.clone(), everything(&world).await));
    // Paid are the daily, the weekly and the monthly, and one that has its minimum exactly; carried
    // the three in debt and two below their minimum; held those without details and the suspended.
    let counts =
        ["buckets", "payouts", "carried", "held"].map(|name| answer.body[name].as_u64().unwrap());
    assert_eq!(counts, [21, 10, 5, 6], "{}", answer.body);
    assert_eq!(
        answer.body["total"].as_array().unwrap().len(),
        3,
        "{}",
        answer.body
    );

    let writes = |call: &clickledger::embedded::Call| {
        call.actions
            .iter()
            .any(|(action, _)| !matches!(*action, "GetItem" | "Query"))
    };
    let is_every = is_every_call();
    let cuts: Vec<(u64, Cut)> = calls
        .iter()
        .enumerate()
        .filter(|(number, call)| is_every || writes(call) || number % 6 == 0)
        .flat_map(|(number, _)| {
            let number = u64::try_from(number).unwrap();
            [(number, Cut::Before), (number, Cut::After)]
        })
        .collect();
    println!("{} calls, {} cuts", calls.len(), cuts.len());
    assert!(calls.len() > 250 && cuts.len() > 150);

    let at_once = Arc::new(Semaphore::new(6));
    let folder = Arc::new(folder);
    let mut tasks = tokio::task::JoinSet::new();
    for (number, when) in cuts {
        let (at_once, folder) = (Arc::clone(&at_once), Arc::clone(&folder));
        let expected = Arc::clone(&expected);
        tasks.spawn(async move {
            let _turn = at_once.acquire_owned().await.unwrap();
            let (_copy, world) = copy_of(folder.path()).await;
            world.stack.table.cut_at(number, when);
            let cut: Value = json!(run(&world).await.status);
            let reached = world.stack.table.mend();
            assert!(
                reached && (cut == 503 || cut == 200),
                "call {number}, {when:?}: {cut}"
            );
            let resumed = run(&world).await;
            assert_eq!(resumed, expected.0, "call {number}, {when:?}");
            let found = everything(&world).await;
            for (found, expected) in found.iter().zip(&expected.1) {
                assert_eq!(found, expected, "call {number}, {when:?}");
            }
            assert_eq!(found.len(), expected.1.len(), "call {number}, {when:?}");
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
}
