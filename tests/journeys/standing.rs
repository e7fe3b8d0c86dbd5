//! Where each commission stands, from waiting for approval to paid, and in which payout it is.

use serde_json::{Value, json};
use tests::{Person, World};

/// Program `boots` waits for approval and holds for a day; carl is paid on Sundays.
async fn world() -> World {
    let world = World::with_shop("2026-07-01T08:00:00Z").await;
    let boots = json!({
        "id": "boots", "merchant": "shop", "name": "Boots", "currency": "EUR", "hold_days": 1,
        "destination": "https://shop.example/", "approval": "manual", "status": "active",
        "override": "a test", "commission": [{"type": "percent", "percent": "10"}],
    });
    world.made("programs", boots).await;
    let carl = json!({
        "id": "carl", "name": "Carl", "email": "c@example.com", "country": "DE",
        "payout": {"currency": "EUR", "method": "manual", "schedule": "weekly"},
    });
    world.made("affiliates", carl).await;
    for program in ["boots", "shoes"] {
        let slug = format!("carl-{program}");
        let link = json!({"slug": slug, "program": program, "affiliate": "carl"});
        world.made("links", link).await;
    }
    world
}

async fn order(world: &World, slug: &str, id: &str, amount: &str) -> String {
    let sale = json!({"click_id": world.click(slug).await, "order_id": id, "amount": amount});
    let made = world.postback(sale).await.body;
    made["conversion"].as_str().expect("an order").to_owned()
}

/// The conversion, and where its only commission stands: the list must say the same.
async fn stands(world: &World, id: &str) -> (Value, String) {
    let conversion = world.get(&format!("conversions/{id}")).await.body;
    let list = world.get("conversions?merchant=shop&limit=200").await.body;
    let listed = list["items"].as_array().unwrap().iter();
    let listed = listed.clone().find(|item| item["id"] == id).unwrap();
    assert_eq!(listed["commissions"], conversion["commissions"]);
    let commission = &conversion["commissions"][0];
    let text = |name: &str| commission[name].as_str().unwrap_or_default().to_owned();
    let payout = text("payout");
    let made_on = payout.split('-').next().unwrap_or_default();
    let told = format!("{} {} {made_on}", text("payable_on"), text("status"));
    (conversion, told.trim().to_owned())
}

async fn check(world: &World, id: &str, expected: &str) {
    assert_eq!(stands(world, id).await.1, expected);
}

async fn payout_of(world: &World, id: &str) -> String {
    let (conversion, _) = stands(world, id).await;
    let payout = conversion["commissions"][0]["payout"].as_str();
    payout.expect("it is in a payout").to_owned()
}

async fn step(world: &World, payout: &str, word: &str, body: Value) {
    let done = world.post(&format!("payouts/{payout}/{word}"), body).await;
    assert_eq!(done.status, 200, "{done:?}");
}

async fn decide(world: &World, id: &str, word: &str, body: Value) {
    let done = world.post(&format!("conversions/{id}/{word}"), body).await;
    assert_eq!(done.status, 200, "{done:?}");
}

