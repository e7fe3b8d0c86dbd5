//! What a request does to which table, in the words of IAM, and what it costs.

use serde_json::Value;

/// One call a function made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The function whose client made it.
    pub function: &'static str,
    /// IAM action without its `dynamodb:`, and the table as the end of its ARN: `core`, or
    /// `core/index/by_owner`. A transaction has one for each member.
    pub actions: Vec<(&'static str, String)>,
    /// The partition key (of a transaction's first member) up to and including its first `#`,
    /// or all of it. Empty for a call without one key.
    pub key_prefix: String,
    /// Consumed capacity units in tenths: 5 is half a unit. 0 for a call that was not applied
    /// or was refused, although DynamoDB charges for a condition that failed.
    pub units_tenths: u64,
}

impl Call {
    pub(super) fn of(function: &'static str, operation: &'static str, request: &Value) -> Call {
        Call {
            function,
            actions: actions(operation, request),
            key_prefix: key_prefix(request),
            units_tenths: 0,
        }
    }
}

/// Asks for the consumed capacity, unless the caller did.
pub(super) fn ask_for_units(operation: &str, request: &mut Value) {
    if !is_on_items(operation) {
        return;
    }
    if let Value::Object(fields) = request {
        fields
            .entry("ReturnConsumedCapacity")
            .or_insert_with(|| "TOTAL".into());
    }
}

/// The consumed capacity in an answer, over all its tables.
pub(super) fn units_tenths(answer: &Value) -> u64 {
    match &answer["ConsumedCapacity"] {
        Value::Array(tables) => tables.iter().map(tenths).sum(),
        table => tenths(table),
    }
}

/// True for reads and writes of items, false for the administration of tables.
pub(super) fn is_on_items(operation: &str) -> bool {
    operation.ends_with("Item")
        || operation.ends_with("Items")
        || matches!(operation, "Query" | "Scan")
}

/// The members of a transaction, each with the IAM action that it needs.
pub(super) fn members(request: &Value) -> impl Iterator<Item = (&'static str, &Value)> {
    let members = request["TransactItems"].as_array();
    members.into_iter().flatten().filter_map(|member| {
        let (name, parameters) = member.as_object()?.iter().next()?;
        let action = match name.as_str() {
            "Put" => "PutItem",
            "Update" => "UpdateItem",
            "Delete" => "DeleteItem",
            "ConditionCheck" => "ConditionCheckItem",
            "Get" => "GetItem",
            _ => return None,
        };
        Some((action, parameters))
    })
}

fn actions(operation: &'static str, request: &Value) -> Vec<(&'static str, String)> {
    match operation {
        "TransactWriteItems" | "TransactGetItems" => members(request)
            .map(|(action, parameters)| (action, table(parameters)))
            .collect(),
        "BatchGetItem" | "BatchWriteItem" => {
            let tables = request["RequestItems"].as_object();
            let names = tables.into_iter().flat_map(|tables| tables.keys());
            names.map(|name| (operation, name.clone())).collect()
        }
        _ => vec![(operation, table(request))],
    }
}

fn table(parameters: &Value) -> String {
    let name = parameters["TableName"].as_str().unwrap_or_default();
    match parameters["IndexName"].as_str() {
        Some(index) => format!("{name}/index/{index}"),
        None => name.to_owned(),
    }
}

fn key_prefix(request: &Value) -> String {
    let first = members(request).next();
    let parameters = first.map_or(request, |(_, parameters)| parameters);
    let key = [&parameters["Item"]["pk"], &parameters["Key"]["pk"]]
        .into_iter()
        .chain(queried(parameters))
        .find_map(|key| key["S"].as_str());
    let Some(key) = key else {
        return String::new();
    };
    let end = key.find('#').map_or(key.len(), |hash| hash + 1);
    key[..end].to_owned()
}

/// The value a query gives for the partition key: the only one it may compare with `=` alone,
/// and by our habit the first.
fn queried(parameters: &Value) -> Option<&Value> {
    let condition = parameters["KeyConditionExpression"].as_str()?;
    let (_, right) = condition.split_once('=')?;
    let name = right.split_whitespace().next()?;
    Some(&parameters["ExpressionAttributeValues"][name])
}

fn tenths(table: &Value) -> u64 {
    let Value::Number(units) = &table["CapacityUnits"] else {
        return 0;
    };
    // Half a unit is the smallest that DynamoDB charges, so one digit is exact.
    let text = units.to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, "0"));
    let digits = format!("{whole}{}", &fraction[..1]);
    digits.parse().expect("units are a plain number")
}
