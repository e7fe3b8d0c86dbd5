//! An account that differs from its ledger: found by the day's reconciliation, and paid nothing.

use std::future::{Future as _, poll_fn};
use std::pin::pin;

use futures_util::future::join_all;
use serde_json::{Value, json};
use shared::ids::{AffiliateId, PayerId};
use shared::lambda::Schedule;
use shared::ledger::Pocket;
use shared::money::Currency;
use shared::setup::Affiliate;
use tests::World;

const START: &str = "2026-07-01T10:00:00Z";

fn pocket() -> Pocket {
    Pocket {
        payer: PayerId::house(),
        affiliate: AffiliateId::parse("anna").unwrap(),
        currency: Currency::parse("EUR").unwrap(),
    }
}

async fn sale(world: &World, order: &str) {
    let click_id = world.click("anna-shoes").await;
    let sale = json!({"click_id": click_id, "order_id": order, "amount": "30"});
    let answer = world.postback(sale).await;
    assert_eq!(answer.body["result"], "created", "{answer:?}");
}

/// The schedule's reconciliation, at the start.
async fn reconcile(world: &World) -> Value {
    let schedule = Schedule {
        day: None,
        scheduled_time: START.parse().unwrap(),
    };
    let made = report::scheduled(&world.stack.app, &schedule).await;
    made.unwrap()
}

fn figures(balance: &Value) -> [&Value; 3] {
    [&balance["in_payout"], &balance["payable"], &balance["held"]]
}

async fn turn_to(world: &World, day: u8) {
    world.turn_to(&format!("2026-07-{day:02}T01:00:00Z")).await;
}

#[tokio::test]
async fn an_account_that_differs_is_paid_nothing_until_it_agrees_again() {
    let world = World::with_shop(START).await;
    sale(&world, "A-1").await;
    turn_to(&world, 2).await;
    let balance = world.balance("anna").await;
    assert_eq!(
        figures(&balance),
        [&json!("3.00"), &json!("0.00"), &json!([])]
    );

    // A cent too much in what was sent: no run has a reason to look, but the reconciliation has.
    world.tamper("A#anna", "house#EUR", "sent", 1).await;
    turn_to(&world, 3).await;
    sale(&world, "A-2").await;
    turn_to(&world, 4).await;
    let run = world
        .post("payout-runs", json!({"day": "2026-07-03"}))
        .await
        .body;
    assert_eq!(
        (&run["payouts"], &run["held"]),
        (&json!(0), &json!(1)),
        "{run}"
    );
    let balance = world.balance("anna").await;
    let held = json!([{"reason": "books_differ", "amount": "3.00"}]);
    assert_eq!(
        [&balance["payable"], &balance["held"]],
        [&json!("3.00"), &held]
    );

    // Put right by hand: the next reconciliation lets it go, and the run after that pays.
    world.tamper("A#anna", "house#EUR", "sent", -1).await;
    turn_to(&world, 5).await;
    let waits = world.balance("anna").await;
    assert_eq!(
        figures(&waits),
        [&json!("3.00"), &json!("3.00"), &json!([])]
    );
    turn_to(&world, 6).await;
    let balance = world.balance("anna").await;
    assert_eq!(
        figures(&balance),
        [&json!("6.00"), &json!("0.00"), &json!([])]
    );
}

#[tokio::test]
async fn an_account_is_held_though_no_run_has_touched_it() {
    let world = World::with_shop(START).await;
    sale(&world, "A-1").await;
    let bucket = format!("B#2026-07-01#{:02}", pocket().shard());
    world
        .tamper(&bucket, "house#anna#EUR#00", "earned", 100)
        .await;
    let made = reconcile(&world).await;
    assert_eq!(made, json!({"accounts": 1, "marked": 1}));
    turn_to(&world, 2).await;
    let balance = world.balance("anna").await;
    let held = json!([{"reason": "books_differ", "amount": "4.00"}]);
    assert_eq!(figures(&balance), [&json!("0.00"), &json!("4.00"), &held]);
}

/// What was put right before the first run is paid by that run, as if nothing had been.
#[tokio::test]
async fn an_account_that_agrees_again_before_its_first_run_is_paid_by_it() {
    let world = World::with_shop(START).await;
    sale(&world, "A-1").await;
    let bucket = format!("B#2026-07-01#{:02}", pocket().shard());
    for (cent, marked) in [(1, 1), (-1, 0)] {
        world
            .tamper(&bucket, "house#anna#EUR#00", "earned", cent)
            .await;
        let made = reconcile(&world).await;
        assert_eq!(made, json!({"accounts": 1, "marked": marked}));
    }
    turn_to(&world, 2).await;
    let balance = world.balance("anna").await;
    assert_eq!(
        figures(&balance),
        [&json!("3.00"), &json!("0.00"), &json!([])]
    );
}

/// An event that is delivered once the runs of the next month have begun.
#[tokio::test]
async fn a_reconciliation_of_last_month_differs_from_nothing_of_this_one() {
    let world = World::with_shop(START).await;
    sale(&world, "A-1").await;
    world.turn_to("2026-08-01T10:00:00Z").await;
    sale(&world, "A-2").await;
    world.turn_to("2026-08-02T01:00:00Z").await;
    let made = reconcile(&world).await;
    assert_eq!(made["marked"], 0, "{made}");
}

