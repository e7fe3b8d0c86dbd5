//! What may earn an order: read from the table, and judged one by one.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use shared::app::{App, unavailable};
use shared::attribution::{Candidate, Kind, LeftOut, Model, SLACK_MS, out_of_time};
use shared::click::{Click, Visitor};
use shared::commission::Buyer;
use shared::conversion::{OrderKey, Status};
use shared::http_types::Problem;
use shared::ids::AffiliateId;
use shared::setup::{
    Affiliate, AffiliateStatus, Coupon, Enrolment, EnrolmentStatus, Link, Program, ProgramStatus,
    Record, SelfReferral,
};
use shared::store::{FirstCredit, KnownCustomer, Versioned, Visit};
use shared::traffic::Class;

use super::claim::Claim;

/// A click that is ours and this merchant's.
pub struct Named {
    pub click: Click,
    pub link: Link,
}

/// What the sender's customer is to us.
struct Customer {
    pseudonym: String,
    known: Option<KnownCustomer>,
    /// What became of the order behind the first credit.
    first: First,
}

/// What became of the order that a customer was first credited by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum First {
    /// It stands, or time alone will approve it.
    Stands,
    /// A person has to decide about it.
    Waits,
    /// It came to nothing.
    Void,
}

/// All that is known about an order's origin.
pub struct Evidence {
    pub candidates: Vec<Candidate>,
    /// What was sent and led to nobody.
    pub ignored: Vec<&'static str>,
    /// Whose own order it seems to be, where the program has such looked at.
    pub own_orders: Vec<AffiliateId>,
    visits: Vec<Visit>,
    customer: Option<Customer>,
    affiliates: BTreeMap<AffiliateId, Versioned<Affiliate>>,
}

/// Whether a record came to be only after an order was made, which it then earns nothing of: a code that
/// was anybody's before would earn a whole backlog.
fn is_too_new<R: Record>(first: &Versioned<R>, order: Timestamp) -> bool {
    let slack = SignedDuration::from_millis(SLACK_MS);
    first.version == 1
        && order
            .saturating_add(slack)
            .is_ok_and(|order| order < first.since)
}

/// The record as it was at an instant.
async fn at<R: Record>(
    app: &App,
    id: &str,
    at: Timestamp,
) -> Result<Option<Versioned<R>>, Problem> {
    app.store.record_at::<R>(id, at).await.map_err(unavailable)
}

impl Evidence {
    /// Of an order that nothing is known of.
    pub fn none() -> Self {
        Self {
            candidates: Vec::new(),
            ignored: Vec::new(),
            own_orders: Vec::new(),
            visits: Vec::new(),
            customer: None,
            affiliates: BTreeMap::new(),
        }
    }

    pub async fn of(
        app: &App,
        claim: &Claim,
        named: Option<&Named>,
        cookie: Option<[u8; 16]>,
        terms: &Program,
        now: Timestamp,
    ) -> Result<Self, Problem> {
        let mut evidence = Self::none();
        if let Some(named) = named {
            evidence
                .candidates
                .push(by_click_id(named, claim.at, terms));
        }
        // Whoever names no click may be the visitor itself, whose browser knows its journey.
        let by_cookie = cookie.map(|cookie| Visitor::of(&cookie, &terms.id, &app.keys()));
        let visitor = named.map(|named| named.click.visitor()).or(by_cookie);
        if let Some(visitor) = visitor {
            evidence
                .add_journey(app, claim, visitor, named, terms, now)
                .await?;
        }
        evidence.add_coupon(app, claim, terms).await?;
        evidence.add_customer(app, claim, terms).await?;
        evidence.judge_own_orders(app, claim, terms).await?;
        Ok(evidence)
    }

