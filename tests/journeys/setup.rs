//! What is set up through the API, and who may see it.

use bytes::Bytes;
use http::Method;
use serde_json::json;
use tests::{BROWSER, World, answer};

const START: &str = "2026-07-01T10:00:00Z";

#[tokio::test]
async fn the_same_again_is_fine_and_another_body_is_not() {
    let world = World::with_shop(START).await;
    let anna = json!({"id": "bea", "name": "Bea", "email": "bea@example.com", "country": "AT"});
    assert_eq!(world.post("affiliates", anna.clone()).await.status, 201);
    assert_eq!(world.post("affiliates", anna).await.status, 200);
    let other = json!({"id": "bea", "name": "Bea", "email": "bea@example.com", "country": "DE"});
    assert_eq!(world.post("affiliates", other).await.body["code"], "exists");

    let patch = json!({"name": "Beatrice"});
    assert_eq!(
        world.patch("affiliates/bea", 1, patch.clone()).await.body["name"],
        "Beatrice"
    );
    assert_eq!(world.patch("affiliates/bea", 1, patch).await.status, 412);
    let list = world.get("affiliates?limit=1").await.body;
    let next = list["next"].as_str().unwrap();
    let rest = world.get(&format!("affiliates?cursor={next}")).await.body;
    assert_eq!(
        (
            list["items"][0]["id"].as_str(),
            rest["items"][0]["id"].as_str()
        ),
        (Some("anna"), Some("bea"))
    );
}

#[tokio::test]
async fn a_program_is_launched_by_a_test_or_for_a_reason() {
    let world = World::with_shop(START).await;
    let program = json!({
        "id": "hats", "merchant": "shop", "name": "Hats", "currency": "EUR", "destination": "https://shop.example/",
        "commission": [{"type": "flat", "amount": "2"}],
    });
    world.made("programs", program).await;
    world
        .made(
            "links",
            json!({"slug": "hat", "program": "hats", "affiliate": "anna"}),
        )
        .await;
    let active = json!({"status": "active"});
    let refused = world.patch("programs/hats", 1, active.clone()).await;
    assert_eq!(refused.body["code"], "test_conversion_missing");
    // A draft leads nowhere but for a test.
    assert_eq!(world.visit("hat", BROWSER).await.status, 404);
    let test = tests::click_id(&world.visit("hat?test=1", BROWSER).await);
    let sale = world
        .postback(json!({"click_id": test, "order_id": "T-1"}))
        .await;
    assert_eq!(
        (&sale.body["status"], &sale.body["test"]),
        (&json!("test"), &json!(true))
    );
    assert_eq!(world.patch("programs/hats", 1, active).await.status, 200);
    assert_eq!(world.visit("hat", BROWSER).await.status, 302);
    assert_eq!(
        world.get("affiliates/anna/balances").await.body["items"][0]["earned"],
        "0.00"
    );
}

#[tokio::test]
async fn what_a_key_may_not_see_does_not_exist() {
    let world = World::with_shop(START).await;
    world
        .made("merchants", json!({"id": "rival", "name": "Rival"}))
        .await;
    let key = world
        .made(
            "keys",
            json!({"role": "merchant", "merchant": "shop", "person": "Pat"}),
        )
        .await;
    let bearer = format!("Bearer {}", key["key"].as_str().unwrap());
    let get = async |path: &str| {
        let headers = [("authorization", bearer.as_str())];
        world.send(Method::GET, path, &headers, Bytes::new()).await
    };
    assert_eq!(get("/api/v1/merchants/shop").await.status, 200);
    let unseen = get("/api/v1/merchants/rival").await;
    assert_eq!(
        (unseen.status.as_u16(), &unseen.body),
        (404, &get("/api/v1/merchants/nobody").await.body)
    );
    let anna = answer(&get("/api/v1/affiliates/anna").await).body;
    assert_eq!(anna, json!({"id": "anna", "name": "Anna", "country": "DE"}));
    let listed = answer(&get("/api/v1/merchants").await).body;
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    assert_eq!(get("/api/v1/affiliates/anna/balances").await.status, 404);

    let id = key["id"].as_str().unwrap();
    let admin = format!("Bearer {}", world.admin);
    let headers = [("authorization", admin.as_str())];
    let ended = world
        .send(
            Method::DELETE,
            &format!("/api/v1/keys/{id}"),
            &headers,
            Bytes::new(),
        )
        .await;
    assert_eq!(ended.status, 204);
    assert_eq!(get("/api/v1/merchants/shop").await.status, 401);
}

#[tokio::test]
async fn a_prefetch_gets_no_id_and_a_robot_gets_one_that_looks_the_same() {
    let world = World::with_shop(START).await;
    let headers = [
        ("user-agent", BROWSER),
        ("sec-purpose", "prefetch;prerender"),
    ];
    let prefetch = world
        .send(Method::GET, "/r/anna-shoes", &headers, Bytes::new())
        .await;
    assert_eq!(
        (prefetch.status.as_u16(), prefetch.headers.get("location")),
        (503, None)
    );
    assert_eq!(prefetch.headers["vary"], "Sec-Purpose");
    let head = world
        .send(
            Method::HEAD,
            "/r/anna-shoes",
            &[("user-agent", BROWSER)],
            Bytes::new(),
        )
        .await;
    assert_eq!(
        (
            head.status.as_u16(),
            head.headers["location"].to_str().unwrap()
        ),
        (302, "https://shop.example/")
    );
    let post = world
        .send(Method::POST, "/r/anna-shoes", &[], Bytes::new())
        .await;
    assert_eq!(post.status, 405);
    assert_eq!(world.visit("nowhere", BROWSER).await.status, 404);
    let person = world.visit("anna-shoes", BROWSER).await;
    let robot = world.visit("anna-shoes", "curl/8").await;
    let shape = |response: &shared::http_types::Response| {
        let mut names: Vec<String> = response.headers.keys().map(ToString::to_string).collect();
        names.sort();
        (response.status, names, tests::click_id(response).len())
    };
    assert_eq!(shape(&person), shape(&robot));
}
