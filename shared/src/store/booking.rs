//! Booking: a guard, the lines, and the buckets they meet, in one transaction.

use std::collections::BTreeMap;
use std::ops::{Bound, RangeBounds};

use jiff::Timestamp;
use jiff::civil::Date;
use serde_json::Value;

use super::schema::escaped;
use super::transaction::{Held, Outcome, Write, number, pause, text};
use super::{Damaged, Key, Row, Store, StoreError};
use crate::ledger::{Kind, Leg, Pocket, Sums};
use crate::money::{Currency, Money};
use crate::period::days_after;

/// How often a booking is built anew because the buckets it met had changed.
const REBUILDS: u32 = 12;
/// How many days on a line may go before the sender is asked to repeat.
pub(super) const DAYS_ON: u32 = 3;
/// Stands between a conversion's id and an amendment's in the source of a line.
pub(super) const AMENDMENT: char = '~';

/// What became of a booking.
#[derive(Debug)]
pub(super) enum Booked {
    /// The day of each leg's bucket.
    Done(Vec<Date>),
    /// A guard did not hold: its place, and what stands there.
    Guarded(usize, Held),
}

pub(super) fn entries_pk(pocket: &Pocket, lane: u8) -> String {
    format!(
        "E#{}#{}#{}#{lane}",
        escaped(pocket.payer.as_str()),
        escaped(pocket.affiliate.as_str()),
        pocket.currency
    )
}

pub(super) fn bucket_pk(day: Date, shard: u8) -> String {
    format!("B#{day}#{shard:02}")
}

pub(super) fn bucket_key(day: Date, pocket: &Pocket, lane: u8) -> Key {
    let sk = format!(
        "{}#{}#{}#{lane:02}",
        escaped(pocket.payer.as_str()),
        escaped(pocket.affiliate.as_str()),
        pocket.currency
    );
    Key::new(bucket_pk(day, pocket.shard()), sk)
}

/// Sorts before every bucket: no id begins with `!`.
pub(super) fn gate_key(day: Date, shard: u8) -> Key {
    Key::new(bucket_pk(day, shard), "!GATE")
}

/// Debit and credit stand in one item, so no line can be out of balance.
pub(super) fn entry_row(leg: &Leg, day: Date) -> Row {
    let key = Key::new(
        entries_pk(&leg.pocket, leg.lane),
        format!("{day}#{}#{}", escaped(&leg.source), leg.number),
    );
    let (debit, credit) = match leg.kind {
        Kind::Earned => ("commission_expense", "affiliate_payable"),
        Kind::Reversed => ("affiliate_payable", "commission_expense"),
        Kind::Adjustment if leg.effect.is_negative() => ("affiliate_payable", "adjustments"),
        Kind::Adjustment => ("adjustments", "affiliate_payable"),
        Kind::Withheld => ("affiliate_payable", "tax_withheld"),
        Kind::Paid => ("affiliate_payable", "payouts"),
        Kind::Returned => ("payouts", "affiliate_payable"),
    };
    Row::new(&key)
        .of_pocket(&leg.pocket)
        .text("kind", leg.kind.as_str())
        .text("debit", debit)
        .text("credit", credit)
        .number("effect", leg.effect.minor())
        .text("day", day.to_string())
        .text("payable_on", leg.payable_on.to_string())
        .text("recorded_at", leg.recorded_at.to_string())
        .text("source", &leg.source)
        .json("because", &leg.because)
}

/// A line as it stands in the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The day of the run that takes it in, or took it in.
    pub day: Date,
    /// The day it becomes payable by its terms.
    pub payable_on: Date,
    pub kind: Kind,
    pub effect: Money,
    pub recorded_at: Timestamp,
    pub source: String,
    pub because: Value,
    /// Its place among the lines of its pocket: rises with the day.
    pub place: String,
}

impl Entry {
    /// Whether it is a conversion's own line, not one that changes it later.
    #[must_use]
    pub fn is_conversion(&self) -> bool {
        is_conversion(self.kind, &self.source)
    }
}

