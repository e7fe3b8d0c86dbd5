//! What a program says about attribution.

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::{Kind, decay};
use crate::http_types::{Fields, Invalid, Span};
use crate::money::plain_decimal;
use crate::setup::text::put;
use crate::setup::words::words;

words!(
    /// How a journey's touches share an order. All of them pay.
    Model {
        LastClick = "last_click",
        FirstClick = "first_click",
        Linear = "linear",
        /// Half as much for each half life before the last touch.
        TimeDecay = "time_decay",
        /// 40 % to the first, 40 % to the last, the rest to those between; of two a half each.
        PositionBased = "position_based",
        /// As `position_based`, by the program's own weights.
        Custom = "custom",
    }
);

/// Weights by position. What stands between shares one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PositionWeights {
    pub first: Decimal,
    pub middle: Decimal,
    pub last: Decimal,
}

/// The most digits of a weight before and after the point.
const WEIGHT_DIGITS: u32 = 4;

/// A program's terms of attribution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribution {
    pub model: Model,
    /// The first kind with somebody to credit decides; no kind twice, never empty.
    pub priority: Vec<Kind>,
    /// For [`Model::TimeDecay`]; more than zero.
    pub half_life: Span,
    /// Of [`Model::Custom`], and of no other.
    pub weights: Option<PositionWeights>,
}

impl Default for Attribution {
    fn default() -> Self {
        Self {
            model: Model::LastClick,
            priority: vec![Kind::ClickId, Kind::Journey, Kind::Coupon, Kind::Customer],
            half_life: Span::days(7),
            weights: None,
        }
    }
}

impl Attribution {
    /// Reads what stands in a program's `attribution`.
    ///
    /// # Errors
    /// The first member that cannot be taken.
    pub(crate) fn read(mut fields: Fields) -> Result<Self, Invalid> {
        let usual = Self::default();
        let model = Model::take(&mut fields, "model")?.unwrap_or(usual.model);
        let priority = match fields.texts("priority")? {
            None => usual.priority,
            Some(words) => priority(&fields, &words)?,
        };
        let half_life = fields.span("half_life")?.unwrap_or(usual.half_life);
        if half_life == Span::ZERO {
            return Err(fields.invalid("half_life", "duration_invalid"));
        }
        let weights = match (model, fields.object("weights")?) {
            (Model::Custom, Some(weights)) => Some(read_weights(weights)?),
            (Model::Custom, None) => return Err(fields.invalid("weights", "parameter_missing")),
            (_, Some(_)) => return Err(fields.invalid("weights", "only_with_custom")),
            (_, None) => None,
        };
        fields.finish()?;
        Ok(Self {
            model,
            priority,
            half_life,
            weights,
        })
    }

    /// Prints what [`Self::read`] reads, with the defaults spelt out.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let priority: Vec<&str> = self.priority.iter().map(|kind| kind.as_str()).collect();
        let mut json = json!({
            "model": self.model.as_str(),
            "priority": priority,
            "half_life": self.half_life.to_string(),
        });
        let weights = self.weights.map(|weights| {
            json!({
                "first": weights.first.to_string(),
                "middle": weights.middle.to_string(),
                "last": weights.last.to_string(),
            })
        });
        put(&mut json, "weights", weights);
        json
    }

    /// The weights of touches at these times, the earliest first.
    #[must_use]
    pub fn weights_of(&self, times: &[Timestamp]) -> Vec<u64> {
        let count = times.len();
        let only = |place: usize| (0..count).map(|own| u64::from(own == place)).collect();
        match self.model {
            Model::LastClick => only(count.saturating_sub(1)),
            Model::FirstClick => only(0),
            Model::Linear => vec![1; count],
            Model::TimeDecay => {
                let last = times.last().map_or(0, |time| time.as_millisecond());
                let half_life = u64::from(self.half_life.seconds()) * 1_000;
                let age = |time: &Timestamp| (last - time.as_millisecond()).unsigned_abs();
                times
                    .iter()
                    .map(|time| decay::weight(age(time), half_life))
                    .collect()
            }
            Model::PositionBased => by_position(count, [40, 20, 40]),
            Model::Custom => {
                let weights = self.weights.expect("a custom model has its weights");
                by_position(count, weights.whole())
            }
        }
    }
}

impl PositionWeights {
    /// In ten thousandths.
    fn whole(self) -> [u64; 3] {
        [self.first, self.middle, self.last].map(|weight| {
            let whole = weight * Decimal::from(10_u64.pow(WEIGHT_DIGITS));
            u64::try_from(whole)
                .expect("a weight has at most four digits before and after the point")
        })
    }
}

/// First and last each by its own weight, all between by one that they share. Where that leaves
/// nothing for anybody, all count alike; so it is with one alone.
fn by_position(count: usize, [first, middle, last]: [u64; 3]) -> Vec<u64> {
    let between = u64::try_from(count.saturating_sub(2)).expect("a journey is short");
    let weights: Vec<u64> = match count {
        2 => vec![first, last],
        _ => (0..count)
            .map(|place| match place {
                0 => first * between,
                _ if place == count - 1 => last * between,
                _ => middle,
            })
            .collect(),
    };
    if weights.iter().all(|weight| *weight == 0) {
        return vec![1; count];
    }
    weights
}

fn priority(fields: &Fields, words: &[String]) -> Result<Vec<Kind>, Invalid> {
    let mut kinds: Vec<Kind> = Vec::with_capacity(words.len());
    for word in words {
        let kind = Kind::parse(word).ok_or_else(|| fields.invalid("priority", "word_unknown"))?;
        if kinds.contains(&kind) {
            return Err(fields.invalid("priority", "word_repeated"));
        }
        kinds.push(kind);
    }
    if kinds.is_empty() {
        return Err(fields.invalid("priority", "length_invalid"));
    }
    Ok(kinds)
}

fn read_weights(mut fields: Fields) -> Result<PositionWeights, Invalid> {
    let weights = PositionWeights {
        first: fields.parsed_required("first", "weight_invalid", weight)?,
        middle: fields.parsed_required("middle", "weight_invalid", weight)?,
        last: fields.parsed_required("last", "weight_invalid", weight)?,
    };
    if weights.whole().iter().all(|weight| *weight == 0) {
        return Err(fields.invalid("last", "weight_invalid"));
    }
    fields.finish()?;
    Ok(weights)
}

/// Zero or more, at most four digits before and after the point.
fn weight(text: &str) -> Result<Decimal, ()> {
    let weight = plain_decimal(text).map_err(drop)?.ok_or(())?;
    let most = Decimal::from(10_u64.pow(WEIGHT_DIGITS));
    if weight.scale() <= WEIGHT_DIGITS && weight < most {
        Ok(weight)
    } else {
        Err(())
    }
}