/// Of two reconciliations one is late: what it saw was let go long ago, and marked again.
#[tokio::test]
async fn a_newer_mark_is_not_taken_away_by_whoever_saw_the_one_before() {
    let world = World::with_shop(START).await;
    let (store, pocket) = (&world.stack.app.store, pocket());
    let at = |hour: u8| {
        let instant = format!("2026-07-01T{hour}:00:00.123456789Z");
        instant.parse::<jiff::Timestamp>().unwrap()
    };
    let since = async || store.account(&pocket).await.unwrap().differs_since;
    store.mark(&pocket, at(11)).await.unwrap();
    assert_eq!(since().await, Some(at(11)));
    store.unmark(&pocket, at(11), at(12)).await.unwrap();
    assert_eq!(since().await, None);

    store.mark(&pocket, at(13)).await.unwrap();
    store.unmark(&pocket, at(11), at(14)).await.unwrap();
    assert_eq!(since().await, Some(at(13)));
}

/// The run has read the account and is about to pay when the mark comes.
#[tokio::test]
async fn a_mark_that_comes_while_an_account_settles_still_stops_its_payout() {
    let world = World::with_shop(START).await;
    sale(&world, "A-1").await;
    turn_to(&world, 2).await;
    sale(&world, "A-2").await;

    let (store, pocket) = (&world.stack.app.store, pocket());
    let now = "2026-07-03T01:00:00Z".parse().unwrap();
    let day = "2026-07-02".parse().unwrap();
    let run = store.begin_run(day).await.unwrap();
    store.close_gates(day).await.unwrap();
    let open = store.buckets(day, pocket.shard()).await.unwrap();
    let closed = store
        .close_bucket(&pocket, open[0].lane, day, run.epoch)
        .await
        .unwrap()
        .unwrap();
    let before = store.account(&pocket).await.unwrap();
    let affiliate = store.record::<Affiliate>("anna").await.unwrap().unwrap();
    let settled = shared::payout::settle(&before, closed.sums, day, &affiliate.record);
    assert!(settled.payout.is_some());

    store.mark(&pocket, now).await.unwrap();
    let paid = store
        .settle(&[closed], &before, &settled, run.epoch, now)
        .await;
    assert!(!paid.unwrap());
    world.turn_to("2026-07-03T00:30:00Z").await;
    let run = world
        .post("payout-runs", json!({"day": "2026-07-02"}))
        .await
        .body;
    assert_eq!(
        (&run["payouts"], &run["held"]),
        (&json!(0), &json!(1)),
        "{run}"
    );
}

#[tokio::test]
async fn an_account_that_only_moves_is_not_taken_for_one_that_differs() {
    let world = World::with_shop(START).await;
    let click_id = world.click("anna-shoes").await;
    let (world, click_id) = (&world, &click_id);
    let sender = async |sender: u32| {
        for number in 0..20 {
            let order = format!("A-{sender}-{number}");
            let sale = json!({"click_id": click_id, "order_id": order, "amount": "30"});
            assert_eq!(world.postback(sale).await.status, 200);
            let part = json!({"order_id": order, "reversal_id": "r", "amount": "10"});
            assert_eq!(world.reversal(part).await.status, 200);
        }
    };
    let mut sales = pin!(join_all((0..8).map(sender)));
    let mut are_under_way = true;
    while are_under_way {
        let mut reconciliation = pin!(reconcile(world));
        let made = poll_fn(|context| {
            are_under_way = are_under_way && sales.as_mut().poll(context).is_pending();
            reconciliation.as_mut().poll(context)
        });
        assert_eq!(made.await["marked"], 0);
    }
}

#[test]
fn the_template_rings_for_the_line_that_tells_of_an_account_that_differs() {
    let filter = format!("FilterPattern: '{{ $.alarm = \"{}\" }}'", report::ALARM);
    assert!(
        include_str!("../../template.yaml").contains(&filter),
        "{filter}"
    );
}

#[test]
fn the_template_rings_for_no_503_that_is_answered_by_design() {
    let template = include_str!("../../template.yaml");
    for (source, field, id) in [
        (
            include_str!("../../functions/redirect/src/lib.rs"),
            "prefetches",
            "prefetches",
        ),
        (
            include_str!("../../functions/payout/src/lib.rs"),
            "runs_to_go_on",
            "to_go_on",
        ),
    ] {
        assert!(source.contains(&format!("{field} = 1,")), "{field}");
        let filter = format!("FilterPattern: \"{{ $.{field} > 0 }}\"");
        assert!(template.contains(&filter), "{filter}");
        let failures =
            format!("IF(FILL(answers, 0) > FILL({id}, 0), FILL(answers, 0) - FILL({id}, 0), 0)");
        assert!(template.contains(&failures), "{failures}");
    }
}

/// As the operator's command does it, on the folder of a stack that has ended.
#[tokio::test]
async fn the_command_looks_at_the_books_of_every_payer_however_many_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::in_folder(folder.path(), START).await.stocked().await;
    // One more than a list shows at a time.
    for number in 0..51 {
        let payer = json!({
            "id": format!("payer-{number}"), "legal_name": "A payer",
            "address": {"town": "Bonn", "country": "DE"},
        });
        world.made("payers", payer).await;
    }
    let bonus = json!({
        "id": "b-1", "payer": "payer-50", "affiliate": "anna", "kind": "bonus",
        "currency": "EUR", "amount": "5", "reason": "a welcome",
    });
    world.made("adjustments", bonus).await;
    turn_to(&world, 2).await;
    drop(world);

    for (cent, agrees) in [(0, true), (1, false)] {
        let world = World::in_folder(folder.path(), START).await;
        world.tamper("A#anna", "payer-50#EUR", "sent", cent).await;
        drop(world);
        let now = START.parse().unwrap();
        let told = clickledger::reconcile::reconcile(folder.path(), now).await;
        assert_eq!(told, Ok(agrees));
    }
}
