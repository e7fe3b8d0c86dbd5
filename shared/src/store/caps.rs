//! What orders have taken of budgets.
//!
//! A whole program's budget stands in several lanes, each with its share, so that orders do not all
//! meet in one item. What a lane has taken may be below zero: then others have handed a part of
//! their shares over to it. All lanes together never take more than the whole.

use aws_sdk_dynamodb::types::{Get, TransactGetItem};

use super::schema::escaped;
use super::transaction::{Outcome, Write, number, pause};
use super::{Damaged, Key, Row, Store, StoreError};
use crate::ids::ProgramId;
use crate::ledger::{SHARDS, lane_of};
use crate::setup::{CapPer, CapUse};

/// Few where partitions are few.
const LANES: u8 = if SHARDS < 8 { 2 } else { 8 };
/// How often room is looked for while others take it.
const RACES_MOST: u32 = 8;

/// A budget's lane, as an order meets it.
#[derive(Debug, Clone, Copy)]
struct Lane {
    number: u8,
    of: u8,
}

impl Lane {
    fn of(used: &CapUse, order: &str) -> Self {
        let of = match used.cap.per {
            CapPer::Program => LANES,
            CapPer::Affiliate | CapPer::Customer => 1,
        };
        Self {
            number: lane_of(order, of),
            of,
        }
    }

    fn all(self) -> impl Iterator<Item = Self> {
        (0..self.of).map(move |number| Self { number, ..self })
    }

    /// Its part of a whole; the parts add up.
    fn share(self, whole: i64) -> i64 {
        let up_to = |lanes: u8| i128::from(whole) * i128::from(lanes) / i128::from(self.of);
        i64::try_from(up_to(self.number + 1) - up_to(self.number)).expect("a part is no larger")
    }
}

/// What a lane has taken, or has room for: orders and minor units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Amounts {
    count: i64,
    used: i64,
}

fn key(program: &ProgramId, used: &CapUse, lane: Lane) -> Key {
    let (program, cap) = (escaped(program.as_str()), escaped(used.cap.id.as_str()));
    // The first lane stands where all of a budget stood before there were lanes.
    let lane = match lane.number {
        0 => String::new(),
        number => number.to_string(),
    };
    Key::new(
        format!("Q#{program}#{cap}#{}", escaped(&used.whose)),
        format!("{}#{lane}", used.period),
    )
}

fn read(row: &Row) -> Result<Amounts, Damaged> {
    Ok(Amounts {
        count: row.get_number("count")?,
        used: row.get_number("used")?,
    })
}

/// What a lane has of a budget; where that has no bound, more than anybody takes.
fn share(used: &CapUse, lane: Lane) -> Amounts {
    let whole = whole(used);
    Amounts {
        count: lane.share(whole.count),
        used: lane.share(whole.used),
    }
}

/// What a budget is in all. Without a bound it is as much as sums of a few shares can hold.
fn whole(used: &CapUse) -> Amounts {
    let unbounded = i64::MAX / 4;
    Amounts {
        count: used.cap.count.map_or(unbounded, i64::from),
        used: used.cap.amount.map_or(unbounded, |amount| amount.minor()),
    }
}

impl Store {
    /// The member of a transaction that removes what was taken of a customer's or affiliate's budget,
    /// which has one lane.
    pub(super) fn untaken(&self, program: &ProgramId, used: &CapUse) -> Write {
        Write::Remove {
            table: self.core(),
            key: key(program, used, Lane::of(used, "")),
            only: None,
        }
    }

    /// The member of a conversion's transaction that takes its part of a budget, if its lane has as
    /// much left; none where the part alone is more than the whole.
    pub(super) fn taken(&self, program: &ProgramId, used: &CapUse, order: &str) -> Option<Write> {
        let lane = Lane::of(used, order);
        let (whole, share) = (whole(used), share(used, lane));
        let amount = used.amount.minor();
        if whole.count < 1 || whole.used < amount {
            return None;
        }
        // What is not there yet has taken nothing.
        let fits = |name: &str, value: &str, room: i64| match room {
            0.. => format!("(attribute_not_exists({name}) OR {name} <= {value})"),
            _ => format!("{name} <= {value}"),
        };
        let (count_room, room) = (share.count - 1, share.used - amount);
        let condition = [
            fits("#count", ":count_room", count_room),
            fits("used", ":room", room),
        ];
        Some(Write::Change {
            table: self.core(),
            key: key(program, used, lane),
            set: "ADD #count :one, used :amount".to_owned(),
            condition: condition.join(" AND "),
            values: vec![
                (":one".into(), number(1)),
                (":amount".into(), number(amount)),
                (":count_room".into(), number(count_room)),
                (":room".into(), number(room)),
            ],
        })
    }

