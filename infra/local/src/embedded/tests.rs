//! The embedded table as the SDK sees it.

use std::collections::HashMap;

use aws_credential_types::Credentials;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, ConditionCheck, KeySchemaElement, KeyType,
    Put, ScalarAttributeType, TransactWriteItem,
};

use serde_json::json;

use super::*;

async fn with_table(embedded: &Embedded) -> Client {
    let client = embedded.client("test");
    let mut table = client
        .create_table()
        .table_name("core")
        .billing_mode(BillingMode::PayPerRequest);
    for (name, kind) in [("pk", KeyType::Hash), ("sk", KeyType::Range)] {
        let key = KeySchemaElement::builder()
            .attribute_name(name)
            .key_type(kind);
        let attribute = AttributeDefinition::builder()
            .attribute_name(name)
            .attribute_type(ScalarAttributeType::S);
        table = table
            .key_schema(key.build().unwrap())
            .attribute_definitions(attribute.build().unwrap());
    }
    table.send().await.unwrap();
    embedded.clear_calls();
    client
}

fn key(pk: &str) -> HashMap<String, AttributeValue> {
    [("pk", pk), ("sk", "CUR")]
        .map(|(name, text)| (name.to_owned(), AttributeValue::S(text.to_owned())))
        .into()
}

fn put(pk: &str) -> TransactWriteItem {
    let put = Put::builder().table_name("core").set_item(Some(key(pk)));
    TransactWriteItem::builder()
        .put(put.build().unwrap())
        .build()
}

fn must_exist(pk: &str) -> TransactWriteItem {
    let check = ConditionCheck::builder()
        .table_name("core")
        .set_key(Some(key(pk)))
        .condition_expression("attribute_exists(pk)");
    TransactWriteItem::builder()
        .condition_check(check.build().unwrap())
        .build()
}

async fn put_one(client: &Client, pk: &str) -> Result<(), aws_sdk_dynamodb::Error> {
    let put = client.put_item().table_name("core").set_item(Some(key(pk)));
    put.send().await?;
    Ok(())
}

/// Adds one under no condition, so that every time it is applied can be counted.
async fn count_up(client: &Client, pk: &str) -> Result<(), aws_sdk_dynamodb::Error> {
    let update = client
        .update_item()
        .table_name("core")
        .set_key(Some(key(pk)))
        .update_expression("ADD times :one")
        .expression_attribute_values(":one", AttributeValue::N("1".to_owned()));
    update.send().await?;
    Ok(())
}

async fn item(client: &Client, pk: &str) -> Option<HashMap<String, AttributeValue>> {
    let get = client.get_item().table_name("core").set_key(Some(key(pk)));
    get.consistent_read(true).send().await.unwrap().item
}

async fn times(client: &Client, pk: &str) -> u64 {
    match item(client, pk).await {
        Some(item) => item["times"].as_n().unwrap().parse().unwrap(),
        None => 0,
    }
}

