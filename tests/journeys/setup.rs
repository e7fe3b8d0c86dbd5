//! What is set up through the API, and who may see it.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use bytes::Bytes;
use clickledger::stack::{Stack, Start};
use http::Method;
use serde_json::json;
use tests::{Answer, BROWSER, Person, World, answer};

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
    // Neither is it launched by way of a pause.
    let paused = json!({"status": "paused"});
    assert_eq!(world.patch("programs/hats", 1, paused).await.status, 200);
    let refused = world.patch("programs/hats", 2, active.clone()).await;
    assert_eq!(refused.body["code"], "test_conversion_missing");
    let draft = json!({"status": "draft"});
    assert_eq!(world.patch("programs/hats", 2, draft).await.status, 200);
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
    assert_eq!(
        world.patch("programs/hats", 3, active.clone()).await.status,
        200
    );
    assert_eq!(world.visit("hat", BROWSER).await.status, 302);
    assert_eq!(
        world.get("affiliates/anna/balances").await.body["items"][0]["earned"],
        "0.00"
    );
    // What was launched once pauses and goes on without another proof.
    let paused = json!({"status": "paused"});
    assert_eq!(world.patch("programs/shoes", 1, paused).await.status, 200);
    assert_eq!(world.patch("programs/shoes", 2, active).await.status, 200);
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

#[tokio::test]
async fn an_affiliate_changes_its_own_links_and_sends_visitors_to_the_shop_only() {
    let world = World::with_shop(START).await;
    let rules = json!({"commission": [
        {"type": "percent", "percent": "30", "when": {"affiliate": "bob"}},
        {"type": "percent", "percent": "10"},
    ]});
    assert_eq!(world.patch("programs/shoes", 1, rules).await.status, 200);
    let key = world
        .made(
            "keys",
            json!({"role": "affiliate", "affiliate": "anna", "person": "Anna"}),
        )
        .await;
    let bearer = format!("Bearer {}", key["key"].as_str().unwrap());
    let send = async |method: Method, path: &str, etag: &str, body: serde_json::Value| {
        let headers = [("authorization", bearer.as_str()), ("if-match", etag)];
        let path = format!("/api/v1/{path}");
        answer(
            &world
                .send(method, &path, &headers, body.to_string().into())
                .await,
        )
    };
    let to = |address: &str| json!({ "destination": address });
    let link = "links/anna-shoes";
    let elsewhere = send(Method::PATCH, link, "\"1\"", to("https://evil.example/")).await;
    assert_eq!(elsewhere.body["code"], "host_not_allowed");
    let own = send(
        Method::PATCH,
        link,
        "\"1\"",
        to("https://shop.example/deep"),
    )
    .await;
    assert_eq!(own.status, 200, "{own:?}");
    let status = send(
        Method::PATCH,
        "affiliates/anna",
        "\"1\"",
        json!({"status": "closed"}),
    )
    .await;
    assert_eq!(status.status, 403);

    let terms = send(Method::GET, "programs/shoes", "", json!({}))
        .await
        .body;
    assert_eq!(terms["commission"].as_array().unwrap().len(), 1, "{terms}");
    let odd = world
        .post(
            "merchants",
            json!({"id": "odd", "name": "Odd", "override": "x"}),
        )
        .await;
    assert_eq!(odd.body["code"], "parameter_unknown");
}

#[tokio::test]
async fn lanes_rise_and_never_fall() {
    let world = World::with_shop(START).await;
    let lanes = |lanes: u8| json!({ "lanes": lanes });
    assert_eq!(
        world.patch("affiliates/anna", 1, lanes(4)).await.status,
        200
    );
    let click = world.click("anna-shoes").await;
    for number in 0..12 {
        let order = format!("A-{number}");
        world
            .postback(json!({"click_id": click, "order_id": order, "amount": "10"}))
            .await;
    }
    assert_eq!(world.balance("anna").await["on_hold"], "12.00");
    let fewer = world.patch("affiliates/anna", 2, lanes(1)).await;
    assert_eq!(fewer.body["code"], "lanes_lowered");
    let none = world
        .patch("affiliates/anna", 2, json!({"lanes": null}))
        .await;
    assert_eq!(none.body["code"], "lanes_lowered");
    // One payout of all lanes.
    world.turn_to("2026-07-02T01:00:00Z").await;
    assert_eq!(world.balance("anna").await["in_payout"], "12.00");
    let run = world
        .post("payout-runs", json!({"day": "2026-07-01"}))
        .await
        .body;
    assert_eq!(run["payouts"], 1);
}

