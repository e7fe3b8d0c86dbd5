//! An order's new value: rated again at the terms that were frozen with it.

use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};
use shared::app::{App, unavailable};
use shared::commission::{Commission, NoCommission, Reckoned};
use shared::conversion::{
    BasketLine, Conversion, Item, Status, digest, earned_by_line, is_order_id, take,
};
use shared::http_types::{Fields, Problem, Request, Response, is_note};
use shared::ids::AffiliateId;
use shared::money::Money;
use shared::rights::{Action, Caller};
use shared::setup::Program;
use shared::store::{Amended, Amendment, Audit};

use super::frozen::whole_of;
use super::{shown, visible};

const RACES_MOST: u32 = 8;

/// `POST /api/v1/conversions/{id}/amend`
pub async fn amend(
    app: &App,
    request: &Request,
    caller: &Caller,
    id: &str,
) -> Result<Response, Problem> {
    let seen = visible(app, caller, id, Action::DecideConversions).await?;
    let mut fields = Fields::from_json(&request.body)?;
    let id = fields.parsed_required("id", "id_invalid", name)?;
    let amount = fields.parsed_required("amount", "amount_invalid", |text| {
        Money::parse(text, seen.currency)
    })?;
    let reason = fields.note_required("reason")?;
    let items = items(&mut fields, &seen, amount)?;
    fields.finish()?;
    let wanted = Wanted {
        id,
        amount,
        items,
        reason,
    };
    let amended = wanted.apply(app, request.now, caller, seen).await?;
    Ok(Response::json(StatusCode::OK, &shown(&amended, caller)))
}

fn name(text: &str) -> Result<String, ()> {
    is_order_id(text).then(|| text.to_owned()).ok_or(())
}

/// An order's new value, as its sender names it.
pub struct Wanted {
    id: String,
    amount: Money,
    items: Vec<Item>,
    reason: String,
}

impl Wanted {
    /// A value without lines.
    pub fn of_amount(
        seen: &Conversion,
        id: String,
        amount: &str,
        reason: String,
    ) -> Result<Self, Problem> {
        let amount = Money::parse(amount, seen.currency);
        Ok(Self {
            id: name(&id).map_err(|()| Problem::invalid("id_invalid", "id"))?,
            amount: amount.map_err(|_| Problem::invalid("amount_invalid", "amount"))?,
            items: Vec::new(),
            reason: Some(reason)
                .filter(|reason| is_note(reason))
                .ok_or_else(|| Problem::invalid("text_invalid", "reason"))?,
        })
    }

    /// What each credit would earn.
    pub async fn rated(&self, app: &App, seen: &Conversion) -> Result<Vec<Money>, Problem> {
        Ok(rated(app, seen, self.amount, &self.items)
            .await?
            .commissions)
    }

    /// Whether the order was amended so before.
    ///
    /// # Errors
    /// 409 `exists` where it was by the same name, and in another way; 503.
    pub async fn was_done(&self, app: &App, seen: &Conversion) -> Result<bool, Problem> {
        let fingerprint = self.fingerprint();
        let known = app.store.amendment(seen, &self.id, &fingerprint);
        match known.await.map_err(unavailable)? {
            None => Ok(false),
            Some(Amended::Conflict) => Err(Problem::conflict("exists")),
            Some(_) => Ok(true),
        }
    }

    fn fingerprint(&self) -> String {
        let lines: Vec<_> = self
            .items
            .iter()
            .map(|item| json!([item.sku, item.category, item.amount.minor()]))
            .collect();
        digest(&json!([self.amount.minor(), lines, self.reason]).to_string())
    }

    /// Amends the order, once.
    pub async fn apply(
        &self,
        app: &App,
        now: Timestamp,
        caller: &Caller,
        mut seen: Conversion,
    ) -> Result<Conversion, Problem> {
        let fingerprint = self.fingerprint();
        for _ in 0..RACES_MOST {
            let known = app.store.amendment(&seen, &self.id, &fingerprint).await;
            let outcome = match known.map_err(unavailable)? {
                Some(known) => known,
                None => {
                    let rated = rated(app, &seen, self.amount, &self.items).await?;
                    let amendment = Amendment {
                        id: self.id.clone(),
                        fingerprint: fingerprint.clone(),
                        amount: self.amount,
                        commissions: rated.commissions,
                        basket: rated.basket,
                        reckoned: rated.reckoned,
                        reason: self.reason.clone(),
                    };
                    let audit = Audit::by(caller, "amend conversion", Some(self.reason.clone()));
                    let amended = app.store.amend(&seen, &amendment, now, &audit).await;
                    amended.map_err(unavailable)?
                }
            };
            match outcome {
                Amended::Done(done) => return Ok(*done),
                Amended::Before => return Ok(seen),
                Amended::Conflict => return Err(Problem::conflict("exists")),
                Amended::Raced => {
                    let current = app.store.conversion(&seen.key).await.map_err(unavailable)?;
                    seen = current.ok_or_else(Problem::unavailable)?;
                }
            }
        }
        Err(Problem::unavailable())
    }
}

