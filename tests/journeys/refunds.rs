//! Refunds that meet their sale on odd ways: of which goal they are, of which program, and that they
//! are taken whole or not at all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use aws_sdk_dynamodb::types::AttributeValue;
use clickledger::embedded::{Cut, Passing};
use serde_json::{Value, json};
use tests::{Answer, World};

const START: &str = "2026-07-01T10:00:00Z";

fn result(answer: &Answer) -> (u16, &str) {
    let word = &answer.body["result"];
    (
        answer.status,
        word.as_str()
            .or(answer.body["code"].as_str())
            .unwrap_or("?"),
    )
}

/// What an affiliate has earned, and what of it was taken back.
async fn earned_and_reversed(world: &World) -> [String; 2] {
    let balance = world.balance("anna").await;
    ["earned", "reversed"].map(|name| balance[name].as_str().unwrap().to_owned())
}

/// A shop whose orders come to more than one result.
async fn subscriptions() -> World {
    let world = World::with_shop(START).await;
    let goals = json!({"goals": [{"name": "sale"}, {"name": "renewal"}]});
    assert_eq!(world.patch("programs/shoes", 1, goals).await.status, 200);
    world
}

/// Keeps what is written to reversals that wait, and tells its sender that it is done.
fn hold_back_waiting(world: &World, member: &'static str) -> Arc<Mutex<Vec<Value>>> {
    let held: Arc<Mutex<Vec<Value>>> = Arc::default();
    let kept = Arc::clone(&held);
    let is_write = |operation: &str, _: &[u8]| operation == "TransactWriteItems";
    world.stack.table.meddle(is_write, move |passing| {
        let Passing::Asked { request, .. } = passing else {
            return None;
        };
        let write = &request["TransactItems"][0][member];
        let sk = write["Item"]["sk"]["S"]
            .as_str()
            .or(write["Key"]["sk"]["S"].as_str());
        sk.is_some_and(|sk| sk.starts_with("#W#")).then(|| {
            kept.lock().unwrap().push(request.clone());
            json!({})
        })
    });
    held
}

/// What was held back arrives at last.
fn let_arrive(world: &World, held: &Mutex<Vec<Value>>) {
    world.stack.table.meddle(|_, _| false, |_| None);
    let held = std::mem::take(&mut *held.lock().unwrap());
    assert_eq!(held.len(), 1, "{held:?}");
    for mut late in held {
        late.as_object_mut().unwrap().remove("ClientRequestToken");
        let late = serde_json::from_value(late).unwrap();
        drop(world.stack.table.engine().transact_write_items(late));
    }
}

/// The refund waits; its sale is recorded by a function that dies before it looks for one; the
/// refund is sent again.
#[tokio::test]
async fn a_refund_that_waited_and_found_its_sale_by_itself_leaves_the_next_goal_alone() {
    let world = subscriptions().await;
    let click_id = world.click("anna-shoes").await;
    let of_goal = |order: &str, goal: &str| json!({"click_id": click_id, "order_id": order, "goal": goal, "amount": "10"});
    for order in ["A-0", "A-1"] {
        assert_eq!(
            world.postback(of_goal(order, "sale")).await.body["result"],
            "created"
        );
    }
    let before = world.stack.table.call_count();
    world.postback(of_goal("A-2", "sale")).await;
    let calls = world.stack.table.call_count() - before;

    let refund = json!({"order_id": "A-3"});
    assert_eq!(
        result(&world.reversal(refund.clone()).await),
        (404, "order_unknown")
    );
    world.stack.table.cut_at(calls - 1, Cut::Before);
    let sale = of_goal("A-3", "sale");
    assert_eq!(world.postback(sale.clone()).await.status, 503);
    assert!(world.stack.table.mend());
    assert_eq!(
        result(&world.reversal(refund.clone()).await),
        (200, "created")
    );
    assert_eq!(earned_and_reversed(&world).await, ["4.00", "1.00"]);

    let renewal = world.postback(of_goal("A-3", "renewal")).await;
    assert_eq!(result(&renewal), (200, "created"));
    assert_eq!(
        result(&world.postback(sale).await),
        (200, "recorded_before")
    );
    assert_eq!(earned_and_reversed(&world).await, ["5.00", "1.00"]);
}