#[tokio::test]
async fn house_is_there_before_anybody_asks_and_a_late_repeat_is_known() {
    let world = World::empty("2026-07-01T10:00:00Z").await;
    let payers = world.get("payers").await.body;
    assert_eq!(payers["items"][0]["id"], "house");
    let own =
        json!({"id": "house", "legal_name": "Mine", "address": {"town": "Bonn", "country": "DE"}});
    assert_eq!(world.post("payers", own).await.status, 409);

    let shop = json!({"id": "shop", "name": "Shop"});
    world.made("merchants", shop.clone()).await;
    assert_eq!(
        world
            .patch("merchants/shop", 1, json!({"name": "Shoes"}))
            .await
            .status,
        200
    );
    let late = world.post("merchants", shop).await;
    assert_eq!(
        (late.status, late.body["name"].as_str()),
        (200, Some("Shoes"))
    );
    let other = json!({"id": "shop", "name": "Shoes"});
    assert_eq!(world.post("merchants", other).await.status, 409);
}

#[tokio::test]
async fn a_merchants_list_asks_once_whose_a_program_is() {
    let world = World::with_shop(START).await;
    for number in 0..30 {
        let link = json!({"slug": format!("l-{number}"), "program": "shoes", "affiliate": "anna"});
        world.made("links", link).await;
    }
    let pat = Person::merchant(&world, "shop").await;
    world.stack.table.clear_calls();
    let listed = pat.get("links").await;
    assert_eq!(listed.body["items"].as_array().map(Vec::len), Some(31));
    let calls = world.stack.table.calls();
    let of_programs = calls.iter().filter(|call| call.key_prefix == "program#");
    assert_eq!(of_programs.count(), 1);
}

#[tokio::test]
async fn deep_links_lead_to_the_destinations_host_unless_others_are_listed_and_it_is_shown() {
    let world = World::with_shop("2026-07-01T08:00:00Z").await;
    let hosts = async || world.get("programs/shoes").await.body["allowed_hosts"].clone();
    assert_eq!(hosts().await, json!(["shop.example"]));
    let listed = world.get("programs").await.body["items"][0]["allowed_hosts"].clone();
    assert_eq!(listed, json!(["shop.example"]));

    let moved = json!({"destination": "https://new.example/"});
    let moved = world.patch("programs/shoes", 1, moved).await;
    assert_eq!(
        (moved.status, &moved.body["allowed_hosts"]),
        (200, &json!(["new.example"]))
    );

    // What somebody listed stays.
    let named = json!({"allowed_hosts": ["a.example", "b.example"]});
    assert_eq!(world.patch("programs/shoes", 2, named).await.status, 200);
    let moved = json!({"destination": "https://third.example/"});
    assert_eq!(world.patch("programs/shoes", 3, moved).await.status, 200);
    assert_eq!(hosts().await, json!(["a.example", "b.example"]));
}

#[tokio::test]
async fn two_links_never_have_one_id() {
    let world = World::with_shop(START).await;
    let bob = json!({"id": "bob", "name": "Bob", "email": "bob@example.com", "country": "DE"});
    world.made("affiliates", bob).await;
    let slug_of = async |id: &str| {
        let found = world.get(&format!("links/{id}")).await.body;
        found["slug"].as_str().map(str::to_owned)
    };
    let named = |affiliate: &str, id: &str, slug: &str| json!({"id": id, "slug": slug, "program": "shoes", "affiliate": affiliate});
    let plain = |affiliate: &str, slug: &str| json!({"slug": slug, "program": "shoes", "affiliate": affiliate});
    for (first, second, id, slug) in [
        (
            named("anna", "spring", "S24"),
            plain("bob", "spring"),
            "spring",
            "S24",
        ),
        (
            plain("bob", "summer"),
            named("anna", "summer", "M24"),
            "summer",
            "summer",
        ),
    ] {
        assert_eq!(world.post("links", first.clone()).await.status, 201);
        let refused = world.post("links", second).await;
        assert_eq!(
            (refused.status, &refused.body["code"]),
            (409, &json!("exists")),
            "{id}"
        );
        assert_eq!(slug_of(id).await.as_deref(), Some(slug));
        assert_eq!(world.post("links", first).await.status, 200, "{id}");
    }
    // What is another's slug may be an id, which comes first.
    world.made("links", named("anna", "autumn", "a24")).await;
    assert_eq!(slug_of("a24").await.as_deref(), Some("a24"));
    world.made("links", named("bob", "a24", "B24")).await;
    assert_eq!(slug_of("a24").await.as_deref(), Some("B24"));
    assert_eq!(slug_of("autumn").await.as_deref(), Some("a24"));
}