pub(super) fn entry(row: &Row, currency: Currency) -> Result<Entry, Damaged> {
    Ok(Entry {
        day: row.get_day("day")?,
        payable_on: row.get_day("payable_on")?,
        kind: row.parsed("kind", |text| Kind::parse(text).ok_or(()))?,
        effect: Money::new(row.get_number("effect")?, currency),
        recorded_at: row.get_instant("recorded_at")?,
        source: row.get_text("source")?.to_owned(),
        because: row.get_json("because")?,
        place: row.get_text("sk")?.to_owned(),
    })
}

/// What an order earns later, by an amendment, is no conversion of its own.
fn is_conversion(kind: Kind, source: &str) -> bool {
    kind == Kind::Earned && !source.contains(AMENDMENT)
}

pub(super) fn bucket_row(day: Date, pocket: &Pocket, lane: u8, sums: Sums, count: i64) -> Row {
    let row = Row::new(&bucket_key(day, pocket, lane))
        .text("state", "open")
        .of_pocket(pocket)
        .number("lane", i64::from(lane))
        .number("count", count);
    Kind::ALL
        .into_iter()
        .fold(row, |row, kind| row.number(kind.as_str(), sums.get(kind)))
}

/// How a leg is going to meet its bucket.
#[derive(Debug, Clone, Copy)]
struct Aim {
    day: Date,
    moved: u32,
    exists: bool,
}

