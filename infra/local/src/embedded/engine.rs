//! One DynamoDB request, answered by the engine's typed methods.

use bytes::Bytes;
use dynoxide::{Database, DynoxideError};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A call on its way. Its body stays the text that the SDK wrote: to read it into a tree first
/// would take longer than to answer it.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub operation: &'static str,
    pub body: Bytes,
    /// The most items that a query's page may have here, whatever it asks for.
    pub page: Option<usize>,
    /// Whether the engine is to remember a transaction's `ClientRequestToken`.
    pub keeps_token: bool,
}

/// What DynamoDB would have sent back.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub status: u16,
    pub body: Bytes,
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

pub(super) fn answer(database: &Database, asked: &Asked) -> Answer {
    let body = &asked.body;
    let result = match asked.operation {
        "BatchGetItem" => run(body, |request| database.batch_get_item(request)),
        "BatchWriteItem" => run(body, |request| database.batch_write_item(request)),
        "CreateTable" => run(body, |request| database.create_table(request)),
        "DeleteItem" => run(body, |request| database.delete_item(request)),
        "DeleteTable" => run(body, |request| database.delete_table(request)),
        "DescribeTable" => run(body, |request| database.describe_table(request)),
        "DescribeTimeToLive" => run(body, |request| database.describe_time_to_live(request)),
        "GetItem" => run(body, |request| database.get_item(request)),
        "ListTables" => run(body, |request| database.list_tables(request)),
        "PutItem" => run(body, |request| database.put_item(request)),
        "Query" => run(
            body,
            |mut request: dynoxide::actions::query::QueryRequest| {
                request.limit = asked.page.map_or(request.limit, |most| {
                    Some(request.limit.map_or(most, |limit| limit.min(most)))
                });
                database.query(request)
            },
        ),
        "Scan" => run(body, |request| database.scan(request)),
        "TransactGetItems" => run(body, |request| database.transact_get_items(request)),
        "TransactWriteItems" => run(
            body,
            |mut request: dynoxide::actions::transact_write_items::TransactWriteItemsRequest| {
                if !asked.keeps_token {
                    request.client_request_token = None;
                }
                database.transact_write_items(request)
            },
        ),
        "UpdateItem" => run(body, |request| database.update_item(request)),
        "UpdateTable" => run(body, |request| database.update_table(request)),
        "UpdateTimeToLive" => run(body, |request| database.update_time_to_live(request)),
        "TagResource" => run(body, |request| database.tag_resource(request)),
        unknown => unreachable!("`{unknown}` is not among the operations"),
    };
    match result {
        Ok(body) => Answer { status: 200, body },
        Err(error) => Answer {
            status: error.status_code(),
            body: error.to_json().into(),
        },
    }
}

fn run<Request: DeserializeOwned, Response: Serialize>(
    body: &[u8],
    operation: impl FnOnce(Request) -> dynoxide::Result<Response>,
) -> dynoxide::Result<Bytes> {
    // The SDK can not send a field of a wrong type, only a value that DynamoDB does not take.
    let request = serde_json::from_slice(body)
        .map_err(|error| DynoxideError::ValidationException(error.to_string()))?;
    let response = operation(request)?;
    let body = serde_json::to_vec(&response).expect("an answer has text for keys");
    Ok(body.into())
}