/// As before, and the renewal comes before anybody repeats anything: the refund is the sale's still.
#[tokio::test]
async fn a_refund_waits_for_the_first_goal_though_that_ones_function_died() {
    let world = subscriptions().await;
    let click_id = world.click("anna-shoes").await;
    let of_goal = |order: &str, goal: &str, amount: &str| json!({"click_id": click_id, "order_id": order, "goal": goal, "amount": amount});
    for order in ["A-0", "A-1"] {
        world.postback(of_goal(order, "sale", "10")).await;
    }
    let before = world.stack.table.call_count();
    world.postback(of_goal("A-2", "sale", "10")).await;
    let calls = world.stack.table.call_count() - before;

    assert_eq!(world.reversal(json!({"order_id": "A-3"})).await.status, 404);
    world.stack.table.cut_at(calls - 1, Cut::Before);
    let sale = of_goal("A-3", "sale", "10");
    assert_eq!(world.postback(sale.clone()).await.status, 503);
    assert!(world.stack.table.mend());
    world
        .stack
        .clock
        .move_to("2026-07-01T10:00:01Z".parse().unwrap())
        .unwrap();
    for (told, expected) in [
        (of_goal("A-3", "renewal", "50"), ["9.00", "0.00"]),
        (sale, ["9.00", "1.00"]),
    ] {
        assert_eq!(world.postback(told).await.status, 200);
        assert_eq!(earned_and_reversed(&world).await, expected);
    }
}

/// What was to wait is written long after its sender has repeated it and found the sale.
#[tokio::test]
async fn a_refund_that_lands_late_is_of_no_later_goal() {
    let world = subscriptions().await;
    let click_id = world.click("anna-shoes").await;
    let of_goal =
        |goal: &str| json!({"click_id": click_id, "order_id": "A-1", "goal": goal, "amount": "10"});
    let refund = json!({"order_id": "A-1"});
    let on_its_way = hold_back_waiting(&world, "Put");
    assert_eq!(world.reversal(refund.clone()).await.status, 404);
    assert_eq!(world.postback(of_goal("sale")).await.status, 200);
    assert_eq!(result(&world.reversal(refund).await), (200, "created"));
    let_arrive(&world, &on_its_way);

    assert_eq!(world.postback(of_goal("renewal")).await.status, 200);
    assert_eq!(earned_and_reversed(&world).await, ["2.00", "1.00"]);
}

/// The table may sweep what expires between a read of it and a write to it.
#[tokio::test]
async fn a_refund_that_is_swept_while_its_sale_takes_it_leaves_nothing_behind() {
    let world = subscriptions().await;
    let click_id = world.click("anna-shoes").await;
    let sale = json!({"click_id": click_id, "order_id": "A-1", "amount": "10"});
    assert_eq!(world.reversal(json!({"order_id": "A-1"})).await.status, 404);
    let on_its_way = hold_back_waiting(&world, "Update");
    assert_eq!(world.postback(sale.clone()).await.status, 200);

    let items = world.items().await;
    let mut waiting = items
        .iter()
        .filter(|item| item.get("sk").is_some_and(|sk| sk.starts_with("#W#")));
    let swept = waiting.next().unwrap();
    let key: HashMap<String, AttributeValue> = ["pk", "sk"]
        .map(|name| (name.to_owned(), AttributeValue::S(swept[name].clone())))
        .into();
    let client = world.stack.table.client("setup");
    let sweep = client
        .delete_item()
        .table_name(clickledger::tables::names().core)
        .set_key(Some(key));
    sweep.send().await.unwrap();
    let_arrive(&world, &on_its_way);

    assert_eq!(
        result(&world.postback(sale).await),
        (200, "recorded_before")
    );
}

