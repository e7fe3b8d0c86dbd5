//! An order's one decision: recorded once, with the money and with all that it was judged by.

use jiff::civil::Date;

use super::booking::Booked;
use super::conversion_rows::{affiliate_list, conversion_key, list_order, read, write};
use super::conversions::legs;
use super::counters::Counted;
use super::customers::FirstCredit;
use super::records::{Audit, Versioned};
use super::schema::escaped;
use super::transaction::{Write, number};
use super::{Row, Store, StoreError};
use crate::claim::Claim;
use crate::conversion::{Conversion, Status};
use crate::ledger::Kind;
use crate::period::day_of;
use crate::setup::CapUse;

/// Members of a transaction (Amazon DynamoDB Developer Guide, "Service, account, and table quotas").
pub const TRANSACTION_MOST: usize = 100;

/// What each affiliate takes of an order's transaction: a line, its bucket, a gate, and a place in a
/// list, which of the first one is the order itself.
pub const MEMBERS_OF_EACH: usize = 4;

/// How often a conversion is put: others may change what it meets.
const ATTEMPTS: u32 = 16;

/// What became of a new conversion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recorded {
    Created(Conversion),
    /// The order is known with the same content.
    Before(Conversion),
    /// The order is known with other content.
    Conflict,
    /// What it was judged by has moved in between: another order became the customer's first, or
    /// was counted, or its claim was decided. Judge again.
    Moved,
    /// A budget has no room for it.
    CapReached,
}

/// What is written with a new conversion, under conditions of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Besides {
    /// Makes it its customer's first credit.
    pub first: Option<FirstCredit>,
    /// The claim that it is credited by.
    pub claim: Option<DecidedClaim>,
    pub counted: Vec<Counted>,
    pub caps: Vec<CapUse>,
}

/// A claim, and what becomes of it together with its order: who stops in between leaves neither a credit
/// by a claim that can still be declined, nor the other way round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecidedClaim {
    pub seen: Versioned<Claim>,
    pub decided: Claim,
    pub audit: Audit,
}

/// What a decided claim adds to a transaction.
const MEMBERS_OF_CLAIM: usize = 3;

impl Besides {
    /// How many members its order has behind the order itself, budgets aside.
    fn conditions(&self) -> usize {
        let of_claim = self.claim.as_ref().map_or(0, |_| MEMBERS_OF_CLAIM);
        usize::from(self.first.is_some()) + of_claim + self.counted.len()
    }

    /// Whether all of it has room beside an order of so many affiliates, whatever buckets they have
    /// on the day.
    #[must_use]
    pub fn has_room(&self, affiliates: usize) -> bool {
        let conditions = self.conditions() + self.caps.len();
        conditions + MEMBERS_OF_EACH * affiliates.max(1) <= TRANSACTION_MOST
    }
}

/// What became of one attempt to put a conversion.
enum Put {
    Done(Box<Conversion>),
    /// What stands in its place, if that was told.
    Held(Box<Option<Row>>),
    Moved,
    CapReached,
    /// The lane of this budget, by its place, has not as much left: others may have.
    NoRoom(usize),
}