#[tokio::test]
async fn a_link_of_before_ids_were_kept_apart_keeps_its_own() {
    let world = World::with_shop(START).await;
    let link = |id: &str, slug: &str| json!({"id": id, "slug": slug, "program": "shoes", "affiliate": "anna"});
    // Two of one id, as there may be of then.
    for slug in ["S24", "spring"] {
        world.made("links", link("spring", slug)).await;
        world.lose("NAME#link#spring", "CUR").await;
    }
    for slug in ["S24", "spring"] {
        let found = world.get(&format!("links/{slug}")).await.body;
        assert_eq!(
            (&found["id"], &found["slug"]),
            (&json!("spring"), &json!(slug))
        );
    }
    let refused = world.post("links", link("spring", "S25")).await;
    assert_eq!(
        (refused.status, &refused.body["code"]),
        (409, &json!("exists"))
    );
}

#[tokio::test]
async fn what_no_item_could_hold_is_refused_and_not_tried_for_ever() {
    let world = World::with_shop(START).await;
    let check = |answer: &Answer, expected: (u16, Option<&str>)| {
        assert_eq!((answer.status, answer.body["code"].as_str()), expected);
    };
    let too_large = (422, Some("record_too_large"));

    let rule = |number: usize| {
        let steps: Vec<_> = (0..10)
            .map(|step| json!({"from": format!("{}", step * 1_000), "percent": "7.5"}))
            .collect();
        json!({
            "type": "tiered", "when": {"sku": format!("sku-{number}")},
            "tiers": {"by": "amount", "period": "month", "steps": steps},
        })
    };
    let rules: Vec<_> = (0..1_000).map(rule).collect();
    let rules = json!({ "commission": rules });
    check(&world.patch("programs/shoes", 1, rules).await, too_large);

    let payer = |accounts: usize| {
        let account = |number| json!({"id": format!("a-{number:030}"), "currency": "EUR", "method": "manual"});
        let accounts: Vec<_> = (0..accounts).map(account).collect();
        json!({
            "id": "agency", "legal_name": "Agency", "accounts": accounts,
            "address": {"town": "Bonn", "country": "DE"},
        })
    };
    // 77 bytes each.
    check(&world.post("payers", payer(4_600)).await, too_large);
    check(&world.post("payers", payer(4_400)).await, (201, None));

    let secret = |programs: usize| {
        let programs: Vec<_> = (0..programs)
            .map(|number| format!("program-{number:024}"))
            .collect();
        json!({"label": "one", "scope": "all", "kind": "server", "programs": programs})
    };
    let path = "merchants/shop/secrets";
    check(&world.post(path, secret(10_000)).await, too_large);
    check(&world.post(path, secret(9_900)).await, (201, None));
}

#[tokio::test]
async fn a_rule_that_no_order_can_reach_is_not_saved() {
    let world = World::with_shop(START).await;
    let flat = |goal: &str| json!({"type": "flat", "amount": "3", "goal": goal});
    let check = |answer: &Answer, code: &str, field: &str| {
        let body = &answer.body;
        assert_eq!(
            (answer.status, &body["code"], &body["field"]),
            (422, &json!(code), &json!(field))
        );
    };
    let rules = |rules: serde_json::Value| json!({ "commission": rules });
    let last = json!({"type": "percent", "percent": "10"});
    // Without a word on goals there is only `sale`.
    let dead = rules(json!([flat("sale"), flat("lead"), last]));
    let refused = world.patch("programs/shoes", 1, dead.clone()).await;
    check(&refused, "rule_unreachable", "commission[1]");
    let uk = json!({"type": "flat", "amount": "3", "when": {"country": "UK"}});
    let refused = world
        .patch("programs/shoes", 1, rules(json!([uk, last])))
        .await;
    check(&refused, "country_invalid", "commission[0].when.country");
    let mut hats = json!({
        "id": "hats", "merchant": "shop", "name": "Hats", "currency": "EUR",
        "destination": "https://shop.example/", "goals": [{"name": "trial.start"}],
    });
    hats["commission"] = json!([flat("trial")]);
    let refused = world.post("programs", hats.clone()).await;
    check(&refused, "rule_unreachable", "commission[0]");
    hats["commission"] = json!([flat("Trial.Start"), flat("TRIAL.start")]);
    let refused = world.post("programs", hats.clone()).await;
    check(&refused, "rule_unreachable", "commission[1]");
    hats["commission"] = json!([flat("Trial.Start")]);
    assert_eq!(world.post("programs", hats).await.status, 201);

    // With its goal it is saved and pays; then the goal is not taken away from it,
    let mut both = dead;
    both["goals"] = json!([{"name": "sale"}, {"name": "Lead"}]);
    assert_eq!(world.patch("programs/shoes", 1, both).await.status, 200);
    let click = world.click("anna-shoes").await;
    let lead = json!({"click_id": click, "order_id": "A-1", "goal": "lead"});
    assert_eq!(world.earns(lead).await, "3.00");
    let fewer = json!({"goals": [{"name": "sale"}]});
    let refused = world.patch("programs/shoes", 2, fewer).await;
    check(&refused, "rule_unreachable", "commission[1]");
    // and what is only tried may be for any.
    let tried = json!({"affiliate": "anna", "amount": "50", "commission": [flat("call"), last]});
    let tried = world.post("programs/shoes/rules:preview", tried).await;
    assert_eq!(tried.body["amount"], "5.00");
}

