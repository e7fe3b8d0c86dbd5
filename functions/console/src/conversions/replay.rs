//! What past orders would have earned by other rules; nothing is written.

use std::collections::BTreeMap;

use http::StatusCode;
use serde_json::{Value, json};
use shared::app::{App, unavailable};
use shared::commission::NoCommission;
use shared::conversion::Conversion;
use shared::http_types::{Cursor, Fields, Page, Problem, Request, Response};
use shared::money::Money;
use shared::period::start_of;
use shared::rights::{Action, Caller};
use shared::setup::Program;
use shared::store::{ConversionsOf, Versioned};

use super::frozen::whole_of;
use crate::preview::proposed;
use crate::serve::visible;

/// How many orders one call goes through; it says where to go on.
const ORDERS_MOST: usize = 2_000;

/// `POST /api/v1/programs/{id}/rules:replay`: by a kept `version`, or by rules that are not saved
/// (`commission`); by neither each order by its own version, which must change nothing.
pub async fn replay(
    app: &App,
    request: &Request,
    caller: &Caller,
    id: &str,
) -> Result<Response, Problem> {
    let program = visible::<Program>(app, caller, id, Action::WritePrograms).await?;
    let mut fields = Fields::from_json(&request.body)?;
    let version = fields.whole("version")?;
    let rules = fields.value("commission")?;
    let rules = rules.map(|rules| proposed(&program, &rules)).transpose()?;
    let from = fields
        .day("from")?
        .ok_or_else(|| Problem::invalid("parameter_missing", "from"))?;
    let to = fields
        .day("to")?
        .ok_or_else(|| Problem::invalid("parameter_missing", "to"))?;
    let cursor = fields.parsed("cursor", "cursor_invalid", |text| {
        Cursor::parse(text).ok_or(())
    })?;
    fields.finish()?;
    if version.is_some() && rules.is_some() {
        return Err(Problem::invalid("parameter_repeated", "commission"));
    }
    let mut terms = match version {
        None => None,
        Some(version) => {
            let found = app
                .store
                .version::<Program>(id, version)
                .await
                .map_err(unavailable)?;
            Some(
                found
                    .ok_or_else(|| Problem::invalid("version_unknown", "version"))?
                    .record,
            )
        }
    };
    if let Some(rules) = rules {
        terms = Some(Program {
            commission: rules,
            ..program.record.clone()
        });
    }
    let place = |day| format!("{:013}", start_of(day).as_millisecond().max(0));
    let mut replay = Replay::new(app, &program, terms);
    let mut page = Page {
        limit: 200,
        after: Some(cursor.unwrap_or_else(|| Cursor::after(place(from)))),
    };
    let end = place(to);
    let list = ConversionsOf::Merchant(&program.record.merchant);
    let next = 'all: loop {
        let found = app.store.conversions_listed(&list, &page).await;
        let (conversions, next) = found.map_err(unavailable)?;
        for (place, conversion) in conversions {
            if end <= place {
                break 'all None;
            }
            if ORDERS_MOST <= replay.looked_at {
                break 'all page.after;
            }
            page.after = Some(Cursor::after(place));
            replay.add(&conversion).await?;
        }
        match next {
            Some(cursor) => page.after = Some(cursor),
            None => break None,
        }
    };
    Ok(Response::json(StatusCode::OK, &replay.done(next.as_ref())))
}

struct Replay<'a> {
    app: &'a App,
    program: &'a Versioned<Program>,
    /// None: each order's own.
    terms: Option<Program>,
    own: BTreeMap<u64, Program>,
    looked_at: usize,
    orders: u64,
    before: i128,
    after: i128,
    changed: Vec<Value>,
}

impl<'a> Replay<'a> {
    fn new(app: &'a App, program: &'a Versioned<Program>, terms: Option<Program>) -> Self {
        Self {
            app,
            program,
            terms,
            own: BTreeMap::new(),
            looked_at: 0,
            orders: 0,
            before: 0,
            after: 0,
            changed: Vec::new(),
        }
    }

    async fn own_terms(&mut self, version: u64) -> Result<(), Problem> {
        if self.own.contains_key(&version) {
            return Ok(());
        }
        let id = self.program.record.id.as_str();
        let found = self.app.store.version::<Program>(id, version).await;
        let found = found
            .map_err(unavailable)?
            .ok_or_else(Problem::unavailable)?;
        self.own.insert(version, found.record);
        Ok(())
    }

    async fn add(&mut self, conversion: &Conversion) -> Result<(), Problem> {
        self.looked_at += 1;
        if conversion.program != self.program.record.id || conversion.credits.is_empty() {
            return Ok(());
        }
        self.own_terms(conversion.program_version).await?;
        let terms = match &self.terms {
            Some(terms) => terms,
            None => &self.own[&conversion.program_version],
        };
        self.orders += 1;
        for (place, credit) in conversion.credits.iter().enumerate() {
            let whole = whole_of(
                terms,
                conversion,
                credit,
                conversion.amount,
                &conversion.basket,
            );
            let (alone, refused) = match whole {
                Ok(earned) => (earned.amount, None),
                Err(no) => (Money::zero(conversion.currency), Some(code(&no))),
            };
            let after = conversion.part(place, alone);
            self.before += i128::from(credit.commission.minor());
            self.after += i128::from(after.minor());
            if after == credit.commission {
                continue;
            }
            let mut changed = json!({
                "conversion": conversion.key.conversion_id(),
                "order_id": conversion.key.order_id,
                "goal": conversion.key.goal,
                "affiliate": credit.affiliate.as_str(),
                "before": credit.commission.to_string(),
                "after": after.to_string(),
            });
            if let Some(code) = refused {
                changed["code"] = json!(code);
            }
            self.changed.push(changed);
        }
        Ok(())
    }

    fn done(self, next: Option<&Cursor>) -> Value {
        let currency = self.program.record.currency;
        let money = |minor: i128| {
            i64::try_from(minor)
                .ok()
                .map(|minor| Money::new(minor, currency).to_string())
        };
        json!({
            "conversions": self.orders,
            "changed": self.changed.len(),
            "currency": currency.code(),
            "before": money(self.before),
            "after": money(self.after),
            "difference": money(self.after - self.before),
            "items": self.changed,
            "next": next.map(ToString::to_string),
        })
    }
}

fn code(no: &NoCommission) -> &'static str {
    match no {
        NoCommission::NoRule | NoCommission::Unknown(_) => "no_rule",
        NoCommission::AmountRequired => "amount_required",
        NoCommission::TooLarge => "amount_too_large",
        NoCommission::CustomerRequired => "customer_id_required",
    }
}
