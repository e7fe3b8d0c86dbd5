//! Which conversions, refusals or reversals somebody wants to see.

use jiff::Timestamp;
use shared::app::{App, unavailable};
use shared::conversion::{Conversion, Status};
use shared::http_types::{Cursor, Fields, Page, Problem, Request};
use shared::ids::{AffiliateId, MerchantId, ProgramId};
use shared::rights::{Action, Caller};
use shared::setup::{Merchant, Program};
use shared::store::{ConversionsOf, ListedReversal, Refused};

/// How many are looked through for one page at most: a rare one is found by going on.
const LOOKED_AT_MOST: usize = 2_000;

/// Whose list is wanted, and what of it.
pub struct Wanted {
    merchants: Vec<MerchantId>,
    affiliate: Option<AffiliateId>,
    /// An affiliate's own list holds the orders of other merchants too: a merchant is not led through
    /// it, nor told a place in it.
    is_for_merchant: bool,
    program: Option<ProgramId>,
    order_id: Option<String>,
    status: Option<Status>,
    /// Of a reversal, as its sender gave it.
    reason: Option<String>,
    /// Excluded.
    to: Option<Timestamp>,
    page: Page,
}

impl Wanted {
    /// By merchant, program or affiliate; for whoever sees all, of all merchants.
    pub async fn read(app: &App, request: &Request, caller: &Caller) -> Result<Self, Problem> {
        caller.may_at_all(Action::ReadConversions)?;
        Self::of_fields(app, request.query_fields()?, caller).await
    }

    /// Of reversals, by their reason too.
    pub async fn of_reversals(
        app: &App,
        request: &Request,
        caller: &Caller,
    ) -> Result<Self, Problem> {
        caller.may_at_all(Action::ReadConversions)?;
        let mut fields = request.query_fields()?;
        let reason = fields.text("reason")?;
        let wanted = Self::of_fields(app, fields, caller).await?;
        Ok(Self { reason, ..wanted })
    }

    async fn of_fields(app: &App, mut fields: Fields, caller: &Caller) -> Result<Self, Problem> {
        let (page, to) = Page::take_between(&mut fields)?;
        let merchant = fields.parsed("merchant", "id_invalid", MerchantId::parse)?;
        let affiliate = fields.parsed("affiliate", "id_invalid", AffiliateId::parse)?;
        let program = fields.parsed("program", "id_invalid", ProgramId::parse)?;
        let status = fields.parsed("status", "word_unknown", |text| {
            Status::parse(text).ok_or(())
        })?;
        let order_id = fields.text("order_id")?;
        fields.finish()?;
        let affiliate = caller.affiliate().cloned().or(affiliate);
        let is_for_merchant = caller.merchant().is_some();
        let merchant = caller.merchant().cloned().or(merchant);
        let merchants = match (merchant, &program) {
            (Some(merchant), _) => vec![merchant],
            _ if affiliate.is_some() => Vec::new(),
            (None, Some(program)) => {
                let found = app.store.record::<Program>(program.as_str()).await;
                let found = found.map_err(unavailable)?;
                found
                    .map(|found| found.record.merchant)
                    .into_iter()
                    .collect()
            }
            (None, None) => all_merchants(app).await?,
        };
        Ok(Self {
            merchants,
            affiliate,
            is_for_merchant,
            program,
            order_id,
            status,
            reason: None,
            to,
            page,
        })
    }