async fn reasons(client: &Client, members: Vec<TransactWriteItem>) -> Vec<String> {
    let write = client.transact_write_items();
    let sent = write.set_transact_items(Some(members)).send().await;
    let error = sent.unwrap_err().into_service_error();
    let aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError::TransactionCanceledException(cancelled) = error else {
        panic!("not cancelled: {error:?}");
    };
    let reasons = cancelled.cancellation_reasons();
    reasons
        .iter()
        .map(|reason| reason.code().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn an_item_is_read_as_it_was_put() {
    let embedded = Embedded::in_memory();
    let client = with_table(&embedded).await;
    put_one(&client, "L#spring").await.unwrap();
    assert_eq!(
        item(&embedded.client("other"), "L#spring").await,
        Some(key("L#spring"))
    );
    assert_eq!(item(&client, "L#autumn").await, None);
}

#[tokio::test]
async fn a_failed_condition_is_named_at_its_place() {
    let embedded = Embedded::in_memory();
    let client = with_table(&embedded).await;
    let members = vec![put("A#1"), must_exist("A#2"), put("A#3")];
    let codes = reasons(&client, members).await;
    assert_eq!(codes, ["None", "ConditionalCheckFailed", "None"]);
    assert_eq!(item(&client, "A#1").await, None);
}

#[tokio::test]
async fn a_conflict_is_named_at_the_first_member() {
    let embedded = Embedded::in_memory();
    let client = with_table(&embedded).await;
    embedded.set_faults(Faults::seeded(7).with(Fault::Conflict, 1000));
    let codes = reasons(&client, vec![put("A#1"), put("A#2")]).await;
    assert_eq!(codes, ["TransactionConflict", "None"]);
    let error = put_one(&client, "A#1").await.unwrap_err();
    assert!(
        matches!(
            error,
            aws_sdk_dynamodb::Error::TransactionConflictException(_)
        ),
        "{error:?}",
    );
    assert_eq!(item(&client, "A#1").await, None);
}

/// How often a write that the SDK tries three times is applied under a fault that always strikes.
async fn applied(fault: Fault, seed: u64) -> u64 {
    let embedded = Embedded::in_memory();
    let client = with_table(&embedded).await;
    embedded.set_faults(Faults::seeded(seed).with(fault, 1000));
    let before = embedded.call_count();
    count_up(&client, "A#1").await.unwrap_err();
    assert_eq!(embedded.call_count() - before, 3, "{fault:?}");
    embedded.set_faults(Faults::none());
    assert_eq!(embedded.faults_injected()[&fault], 3);
    times(&client, "A#1").await
}

#[tokio::test]
async fn a_lost_answer_is_applied_and_a_lost_request_is_not() {
    assert_eq!(applied(Fault::AnswerLost, 7).await, 3);
    assert_eq!(applied(Fault::RequestLost, 7).await, 0);
    assert_eq!(applied(Fault::Throttled, 7).await, 0);
    // Whoever gets a 500 cannot know: some were applied and some were not.
    let mut all = 0;
    for seed in 0..8 {
        all += applied(Fault::ServerError, seed).await;
    }
    assert!((1..24).contains(&all), "{all}");
}

#[tokio::test]
async fn a_late_repeat_is_answered_now_and_lands_again_later() {
    let embedded = Embedded::in_memory();
    let client = with_table(&embedded).await;
    embedded.set_faults(Faults::seeded(7).with(Fault::LateRepeat, 1000));
    count_up(&client, "A#1").await.unwrap();
    embedded.set_faults(Faults::none());
    for _ in 0..8 {
        item(&client, "A#2").await;
    }
    assert_eq!(times(&client, "A#1").await, 2);
}

#[tokio::test]
async fn a_write_may_be_reported_lost_and_be_applied_later() {
    let embedded = Embedded::in_memory();
    let client = with_table(&embedded).await;
    embedded.set_faults(Faults::seeded(7).with(Fault::AppliedLater, 1000));
    count_up(&client, "A#1").await.unwrap_err();
    embedded.set_faults(Faults::none());
    let soon = times(&client, "A#1").await;
    embedded.arrive();
    assert_eq!((soon, times(&client, "A#1").await), (0, 3));
}

#[tokio::test]
async fn a_read_that_may_lag_says_what_was_so_before_and_a_consistent_one_never() {
    let embedded = Embedded::in_memory();
    let client = with_table(&embedded).await;
    let read = async || {
        let get = client
            .get_item()
            .table_name("core")
            .set_key(Some(key("A#1")));
        get.send().await.unwrap().item.is_some()
    };
    // Nothing is remembered yet, so a lag shows nothing.
    put_one(&client, "A#1").await.unwrap();
    embedded.set_faults(Faults::seeded(7).with(Fault::Stale, 1000));
    assert!(!read().await);
    assert!(item(&client, "A#1").await.is_some());
    embedded.set_faults(Faults::seeded(7).with(Fault::Stale, 0));
    assert!(read().await);
    embedded.set_faults(Faults::seeded(7).with(Fault::Stale, 1000));
    assert!(read().await);
}

#[tokio::test]
async fn a_call_may_be_changed_on_its_way_and_so_may_its_answer() {
    let embedded = Embedded::in_memory();
    let client = with_table(&embedded).await;
    embedded.meddle(
        |_, _| true,
        |passing| match passing {
            Passing::Asked { request, .. } if request["Key"]["pk"]["S"] == "A#0" => {
                Some(json!({"Item": {"pk": {"S": "nobody was asked"}}}))
            }
            Passing::Asked { request, .. } => {
                request["Item"]["sk"] = json!({"S": "CUR"});
                None
            }
            Passing::Answered { .. } => None,
        },
    );
    let said = item(&client, "A#0").await.unwrap();
    assert_eq!(said["pk"].as_s().unwrap(), "nobody was asked");
    put_one(&client, "A#1").await.unwrap();
    let reads = |operation: &str, body: &[u8]| operation == "GetItem" && body.ends_with(b"}");
    embedded.meddle(reads, |passing| {
        match passing {
            Passing::Answered { answer, .. } => answer["Item"]["seen"] = json!({"BOOL": true}),
            Passing::Asked { operation, .. } => assert_eq!(operation, "GetItem"),
        }
        None
    });
    put_one(&client, "A#2").await.unwrap();
    assert!(item(&client, "A#2").await.unwrap().contains_key("seen"));
}

#[tokio::test]
async fn a_page_may_end_anywhere_and_the_rest_comes_with_the_next() {
    let embedded = Embedded::in_memory();
    let client = with_table(&embedded).await;
    for sort in 0..40 {
        let mut item = key("A#1");
        item.insert("sk".to_owned(), AttributeValue::S(format!("{sort:02}")));
        let put = client.put_item().table_name("core").set_item(Some(item));
        put.send().await.unwrap();
    }
    let list = || {
        let query = client
            .query()
            .table_name("core")
            .key_condition_expression("pk = :pk");
        query.expression_attribute_values(":pk", AttributeValue::S("A#1".to_owned()))
    };
    embedded.set_faults(Faults::seeded(7).with_short_pages());
    assert_eq!(list().send().await.unwrap().count(), 40);
    let pages = list().consistent_read(true).into_paginator().send();
    let pages: Vec<_> = pages.try_collect().await.unwrap();
    let counts: Vec<i32> = pages.iter().map(|page| page.count()).collect();
    assert!(counts.iter().all(|count| *count <= 30), "{counts:?}");
    assert_eq!(counts.iter().sum::<i32>(), 40, "{counts:?}");
}

#[tokio::test]
async fn a_seed_gives_the_same_faults_again() {
    async fn faults(seed: u64) -> (BTreeMap<Fault, u64>, u64, u64) {
        let embedded = Embedded::in_memory();
        let client = with_table(&embedded).await;
        let faults = Faults::seeded(seed).with(Fault::AnswerLost, 200);
        embedded.set_faults(faults.with(Fault::LateRepeat, 200));
        for _ in 0..50 {
            let _ = count_up(&client, "A#1").await;
        }
        embedded.set_faults(Faults::none());
        let times = times(&client, "A#1").await;
        (embedded.faults_injected(), embedded.call_count(), times)
    }
    let first = faults(7).await;
    assert!(first.0.values().all(|count| *count > 1), "{first:?}");
    assert_eq!(first, faults(7).await);
    assert_ne!(first, faults(8).await);
}

/// Three writes, cut at each of them.
async fn check_cut(at: u64, when: Cut, expected: [bool; 3]) {
    let embedded = Embedded::in_memory();
    let client = with_table(&embedded).await;
    embedded.cut_at(at, when);
    for (number, pk) in (0..).zip(["A#0", "A#1", "A#2"]) {
        assert_eq!(
            put_one(&client, pk).await.is_ok(),
            number < at,
            "{at} {when:?} {pk}"
        );
    }
    put_one(&embedded.client("other"), "A#3").await.unwrap_err();
    assert!(embedded.mend());
    assert!(!embedded.mend());
    for (pk, expected) in ["A#0", "A#1", "A#2"].into_iter().zip(expected) {
        let found = item(&client, pk).await.is_some();
        assert_eq!(found, expected, "{at} {when:?} {pk}");
    }
}

#[tokio::test]
async fn a_cut_stops_all_that_follows() {
    check_cut(0, Cut::Before, [false, false, false]).await;
    check_cut(0, Cut::After, [true, false, false]).await;
    check_cut(1, Cut::Before, [true, false, false]).await;
    check_cut(1, Cut::After, [true, true, false]).await;
    check_cut(2, Cut::Before, [true, true, false]).await;
    check_cut(2, Cut::After, [true, true, true]).await;
}

#[tokio::test]
async fn calls_are_recorded_in_the_words_of_iam() {
    let embedded = Embedded::in_memory();
    let client = with_table(&embedded).await;
    put_one(&client, "L#spring").await.unwrap();
    let write = embedded.client("postback").transact_write_items();
    let members = vec![put("C#shop#1"), must_exist("L#spring")];
    write
        .set_transact_items(Some(members))
        .send()
        .await
        .unwrap();
    let query = client
        .query()
        .table_name("core")
        .key_condition_expression("pk = :pk AND sk > :from")
        .expression_attribute_values(":pk", AttributeValue::S("L#spring".to_owned()))
        .expression_attribute_values(":from", AttributeValue::S("A".to_owned()));
    query.send().await.unwrap();
    embedded.record(false);
    put_one(&client, "L#autumn").await.unwrap();

    let call = |function, actions: &[&'static str], key_prefix: &str, units_tenths| Call {
        function,
        actions: actions
            .iter()
            .map(|action| (*action, "core".to_owned()))
            .collect(),
        key_prefix: key_prefix.to_owned(),
        units_tenths,
    };
    let expected = [
        call("test", &["PutItem"], "L#", 10),
        call("postback", &["PutItem", "ConditionCheckItem"], "C#", 40),
        call("test", &["Query"], "L#", 5),
    ];
    assert_eq!(embedded.calls(), expected);
}

#[tokio::test]
async fn tasks_take_turns_at_each_call() {
    let embedded = Embedded::in_memory();
    with_table(&embedded).await;
    let (left, right) = (embedded.client("left"), embedded.client("right"));
    let twice = async |client: &Client| {
        for _ in 0..2 {
            count_up(client, "A#1").await.unwrap();
        }
    };
    tokio::join!(twice(&left), twice(&right));
    let order: Vec<_> = embedded.calls().iter().map(|call| call.function).collect();
    // Who comes first is up to the runtime; that one finishes before the other begins is not.
    assert_ne!(order[..2], ["left", "left"]);
    assert_ne!(order[..2], ["right", "right"]);
}

#[tokio::test]
async fn a_folder_keeps_its_items_and_lets_one_in() {
    let folder = tempfile::tempdir().unwrap();
    let embedded = Embedded::in_folder(folder.path()).unwrap();
    let client = with_table(&embedded).await;
    put_one(&client, "L#spring").await.unwrap();

    let second = Embedded::in_folder(folder.path()).unwrap_err();
    assert!(matches!(second, EmbeddedError::InUse { .. }), "{second:?}");

    drop((embedded, client));
    let reopened = Embedded::in_folder(folder.path()).unwrap();
    let found = item(&reopened.client("test"), "L#spring").await;
    assert_eq!(found, Some(key("L#spring")));
}

#[tokio::test]
async fn a_damaged_file_is_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    let embedded = Embedded::in_folder(folder.path()).unwrap();
    let client = with_table(&embedded).await;
    for number in 0..100 {
        put_one(&client, &format!("L#{number}")).await.unwrap();
    }
    drop((embedded, client));
    let file = folder.path().join("tables.sqlite");
    let whole = std::fs::read(&file).unwrap();

    let check = |what: &str, bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        let error = Embedded::in_folder(folder.path()).unwrap_err();
        assert!(
            matches!(error, EmbeddedError::Damaged { .. }),
            "{what}: {error:?}"
        );
    };
    let last_page = whole.len() - 4096;
    let [mut no_header, mut no_items] = [whole.clone(), whole.clone()];
    no_header[..64].fill(0xA5);
    no_items[last_page..].fill(0xA5);
    check("header overwritten", &no_header);
    check("a page of items overwritten", &no_items);
    check("cut short by a page", &whole[..last_page]);

    std::fs::write(&file, &whole).unwrap();
    Embedded::in_folder(folder.path()).unwrap();
}