/// The renewal is looked at first, and the sale cannot give what the refund asks of it.
#[tokio::test]
async fn a_part_of_every_goal_is_taken_of_all_of_them_or_of_none() {
    let world = subscriptions().await;
    let click_id = world.click("anna-shoes").await;
    for (goal, sku, amount) in [("renewal", "care", "10"), ("sale", "boots", "4")] {
        let told = json!({
            "click_id": click_id, "order_id": "A-1", "goal": goal,
            "items": [{"sku": sku, "amount": amount}],
        });
        assert_eq!(world.postback(told).await.status, 200);
    }
    let refund = |goal: &str, id: &str, amount: &str| json!({"order_id": "A-1", "goal": goal, "reversal_id": id, "amount": amount});
    let named = json!({"order_id": "A-1", "goal": "*", "reversal_id": "r", "items": [{"sku": "care", "amount": "1"}]});
    for _ in 0..2 {
        let over = world.reversal(refund("*", "r", "5")).await;
        assert_eq!(result(&over), (422, "reversal_exceeds"));
        let unknown = world.reversal(named.clone()).await;
        assert_eq!(result(&unknown), (422, "sku_unknown"));
        assert_eq!(earned_and_reversed(&world).await, ["1.40", "0.00"]);
    }

    let own = world.reversal(refund("sale", "r", "1")).await;
    assert_eq!(result(&own), (200, "created"));
    let other = world.reversal(refund("*", "r", "2")).await;
    assert_eq!(result(&other), (409, "reversal_conflict"));
    assert_eq!(earned_and_reversed(&world).await, ["1.40", "0.10"]);

    // Whoever died after the first of them goes on with the others, though nothing of that is left.
    for (id, amount) in [("q", "7"), ("s", "3")] {
        let first = world.reversal(refund("renewal", id, amount)).await;
        assert_eq!(result(&first), (200, "created"));
    }
    for word in ["created", "recorded_before"] {
        let again = world.reversal(refund("*", "s", "3")).await;
        assert_eq!(result(&again), (200, word));
        assert_eq!(again.body["remaining"], "0.00");
        assert_eq!(earned_and_reversed(&world).await, ["1.40", "1.40"]);
    }
}

/// A shop that counts its orders over all of its programs may say which one is meant.
#[tokio::test]
async fn a_refund_that_names_a_program_is_of_no_other() {
    let world = subscriptions().await;
    let hats = json!({
        "id": "hats", "merchant": "shop", "name": "Hats", "currency": "EUR",
        "destination": "https://shop.example/", "hold_days": 0, "status": "active",
        "override": "a test of its own", "goals": [{"name": "sale"}, {"name": "renewal"}],
        "commission": [{"type": "percent", "percent": "10"}],
    });
    world.made("programs", hats).await;
    let link = json!({"slug": "anna-hats", "program": "hats", "affiliate": "anna"});
    world.made("links", link).await;
    let shoes = world.click("anna-shoes").await;
    let hats = world.click("anna-hats").await;
    let told = |click_id: &str, order: &str, goal: &str| json!({"click_id": click_id, "order_id": order, "goal": goal, "amount": "10"});
    let refund = |order: &str, program: &str| json!({"order_id": order, "program": program});

    assert_eq!(
        world.postback(told(&shoes, "A-1", "sale")).await.status,
        200
    );
    let other = world.reversal(refund("A-1", "hats")).await;
    assert_eq!(result(&other), (404, "order_unknown"));
    assert_eq!(earned_and_reversed(&world).await, ["1.00", "0.00"]);
    let own = world.reversal(refund("A-1", "shoes")).await;
    assert_eq!(result(&own), (200, "created"));
    assert_eq!(earned_and_reversed(&world).await, ["1.00", "1.00"]);

    // Of two goals in two programs the program says which.
    for (click, goal) in [(&shoes, "sale"), (&hats, "renewal")] {
        assert_eq!(world.postback(told(click, "A-2", goal)).await.status, 200);
    }
    assert_eq!(world.reversal(json!({"order_id": "A-2"})).await.status, 422);
    let one = world.reversal(refund("A-2", "hats")).await;
    assert_eq!(result(&one), (200, "created"));
    assert_eq!(one.body["remaining"], "0.00");
    assert_eq!(earned_and_reversed(&world).await, ["3.00", "2.00"]);

    // What waits is of its program alone, and keeps nothing from the other's.
    for program in ["hats", "shoes"] {
        assert_eq!(world.reversal(refund("A-3", program)).await.status, 404);
    }
    assert_eq!(world.reversal(refund("A-4", "hats")).await.status, 404);
    for (click, order, goal, reversed) in [
        (&shoes, "A-3", "sale", "3.00"),
        (&shoes, "A-4", "sale", "3.00"),
        (&hats, "A-4", "renewal", "4.00"),
    ] {
        assert_eq!(world.postback(told(click, order, goal)).await.status, 200);
        let seen = earned_and_reversed(&world).await;
        assert_eq!(seen[1], reversed, "{order} {goal}");
    }
}

