//! Erasure: a customer or a visitor is forgotten, and every figure stays as it is.

use std::collections::BTreeMap;

use http::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::json;
use shared::app::{App, unavailable};
use shared::click::{Click, Visitor};
use shared::conversion::Conversion;
use shared::customer::CustomerId;
use shared::erasure::Person;
use shared::http_types::{Cursor, Fields, Page, Problem, Request, Response};
use shared::ids::MerchantId;
use shared::rights::{Action, Caller};
use shared::setup::{Cap, CapPer, CapUse, Link, Merchant, Program};
use shared::store::{Audit, ConversionsOf, Versioned};
use shared::visitor::Cookie;

use crate::serve::visible;

/// How many orders and refusals one call looks through; it says where to go on.
const LOOKED_AT_MOST: usize = 1_000;
const PAGE: usize = 200;

/// An order may be recorded by a clock that is behind the click's.
const CLOCKS_DIFFER_MS: i64 = 300_000;

/// How often an order is judged again because it changed meanwhile.
const RACES_MOST: u32 = 8;

/// `POST /api/v1/erasures`: a `merchant`'s `customer_id`; or of a `program` the visitor behind a
/// `click_id` or a cookie (`visitor`). Whether there was such a customer is not told, and the same
/// call again finds nothing more to do: whoever gets no answer repeats it. Orders are found by the
/// visitor's clicks, so a cookie of which none are kept any more leads to none: it is not `known`.
///
/// Orders come first and what leads to them last, so that a call that dies half-way has lost nothing
/// that the next one needs.
pub async fn erase(app: &App, request: &Request, caller: &Caller) -> Result<Response, Problem> {
    caller.may_at_all(Action::EraseData)?;
    request.only(Method::POST, "POST")?;
    let mut fields = Fields::from_json(&request.body)?;
    let from = fields.parsed("cursor", "cursor_invalid", |text| {
        Cursor::parse(text).ok_or(())
    })?;
    if fields.has("program") {
        visitor(app, request, caller, fields, from).await
    } else {
        customer(app, request, caller, fields, from).await
    }
}

async fn customer(
    app: &App,
    request: &Request,
    caller: &Caller,
    mut fields: Fields,
    from: Option<Cursor>,
) -> Result<Response, Problem> {
    let merchant = fields.required("merchant")?;
    let customer = fields.parsed_required("customer_id", "text_invalid", CustomerId::parse)?;
    fields.finish()?;
    let merchant = visible::<Merchant>(app, caller, &merchant, Action::EraseData).await?;
    if from.is_none() {
        let audit = Audit::by(caller, "erase customer", None);
        let kept = app.store.audit_record(&merchant, &audit, request.now).await;
        kept.map_err(unavailable)?;
    }
    let id = merchant.record.id;
    let pseudonym = customer.pseudonym(&id, &app.keys());
    let mut walk = Walk {
        app,
        merchant: &id,
        person: &Person::Customer(pseudonym.clone()),
        since: None,
        terms: BTreeMap::new(),
    };
    let next = walk.on(List::Orders, from).await?;
    if next.is_none() {
        let forgotten = app.store.forget_customer(&id, &pseudonym).await;
        forgotten.map_err(unavailable)?;
    }
    let next = next.map(|next| next.to_string());
    let body = json!({"erased": "customer", "merchant": id.as_str(), "next": next});
    Ok(Response::json(StatusCode::OK, &body))
}

async fn visitor(
    app: &App,
    request: &Request,
    caller: &Caller,
    mut fields: Fields,
    from: Option<Cursor>,
) -> Result<Response, Problem> {
    let program = fields.required("program")?;
    let click_id = fields.text("click_id")?;
    let cookie = fields.parsed("visitor", "visitor_invalid", |text| {
        Cookie::parse(text).ok_or(())
    })?;
    fields.finish()?;
    let program = visible::<Program>(app, caller, &program, Action::EraseData).await?;
    let id = &program.record.id;
    let (visitor, named) = match (click_id, cookie) {
        (Some(text), None) => {
            let click = named_click(app, &program, &text).await?;
            (click.visitor(), Some((click.clicked_at(), click.random())))
        }
        (None, Some(cookie)) => (Visitor::of(&cookie, id, &app.keys()), None),
        (Some(_), Some(_)) => return Err(Problem::invalid("parameter_repeated", "visitor")),
        (None, None) => return Err(Problem::invalid("parameter_missing", "click_id")),
    };
    if from.is_none() {
        let audit = Audit::by(caller, "erase visitor", None);
        let kept = app.store.audit_record(&program, &audit, request.now).await;
        kept.map_err(unavailable)?;
    }
    let visits = app.store.visits_of(id, visitor).await;
    let mut visits = visits.map_err(unavailable)?;
    visits.extend(named);
    let since = visits.iter().map(|(at, _)| *at).min();
    let mut walk = Walk {
        app,
        merchant: &program.record.merchant,
        person: &Person::Visitor(visits.into_iter().map(|(_, name)| name).collect()),
        since,
        terms: BTreeMap::new(),
    };
    // Without a click nothing can have come of one.
    let next = match since {
        Some(_) => walk.on(List::Refusals, from).await?,
        None => None,
    };
    if next.is_none() {
        let forgotten = app.store.forget_visits(id, visitor).await;
        forgotten.map_err(unavailable)?;
    }
    let next = next.map(|next| next.to_string());
    let body = json!({
        "erased": "visitor",
        "program": id.as_str(),
        "known": since.is_some(),
        "next": next,
    });
    Ok(Response::json(StatusCode::OK, &body))
}