#[tokio::test]
async fn other_processes_reach_the_same_tables_over_http() {
    let embedded = Embedded::in_memory();
    let client = with_table(&embedded).await;
    put_one(&client, "L#spring").await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = embedded.clone();
    let server = tokio::spawn(async move { serving.serve(listener).await });

    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("us-east-1"))
        .credentials_provider(Credentials::new("remote", "remote", None, None, "remote"))
        .endpoint_url(format!("http://{address}"))
        .build();
    let remote = Client::from_conf(config);
    assert_eq!(item(&remote, "L#spring").await, Some(key("L#spring")));
    put_one(&remote, "L#autumn").await.unwrap();
    assert_eq!(item(&client, "L#autumn").await, Some(key("L#autumn")));
    server.abort();
}

#[tokio::test]
async fn a_token_is_remembered_unless_the_engine_is_told_not_to() {
    let embedded = Embedded::in_memory();
    let client = with_table(&embedded).await;
    let with_token = async |pk: &str| {
        let transaction = client.transact_write_items().transact_items(put(pk));
        let sent = transaction.client_request_token("token").send().await;
        sent.is_ok()
    };
    assert!(with_token("a").await && !with_token("b").await);
    embedded.keep_tokens(false);
    assert!(with_token("b").await && with_token("c").await);
}