/// What waits keeps nothing from another that waits too: not by a credential that may not take it back, and
/// not by content that is not its own.
#[tokio::test]
async fn each_refund_that_waits_is_kept_or_said_to_differ() {
    let world = World::with_shop(START).await;
    let hats = json!({
        "id": "hats", "merchant": "shop", "name": "Hats", "currency": "EUR",
        "destination": "https://shop.example/", "status": "active", "override": "a test",
        "commission": [{"type": "percent", "percent": "10"}],
    });
    world.made("programs", hats).await;
    let of_hats = json!({"label": "hats", "programs": ["hats"], "scope": "all", "kind": "server"});
    let of_hats = world.made("merchants/shop/secrets", of_hats).await;
    let click = world.click("anna-shoes").await;

    // The hats' own server knows the order by mistake.
    let mistaken = json!({"order_id": "A-1", "token": of_hats["postback_token"]});
    let mistaken = world.json("/postback/reversal", &mistaken).await;
    assert_eq!(result(&mistaken), (404, "order_unknown"));
    let whole = world.reversal(json!({"order_id": "A-1"})).await;
    assert_eq!(result(&whole), (404, "order_unknown"));
    let sale = |order: &str| json!({"click_id": click, "order_id": order, "amount": "100"});
    assert_eq!(world.postback(sale("A-1")).await.status, 200);
    assert_eq!(earned_and_reversed(&world).await, ["10.00", "10.00"]);

    let part = |amount: &str| json!({"order_id": "A-2", "reversal_id": "r", "amount": amount});
    for (amount, told) in [
        ("10", (404, "order_unknown")),
        ("40", (409, "reversal_conflict")),
        ("10.00", (404, "order_unknown")),
    ] {
        let waits = world.reversal(part(amount)).await;
        assert_eq!(result(&waits), told, "{amount}");
    }
    // That it is in the program's currency goes without saying.
    let mut said = part("10");
    said["currency"] = json!("EUR");
    assert_eq!(world.reversal(said).await.status, 404);
    assert_eq!(world.postback(sale("A-2")).await.status, 200);
    assert_eq!(earned_and_reversed(&world).await, ["20.00", "11.00"]);
}

/// All that is left of every goal is what they give now.
#[tokio::test]
async fn a_refund_of_every_goal_tells_nothing_that_was_taken_before() {
    let world = subscriptions().await;
    let click = world.click("anna-shoes").await;
    for (goal, amount) in [("sale", "10"), ("renewal", "20")] {
        let told = json!({"click_id": click, "order_id": "A-1", "goal": goal, "amount": amount});
        assert_eq!(world.postback(told).await.status, 200);
    }
    let of = |goal: &str| json!({"order_id": "A-1", "goal": goal});
    let one = world.reversal(of("renewal")).await;
    assert_eq!(one.body["reversed"][0]["amount"], "2.00");
    let rest = world.reversal(of("*")).await;
    assert_eq!(result(&rest), (200, "created"));
    let amounts = rest.body["reversed"].as_array().unwrap().iter();
    let amounts: Vec<_> = amounts
        .map(|part| part["amount"].as_str().unwrap())
        .collect();
    assert_eq!(amounts, ["1.00"]);
    assert_eq!(
        result(&world.reversal(of("*")).await),
        (200, "recorded_before")
    );
}

/// The contract: the same again is recorded before, however often and however late it comes.
#[tokio::test]
async fn what_an_amendment_adds_after_a_whole_refund_is_taken_back_by_a_name() {
    let world = World::with_shop(START).await;
    let click_id = world.click("anna-shoes").await;
    let sale = json!({"click_id": click_id, "order_id": "A-1", "amount": "100"});
    let id = world.postback(sale).await.body["conversion"].clone();
    let whole = json!({"order_id": "A-1"});
    assert_eq!(
        result(&world.reversal(whole.clone()).await),
        (200, "created")
    );
    let amend = format!("conversions/{}/amend", id.as_str().unwrap());
    let up = json!({"id": "up", "amount": "150", "reason": "one more pair"});
    assert_eq!(world.post(&amend, up).await.status, 200);

    assert_eq!(
        result(&world.reversal(whole).await),
        (200, "recorded_before")
    );
    assert_eq!(earned_and_reversed(&world).await, ["15.00", "10.00"]);
    let decide = async |id: &str| {
        let line = json!({"order_id": "A-1", "action": "reverse", "id": id});
        let path = "conversions/decisions?merchant=shop";
        world.post(path, line).await
    };
    let line = decide("all of it").await;
    assert_eq!(
        (result(&line), &line.body["remaining"]),
        ((200, "changed"), &json!("0.00"))
    );
    assert_eq!(result(&decide("all of it").await), (200, "unchanged"));
    assert_eq!(decide(" rest").await.body["code"], "id_invalid");
    assert_eq!(earned_and_reversed(&world).await, ["15.00", "15.00"]);
}