impl Store {
    /// The lines of a pocket whose day lies between two, both included, lane by lane.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn entries(
        &self,
        pocket: &Pocket,
        lanes: u8,
        days: impl RangeBounds<Date>,
    ) -> Result<Vec<Entry>, StoreError> {
        // `$` comes after `#`, so after all lines of that day.
        let from = match days.start_bound() {
            Bound::Included(day) => day.to_string(),
            Bound::Excluded(day) => format!("{day}$"),
            Bound::Unbounded => "-".to_owned(),
        };
        let to = match days.end_bound() {
            Bound::Included(day) => format!("{day}$"),
            Bound::Excluded(day) => day.to_string(),
            Bound::Unbounded => "~".to_owned(),
        };
        let table = self.ledger();
        let mut entries = Vec::new();
        for lane in 0..lanes {
            let rows = self
                .read_between(&table, &entries_pk(pocket, lane), &from, &to)
                .await?;
            for row in &rows {
                entries.push(entry(row, pocket.currency)?);
            }
        }
        Ok(entries)
    }

    /// Whether a pocket has a line of a day before this one. Of each lane one line is read.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn has_entries_before(
        &self,
        pocket: &Pocket,
        lanes: u8,
        day: Date,
    ) -> Result<bool, StoreError> {
        for lane in 0..lanes {
            let answer = self
                .client
                .query()
                .table_name(self.ledger())
                .key_condition_expression("pk = :pk AND sk < :day")
                .expression_attribute_values(":pk", text(entries_pk(pocket, lane)))
                .expression_attribute_values(":day", text(day.to_string()))
                .consistent_read(true)
                .limit(1)
                .send()
                .await?;
            if !answer.items().is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Books the legs behind the guards, all or nothing. A leg is booked on the day it becomes
    /// payable, or on `today` if that day is over; a bucket that closed meanwhile sends it on to
    /// the next open day.
    ///
    /// `guards` gives the transaction's other members for the days that the legs are going to
    /// be booked on. The first guard that does not hold decides.
    pub(super) async fn book(
        &self,
        guards: impl Fn(&[Date]) -> Vec<Write>,
        legs: &[Leg],
        today: Date,
    ) -> Result<Booked, StoreError> {
        for leg in legs {
            self.note(&leg.pocket).await?;
        }
        let mut aims: Vec<Aim> = legs
            .iter()
            .map(|leg| Aim {
                // A reversal goes into its own leg's bucket, past or not, while that is open.
                day: if leg.kind == Kind::Reversed {
                    leg.payable_on
                } else {
                    leg.payable_on.max(today)
                },
                moved: 0,
                exists: true,
            })
            .collect();

        for attempt in 0..REBUILDS {
            if attempt > 3 {
                pause(attempt - 3).await;
            }
            let days: Vec<Date> = aims.iter().map(|aim| aim.day).collect();
            let mut writes = guards(&days);
            let guard_count = writes.len();
            let mut gates: BTreeMap<Key, usize> = BTreeMap::new();
            let mut places = Vec::with_capacity(legs.len());
            for (leg, aim) in legs.iter().zip(&aims) {
                places.push(self.add_leg(&mut writes, &mut gates, leg, *aim));
            }

            let reasons = match self.transact(&writes).await? {
                Outcome::Done => return Ok(Booked::Done(days)),
                Outcome::Failed(reasons) => reasons,
            };
            let mut reasons: Vec<Option<Held>> = reasons;
            if let Some(place) = reasons.iter().take(guard_count).position(Option::is_some) {
                let held = reasons[place].take().flatten();
                return Ok(Booked::Guarded(place, held));
            }
            for ((leg, aim), (bucket, gate)) in legs.iter().zip(&mut aims).zip(places) {
                let bucket = reasons.get(bucket).and_then(Option::as_ref);
                let gate = gate.and_then(|gate| reasons.get(gate)?.as_ref());
                let is_closed = match bucket {
                    Some(Some(row)) => row.get_text("state")? != "open",
                    Some(None) | None => false,
                };
                if is_closed || gate.is_some() {
                    aim.moved += 1;
                    let next = days_after(aim.day, 1).max(today);
                    aim.day = if leg.kind == Kind::Reversed && aim.day < today {
                        today
                    } else {
                        next
                    };
                    aim.exists = true;
                } else if bucket.is_some() {
                    aim.exists = !aim.exists;
                }
            }
            if aims.iter().any(|aim| aim.moved > DAYS_ON) {
                break;
            }
        }
        Err(StoreError::Contended)
    }

    /// The entry, then the bucket: changed while open, or made under an open gate. The places of
    /// bucket and gate. Several legs may meet one gate, and a transaction asks each item once.
    fn add_leg(
        &self,
        writes: &mut Vec<Write>,
        gates: &mut BTreeMap<Key, usize>,
        leg: &Leg,
        aim: Aim,
    ) -> (usize, Option<usize>) {
        let conversions = i64::from(is_conversion(leg.kind, &leg.source));
        writes.push(Write::Add {
            table: self.ledger(),
            row: entry_row(leg, aim.day),
        });
        let table = self.core();
        let bucket = writes.len();
        if aim.exists {
            writes.push(Write::Change {
                table,
                key: bucket_key(aim.day, &leg.pocket, leg.lane),
                set: format!(
                    "ADD {} :effect, #count :one, conversions :conversions",
                    leg.kind
                ),
                condition: "#state = :open".to_owned(),
                values: vec![
                    (":effect".into(), number(leg.effect.minor())),
                    (":one".into(), number(1)),
                    (":conversions".into(), number(conversions)),
                    (":open".into(), text("open")),
                ],
            });
            return (bucket, None);
        }
        let sums = Sums::of(leg.kind, leg.effect.minor());
        writes.push(Write::Add {
            table,
            row: bucket_row(aim.day, &leg.pocket, leg.lane, sums, 1)
                .number("conversions", conversions),
        });
        let shard = leg.pocket.shard();
        let gate = *gates.entry(gate_key(aim.day, shard)).or_insert_with(|| {
            writes.push(self.gate_is_open(aim.day, shard));
            writes.len() - 1
        });
        (bucket, Some(gate))
    }

    /// No run of the day has begun. All gates of a day close at once, so any of them says it.
    pub(super) fn gate_is_open(&self, day: Date, shard: u8) -> Write {
        Write::Check {
            table: self.core(),
            key: gate_key(day, shard),
            condition: "attribute_not_exists(pk)".to_owned(),
            values: Vec::new(),
        }
    }
}