    async fn add_journey(
        &mut self,
        app: &App,
        claim: &Claim,
        visitor: Visitor,
        named: Option<&Named>,
        terms: &Program,
        now: Timestamp,
    ) -> Result<(), Problem> {
        let moved = |by: i64| {
            let millis = claim.at.as_millisecond().saturating_add(by);
            Timestamp::from_millisecond(millis).unwrap_or(claim.at)
        };
        let (earns_until, until) = (moved(-soonest_ms(terms)), moved(SLACK_MS));
        let named = named.map(|named| named.click.random());
        let visits = app
            .store
            .journey(
                &terms.id,
                visitor,
                [earns_until, until],
                named.as_deref(),
                now,
            )
            .await;
        self.visits = visits.map_err(unavailable)?;
        // With any model but the last click's, a named click stands for its journey.
        let counts = terms.attribution.priority.contains(&Kind::Journey)
            || named.is_some() && terms.attribution.model != Model::LastClick;
        let is_other = |visit: &&Visit| named.as_ref() != Some(&visit.name);
        for visit in &self.visits {
            // The named click is one of its visitor's; what is known of it by now counts as well.
            let own = self
                .candidates
                .iter_mut()
                .find(|own| own.click.as_ref() == Some(&visit.name));
            if let Some(own) = own.filter(|own| own.class == Class::Human) {
                own.class = visit.class;
            }
        }
        for visit in self.visits.iter().filter(is_other).filter(|_| counts) {
            self.candidates.push(by_visit(visit, claim.at, terms));
        }
        Ok(())
    }

    async fn add_coupon(
        &mut self,
        app: &App,
        claim: &Claim,
        terms: &Program,
    ) -> Result<(), Problem> {
        let Some(code) = &claim.coupon else {
            return Ok(());
        };
        let key = Coupon::key(&terms.id, code);
        let Some(coupon) = at::<Coupon>(app, &key, claim.at).await? else {
            self.ignored.push("coupon");
            return Ok(());
        };
        let is_backlog = is_too_new(&coupon, claim.at);
        let coupon = coupon.record;
        let is_active = self
            .affiliate(app, &coupon.affiliate, claim.at)
            .await?
            .status
            == AffiliateStatus::Active;
        let enrolment = Enrolment::key(&terms.id, &coupon.affiliate);
        let enrolment = at::<Enrolment>(app, &enrolment, claim.at).await?;
        let is_enrolled = enrolment.is_some_and(|enrolment| {
            enrolment.record.status == EnrolmentStatus::Active && !is_too_new(&enrolment, claim.at)
        });
        let out = if is_backlog || !coupon.is_valid_at(claim.at) {
            Some(LeftOut::NotValidThen)
        } else if !terms.is_active_at(claim.at) {
            Some(LeftOut::ProgramPaused)
        } else if !is_active {
            Some(LeftOut::Suspended)
        } else if !is_enrolled {
            Some(LeftOut::NotEnrolled)
        } else {
            None
        };
        self.candidates.push(Candidate {
            kind: Kind::Coupon,
            at: claim.at,
            affiliate: coupon.affiliate,
            link: None,
            click: None,
            class: Class::Human,
            is_view: false,
            weight: 1,
            out,
        });
        Ok(())
    }

    async fn add_customer(
        &mut self,
        app: &App,
        claim: &Claim,
        terms: &Program,
    ) -> Result<(), Problem> {
        let Some(id) = &claim.customer_id else {
            return Ok(());
        };
        let pseudonym = id.pseudonym(&terms.merchant, &app.keys());
        let known = app
            .store
            .customer(&terms.merchant, &pseudonym, &terms.id)
            .await;
        let known = known.map_err(unavailable)?;
        let first = match &known {
            Some(known) => first_order(app, known).await?,
            None => First::Stands,
        };
        match &known {
            None => self.ignored.push("customer_id"),
            Some(known) => {
                for (affiliate, weight) in &known.shares {
                    let status = self.affiliate(app, affiliate, claim.at).await?.status;
                    let enrolment = Enrolment::key(&terms.id, affiliate);
                    let enrolment = at::<Enrolment>(app, &enrolment, claim.at).await?;
                    let is_out = enrolment.is_some_and(|enrolment| enrolment.record.is_over());
                    let out = if first == First::Void {
                        Some(LeftOut::FirstOrderVoid)
                    } else if claim.at < known.at {
                        Some(LeftOut::AfterConversion)
                    } else if terms.status == ProgramStatus::Draft {
                        Some(LeftOut::ProgramPaused)
                    } else if status != AffiliateStatus::Active {
                        Some(LeftOut::Suspended)
                    } else if is_out {
                        Some(LeftOut::NotEnrolled)
                    } else {
                        None
                    };
                    self.candidates.push(Candidate {
                        kind: Kind::Customer,
                        at: known.at,
                        affiliate: affiliate.clone(),
                        link: None,
                        click: None,
                        class: Class::Human,
                        is_view: false,
                        weight: *weight,
                        out,
                    });
                }
            }
        }
        self.customer = Some(Customer {
            pseudonym,
            known,
            first,
        });
        Ok(())
    }