    /// Has other lanes hand over to an order's lane what it lacks. False: all of them together have
    /// not as much left.
    ///
    /// # Errors
    /// [`StoreError`]
    pub(super) async fn make_room(
        &self,
        program: &ProgramId,
        used: &CapUse,
        order: &str,
    ) -> Result<bool, StoreError> {
        let own = Lane::of(used, order);
        for attempt in 0..RACES_MOST {
            if attempt > 0 {
                pause(attempt).await;
            }
            let lanes = match self.lanes(program, used, own).await {
                // Whoever takes from a lane just now stands in the way of reading it.
                Err(StoreError::Unavailable(_)) if attempt + 1 < RACES_MOST => continue,
                lanes => lanes?,
            };
            let spare = |(lane, taken): &(Lane, Option<Amounts>)| {
                let (share, taken) = (share(used, *lane), taken.unwrap_or(Amounts::NONE));
                Amounts {
                    count: share.count - taken.count,
                    used: share.used - taken.used,
                }
            };
            let left = lanes.iter().map(spare).fold(Amounts::NONE, Amounts::plus);
            if left.count < 1 || left.used < used.amount.minor() {
                return Ok(false);
            }
            let own_spare = spare(&lanes[usize::from(own.number)]);
            let mut lacking = Amounts {
                count: (1 - own_spare.count).max(0),
                used: (used.amount.minor() - own_spare.used).max(0),
            };
            if lacking == Amounts::NONE {
                return Ok(true);
            }
            let mut moved = Amounts::NONE;
            let mut writes = Vec::new();
            let mut others: Vec<_> = lanes
                .iter()
                .filter(|(lane, _)| lane.number != own.number)
                .collect();
            others.sort_by_key(|other| std::cmp::Reverse((spare(other).used, spare(other).count)));
            for other in others {
                let part = Amounts {
                    count: handed_over(lacking.count, spare(other).count),
                    used: handed_over(lacking.used, spare(other).used),
                };
                if part == Amounts::NONE {
                    continue;
                }
                lacking.count = (lacking.count - part.count).max(0);
                lacking.used = (lacking.used - part.used).max(0);
                moved = moved.plus(part);
                writes.push(self.handed(program, used, other, part));
            }
            let minus = Amounts {
                count: -moved.count,
                used: -moved.used,
            };
            writes.push(self.handed(program, used, &lanes[usize::from(own.number)], minus));
            if matches!(self.transact(&writes).await?, Outcome::Done) {
                return Ok(true);
            }
        }
        Err(StoreError::Contended)
    }

    /// A lane that stands as if it had taken so much more, if it is as it was seen.
    fn handed(
        &self,
        program: &ProgramId,
        used: &CapUse,
        (lane, seen): &(Lane, Option<Amounts>),
        more: Amounts,
    ) -> Write {
        let next = seen.unwrap_or(Amounts::NONE).plus(more);
        let mut values = vec![
            (":count".into(), number(next.count)),
            (":used".into(), number(next.used)),
        ];
        let condition = match seen {
            None => "attribute_not_exists(pk)".to_owned(),
            Some(seen) => {
                values.push((":seen_count".into(), number(seen.count)));
                values.push((":seen_used".into(), number(seen.used)));
                "#count = :seen_count AND used = :seen_used".to_owned()
            }
        };
        Write::Change {
            table: self.core(),
            key: key(program, used, *lane),
            set: "SET #count = :count, used = :used".to_owned(),
            condition,
            values,
        }
    }

    /// All lanes as they were at one instant: a query could see a part of what is handed over in
    /// two of them, or in neither.
    async fn lanes(
        &self,
        program: &ProgramId,
        used: &CapUse,
        own: Lane,
    ) -> Result<Vec<(Lane, Option<Amounts>)>, StoreError> {
        let gets = own.all().map(|lane| {
            let get = Get::builder()
                .table_name(self.core())
                .set_key(Some(key(program, used, lane).attributes()))
                .build()
                .expect("table and key are set");
            TransactGetItem::builder().get(get).build()
        });
        let answer = self
            .client
            .transact_get_items()
            .set_transact_items(Some(gets.collect()))
            .send()
            .await?;
        let items = answer.responses.unwrap_or_default().into_iter();
        let rows = items.map(|response| response.item.filter(|item| !item.is_empty()).map(Row::of));
        let taken = rows.map(|row| row.as_ref().map(read).transpose());
        own.all()
            .zip(taken)
            .map(|(lane, taken)| Ok((lane, taken?)))
            .collect()
    }
}

impl Amounts {
    const NONE: Self = Self { count: 0, used: 0 };

    fn plus(self, other: Self) -> Self {
        Self {
            count: self.count.saturating_add(other.count),
            used: self.used.saturating_add(other.used),
        }
    }
}

/// What one lane gives: what is lacking, or half of what it has if that is more, so that the next
/// order need not ask again.
fn handed_over(lacking: i64, spare: i64) -> i64 {
    if lacking == 0 {
        return 0;
    }
    lacking.max(spare / 2).min(spare).max(0)
}