impl Store {
    /// Records a conversion once and for ever, with its lines if it is approved. An order that
    /// nobody was credited with is credited once by a later claim of the same content.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn record_conversion(
        &self,
        conversion: &Conversion,
        besides: &Besides,
    ) -> Result<Recorded, StoreError> {
        let mut next = conversion.clone();
        let mut seen: Option<i64> = None;
        for _ in 0..ATTEMPTS {
            match self.put_conversion(&next, besides, seen).await? {
                Put::Done(recorded) => return Ok(Recorded::Created(*recorded)),
                Put::Moved => return Ok(Recorded::Moved),
                Put::CapReached => return Ok(Recorded::CapReached),
                Put::NoRoom(place) => {
                    let has_room = self.make_room(conversion, &besides.caps[place]).await?;
                    if !has_room {
                        return Ok(Recorded::CapReached);
                    }
                }
                Put::Held(held) => {
                    let standing = match *held {
                        Some(row) => Some(read(&row)?),
                        None => self.conversion(&conversion.key).await?,
                    };
                    let Some(standing) = standing else {
                        continue;
                    };
                    if standing.fingerprint != conversion.fingerprint {
                        return Ok(Recorded::Conflict);
                    }
                    let may_credit = standing.status == Status::Unattributed
                        && conversion.status != Status::Unattributed;
                    if !may_credit {
                        return Ok(Recorded::Before(standing));
                    }
                    seen = Some(standing.ver);
                    // What was taken back while nobody was credited stays taken back.
                    next.refunded = if standing.is_taken_back() {
                        next.whole()
                    } else {
                        standing.refunded
                    };
                    for (line, seen) in next.basket.iter_mut().zip(&standing.basket) {
                        line.taken = seen.taken;
                    }
                    next.give_back();
                    if next.is_taken_back() && next.status == Status::Approved {
                        next.status = Status::Reversed;
                    }
                }
            }
        }
        Err(StoreError::Contended)
    }

    async fn put_conversion(
        &self,
        conversion: &Conversion,
        besides: &Besides,
        seen: Option<i64>,
    ) -> Result<Put, StoreError> {
        let Besides {
            first,
            claim,
            counted,
            caps,
        } = besides;
        let conditions = besides.conditions();
        let caps: Option<Vec<Write>> = caps
            .iter()
            .map(|used| self.taken(conversion, used))
            .collect();
        let Some(caps) = caps else {
            // Whoever has it already is told so, whatever became of the budget.
            return Ok(match self.conversion(&conversion.key).await? {
                Some(known) if known.status != Status::Unattributed => {
                    Put::Held(Box::new(Some(write(&known))))
                }
                _ => Put::CapReached,
            });
        };
        self.note_waiting(conversion).await?;
        let is_booked = conversion.status == Status::Approved;
        let legs = if is_booked {
            let source = conversion.key.conversion_id();
            legs(
                conversion,
                Kind::Earned,
                &conversion.left(),
                &source,
                conversion.recorded_at,
            )
        } else {
            Vec::new()
        };
        let with_days = |days: &[Date]| {
            let mut booked = conversion.clone();
            booked.ver = seen.unwrap_or(0) + 1;
            for (credit, day) in booked.credits.iter_mut().zip(days) {
                credit.booked_on = Some(*day);
            }
            booked
        };
        let guards = |days: &[Date]| {
            let booked = with_days(days);
            let row = write(&booked);
            let table = self.core();
            let mut guards = vec![match seen {
                None => Write::Add { table, row },
                Some(ver) => Write::Replace {
                    table,
                    row,
                    condition: "ver = :seen".to_owned(),
                    values: vec![(":seen".into(), number(ver))],
                },
            }];
            let first = first.iter();
            guards.extend(first.map(|first| self.first_credit(&booked, first)));
            if let Some(DecidedClaim {
                seen,
                decided,
                audit,
            }) = claim
            {
                let (_, writes) = self.replacing(seen, decided, booked.recorded_at, audit);
                guards.extend(writes);
            }
            let counted = counted.iter();
            guards.extend(counted.map(|counted| self.counted(&booked.program, counted)));
            guards.extend(caps.iter().cloned());
            guards.extend(self.unapproved(None, &booked, booked.recorded_at));
            guards.extend(self.other_lists(&booked));
            guards.extend(self.awaited(&booked));
            guards
        };
        let booked = self
            .book(guards, &legs, day_of(conversion.recorded_at))
            .await?;
        Ok(match booked {
            Booked::Done(days) => Put::Done(Box::new(with_days(&days))),
            Booked::Guarded(0, held) => Put::Held(Box::new(held)),
            Booked::Guarded(place, _) if place <= conditions => Put::Moved,
            Booked::Guarded(place, _) if place <= conditions + caps.len() => {
                Put::NoRoom(place - conditions - 1)
            }
            Booked::Guarded(..) => Put::Held(Box::new(None)),
        })
    }

    /// The conversion itself stands in the list of its first affiliate only: it is pointed at in
    /// those of the others.
    fn other_lists(&self, conversion: &Conversion) -> Vec<Write> {
        let others = conversion.credits.iter().skip(1);
        others
            .map(|credit| {
                let mut key = conversion_key(&conversion.key);
                key.sk.push_str("#A#");
                key.sk.push_str(&escaped(credit.affiliate.as_str()));
                let row = Row::new(&key)
                    .text("points_to", conversion.key.conversion_id())
                    .text("affiliate_pk", affiliate_list(&credit.affiliate))
                    .text("affiliate_sk", list_order(conversion));
                Write::Add {
                    table: self.core(),
                    row,
                }
            })
            .collect()
    }
}
