//! Which clicks the table holds, and which the log counts as lost.

use std::collections::BTreeSet;

use clickledger::embedded::Embedded;

/// What tells each recorded click from the others: the end of its key.
pub async fn clicks(table: &Embedded) -> Result<BTreeSet<String>, String> {
    let client = table.client("proof");
    let scan = client
        .scan()
        .table_name(clickledger::tables::names().core)
        .into_paginator()
        .items()
        .send();
    let items = scan.try_collect().await;
    let items = items.map_err(|error| error.to_string())?;
    let clicks = items.iter().filter_map(|item| {
        let text = |name: &str| item.get(name).and_then(|value| value.as_s().ok());
        text("pk").filter(|key| key.starts_with("J#"))?;
        let (_, name) = text("sk")?.split_once('#')?;
        Some(name.to_owned())
    });
    Ok(clicks.collect())
}

pub fn lost(log: &str) -> usize {
    log.matches(r#""lost_clicks":1"#).count()
}
