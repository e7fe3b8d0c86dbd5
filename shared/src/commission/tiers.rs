//! Steps that a rate climbs with the number or the value of an affiliate's orders.

use serde_json::{Value, json};

use super::standing::Standing;
use crate::http_types::{Fields, Invalid};
use crate::money::{Currency, Money, Percent};
use crate::setup::words::words;

words!(
    /// What the steps are climbed by.
    TiersBy {
        /// The order's number, from 1.
        Count = "count",
        /// The running value of the orders.
        Amount = "amount",
    }
);

words!(
    /// When counting begins anew.
    TiersPeriod {
        Month = "month",
        Lifetime = "lifetime",
    }
);

/// What a step pays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepPay {
    Percent(Percent),
    Flat(Money),
}

/// One step: from here to the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// By count the number of the first order on it; by amount, in minor units, the running value
    /// that the step begins at.
    pub from: i64,
    pub pay: StepPay,
}

/// Marginal steps: each order is paid by the step it stands on, and nothing that was paid before
/// changes. By amount an order that crosses a step is split at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tiers {
    pub by: TiersBy,
    pub period: TiersPeriod,
    /// At least one; rising, and the first covers the first order.
    pub steps: Vec<Step>,
}

/// More steps are a formula.
const STEPS_MOST: usize = 50;

impl Tiers {
    pub(super) fn read(mut fields: Fields, currency: Currency) -> Result<Self, Invalid> {
        let by = TiersBy::take(&mut fields, "by")?
            .ok_or_else(|| fields.invalid("by", "parameter_missing"))?;
        let period = TiersPeriod::take(&mut fields, "period")?
            .ok_or_else(|| fields.invalid("period", "parameter_missing"))?;
        match fields.text("mode")?.as_deref() {
            None | Some("marginal") => {}
            Some("retroactive") => return Err(fields.invalid("mode", "not_supported")),
            Some(_) => return Err(fields.invalid("mode", "word_unknown")),
        }
        let list = fields
            .objects("steps")?
            .ok_or_else(|| fields.invalid("steps", "parameter_missing"))?;
        if !(1..=STEPS_MOST).contains(&list.len()) {
            return Err(fields.invalid("steps", "length_invalid"));
        }
        let mut steps: Vec<Step> = Vec::with_capacity(list.len());
        for mut step in list {
            let from = from(&mut step, by, currency)?;
            let is_right = match steps.last() {
                // No order has the number 0, so both begin with the first.
                None if by == TiersBy::Count && from > 1 => Err("tier_gap"),
                None if by == TiersBy::Amount && from > 0 => Err("tier_gap"),
                Some(before) if from <= before.from => Err("tier_overlap"),
                _ => Ok(()),
            };
            is_right.map_err(|code| step.invalid("from", code))?;
            let percent = step.parsed("percent", "percent_invalid", Percent::parse)?;
            let amount = step.parsed("amount", "amount_invalid", |text| {
                Money::parse(text, currency)
            })?;
            let pay = match (percent, amount) {
                (Some(percent), None) => StepPay::Percent(percent),
                (None, Some(amount)) => StepPay::Flat(amount),
                (None, None) => return Err(step.invalid("percent", "parameter_missing")),
                (Some(_), Some(_)) => return Err(step.invalid("amount", "tier_mixed")),
            };
            let is_mixed = steps.first().is_some_and(|first| {
                matches!(first.pay, StepPay::Percent(_)) != matches!(pay, StepPay::Percent(_))
            });
            if is_mixed {
                return Err(step.invalid("percent", "tier_mixed"));
            }
            step.finish()?;
            steps.push(Step { from, pay });
        }
        fields.finish()?;
        Ok(Self { by, period, steps })
    }

    pub(super) fn to_json(&self, currency: Currency) -> Value {
        let steps = self.steps.iter().map(|step| {
            let from = match self.by {
                TiersBy::Count => json!(step.from),
                TiersBy::Amount => json!(Money::new(step.from, currency).to_string()),
            };
            match step.pay {
                StepPay::Percent(percent) => json!({"from": from, "percent": percent.to_string()}),
                StepPay::Flat(amount) => json!({"from": from, "amount": amount.to_string()}),
            }
        });
        json!({
            "by": self.by.as_str(),
            "period": self.period.as_str(),
            "mode": "marginal",
            "steps": steps.collect::<Vec<_>>(),
        })
    }

    pub(super) fn needs_amount(&self) -> bool {
        self.by == TiersBy::Amount
            || self
                .steps
                .iter()
                .any(|step| matches!(step.pay, StepPay::Percent(_)))
    }

    /// The step that an order stands on after these.
    pub(super) fn step(&self, before: Standing) -> Step {
        let place = match self.by {
            TiersBy::Count => before.count + 1,
            TiersBy::Amount => before.sum,
        };
        let mut steps = self.steps.iter().rev();
        *steps
            .find(|step| step.from <= place)
            .unwrap_or(&self.steps[0])
    }

    /// A value after these, split at the steps it crosses, each part with its rate; of nothing one
    /// part, which is nothing. Only where steps pay a share.
    pub(super) fn parts(&self, before: Standing, value: Money) -> Vec<(Money, Percent)> {
        let rate = |step: Step| match step.pay {
            StepPay::Percent(percent) => percent,
            StepPay::Flat(_) => unreachable!("only steps that pay a share are split"),
        };
        if self.by == TiersBy::Count {
            return vec![(value, rate(self.step(before)))];
        }
        let currency = value.currency();
        let (start, end) = (before.sum, before.sum.saturating_add(value.minor()));
        let ends = self
            .steps
            .iter()
            .skip(1)
            .map(|step| step.from)
            .chain([i64::MAX]);
        let parts: Vec<(Money, Percent)> = self
            .steps
            .iter()
            .zip(ends)
            .map(|(step, next)| (end.min(next) - start.max(step.from), rate(*step)))
            .filter(|(minor, _)| *minor > 0)
            .map(|(minor, percent)| (Money::new(minor, currency), percent))
            .collect();
        if parts.is_empty() {
            return vec![(value, rate(self.step(before)))];
        }
        parts
    }
}

fn from(step: &mut Fields, by: TiersBy, currency: Currency) -> Result<i64, Invalid> {
    match by {
        TiersBy::Count => {
            let number = step
                .whole("from")?
                .ok_or_else(|| step.invalid("from", "parameter_missing"))?;
            // Room for the counter to reach any step.
            u32::try_from(number)
                .map(i64::from)
                .map_err(|_| step.invalid("from", "number_invalid"))
        }
        TiersBy::Amount => {
            let money = |text: &str| Money::parse(text, currency);
            Ok(step
                .parsed_required("from", "amount_invalid", money)?
                .minor())
        }
    }
}
