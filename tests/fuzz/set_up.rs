//! Claims and programs, as JSON that somebody wrote.

use std::cell::Cell;

use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};
use shared::http_types::parse_json;

use crate::stage::{Ask, Stage, encoded, judged};
use crate::targets::Check;

/// Posts a claim twice, and accepts it. `@new@` is a number that no other input has.
pub fn claims() -> Check {
    let stage = Stage::new();
    let count = Cell::new(0);
    Box::new(move |input| {
        count.set(count.get() + 1);
        let text = stage.filled(&input.text());
        let text = text.replace("@new@", &count.get().to_string());
        let post = || stage.post("/api/v1/claims", text.clone().into_bytes());
        let response = post();
        let made = judged(&response, &[200, 201, 403, 404, 409, 422]);
        assert_eq!(judged(&post(), &[200, 403, 404, 409, 422]), made);
        if response.status == 201 {
            let id = made["id"].as_str().expect("a claim has an id").to_owned();
            let accept = stage.post(&format!("/api/v1/claims/{id}/accept"), b"{}".to_vec());
            judged(&accept, &[200, 409, 422]);
            let again = stage.post(&format!("/api/v1/claims/{id}/accept"), b"{}".to_vec());
            assert_eq!(again.status, accept.status);
        }
        response.status == 201
    })
}

/// Posts a program under a name of its own, and if it is taken a link and orders of every goal.
pub fn programs() -> Check {
    let stage = Stage::new();
    let count = Cell::new(0);
    Box::new(move |input| {
        count.set(count.get() + 1);
        let id = format!("program-{}", count.get());
        program(&stage, &input.text().replace("@id@", &id), &id)
    })
}

fn program(stage: &Stage, text: &str, id: &str) -> bool {
    let response = stage.post("/api/v1/programs", text.as_bytes().to_vec());
    let made = judged(&response, &[200, 201, 409, 422]);
    let is_json = parse_json(text.as_bytes()).is_ok();
    assert!(is_json || response.status == 422, "{text}");
    let is_ours = response.status == 201 && made["id"] == id && made["merchant"] == "shop";
    if !is_ours {
        return false;
    }
    let link = json!({"slug": format!("l-{id}"), "program": id, "affiliate": "anna"});
    let link = stage.run(stage.world.post("links", link));
    assert_eq!(link.status, 201, "{link:?}");
    let click = visited(stage, &made, &format!("l-{id}"));
    let goals = made["goals"].as_array().expect("a program has goals");
    for (number, goal) in goals.iter().enumerate() {
        for amount in ["0", "19.99", "100", "9999999999"] {
            let sale = json!({
                "order_id": format!("{id} {number} {amount}"), "program": id, "goal": goal["name"],
                "click_id": click, "amount": amount, "customer_id": "somebody", "customer": "new",
            });
            posted(stage, "/postback", &sale);
        }
        let items = json!([
            {"sku": "a", "category": "shoes", "amount": "10.01"},
            {"sku": "b", "quantity": 2, "amount": "0"},
        ]);
        let order = format!("{id} {number} items");
        let sale = json!({
            "order_id": order, "program": id, "goal": goal["name"], "click_id": click, "items": items,
        });
        posted(stage, "/postback", &sale);
        let back = json!({
            "order_id": order, "program": id, "goal": goal["name"], "reversal_id": "1",
            "items": [{"sku": "a", "amount": "3.33"}],
        });
        posted(stage, "/postback/reversal", &back);
    }
    let preview = json!({"affiliate": "anna", "amount": "50", "commission": made["commission"]});
    let path = format!("/api/v1/programs/{}/rules:preview", encoded(id));
    judged(
        &stage.post(&path, preview.to_string().into_bytes()),
        &[200, 422],
    );
    true
}

/// Visits a program's link: an active one sends its visitors on, another one to its `fallback` if it
/// has one, and whoever is sent on has an id.
fn visited(stage: &Stage, program: &Value, slug: &str) -> Option<String> {
    let visit = stage.run(stage.world.visit(slug, tests::BROWSER));
    judged(&visit, &[302, 404]);
    let now = stage.world.stack.clock.now();
    let at = |name: &str| -> Option<Timestamp> { program[name].as_str()?.parse().ok() };
    let is_active = program["status"] == "active"
        && at("starts_at").is_none_or(|from| from <= now)
        && at("ends_at").is_none_or(|to| now < to);
    let is_sent_on = is_active || program["fallback"].is_string();
    assert_eq!(visit.status == 302, is_sent_on, "{program}");
    let location = visit.headers.get("location")?.to_str().expect("clean");
    let keys = stage.world.stack.app.keys();
    let mut texts = (0..location.len()).filter_map(|from| location.get(from..from + 64));
    let id = texts.find(|text| shared::click::Click::verify(text, &keys).is_ok());
    let id = id.unwrap_or_else(|| panic!("no id in {location}"));
    Some(id.to_owned())
}

fn posted(stage: &Stage, path: &str, body: &Value) {
    let bearer = format!("Bearer {}", stage.world.token);
    let response = stage.postback(&Ask {
        method: Method::POST,
        path,
        query: "",
        headers: &[
            ("authorization", &bearer),
            ("content-type", "application/json"),
        ],
        body: body.to_string().into_bytes(),
    });
    judged(&response, &[200, 404, 409, 422]);
}