#[tokio::test]
async fn a_commission_is_followed_from_its_order_to_the_second_payout_that_it_is_in() {
    let world = world().await;
    let first = order(&world, "carl-boots", "A-1", "100").await;
    check(&world, &first, "2026-07-02 pending").await;

    // It becomes payable on the day that it is approved, since that is later than its terms.
    world.turn_to("2026-07-04T10:00:00Z").await;
    decide(&world, &first, "approve", json!({})).await;
    check(&world, &first, "2026-07-04 on_hold").await;
    world.turn_to("2026-07-05T02:00:00Z").await;
    check(&world, &first, "2026-07-04 payable").await;
    world.turn_to("2026-07-06T02:00:00Z").await;
    check(&world, &first, "2026-07-04 in_payout p20260705").await;
    let payout = payout_of(&world, &first).await;
    step(&world, &payout, "sent", json!({"reference": "bank 1"})).await;
    check(&world, &first, "2026-07-04 paid p20260705").await;

    // What another order brought is in the payout of the week after.
    world.turn_to("2026-07-08T10:00:00Z").await;
    let second = order(&world, "carl-shoes", "A-2", "50").await;
    check(&world, &second, "2026-07-08 on_hold").await;
    world.turn_to("2026-07-13T02:00:00Z").await;
    check(&world, &second, "2026-07-08 in_payout p20260712").await;

    // The first comes back only now: that one it cannot be in.
    world.turn_to("2026-07-14T10:00:00Z").await;
    step(&world, &payout, "returned", json!({"reason": "closed"})).await;
    check(&world, &first, "2026-07-04 on_hold").await;
    world.turn_to("2026-07-15T02:00:00Z").await;
    check(&world, &first, "2026-07-04 payable").await;
    check(&world, &second, "2026-07-08 in_payout p20260712").await;
    world.turn_to("2026-07-20T02:00:00Z").await;
    check(&world, &first, "2026-07-04 in_payout p20260719").await;
    let again = payout_of(&world, &first).await;
    step(&world, &again, "sent", json!({"reference": "bank 2"})).await;
    step(&world, &again, "settled", json!({})).await;
    check(&world, &first, "2026-07-04 paid p20260719").await;

    // The second one was never sent, so its money stays and waits for the Sunday after.
    let other = payout_of(&world, &second).await;
    step(&world, &other, "cancel", json!({"reason": "a mistake"})).await;
    check(&world, &second, "2026-07-08 on_hold").await;
    world.turn_to("2026-07-27T02:00:00Z").await;
    check(&world, &second, "2026-07-08 in_payout p20260726").await;
}

#[tokio::test]
async fn what_was_rejected_or_given_back_says_so() {
    let world = world().await;
    let rejected = order(&world, "carl-boots", "R-1", "100").await;
    decide(&world, &rejected, "reject", json!({"reason": "fraud"})).await;
    check(&world, &rejected, "2026-07-02 rejected").await;

    let whole = order(&world, "carl-shoes", "R-2", "100").await;
    world.reversal(json!({"order_id": "R-2"})).await;
    let (conversion, told) = stands(&world, &whole).await;
    assert_eq!(told, "2026-07-01 reversed");
    assert_eq!(
        (&conversion["reversed"], &conversion["remaining"]),
        (&json!("100.00"), &json!("0.00"))
    );

    // Of this one a part is left, and that is paid.
    let part = order(&world, "carl-shoes", "R-3", "100").await;
    let back = json!({"order_id": "R-3", "reversal_id": "1", "amount": "30"});
    world.reversal(back).await;
    let (conversion, told) = stands(&world, &part).await;
    assert_eq!(told, "2026-07-01 on_hold");
    assert_eq!(
        (&conversion["reversed"], &conversion["remaining"]),
        (&json!("30.00"), &json!("70.00"))
    );
    world.turn_to("2026-07-06T02:00:00Z").await;
    check(&world, &part, "2026-07-01 in_payout p20260705").await;
}

#[tokio::test]
async fn an_affiliate_is_told_its_payout_and_a_merchant_only_where_the_money_stands() {
    let world = world().await;
    let id = order(&world, "carl-shoes", "P-1", "100").await;
    world.turn_to("2026-07-06T02:00:00Z").await;
    let path = format!("conversions/{id}");
    let seen = async |key: Person<'_>| {
        let commission = key.get(&path).await.body["commissions"][0].clone();
        (
            commission["status"].clone(),
            commission["payout"].is_string(),
        )
    };
    let affiliate = Person::affiliate(&world, "carl").await;
    assert_eq!(seen(affiliate).await, (json!("in_payout"), true));
    let merchant = Person::merchant(&world, "shop").await;
    assert_eq!(seen(merchant).await, (json!("in_payout"), false));
    let stranger = Person::affiliate(&world, "anna").await;
    assert_eq!(stranger.get(&path).await.status, 404);
}