/// What somebody may not see is not there, whatever they would do to it; what they see and may not change is.
#[tokio::test]
async fn a_change_of_what_one_does_not_see_finds_nothing_and_of_what_one_sees_is_forbidden() {
    let world = World::with_shop(START).await;
    world.rival().await;
    let bob = json!({"id": "bob", "name": "Bob", "email": "bob@example.com", "country": "DE"});
    world.made("affiliates", bob).await;
    let shop = Person::merchant(&world, "shop").await;
    let anna = Person::affiliate(&world, "anna").await;
    let fay = json!({"role": "finance", "person": "Fay"});
    let fay = Person::new(&world, fay).await;
    for (who, path, status) in [
        (&shop, "merchants/shop", 403),
        (&shop, "merchants/rival", 404),
        (&shop, "merchants/nobody", 404),
        (&shop, "affiliates/anna", 403),
        (&shop, "affiliates/bob", 404),
        (&anna, "programs/shoes", 403),
        (&anna, "programs/hats", 404),
        (&anna, "programs/nothing", 404),
        (&fay, "programs/hats", 403),
        (&fay, "programs/nothing", 404),
        (&fay, "enrolments/nothing.x", 404),
    ] {
        let changed = who.patch(path, 1, json!({"name": "x"})).await;
        assert_eq!(changed.status, status, "{path}: {changed:?}");
    }
    let sent = anna.post("payouts/x/sent", json!({"reference": "r"})).await;
    assert_eq!(sent.status, 404);
}

/// What bounds a link that the merchant made is the merchant's to lift.
#[tokio::test]
async fn an_affiliate_lifts_no_bounds_of_its_links() {
    let world = World::with_shop(START).await;
    let link = json!({
        "slug": "few", "program": "shoes", "affiliate": "anna", "click_cap": {"count": 1},
        "ends_at": "2026-08-01T00:00:00Z",
    });
    world.made("links", link).await;
    let anna = Person::affiliate(&world, "anna").await;
    for lifted in [json!({"click_cap": null}), json!({"ends_at": null})] {
        assert_eq!(anna.patch("links/few", 1, lifted).await.status, 403);
    }
    let shop = Person::merchant(&world, "shop").await;
    let lifted = shop.patch("links/few", 1, json!({"click_cap": null})).await;
    assert_eq!(lifted.status, 200);
    let own = json!({"click_cap": {"count": 5}});
    assert_eq!(anna.patch("links/few", 2, own).await.status, 200);
}