    /// Nobody is paid for an order of their own: the customer's id is compared with the affiliate's
    /// address, plain or as its SHA-256.
    async fn judge_own_orders(
        &mut self,
        app: &App,
        claim: &Claim,
        terms: &Program,
    ) -> Result<(), Problem> {
        let Some(customer) = &claim.customer_id else {
            return Ok(());
        };
        for place in 0..self.candidates.len() {
            let candidate = &self.candidates[place];
            if candidate.out.is_some() {
                continue;
            }
            let id = candidate.affiliate.clone();
            let email = self.affiliate(app, &id, claim.at).await?.email.clone();
            if !is_same_person(customer.as_str(), &email) {
                continue;
            }
            match terms.self_referral {
                SelfReferral::Refuse => self.candidates[place].out = Some(LeftOut::SelfReferral),
                SelfReferral::Review => self.own_orders.push(id),
            }
        }
        Ok(())
    }

    async fn affiliate(
        &mut self,
        app: &App,
        id: &AffiliateId,
        when: Timestamp,
    ) -> Result<&Affiliate, Problem> {
        Ok(&self.party(app, id, when).await?.record)
    }

    /// The affiliate as it was at `when`, read once.
    pub async fn party(
        &mut self,
        app: &App,
        id: &AffiliateId,
        when: Timestamp,
    ) -> Result<&Versioned<Affiliate>, Problem> {
        if !self.affiliates.contains_key(id) {
            let found = at::<Affiliate>(app, id.as_str(), when).await?;
            let found = found.ok_or_else(Problem::unavailable)?;
            self.affiliates.insert(id.clone(), found);
        }
        Ok(&self.affiliates[id])
    }

    /// What was recorded of a candidate's click; none if the record was lost.
    pub fn visit(&self, candidate: &Candidate) -> Option<&Visit> {
        let name = candidate.click.as_deref()?;
        self.visits.iter().find(|visit| visit.name == name)
    }

    /// What reports will ask of the click that decided. A lost record costs these, never the
    /// commission.
    pub fn dimensions(&self, candidate: &Candidate) -> Value {
        let mut facts = json!({"class": candidate.class.as_str(), "link": candidate.link});
        let Some(visit) = self.visit(candidate) else {
            return facts;
        };
        let record = &visit.record;
        facts["tags"] = json!(record.tags);
        facts["country"] = json!(record.country);
        facts["device"] = json!(record.device);
        facts["browser"] = json!(record.browser);
        facts["language"] = json!(record.language);
        facts["landing"] = json!(record.landing);
        facts
    }

    /// The customer's pseudonym, where the sender names one.
    pub fn customer(&self) -> Option<&str> {
        let customer = self.customer.as_ref()?;
        Some(&customer.pseudonym)
    }

    /// Whether a person has still to decide about the order that the customer was first credited by.
    pub fn first_order_waits(&self) -> bool {
        let customer = self.customer.as_ref();
        customer.is_some_and(|customer| customer.first == First::Waits)
    }

    /// Who bought, as rules that end for a customer ask.
    pub fn buyer(&self) -> Buyer {
        match &self.customer {
            None => Buyer::Unnamed,
            Some(customer) => Buyer::Named {
                since: customer
                    .known
                    .as_ref()
                    .filter(|_| customer.first != First::Void)
                    .map(|known| known.at),
            },
        }
    }

