//! What rules count: an affiliate's orders under a tiered rule, a customer's under one that ends.

use std::collections::BTreeMap;

use super::schema::escaped;
use super::transaction::{Write, number};
use super::{Key, Row, Store, StoreError};
use crate::commission::{Advance, Counter, Standing};
use crate::conversion::Conversion;
use crate::ids::{AffiliateId, ProgramId};

/// What an order adds to a counter, with whose that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    pub affiliate: AffiliateId,
    /// The customer's pseudonym, where it is known.
    pub customer: Option<String>,
    pub advance: Advance,
}

/// A rule that keeps its id through a program's versions keeps its counters. A customer's is one, whichever
/// affiliates brought the orders: two who take turns would be paid for the first one twice.
fn key(
    program: &ProgramId,
    affiliate: &AffiliateId,
    customer: Option<&str>,
    counter: &Counter,
) -> Key {
    let (program, affiliate) = (escaped(program.as_str()), escaped(affiliate.as_str()));
    match counter {
        Counter::Tier { rule, month } => Key::new(
            format!("T#{program}#{}#{affiliate}", escaped(rule.as_str())),
            month.map_or("EVER".to_owned(), |month| month.to_string()),
        ),
        Counter::Customer { rule } => Key::new(
            format!(
                "TC#{program}#{}#{}",
                escaped(rule.as_str()),
                customer.unwrap_or_default()
            ),
            "EVER",
        ),
    }
}

impl Store {
    /// How far a counter has come; zero before its first order.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn standing(
        &self,
        program: &ProgramId,
        affiliate: &AffiliateId,
        customer: Option<&str>,
        counter: &Counter,
    ) -> Result<Standing, StoreError> {
        let row = self
            .read(&key(program, affiliate, customer, counter))
            .await?;
        let Some(row) = row else {
            return Ok(Standing::default());
        };
        Ok(Standing {
            count: row.get_number("count")?,
            sum: row.get_number("sum")?,
        })
    }

    /// The members of a transaction that remove what was counted of an order's customer.
    pub(super) fn uncounted(&self, conversion: &Conversion, customer: &str) -> Vec<Write> {
        let mut counters = BTreeMap::new();
        for credit in &conversion.credits {
            let asked = credit.standings.0.keys();
            let of_customer = asked.filter(|counter| matches!(counter, Counter::Customer { .. }));
            counters.extend(of_customer.map(|counter| (counter, &credit.affiliate)));
        }
        let keys = counters.into_iter().map(|(counter, affiliate)| {
            key(&conversion.program, affiliate, Some(customer), counter)
        });
        keys.map(|key| Write::Remove {
            table: self.core(),
            key,
            only: None,
        })
        .collect()
    }

    /// The member of a conversion's transaction that counts it, if nothing was counted since.
    pub(super) fn counted(&self, program: &ProgramId, counted: &Counted) -> Write {
        let Advance {
            counter,
            before,
            value,
        } = &counted.advance;
        let key = key(
            program,
            &counted.affiliate,
            counted.customer.as_deref(),
            counter,
        );
        let count = before.count + 1;
        let sum = before.sum.saturating_add(value.minor());
        let table = self.core();
        if before.count == 0 {
            let row = Row::new(&key).number("count", count).number("sum", sum);
            return Write::Add { table, row };
        }
        Write::Change {
            table,
            key,
            set: "SET #count = :next, #sum = :sum".to_owned(),
            condition: "#count = :seen".to_owned(),
            values: vec![
                (":next".into(), number(count)),
                (":sum".into(), number(sum)),
                (":seen".into(), number(before.count)),
            ],
        }
    }
}