    fn lists(&self) -> Vec<ConversionsOf<'_>> {
        match &self.affiliate {
            Some(affiliate) if !self.is_for_merchant => vec![ConversionsOf::Affiliate(affiliate)],
            _ => self.merchants.iter().map(ConversionsOf::Merchant).collect(),
        }
    }

    /// Whether one of these is the affiliate that was asked for.
    fn names<'a>(&self, mut affiliates: impl Iterator<Item = &'a str>) -> bool {
        let asked = self.affiliate.as_ref();
        asked.is_none_or(|asked| affiliates.any(|named| named == asked.as_str()))
    }

    /// Whether it is of a merchant and a program that were asked for.
    fn is_of(&self, merchant: &str, program: &str, order_id: &str) -> bool {
        let mut merchants = self.merchants.iter();
        let is_merchants =
            self.merchants.is_empty() || merchants.any(|own| own.as_str() == merchant);
        let is_programs = self
            .program
            .as_ref()
            .is_none_or(|own| own.as_str() == program);
        let is_orders = self.order_id.as_ref().is_none_or(|own| own == order_id);
        is_merchants && is_programs && is_orders
    }

    pub async fn conversions(
        &self,
        app: &App,
    ) -> Result<(Vec<Conversion>, Option<Cursor>), Problem> {
        let wants = |conversion: &Conversion| {
            let (merchant, program) = (&conversion.key.merchant, &conversion.program);
            let order_id = &conversion.key.order_id;
            let credits = conversion.credits.iter();
            self.is_of(merchant.as_str(), program.as_str(), order_id)
                && self.names(credits.map(|credit| credit.affiliate.as_str()))
                && self
                    .status
                    .is_none_or(|status| status == conversion.stands())
        };
        let mut found = Found::new(self);
        while let Some(page) = found.next_page() {
            let mut parts = Vec::new();
            for list in self.lists() {
                let part = app.store.conversions_listed(&list, &page).await;
                parts.push(part.map_err(unavailable)?);
            }
            found.add(parts, wants);
        }
        Ok(found.done())
    }

    pub async fn reversals(
        &self,
        app: &App,
    ) -> Result<(Vec<ListedReversal>, Option<Cursor>), Problem> {
        let wants = |reversal: &ListedReversal| {
            let (order, program) = (&reversal.order, &reversal.program);
            let parts = reversal.reversed.as_array().into_iter().flatten();
            // In an affiliate's own list stand also those that took nothing back from it.
            let is_affiliates = !self.is_for_merchant
                || self.names(parts.filter_map(|part| part["affiliate"].as_str()));
            is_affiliates
                && self.status.is_none()
                && (self.reason.is_none() || self.reason == reversal.reason)
                && self.is_of(order.merchant.as_str(), program.as_str(), &order.order_id)
        };
        let mut found = Found::new(self);
        while let Some(page) = found.next_page() {
            let mut parts = Vec::new();
            for list in self.lists() {
                let part = app.store.reversals_listed(&list, &page).await;
                parts.push(part.map_err(unavailable)?);
            }
            found.add(parts, wants);
        }
        Ok(found.done())
    }

    pub async fn refusals(&self, app: &App) -> Result<(Vec<Refused>, Option<Cursor>), Problem> {
        let wants = |refused: &Refused| {
            // What was refused before its program was known is of no program.
            self.status.is_none()
                && self.is_of(&refused.merchant, &refused.program, &refused.order_id)
                && self.names(refused.affiliate.as_deref().into_iter())
        };
        let mut found = Found::new(self);
        while let Some(page) = found.next_page() {
            let mut parts = Vec::new();
            for list in self.lists() {
                let part = app.store.refusals_listed(&list, &page).await;
                parts.push(part.map_err(unavailable)?);
            }
            found.add(parts, wants);
        }
        Ok(found.done())
    }
}

/// A part of one list, each item with its place, and where the list goes on.
type Part<T> = (Vec<(String, T)>, Option<Cursor>);

/// What was found so far of several lists in one order.
struct Found<'a, T> {
    wanted: &'a Wanted,
    items: Vec<T>,
    /// Where to go on; none: at the lists' ends.
    after: Option<Option<Cursor>>,
    looked_at: usize,
}

impl<'a, T> Found<'a, T> {
    fn new(wanted: &'a Wanted) -> Self {
        Self {
            wanted,
            items: Vec::new(),
            after: Some(wanted.page.after.clone()),
            looked_at: 0,
        }
    }

    fn next_page(&self) -> Option<Page> {
        let is_full =
            self.items.len() == self.wanted.page.limit || LOOKED_AT_MOST <= self.looked_at;
        let after = self.after.clone().filter(|_| !is_full)?;
        Some(Page {
            limit: self.wanted.page.limit,
            after,
        })
    }

    /// Adds the next part of each list, as far as all of them reach.
    fn add(&mut self, parts: Vec<Part<T>>, wants: impl Fn(&T) -> bool) {
        let reach = parts
            .iter()
            .filter_map(|(_, next)| next.clone())
            .min_by(|one, other| one.key().cmp(other.key()));
        let mut all: Vec<(String, T)> = parts.into_iter().flat_map(|(items, _)| items).collect();
        all.sort_by(|one, other| one.0.cmp(&other.0));
        let end = self
            .wanted
            .to
            .map(|to| format!("{:013}", to.as_millisecond().max(0)));
        self.after = reach.clone().map(Some);
        let mut last = None;
        for (place, item) in all {
            let is_beyond = reach
                .as_ref()
                .is_some_and(|reach| reach.key() < place.as_str());
            if is_beyond {
                break;
            }
            if end.as_ref().is_some_and(|end| *end <= place) {
                self.after = None;
                break;
            }
            if self.items.len() == self.wanted.page.limit {
                self.after = Some(last.map(Cursor::after));
                return;
            }
            self.looked_at += 1;
            if wants(&item) {
                self.items.push(item);
            }
            last = Some(place);
        }
    }

    fn done(self) -> (Vec<T>, Option<Cursor>) {
        (self.items, self.after.flatten())
    }
}

async fn all_merchants(app: &App) -> Result<Vec<MerchantId>, Problem> {
    let found = app.store.all_records::<Merchant>(None).await;
    let found = found.map_err(unavailable)?.into_iter();
    Ok(found.map(|found| found.record.id).collect())
}
