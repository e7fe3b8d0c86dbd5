//! The tables as the template has them, on an embedded or remote table of one's own.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::BoxError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ScalarAttributeType,
};
use shared::store::{CORE_INDEXES, Tables};

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
