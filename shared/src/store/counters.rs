//! What rules count: an affiliate's orders under a tiered rule, a customer's under one that ends.

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

/// A rule that keeps its id through a program's versions keeps its counters.
fn key(
    program: &ProgramId,
    affiliate: &AffiliateId,
    customer: Option<&str>,
    counter: &Counter,
) -> Key {
    let (rule, sk) = match counter {
        Counter::Tier { rule, month: None } => (rule, "EVER".to_owned()),
        Counter::Tier {
            rule,
            month: Some(month),
        } => (rule, month.to_string()),
        Counter::Customer { rule } => (rule, format!("C#{}", customer.unwrap_or_default())),
    };
    let (program, affiliate) = (escaped(program.as_str()), escaped(affiliate.as_str()));
    Key::new(
        format!("T#{program}#{}#{affiliate}", escaped(rule.as_str())),
        sk,
    )
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
        let mut writes = Vec::new();
        for credit in &conversion.credits {
            for counter in credit.standings.0.keys() {
                if let Counter::Customer { .. } = counter {
                    let (program, affiliate) = (&conversion.program, &credit.affiliate);
                    writes.push(Write::Remove {
                        table: self.core(),
                        key: key(program, affiliate, Some(customer), counter),
                        only: None,
                    });
                }
            }
        }
        writes
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
