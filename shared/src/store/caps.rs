//! What orders have taken of budgets.
//!
//! A whole program's budget is dealt out to several lanes, so that orders do not all meet in one
//! item: each takes of the room that its lane has, and a lane that lacks room gets some of the others'.
//! What was taken through all lanes and the room they have are together the whole they were dealt. Where
//! a later version of the program brings another whole, or nothing was dealt yet, all of them are dealt
//! anew at one instant: the room of before is gone, whatever lane had it.
//!
//! An order of an older version takes of what was dealt for a newer one, so that two versions whose
//! orders come side by side do not deal in turn. Until then it has the whole of its own terms.

use aws_sdk_dynamodb::types::{AttributeValue, Get, TransactGetItem};

use super::budget_lanes::{Amounts, Deal, Lane, UNUSED, with_room};
use super::schema::escaped;
use super::transaction::{Outcome, Write, number, pause};
use super::{Damaged, Key, Row, Store, StoreError};
use crate::conversion::Conversion;
use crate::ids::ProgramId;
use crate::ledger::{SHARDS, lane_of};
use crate::setup::{CapPer, CapUse};

/// Few where partitions are few.
const LANES: u8 = if SHARDS < 8 { 2 } else { 8 };
/// How often room is looked for while others take it.
const RACES_MOST: u32 = 8;

fn key(program: &ProgramId, used: &CapUse, lane: usize) -> Key {
    let (program, cap) = (escaped(program.as_str()), escaped(used.cap.id.as_str()));
    // The first lane stands where all of a budget stood before there were lanes.
    let lane = match lane {
        0 => String::new(),
        number => number.to_string(),
    };
    Key::new(
        format!("Q#{program}#{cap}#{}", escaped(&used.whose)),
        format!("{}#{lane}", used.period),
    )
}

fn read(row: &Row) -> Result<Lane, Damaged> {
    let amounts = |count: &str, used: &str| -> Result<Amounts, Damaged> {
        Ok(Amounts {
            count: row.get_number(count)?,
            used: row.get_number(used)?,
        })
    };
    let taken = amounts("count", "used")?;
    let Some(version) = row.get_number_if("dealt")? else {
        return Ok(Lane { taken, ..UNUSED });
    };
    let whole = amounts("whole_count", "whole")?;
    Ok(Lane {
        taken,
        room: amounts("room_count", "room")?,
        deal: Some(Deal { version, whole }),
    })
}

/// The lane of an order's conversion; none where a budget has but one.
fn lane_number(conversion: &Conversion, used: &CapUse) -> Option<usize> {
    let order = conversion.key.conversion_id();
    match used.cap.per {
        CapPer::Program => Some(usize::from(lane_of(&order, LANES))),
        CapPer::Affiliate | CapPer::Customer => None,
    }
}

/// How an order takes what it takes, and on what conditions.
struct Asked {
    set: &'static str,
    conditions: Vec<&'static str>,
    values: Vec<(String, AttributeValue)>,
}

impl Asked {
    /// Of a budget's one lane. What is not there yet has taken nothing.
    fn of_whole(order: Amounts, whole: Amounts) -> Self {
        let room = whole.minus(order);
        let mut asked = Self {
            set: "ADD #count :one, used :amount",
            conditions: vec!["(attribute_not_exists(#count) OR #count <= :room_count)"],
            values: numbers([
                (":one", order.count),
                (":amount", order.used),
                (":room_count", room.count),
            ]),
        };
        if order.used != 0 {
            let fits = "(attribute_not_exists(used) OR used <= :room)";
            asked.conditions.push(fits);
            asked.values.extend(numbers([(":room", room.used)]));
        }
        asked
    }

    /// Of a lane's room, if that was dealt for these terms, for others with the same whole, or for newer.
    fn of_room(order: Amounts, deal: Deal) -> Self {
        let mut asked = Self {
            set: "ADD #count :one, used :amount, room_count :less_one, room :less",
            conditions: vec![
                "(dealt >= :version OR (whole_count = :whole_count AND whole = :whole))",
                "room_count >= :one",
            ],
            values: numbers([
                (":one", order.count),
                (":amount", order.used),
                (":less_one", -order.count),
                (":less", -order.used),
                (":version", deal.version),
                (":whole_count", deal.whole.count),
                (":whole", deal.whole.used),
            ]),
        };
        if order.used != 0 {
            asked.conditions.push("room >= :amount");
        }
        asked
    }
}

fn numbers<const N: usize>(named: [(&str, i64); N]) -> Vec<(String, AttributeValue)> {
    named
        .map(|(name, value)| (name.to_owned(), number(value)))
        .into()
}