#[tokio::test]
async fn an_affiliate_sees_no_terms_of_other_groups_or_by_others_coupons() {
    let world = World::with_shop(START).await;
    for (id, group) in [("bob", json!("vip")), ("cleo", json!("vip"))] {
        let affiliate = json!({
            "id": id, "name": id, "email": "x@example.com", "country": "DE", "group": group,
        });
        world.made("affiliates", affiliate).await;
        let link = json!({"slug": id, "program": "shoes", "affiliate": id});
        world.made("links", link).await;
    }
    let coupon = json!({"program": "shoes", "affiliate": "bob", "code": "Bob10"});
    world.made("coupons", coupon).await;
    // In this program cleo is in another group than elsewhere.
    let group = json!({"group": "news"});
    let moved = world.patch("enrolments/shoes.cleo", 1, group).await;
    assert_eq!(moved.status, 200, "{moved:?}");
    let when = |id: &str, when: serde_json::Value| json!({"id": id, "type": "percent", "percent": "20", "when": when});
    let rules = json!({"commission": [
        when("bobs", json!({"coupon": "BOB10"})),
        when("annas", json!({"affiliate": "anna", "group": "vip"})),
        when("vip", json!({"group": "vip", "sku": "a"})),
        when("news", json!({"group": "news"})),
        {"id": "all", "type": "percent", "percent": "10"},
    ]});
    assert_eq!(world.patch("programs/shoes", 1, rules).await.status, 200);

    for (who, seen, group) in [
        ("anna", "all", "vip"),
        ("bob", "bobs vip all", "news"),
        ("cleo", "news all", "vip"),
    ] {
        let person = Person::affiliate(&world, who).await;
        let shown = person.get("programs/shoes").await.body;
        let listed = person.get("programs").await.body["items"][0].clone();
        for terms in [shown, listed] {
            let rules = terms["commission"].as_array().unwrap().iter();
            let ids: Vec<_> = rules.map(|rule| rule["id"].as_str().unwrap()).collect();
            assert_eq!(ids.join(" "), seen, "{who}");
        }
        // Nor does it try out what they earn.
        let tried = json!({"amount": "50", "group": group});
        let tried = person.post("programs/shoes/rules:preview", tried).await;
        assert_eq!(
            (tried.status, &tried.body["code"]),
            (403, &json!("forbidden"))
        );
    }
    for (who, status) in [("anna", 403), ("cleo", 403), ("bob", 200)] {
        let person = Person::affiliate(&world, who).await;
        let tried = json!({"amount": "50", "coupon": "bob10"});
        let tried = person.post("programs/shoes/rules:preview", tried).await;
        assert_eq!(tried.status, status, "{who} by bob's coupon: {tried:?}");
    }
    let cleo = Person::affiliate(&world, "cleo").await;
    let tried = json!({"amount": "50", "group": "news"});
    let tried = cleo.post("programs/shoes/rules:preview", tried).await;
    assert_eq!(tried.body["amount"], "10.00");
    let tried = json!({"amount": "50", "affiliate": "anna", "group": "news"});
    let tried = world.post("programs/shoes/rules:preview", tried).await;
    assert_eq!(tried.body["amount"], "10.00");
}

#[tokio::test]
async fn a_list_is_of_what_was_made_from_an_instant_on_and_before_another() {
    let world = World::with_shop("2026-06-30T10:00:00Z").await;
    for number in 1..=3 {
        // Of each day's first instant, or so soon after it that nobody could tell.
        world.turn_to(&format!("2026-07-0{number}T00:00:00Z")).await;
        let link = json!({"slug": format!("l-{number}"), "program": "shoes", "affiliate": "anna"});
        world.made("links", link).await;
        let secret = json!({"label": format!("l-{number}"), "scope": "all", "kind": "server"});
        world.made("merchants/shop/secrets", secret).await;
    }
    let listed = async |path: &str, name: &str, query: &str| {
        let answer = world.get(&format!("{path}?{query}")).await;
        assert_eq!(answer.status, 200, "{path} {query}: {answer:?}");
        let items = answer.body["items"].as_array().unwrap().clone();
        let names = items.iter().map(|item| item[name].as_str().unwrap());
        (
            names.collect::<Vec<_>>().join(" "),
            answer.body["next"].clone(),
        )
    };
    for (query, links, secrets) in [
        ("from=2026-07-01", "l-1 l-2 l-3", "l-1 l-2 l-3"),
        ("to=2026-07-01", "anna-shoes", "first"),
        (
            "from=2026-07-01T00:00:00Z&to=2026-07-03T00:00:00Z",
            "l-1 l-2",
            "l-1 l-2",
        ),
        ("from=2026-07-02&to=2026-07-02", "", ""),
        (
            "from=2026-07-01T23:59:59.999Z&to=2026-07-02T01:00:00Z",
            "l-2",
            "l-2",
        ),
        (
            "to=2026-07-03&limit=3",
            "anna-shoes l-1 l-2",
            "first l-1 l-2",
        ),
    ] {
        let found = listed("links", "slug", query).await;
        assert_eq!(found.0, links, "{query}");
        let found = listed("merchants/shop/secrets", "label", query).await;
        assert_eq!(found.0, secrets, "{query}");
    }
    let (first, next) = listed("links", "slug", "from=2026-07-01&to=2026-07-03&limit=1").await;
    let more = format!(
        "from=2026-07-01&to=2026-07-03&cursor={}",
        next.as_str().unwrap()
    );
    let (rest, next) = listed("links", "slug", &more).await;
    assert_eq!(
        (first.as_str(), rest.as_str(), next),
        ("l-1", "l-2", json!(null))
    );
    let wrong = world.get("programs?from=yesterday").await;
    assert_eq!(wrong.body["code"], "instant_invalid");
}

