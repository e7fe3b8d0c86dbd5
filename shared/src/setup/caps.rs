//! Budgets: how many orders a program pays, and how much, in all or for each affiliate or customer.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::words::words;
use crate::conversion::Credit;
use crate::http_types::{Fields, Invalid};
use crate::ids::RuleId;
use crate::money::{Currency, Money};
use crate::period::{Month, day_of};

words!(
    /// Whose orders are counted together.
    CapPer {
        Program = "program",
        Affiliate = "affiliate",
        /// Each of the merchant's customers, who must then be named.
        Customer = "customer",
    }
);

words!(
    /// When counting begins anew, in UTC, by the order's own time.
    CapPeriod {
        Day = "day",
        Month = "month",
        Lifetime = "lifetime",
    }
);

impl CapPeriod {
    /// The period that an instant is in: a day, a month, or nothing.
    #[must_use]
    pub fn name_at(self, at: Timestamp) -> String {
        match self {
            Self::Day => day_of(at).to_string(),
            Self::Month => Month::of(day_of(at)).to_string(),
            Self::Lifetime => String::new(),
        }
    }
}

/// One budget. What an order would take it over is refused; what is taken back or rejected later
/// does not fill it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cap {
    /// Counters go by it: a budget that keeps its id keeps what was used.
    pub id: RuleId,
    pub per: CapPer,
    pub period: CapPeriod,
    /// Orders.
    pub count: Option<u32>,
    /// Commissions.
    pub amount: Option<Money>,
}

/// What an order takes of a budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapUse {
    pub cap: Cap,
    /// The day, the month, or nothing.
    pub period: String,
    /// The affiliate, the customer's pseudonym, or nothing.
    pub whose: String,
    pub amount: Money,
}

/// A budget for each customer, and no customer is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a budget is kept for each customer, and the sender does not name the customer")]
pub struct CustomerRequired;

/// More are a mistake: each is one more write of every order.
const CAPS_MOST: usize = 8;

impl Cap {
    pub(super) fn read_all(list: Vec<Fields>, currency: Currency) -> Result<Vec<Self>, Invalid> {
        let mut caps: Vec<Self> = Vec::with_capacity(list.len());
        for (place, mut fields) in list.into_iter().enumerate() {
            if place == CAPS_MOST {
                return Err(Invalid::new("caps", "too_many"));
            }
            let id = fields
                .parsed("id", "id_invalid", RuleId::parse)?
                .unwrap_or_else(|| {
                    RuleId::parse(&format!("c{}", place + 1))
                        .expect("a letter and a digit are an id")
                });
            if caps.iter().any(|cap| cap.id == id) {
                return Err(fields.invalid("id", "id_repeated"));
            }
            let count = match fields.whole("count")? {
                None => None,
                Some(count) => Some(
                    u32::try_from(count).map_err(|_| fields.invalid("count", "number_invalid"))?,
                ),
            };
            let amount = fields.parsed("amount", "amount_invalid", |text| {
                Money::parse(text, currency)
            })?;
            if count.is_none() && amount.is_none() {
                return Err(fields.invalid("count", "parameter_missing"));
            }
            let per = CapPer::take(&mut fields, "per")?.unwrap_or(CapPer::Program);
            let period = CapPeriod::take(&mut fields, "period")?.unwrap_or(CapPeriod::Lifetime);
            fields.finish()?;
            caps.push(Self {
                id,
                per,
                period,
                count,
                amount,
            });
        }
        Ok(caps)
    }

    pub(super) fn to_json(&self) -> Value {
        let mut json = json!({
            "id": self.id.as_str(), "per": self.per.as_str(), "period": self.period.as_str(),
        });
        if let Some(count) = self.count {
            json["count"] = json!(count);
        }
        if let Some(amount) = self.amount {
            json["amount"] = json!(amount.to_string());
        }
        json
    }

    /// What an order with these credits takes of these budgets.
    ///
    /// # Errors
    /// [`CustomerRequired`]
    pub fn uses(
        caps: &[Self],
        credits: &[Credit],
        customer: Option<&str>,
        at: Timestamp,
    ) -> Result<Vec<CapUse>, CustomerRequired> {
        let mut uses = Vec::new();
        let Some(first) = credits.first() else {
            return Ok(uses);
        };
        let currency = first.commission.currency();
        let all = credits
            .iter()
            .try_fold(Money::zero(currency), |sum, credit| {
                sum.checked_add(credit.commission)
            });
        // Should they be more than an amount can hold, no budget can either.
        let all = all.unwrap_or_else(|| Money::new(i64::MAX, currency));
        for cap in caps {
            let period = cap.period.name_at(at);
            let mut take = |whose: &str, amount: Money| {
                uses.push(CapUse {
                    cap: cap.clone(),
                    period: period.clone(),
                    whose: whose.to_owned(),
                    amount,
                });
            };
            match cap.per {
                CapPer::Program => take("", all),
                CapPer::Customer => take(customer.ok_or(CustomerRequired)?, all),
                CapPer::Affiliate => {
                    for credit in credits {
                        take(credit.affiliate.as_str(), credit.commission);
                    }
                }
            }
        }
        Ok(uses)
    }
}