impl Store {
    /// The member of a transaction that removes what was taken of a customer's or affiliate's budget,
    /// which has one lane.
    pub(super) fn untaken(&self, program: &ProgramId, used: &CapUse) -> Write {
        Write::Remove {
            table: self.core(),
            key: key(program, used, 0),
            only: None,
        }
    }

    /// The member of a conversion's transaction that takes its part of a budget, if its lane has as
    /// much left; none where the part alone is more than the whole.
    pub(super) fn taken(&self, conversion: &Conversion, used: &CapUse) -> Option<Write> {
        let deal = Deal::of(conversion, used);
        let order = Amounts::of(used);
        if !order.fit(deal.whole) {
            return None;
        }
        let lane = lane_number(conversion, used);
        let asks = match lane {
            Some(_) => Asked::of_room(order, deal),
            None => Asked::of_whole(order, deal.whole),
        };
        Some(Write::Change {
            table: self.core(),
            key: key(&conversion.program, used, lane.unwrap_or(0)),
            set: asks.set.to_owned(),
            condition: asks.conditions.join(" AND "),
            values: asks.values,
        })
    }

    /// Deals lanes anew, or has the others hand over to an order's lane what it lacks. False: all of
    /// them together have not as much left.
    ///
    /// # Errors
    /// [`StoreError`]
    pub(super) async fn make_room(
        &self,
        conversion: &Conversion,
        used: &CapUse,
    ) -> Result<bool, StoreError> {
        let Some(own) = lane_number(conversion, used) else {
            // There is no other that might have it.
            return Ok(false);
        };
        let program = &conversion.program;
        for attempt in 0..RACES_MOST {
            if attempt > 0 {
                pause(attempt).await;
            }
            let seen = match self.lanes(program, used).await {
                // Whoever takes from a lane just now stands in the way of reading it.
                Err(StoreError::Unavailable(_)) if attempt + 1 < RACES_MOST => continue,
                seen => seen?,
            };
            let lanes: Vec<Lane> = seen.iter().map(|lane| lane.unwrap_or(UNUSED)).collect();
            let deal = Deal::of(conversion, used).or_newer(&lanes);
            let (next, has_room) = with_room(&lanes, own, Amounts::of(used), deal);
            // The order's own lane comes last.
            let others = (0..lanes.len()).filter(|number| *number != own);
            let changed = others.chain([own]).filter(|at| next[*at] != lanes[*at]);
            let writes: Vec<Write> = changed
                .map(|at| self.laid(key(program, used, at), seen[at], next[at], deal))
                .collect();
            if writes.is_empty() || matches!(self.transact(&writes).await?, Outcome::Done) {
                return Ok(has_room);
            }
        }
        Err(StoreError::Contended)
    }

    /// A lane with other room, if it is as it was seen.
    fn laid(&self, key: Key, seen: Option<Lane>, next: Lane, deal: Deal) -> Write {
        let row = Row::new(&key)
            .number("count", next.taken.count)
            .number("used", next.taken.used)
            .number("room_count", next.room.count)
            .number("room", next.room.used)
            .number("dealt", deal.version)
            .number("whole_count", deal.whole.count)
            .number("whole", deal.whole.used);
        let (condition, values) = match seen {
            None => ("attribute_not_exists(pk)", Vec::new()),
            Some(Lane { taken, room, deal }) => {
                let mut values = numbers([(":count", taken.count), (":used", taken.used)]);
                let condition = match deal {
                    None => "#count = :count AND used = :used AND attribute_not_exists(dealt)",
                    Some(deal) => {
                        values.extend(numbers([
                            (":room_count", room.count),
                            (":room", room.used),
                            (":dealt", deal.version),
                        ]));
                        "#count = :count AND used = :used \
                         AND room_count = :room_count AND room = :room AND dealt = :dealt"
                    }
                };
                (condition, values)
            }
        };
        Write::Replace {
            table: self.core(),
            row,
            condition: condition.to_owned(),
            values,
        }
    }

    /// All lanes as they were at one instant: a query could see a part of what is handed over in
    /// two of them, or in neither.
    async fn lanes(
        &self,
        program: &ProgramId,
        used: &CapUse,
    ) -> Result<Vec<Option<Lane>>, StoreError> {
        let gets = (0..usize::from(LANES)).map(|lane| {
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
        let lanes = rows.map(|row| row.as_ref().map(read).transpose());
        Ok(lanes.collect::<Result<_, _>>()?)
    }
}