    /// What to write of the customer, should these shares be credited: nothing where an earlier
    /// order was.
    pub fn first_credit(&self, shares: &[(AffiliateId, u64)]) -> Option<FirstCredit> {
        let customer = self.customer.as_ref()?;
        let instead_of = match &customer.known {
            Some(_) if customer.first != First::Void => return None,
            Some(known) => Some(known.conversion.clone()),
            None => None,
        };
        Some(FirstCredit {
            customer: customer.pseudonym.clone(),
            shares: shares.to_vec(),
            instead_of,
        })
    }
}

/// The sender's own click. Nothing that a lost record could change speaks for or against it.
fn by_click_id(named: &Named, at: Timestamp, terms: &Program) -> Candidate {
    let click = &named.click;
    let out = if click.is_program_paused() {
        Some(LeftOut::ProgramPaused)
    } else if click.class() == Class::Invalid {
        Some(LeftOut::InvalidTraffic)
    } else {
        out_of_window(true, click.clicked_at(), click.is_view(), at, terms)
    };
    Candidate {
        kind: Kind::ClickId,
        at: click.clicked_at().min(at),
        affiliate: named.link.affiliate.clone(),
        link: Some(named.link.slug.to_string()),
        click: Some(click.random()),
        class: click.class(),
        is_view: click.is_view(),
        weight: 1,
        out,
    }
}

fn by_visit(visit: &Visit, at: Timestamp, terms: &Program) -> Candidate {
    let out = if visit.is_test {
        Some(LeftOut::Test)
    } else if visit.is_program_paused {
        Some(LeftOut::ProgramPaused)
    } else if visit.class == Class::Invalid {
        Some(LeftOut::InvalidTraffic)
    } else {
        out_of_window(false, visit.at, visit.is_view, at, terms)
    };
    Candidate {
        kind: Kind::Journey,
        at: visit.at,
        affiliate: visit.record.affiliate.clone(),
        link: Some(visit.record.slug.clone()),
        click: Some(visit.name.clone()),
        class: visit.class,
        is_view: visit.is_view,
        weight: 1,
        out,
    }
}

fn out_of_window(
    is_named: bool,
    seen_at: Timestamp,
    is_view: bool,
    at: Timestamp,
    terms: &Program,
) -> Option<LeftOut> {
    // Without a window for views none counts, not even one of the same instant.
    let window = if is_view {
        match terms.view_window.milliseconds() {
            0 => -1,
            window => window,
        }
    } else {
        terms.click_window.milliseconds()
    };
    let out = out_of_time(is_named, seen_at, at, window, soonest_ms(terms));
    match out {
        None if terms.status == ProgramStatus::Draft => Some(LeftOut::ProgramPaused),
        out => out,
    }
}

/// How long before an order a click is that may earn it, at least.
fn soonest_ms(terms: &Program) -> i64 {
    i64::from(terms.min_conversion_seconds.unwrap_or(0)) * 1_000
}

async fn first_order(app: &App, known: &KnownCustomer) -> Result<First, Problem> {
    let order = OrderKey::of_conversion_id(&known.conversion).ok_or_else(Problem::unavailable)?;
    let first = app.store.conversion(&order).await.map_err(unavailable)?;
    Ok(match first {
        None => First::Void,
        Some(first) => match first.stands() {
            Status::Rejected | Status::Reversed => First::Void,
            Status::Pending if first.approves_on.is_none() => First::Waits,
            _ => First::Stands,
        },
    })
}

fn is_same_person(customer: &str, email: &str) -> bool {
    let email = email.trim().to_lowercase();
    let customer = customer.trim().to_lowercase();
    if customer == email {
        return true;
    }
    let digest: [u8; 32] = Sha256::digest(email.as_bytes()).into();
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    customer == hex
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_known_plain_and_as_its_sha256() {
        // printf anna@example.com | sha256sum
        let hash = "f7d54c22dda5b1780276601cd005909b70543fc4a6ba72d735b4cb9bbb611f01";
        let email = "Anna@Example.com";
        for same in [" anna@example.COM ", hash, &hash.to_uppercase()] {
            assert!(is_same_person(same, email), "{same}");
        }
        for other in ["bob@example.com", "anna", &hash[1..]] {
            assert!(!is_same_person(other, email), "{other}");
        }
    }
}