#[tokio::test]
async fn a_list_of_much_comes_in_parts_that_an_answer_can_hold() {
    let world = World::with_shop(START).await;
    // Rules of a kilobyte each.
    let name = "\u{1d11e}".repeat(125);
    let rule = |number: usize| {
        let when = json!({"sku": format!("{name}{number}"), "category": name});
        json!({"type": "flat", "amount": "1", "when": when})
    };
    let rules: Vec<_> = (0..300).map(rule).collect();
    for number in 0..11 {
        let program = json!({
            "id": format!("much-{number}"), "merchant": "shop", "name": "Much", "currency": "EUR",
            "destination": "https://shop.example/", "commission": rules,
        });
        world.made("programs", program).await;
    }
    let (mut parts, mut ids) = (Vec::new(), Vec::new());
    let mut path = "programs?limit=200".to_owned();
    loop {
        let part = world.get(&path).await.body;
        assert!(part.to_string().len() < 4_000_000);
        let items = part["items"].as_array().unwrap();
        ids.extend(
            items
                .iter()
                .map(|item| item["id"].as_str().unwrap().to_owned()),
        );
        parts.push(items.len());
        match part["next"].as_str() {
            Some(next) => path = format!("programs?limit=200&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(parts.len(), 2, "{parts:?}");
    let all: Vec<_> = (0..11).map(|number| format!("much-{number}")).collect();
    assert_eq!((&*ids[0], &ids[1..]), ("shoes", &all[..]));
}

/// A start on a folder, with a first admin's key of one's own.
async fn started(folder: &Path, admin_key: Option<&str>) -> Result<String, String> {
    let start = Start {
        folder: Some(folder),
        now: START.parse().unwrap(),
        public_url: "http://127.0.0.1:8787",
        admin_key,
        has_schedule: false,
        reconciles: false,
    };
    let started = Stack::start(&start).await;
    started
        .map(|(_, key)| key)
        .map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_first_admin_key_that_was_ended_has_a_successor_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::in_folder(folder.path(), START).await;
    let ended = world.admin.clone();
    let id = ended.split('_').nth(1).unwrap();
    let bearer = format!("Bearer {ended}");
    let end = world
        .send(
            Method::DELETE,
            &format!("/api/v1/keys/{id}"),
            &[("authorization", &bearer)],
            Bytes::new(),
        )
        .await;
    assert_eq!(end.status, 204);
    assert_eq!(world.get("merchants").await.status, 401);
    drop(world);

    let world = World::in_folder(folder.path(), START).await;
    assert_ne!(world.admin, ended);
    assert_eq!(world.get("merchants").await.status, 200);
    let successor = world.admin.clone();
    drop(world);
    assert_eq!(started(folder.path(), None).await, Ok(successor));
    let refused = started(folder.path(), Some(&ended)).await.unwrap_err();
    assert!(refused.contains("--admin-key"), "{refused}");
}

/// A disk that is full, or a process that is killed, in the middle of it costs nobody the old key.
#[tokio::test]
async fn the_file_with_the_admin_key_is_written_when_it_differs_and_never_in_part() {
    let folder = tempfile::tempdir().unwrap();
    let first = started(folder.path(), None).await.unwrap();
    let [file, seen] = ["admin-key", "seen"].map(|name| folder.path().join(name));
    let at = || std::fs::metadata(&file).unwrap().ino();
    let written = at();
    assert_eq!(started(folder.path(), None).await, Ok(first.clone()));
    assert_eq!(at(), written);

    // Whoever has the old file open reads it to its end.
    std::fs::hard_link(&file, &seen).unwrap();
    let given = "a-first-admin-key-of-ones-own-0123456789";
    assert_eq!(
        started(folder.path(), Some(given)).await,
        Ok(given.to_owned())
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), given);
    assert_eq!(std::fs::read_to_string(&seen).unwrap(), first);
}
