//! What is taken out of the table when somebody is to be forgotten. The ledger names nobody.

use super::conversion_rows::write;
use super::records::Index;
use super::schema::escaped;
use super::transaction::{Outcome, Write, number, text};
use super::{Key, Store, StoreError};
use crate::click::Visitor;
use crate::conversion::Conversion;
use crate::erasure::Person;
use crate::http_types::{Cursor, Page};
use crate::ids::{MerchantId, ProgramId};
use crate::setup::CapUse;

/// Members of a transaction.
const TRANSACTION_MOST: usize = 100;

impl Store {
    /// Puts `erased` in the place of `seen`, and removes what was counted of its customer, that of
    /// these budgets among it. False if the order changed in between: judge again.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn erase_from_conversion(
        &self,
        seen: &Conversion,
        erased: &Conversion,
        caps: &[CapUse],
    ) -> Result<bool, StoreError> {
        let row = write(&Conversion {
            ver: seen.ver + 1,
            said: Some(seen.answer()),
            ..erased.clone()
        });
        let as_seen = || {
            let values = vec![(":seen".into(), number(seen.ver))];
            ("ver = :seen".to_owned(), values)
        };
        let mut removed = Vec::new();
        if erased.facts["customer_key"].is_null()
            && let Some(customer) = seen.facts["customer_key"].as_str()
        {
            removed.extend(self.uncounted(seen, customer));
            removed.extend(caps.iter().map(|used| self.untaken(&seen.program, used)));
        }
        // Many rules may have been asked about the customer. Whoever stops here leaves an order that still
        // names them, and is erased the next time.
        while removed.len() >= TRANSACTION_MOST {
            let (condition, values) = as_seen();
            let mut part = vec![Write::Check {
                table: self.core(),
                key: Key::new(row.get_text("pk")?, row.get_text("sk")?),
                condition,
                values,
            }];
            part.extend(removed.drain(..TRANSACTION_MOST - 1));
            if matches!(self.transact(&part).await?, Outcome::Failed(_)) {
                return Ok(false);
            }
        }
        let (condition, values) = as_seen();
        let mut writes = vec![Write::Replace {
            table: self.core(),
            row,
            condition,
            values,
        }];
        writes.extend(removed);
        Ok(matches!(self.transact(&writes).await?, Outcome::Done))
    }

    /// Takes the names of a visitor's clicks out of part of a merchant's refusals; where they go on.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn erase_from_refusals(
        &self,
        merchant: &MerchantId,
        person: &Person,
        page: &Page,
    ) -> Result<Option<Cursor>, StoreError> {
        let list = format!("L#refusal#{}", escaped(merchant.as_str()));
        let (rows, next) = self.listed(Index::ByOwner, &list, page).await?;
        for row in &rows {
            let Some(erased) = person.erased_from_trail(&row.get_json("why")?) else {
                continue;
            };
            let change = Write::Change {
                table: self.core(),
                key: Key::new(row.get_text("pk")?, row.get_text("sk")?),
                set: "SET why = :erased".to_owned(),
                condition: "why = :seen".to_owned(),
                values: vec![
                    (":erased".into(), text(erased.to_string())),
                    (":seen".into(), text(row.get_text("why")?)),
                ],
            };
            // Refused again meanwhile: whoever asks again finds what is kept of it now.
            if matches!(self.transact(&[change]).await?, Outcome::Failed(_)) {
                return Err(StoreError::Contended);
            }
        }
        Ok(next)
    }

    /// Removes what is known of a merchant's customer in every program. It may land late, when the
    /// customer has come back: then that is not taken.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn forget_customer(
        &self,
        merchant: &MerchantId,
        customer: &str,
    ) -> Result<(), StoreError> {
        let pk = super::customers::partition(merchant, customer);
        self.remove_all(&pk, Some("conversion")).await
    }

    /// Removes all clicks and views of a visitor. None is ever made again.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn forget_visits(
        &self,
        program: &ProgramId,
        visitor: Visitor,
    ) -> Result<(), StoreError> {
        let pk = super::clicks::partition(program, visitor);
        self.remove_all(&pk, None).await
    }

    /// Removes the items of a partition, each only while this attribute is what it is now.
    async fn remove_all(&self, pk: &str, same: Option<&'static str>) -> Result<(), StoreError> {
        let mut writes = Vec::new();
        for row in self.read_between(&self.core(), pk, "!", "~").await? {
            let only = match same {
                Some(name) => Some((name, row.get_text(name)?.to_owned())),
                None => None,
            };
            writes.push(Write::Remove {
                table: self.core(),
                key: Key::new(pk, row.get_text("sk")?),
                only,
            });
        }
        for some in writes.chunks(TRANSACTION_MOST) {
            if matches!(self.transact(some).await?, Outcome::Failed(_)) {
                return Err(StoreError::Contended);
            }
        }
        Ok(())
    }
}
