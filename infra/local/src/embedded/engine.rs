//! One DynamoDB request as JSON, answered by the engine's typed methods.

use dynoxide::{Database, DynoxideError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// What DynamoDB would have sent back.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub status: u16,
    pub body: Value,
}

/// The operations that are answered. PartiQL is left out: our roles deny it.
const OPERATIONS: [&str; 18] = [
    "BatchGetItem",
    "BatchWriteItem",
    "CreateTable",
    "DeleteItem",
    "DeleteTable",
    "DescribeTable",
    "DescribeTimeToLive",
    "GetItem",
    "ListTables",
    "PutItem",
    "Query",
    "Scan",
    "TransactGetItems",
    "TransactWriteItems",
    "UpdateItem",
    "UpdateTable",
    "UpdateTimeToLive",
    "TagResource",
];

/// The name, if the operation is one that is answered.
pub(super) fn operation(name: &str) -> Option<&'static str> {
    OPERATIONS.into_iter().find(|known| *known == name)
}

pub(super) fn answer(database: &Database, operation: &str, request: Value) -> Answer {
    let result = match operation {
        "BatchGetItem" => run(request, |request| database.batch_get_item(request)),
        "BatchWriteItem" => run(request, |request| database.batch_write_item(request)),
        "CreateTable" => run(request, |request| database.create_table(request)),
        "DeleteItem" => run(request, |request| database.delete_item(request)),
        "DeleteTable" => run(request, |request| database.delete_table(request)),
        "DescribeTable" => run(request, |request| database.describe_table(request)),
        "DescribeTimeToLive" => run(request, |request| database.describe_time_to_live(request)),
        "GetItem" => run(request, |request| database.get_item(request)),
        "ListTables" => run(request, |request| database.list_tables(request)),
        "PutItem" => run(request, |request| database.put_item(request)),
        "Query" => run(request, |request| database.query(request)),
        "Scan" => run(request, |request| database.scan(request)),
        "TransactGetItems" => run(request, |request| database.transact_get_items(request)),
        "TransactWriteItems" => run(request, |request| database.transact_write_items(request)),
        "UpdateItem" => run(request, |request| database.update_item(request)),
        "UpdateTable" => run(request, |request| database.update_table(request)),
        "UpdateTimeToLive" => run(request, |request| database.update_time_to_live(request)),
        "TagResource" => run(request, |request| database.tag_resource(request)),
        unknown => unreachable!("`{unknown}` is not among the operations"),
    };
    match result {
        Ok(body) => Answer { status: 200, body },
        Err(error) => Answer {
            status: error.status_code(),
            body: serde_json::from_str(&error.to_json()).expect("the engine writes JSON"),
        },
    }
}

fn run<Request: DeserializeOwned, Response: Serialize>(
    request: Value,
    operation: impl FnOnce(Request) -> dynoxide::Result<Response>,
) -> dynoxide::Result<Value> {
    // The SDK can not send a field of a wrong type, only a value that DynamoDB does not take.
    let request = serde_json::from_value(request)
        .map_err(|error| DynoxideError::ValidationException(error.to_string()))?;
    let response = operation(request)?;
    Ok(serde_json::to_value(response).expect("an answer has text for keys"))
}
