//! What an affiliate would earn by an order, on its own terms as they were at the order's time.

use jiff::Timestamp;
use jiff::civil::Date;

use crate::commission::{Buyer, Commission, Customer, Line, NoCommission, Sale, Standings};
use crate::conversion::Credit;
use crate::ledger::lane_of;
use crate::money::Money;
use crate::period::{day_of, days_after};
use crate::setup::{Affiliate, Enrolment, Program};
use crate::store::{Store, StoreError, Versioned};

/// An order, as far as commission goes.
#[derive(Debug, Clone, Copy)]
pub struct Order<'a> {
    pub terms: &'a Program,
    /// In lower case.
    pub goal: &'a str,
    pub is_payable: bool,
    pub order_id: &'a str,
    pub at: Timestamp,
    /// The hold counts from it, where it is given.
    pub service_date: Option<Date>,
    pub amount: Option<Money>,
    pub lines: &'a [Line<'a>],
    pub customer: Option<Customer>,
    pub coupon: Option<&'a str>,
    pub buyer: Buyer,
    /// The customer's pseudonym.
    pub customer_key: Option<&'a str>,
}

/// An affiliate's credit before it is shared with anybody.
#[derive(Debug, Clone)]
pub struct Alone {
    /// With the whole commission; nothing where no rule holds for the affiliate.
    pub credit: Credit,
    /// None where no rule holds.
    pub whole: Option<Commission>,
}

/// Why nothing could be reckoned.
#[derive(Debug, thiserror::Error)]
pub enum NotReckoned {
    #[error(transparent)]
    Refused(NoCommission),
    #[error(transparent)]
    Failed(#[from] StoreError),
}

impl Order<'_> {
    /// What the affiliate earns if nobody else is credited, booked at `now` at the earliest.
    ///
    /// # Errors
    /// [`NotReckoned`]; that no rule holds is none.
    pub async fn earned_by(
        &self,
        store: &Store,
        affiliate: &Versioned<Affiliate>,
        country: Option<String>,
        now: Timestamp,
    ) -> Result<Alone, NotReckoned> {
        let id = &affiliate.record.id;
        let enrolment = Enrolment::key(&self.terms.id, id);
        let enrolment = store.record_at::<Enrolment>(&enrolment, self.at).await?;
        let enrolment = enrolment.map(|enrolment| enrolment.record);
        let group = enrolment
            .as_ref()
            .and_then(|enrolment| enrolment.group.clone())
            .or_else(|| affiliate.record.group.clone());
        let hold = enrolment
            .and_then(|enrolment| enrolment.hold_days)
            .unwrap_or(self.terms.hold_days);

        let mut standings = Standings::default();
        let whole = loop {
            if !self.is_payable {
                break None;
            }
            let sale = Sale {
                at: self.at,
                goal: self.goal,
                affiliate: id,
                group: group.as_deref(),
                customer: self.customer,
                country: country.as_deref(),
                coupon: self.coupon,
                buyer: self.buyer,
                standings: &standings,
                amount: self.amount,
                lines: self.lines,
            };
            match self.terms.commission.commission(&sale, self.terms.rounding) {
                Ok(earned) => break Some(earned),
                Err(NoCommission::NoRule) => break None,
                Err(NoCommission::Unknown(counter)) => {
                    let (program, customer) = (&self.terms.id, self.customer_key);
                    let standing = store.standing(program, id, customer, &counter).await?;
                    standings.0.insert(counter, standing);
                }
                Err(no) => return Err(NotReckoned::Refused(no)),
            }
        };
        let nothing = Money::zero(self.terms.currency);
        let from = self.service_date.unwrap_or_else(|| day_of(self.at));
        let credit = Credit {
            affiliate: id.clone(),
            affiliate_version: affiliate.version,
            group,
            country,
            standings,
            commission: whole.as_ref().map_or(nothing, |whole| whole.amount),
            given_back: nothing,
            lane: lane_of(self.order_id, affiliate.record.lanes),
            payable_on: days_after(from, u32::from(hold)).max(day_of(now)),
            booked_on: None,
        };
        Ok(Alone { credit, whole })
    }
}
