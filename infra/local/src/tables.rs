//! The tables as the template has them, on an embedded or remote table of one's own.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::BoxError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ScalarAttributeType,
};
use dynoxide::actions::delete_item::DeleteItemRequest;
use dynoxide::actions::scan::ScanRequest;
use dynoxide::{AttributeValue, DynoxideError};
use jiff::Timestamp;
use shared::store::{CORE_INDEXES, EXPIRES_AT, Tables};

use crate::embedded::Embedded;

/// What the tables are called on one machine.
#[must_use]
pub fn names() -> Tables {
    Tables {
        core: "clickledger-core".to_owned(),
        ledger: "clickledger-ledger".to_owned(),
    }
}

fn key(name: &str, kind: KeyType) -> Result<KeySchemaElement, BoxError> {
    let element = KeySchemaElement::builder()
        .attribute_name(name)
        .key_type(kind);
    Ok(element.build()?)
}

fn attribute(name: &str) -> Result<AttributeDefinition, BoxError> {
    let attribute = AttributeDefinition::builder()
        .attribute_name(name)
        .attribute_type(ScalarAttributeType::S);
    Ok(attribute.build()?)
}

/// Makes the tables that are not there.
///
/// # Errors
/// What the table says.
pub async fn create(client: &Client, tables: &Tables) -> Result<(), BoxError> {
    let existing = client
        .list_tables()
        .send()
        .await?
        .table_names
        .unwrap_or_default();
    for name in [&tables.core, &tables.ledger] {
        if existing.contains(name) {
            continue;
        }
        let mut table = client
            .create_table()
            .table_name(name)
            .billing_mode(BillingMode::PayPerRequest)
            .attribute_definitions(attribute("pk")?)
            .attribute_definitions(attribute("sk")?)
            .key_schema(key("pk", KeyType::Hash)?)
            .key_schema(key("sk", KeyType::Range)?);
        if *name == tables.core {
            for (index, pk, sk) in CORE_INDEXES {
                let all = Projection::builder()
                    .projection_type(ProjectionType::All)
                    .build();
                let index = GlobalSecondaryIndex::builder()
                    .index_name(index)
                    .key_schema(key(pk, KeyType::Hash)?)
                    .key_schema(key(sk, KeyType::Range)?)
                    .projection(all)
                    .build()?;
                table = table
                    .attribute_definitions(attribute(pk)?)
                    .attribute_definitions(attribute(sk)?)
                    .global_secondary_indexes(index);
            }
        }
        table.send().await?;
    }
    Ok(())
}

/// Items that are looked at in one go: so long every other call waits.
const SWEPT_AT_ONCE: usize = 200;

/// Takes what has expired by `now` out of the core table, as it does by itself on AWS; how many items
/// that were. The engine's own sweep goes by the machine's clock, and the stack's may be turned.
///
/// # Errors
/// What the engine says.
pub async fn sweep(table: &Embedded, now: Timestamp) -> Result<usize, BoxError> {
    let has_expired = format!("{EXPIRES_AT} <= :now");
    let now = AttributeValue::N(now.as_second().to_string());
    let now = HashMap::from([(":now".to_owned(), now)]);
    let mut swept = 0;
    let mut start = None;
    loop {
        let page = table.engine().scan(ScanRequest {
            table_name: names().core,
            projection_expression: Some("pk, sk".to_owned()),
            filter_expression: Some(has_expired.clone()),
            expression_attribute_values: Some(now.clone()),
            limit: Some(SWEPT_AT_ONCE),
            exclusive_start_key: start,
            ..ScanRequest::default()
        })?;
        for key in page.items.unwrap_or_default() {
            let deleted = table.engine().delete_item(DeleteItemRequest {
                table_name: names().core,
                key,
                // Another of the same key may have come in between.
                condition_expression: Some(has_expired.clone()),
                expression_attribute_values: Some(now.clone()),
                ..DeleteItemRequest::default()
            });
            match deleted {
                Ok(_) => swept += 1,
                Err(DynoxideError::ConditionalCheckFailedException(..)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        start = page.last_evaluated_key;
        if start.is_none() {
            return Ok(swept);
        }
        tokio::task::yield_now().await;
    }
}