/// A click of this program, which its id proves.
async fn named_click(
    app: &App,
    program: &Versioned<Program>,
    text: &str,
) -> Result<Click, Problem> {
    let click = app
        .click(text)
        .await?
        .map_err(|_| Problem::invalid("click_forged", "click_id"))?;
    let link = app.store.record::<Link>(&click.link().to_string()).await;
    let link = link.map_err(unavailable)?;
    if link.is_some_and(|link| link.record.program == program.record.id) {
        Ok(click)
    } else {
        Err(Problem::invalid("click_unknown", "click_id"))
    }
}

/// What a merchant has a list of, in the order in which it is looked through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum List {
    Orders,
    Refusals,
}

impl List {
    /// Begins the cursor of a call that stopped in this list.
    fn mark(self) -> &'static str {
        match self {
            Self::Orders => "o",
            Self::Refusals => "r",
        }
    }

    /// Where a call goes on that stopped there.
    fn of_cursor(cursor: &Cursor) -> Option<(Self, Cursor)> {
        let mut lists = [Self::Orders, Self::Refusals].into_iter();
        lists.find_map(|list| {
            let place = cursor.key().strip_prefix(list.mark())?;
            Some((list, Cursor::after(place)))
        })
    }
}

/// A merchant's orders and refusals, looked through for one person.
struct Walk<'a> {
    app: &'a App,
    merchant: &'a MerchantId,
    person: &'a Person,
    /// Nothing that was recorded earlier can be of that person; none: all of it can.
    since: Option<Timestamp>,
    /// The versions of programs that were read.
    terms: BTreeMap<(String, u64), Program>,
}

impl Walk<'_> {
    /// Goes on through the lists up to `last`; where to go on, if that is not their end.
    async fn on(&mut self, last: List, from: Option<Cursor>) -> Result<Option<Cursor>, Problem> {
        let (mut list, mut after) = match from {
            None => (List::Orders, self.start()),
            Some(cursor) => {
                let (list, after) = List::of_cursor(&cursor)
                    .ok_or_else(|| Problem::invalid("cursor_invalid", "cursor"))?;
                (list, Some(after))
            }
        };
        let mut looked_at = 0;
        loop {
            let page = Page { limit: PAGE, after };
            after = match list {
                List::Orders => self.orders(&page).await?,
                List::Refusals => {
                    let erased = self
                        .app
                        .store
                        .erase_from_refusals(self.merchant, self.person, &page)
                        .await;
                    erased.map_err(unavailable)?
                }
            };
            if after.is_none() {
                if last <= list {
                    return Ok(None);
                }
                (list, after) = (List::Refusals, self.start());
            }
            looked_at += PAGE;
            if let Some(place) = after.as_ref().filter(|_| LOOKED_AT_MOST <= looked_at) {
                return Ok(Some(Cursor::after(format!(
                    "{}{}",
                    list.mark(),
                    place.key()
                ))));
            }
        }
    }

    fn start(&self) -> Option<Cursor> {
        let milliseconds = self.since?.as_millisecond() - CLOCKS_DIFFER_MS;
        Some(Cursor::after(format!("{:013}", milliseconds.max(0))))
    }

    async fn orders(&mut self, page: &Page) -> Result<Option<Cursor>, Problem> {
        let list = ConversionsOf::Merchant(self.merchant);
        let listed = self.app.store.conversions_listed(&list, page).await;
        let (orders, next) = listed.map_err(unavailable)?;
        for (_, order) in orders {
            if self.person.erased_from(&order).is_some() {
                self.erase_from(order).await?;
            }
        }
        Ok(next)
    }

    async fn erase_from(&mut self, listed: Conversion) -> Result<(), Problem> {
        for _ in 0..RACES_MOST {
            // The list may lag.
            let current = self.app.store.conversion(&listed.key).await;
            let Some(seen) = current.map_err(unavailable)? else {
                return Ok(());
            };
            let Some(erased) = self.person.erased_from(&seen) else {
                return Ok(());
            };
            let caps = self.taken_by_its_customer(&seen).await?;
            let store = &self.app.store;
            let done = store.erase_from_conversion(&seen, &erased, &caps).await;
            if done.map_err(unavailable)? {
                return Ok(());
            }
        }
        Err(Problem::unavailable())
    }

    /// What the order took of the budgets that are kept for each customer.
    async fn taken_by_its_customer(&mut self, order: &Conversion) -> Result<Vec<CapUse>, Problem> {
        let Person::Customer(customer) = self.person else {
            return Ok(Vec::new());
        };
        let mut caps = self.terms_of(order).await?.caps.clone();
        caps.retain(|cap| cap.per == CapPer::Customer);
        let taken = Cap::uses(&caps, &order.credits, Some(customer), order.occurred_at);
        Ok(taken.expect("the customer is named"))
    }

    async fn terms_of(&mut self, order: &Conversion) -> Result<&Program, Problem> {
        let key = (order.program.to_string(), order.program_version);
        if !self.terms.contains_key(&key) {
            let found = self.app.store.version::<Program>(&key.0, key.1).await;
            let found = found
                .map_err(unavailable)?
                .ok_or_else(Problem::unavailable)?;
            self.terms.insert(key.clone(), found.record);
        }
        Ok(&self.terms[&key])
    }
}
