//! The daily runs of the one-machine stack over its restarts.

use std::path::Path;

use clickledger::embedded::Cut;
use http::Method;
use jiff::Timestamp;
use serde_json::json;
use tests::World;

const START: &str = "2026-07-01T10:00:00Z";

/// A folder whose affiliate earned 5.00 on 1 July; nothing is open any more.
async fn business(folder: &Path) {
    let world = World::in_folder(folder, START).await.stocked().await;
    let bonus = json!({
        "id": "b-1", "affiliate": "anna", "kind": "bonus", "currency": "EUR", "amount": "5",
        "reason": "a welcome",
    });
    world.made("adjustments", bonus).await;
    world.stack.clock.keep().unwrap();
}

#[tokio::test]
async fn a_run_that_fell_due_while_nothing_served_is_made_after_the_start() {
    let folder = tempfile::tempdir().unwrap();
    business(folder.path()).await;
    let world = World::in_folder(folder.path(), "2026-07-02T08:00:00Z").await;
    assert_eq!(world.balance("anna").await["in_payout"], "0.00");
    world.turn_to("2026-07-02T09:00:00Z").await;
    assert_eq!(world.balance("anna").await["in_payout"], "5.00");
}

/// A run is due at 01:00, and the clock is there before it begins.
#[tokio::test]
async fn a_run_whose_process_died_in_it_goes_on_after_the_start() {
    let folder = tempfile::tempdir().unwrap();
    business(folder.path()).await;
    let cut = World::in_folder(folder.path(), START).await;
    cut.stack.table.cut_at(40, Cut::Before);
    let body = json!({"now": "2026-07-02T01:00:00Z"}).to_string();
    let turned = cut.send(Method::POST, "/dev/clock", &[], body.into()).await;
    assert_eq!(turned.status, 503);
    drop(cut);

    let world = World::in_folder(folder.path(), START).await;
    let due: Timestamp = "2026-07-02T01:00:00Z".parse().unwrap();
    assert!(due <= world.stack.clock.now());
    world.turn_to("2026-07-02T02:00:00Z").await;
    assert_eq!(world.balance("anna").await["in_payout"], "5.00");
}
