//! Which clicks the table holds, and which the log counts as lost.

use std::collections::BTreeSet;

use clickledger::embedded::Embedded;

/// What tells each recorded click from the others: the end of its key.
pub async fn clicks(table: &Embedded) -> Result<BTreeSet<String>, String> {
    let client = table.client("proof");
    let (mut clicks, mut start) = (BTreeSet::new(), None);
    loop {
        let page = client
            .scan()
            .table_name(clickledger::tables::names().core)
            .set_exclusive_start_key(start)
            .send()
            .await
            .map_err(|error| error.to_string())?;
        for item in page.items() {
            let text = |name: &str| item.get(name).and_then(|value| value.as_s().ok());
            if text("pk").is_some_and(|key| key.starts_with("J#"))
                && let Some((_, name)) = text("sk").and_then(|key| key.split_once('#'))
            {
                clicks.insert(name.to_owned());
            }
        }
        start = page.last_evaluated_key;
        if start.is_none() {
            return Ok(clicks);
        }
    }
}

pub fn lost(log: &str) -> usize {
    log.matches(r#""lost_clicks":1"#).count()
}