/// The order's lines, whose exact sum the amount must be.
fn items(fields: &mut Fields, seen: &Conversion, amount: Money) -> Result<Vec<Item>, Problem> {
    let items = Item::read_all(fields.objects("items")?.unwrap_or_default(), seen.currency)?;
    let sum = Item::total(&items, seen.currency)
        .ok_or_else(|| Problem::invalid("items_total", "items"))?;
    if !items.is_empty() && sum != amount {
        return Err(Problem::invalid("items_total", "items"));
    }
    Ok(items)
}

/// An order's new value, rated.
struct Rated {
    /// What each credit earns.
    commissions: Vec<Money>,
    basket: Vec<BasketLine>,
    reckoned: Value,
}

/// What each credit earns on the new value.
async fn rated(
    app: &App,
    seen: &Conversion,
    amount: Money,
    items: &[Item],
) -> Result<Rated, Problem> {
    // Whoever is credited later earns on the order as it was posted: an amendment in between
    // would be lost, and with it what was taken back beyond that value.
    let is_earning = matches!(
        seen.status,
        Status::Pending | Status::Approved | Status::Reversed
    );
    if !is_earning {
        return Err(Problem::conflict("not_amendable"));
    }
    // Without its lines it would earn by other rules, and none of them could be taken back any more.
    if items.is_empty() && !seen.basket.is_empty() {
        return Err(Problem::invalid("items_required", "items"));
    }
    // Of an order without a value the whole or nothing is taken back.
    let taken_back = match seen.amount {
        Some(before) if !before.is_zero() => seen.refunded > amount.minor(),
        _ => seen.refunded > 0,
    };
    if taken_back {
        return Err(Problem::invalid("amend_below_reversed", "amount"));
    }
    let mut basket = amended_basket(seen, items)?;
    if seen.credits.is_empty() {
        return Ok(Rated {
            commissions: Vec::new(),
            basket,
            reckoned: json!([]),
        });
    }
    let program = app
        .store
        .version::<Program>(seen.program.as_str(), seen.program_version)
        .await
        .map_err(unavailable)?
        .ok_or_else(Problem::unavailable)?;
    let mut wholes: Vec<Option<Commission>> = Vec::with_capacity(seen.credits.len());
    let mut commissions = Vec::with_capacity(seen.credits.len());
    let mut earns = false;
    for (place, credit) in seen.credits.iter().enumerate() {
        let whole = match whole_of(&program.record, seen, credit, Some(amount), &basket) {
            Ok(earned) => {
                earns = true;
                Some(earned)
            }
            // Of several who share an order some may have no rule of their own.
            Err(NoCommission::NoRule) => None,
            Err(NoCommission::TooLarge) => {
                return Err(Problem::invalid("amount_too_large", "amount"));
            }
            Err(_) => return Err(Problem::invalid("amount_required", "amount")),
        };
        let alone = whole
            .as_ref()
            .map_or(Money::zero(seen.currency), |whole| whole.amount);
        commissions.push(seen.part(place, alone));
        wholes.push(whole);
    }
    if !earns {
        return Err(Problem::refused("no_rule"));
    }
    let parts = commissions
        .iter()
        .copied()
        .zip(wholes.iter().map(Option::as_ref));
    let parts: Vec<_> = parts.collect();
    earned_by_line(&mut basket, &parts);
    let reckoned = seen.credits.iter().zip(&parts);
    let reckoned = reckoned.map(|(credit, (amount, whole))| {
        let reckoned = Reckoned {
            affiliate: &credit.affiliate,
            share: share_of(seen, &credit.affiliate),
            whole: *whole,
            amount: *amount,
        };
        reckoned.to_json(parts.len())
    });
    Ok(Rated {
        reckoned: reckoned.collect(),
        commissions,
        basket,
    })
}

/// An affiliate's share, as the decision's trail writes it.
fn share_of<'a>(seen: &'a Conversion, affiliate: &AffiliateId) -> &'a str {
    let mut credits = seen.why["credits"].as_array().into_iter().flatten();
    let own = credits.find(|credit| credit["affiliate"] == affiliate.as_str());
    own.and_then(|own| own["share"].as_str()).unwrap_or("1")
}

/// The order's new lines, with what was taken back of the old ones by name.
fn amended_basket(seen: &Conversion, items: &[Item]) -> Result<Vec<BasketLine>, Problem> {
    let mut basket: Vec<BasketLine> = items.iter().map(BasketLine::of).collect();
    for line in seen.basket.iter().filter(|line| line.taken > 0) {
        take(&mut basket, &line.sku, line.taken)
            .map_err(|_| Problem::invalid("amend_below_reversed", "items"))?;
    }
    Ok(basket)
}
