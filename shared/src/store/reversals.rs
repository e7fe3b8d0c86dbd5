//! Reversals: what was taken back of an order, in part or whole, and what waits for its sale.

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan as _};
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::booking::Booked;
use super::conversion_rows::{partition, read};
use super::conversions::{ConversionsOf, legs};
use super::lines::booked;
use super::records::Index;
use super::schema::{EXPIRES_AT, escaped};
use super::transaction::{Outcome, Write, number, text};
use super::{Damaged, Key, Row, Store, StoreError};
use crate::conversion::{BasketLine, Conversion, OrderKey, Status, digest};
use crate::http_types::{Cursor, Page};
use crate::ids::{AffiliateId, ProgramId};
use crate::ledger::Kind;
use crate::money::{Currency, Money};
use crate::period::day_of;

/// The name of a reversal of all that is left, which bears no name of the sender's: no sender's
/// own begins with a blank.
pub const WHOLE_REST: &str = " rest";

/// How long a reversal waits for its sale.
const WAITS_DAYS: i64 = 30;

/// Something taken back, as the sender named it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reversal {
    pub id: String,
    /// Over what was asked, so that the same again is known.
    pub fingerprint: String,
    /// Of the order's value, in minor units; see [`Conversion::whole`].
    pub amount: i64,
    /// The order's lines as they are then.
    pub basket: Vec<BasketLine>,
    pub reason: Option<String>,
}

/// A reversal of an order that nobody told us of yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// None: of the order's only goal; `*`: of every goal.
    pub goal: Option<String>,
    /// The sender's name for it; none takes back the whole rest.
    pub id: Option<String>,
    /// As it came: which currency it is in is not known yet.
    pub amount: Option<String>,
    pub currency: Option<Currency>,
    /// By sku, as they came.
    pub items: Vec<(String, String)>,
    pub reason: Option<String>,
    /// The one that is meant, where an order id alone does not say which.
    pub program: Option<ProgramId>,
    /// The programs that its sender may take back of; empty: every one of the merchant's.
    pub programs: Vec<ProgramId>,
}

/// What became of a reversal whose sale is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waits {
    /// It is kept, or was before.
    Kept,
    /// Another of the same name waits already, with other content.
    Conflict,
}

impl Waiting {
    /// Whether both take back the same, however their amounts are spelled.
    fn has_content_of(&self, other: &Self) -> bool {
        let value = |text: &String| {
            let value = text.parse::<Decimal>().map(|value| value.normalize());
            value.map_or_else(|_| text.clone(), |value| value.to_string())
        };
        let items = |of: &Self| -> Vec<(String, String)> {
            let each = of.items.iter();
            each.map(|(sku, amount)| (sku.clone(), value(amount)))
                .collect()
        };
        self.amount.as_ref().map(value) == other.amount.as_ref().map(value)
            && self
                .currency
                .zip(other.currency)
                .is_none_or(|(one, another)| one == another)
            && items(self) == items(other)
    }

    /// Whether it is meant for this program, and may take back of it.
    #[must_use]
    pub fn is_of(&self, program: &ProgramId) -> bool {
        let may = self.programs.is_empty() || self.programs.contains(program);
        may && self.program.as_ref().is_none_or(|own| own == program)
    }
}

/// Something that was taken back, as a list has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedReversal {
    pub order: OrderKey,
    pub program: ProgramId,
    /// The sender's name for it; none: it took the whole rest.
    pub id: Option<String>,
    pub reason: Option<String>,
    /// Of the order's value; none where it has none.
    pub amount: Option<Money>,
    pub currency: Currency,
    /// What its sender was told: of each affiliate the commission that it took back.
    pub reversed: Value,
    pub recorded_at: Timestamp,
}

/// What became of a reversal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reversed {
    /// The answer's body.
    Created(Value),
    Before(Value),
    Conflict,
    /// The conversion changed in between: judge again.
    Raced,
}

fn key(order: &OrderKey, id: &str) -> Key {
    Key::new(
        partition(order),
        format!("{}#R#{}", escaped(&order.goal), escaped(id)),
    )
}

/// Apart from the reversals, which are read all together.
fn pointer_key(order: &OrderKey, id: &str, affiliate: &AffiliateId) -> Key {
    let (goal, id) = (escaped(&order.goal), escaped(id));
    let affiliate = escaped(affiliate.as_str());
    Key::new(partition(order), format!("{goal}#P#{id}#{affiliate}"))
}

/// Sorts before every conversion of the order.
fn waiting_key(order: &OrderKey, waiting: &Waiting) -> Key {
    let goal = waiting.goal.as_deref().unwrap_or("");
    let id = waiting.id.as_deref().unwrap_or("");
    let mut sk = format!("#W#{}#{}", escaped(goal), escaped(id));
    if let Some(program) = &waiting.program {
        sk.push('#');
        sk.push_str(&escaped(program.as_str()));
    }
    // What one credential may not take back, another one may. No program's id begins so.
    if !waiting.programs.is_empty() {
        let programs: Vec<&str> = waiting.programs.iter().map(ProgramId::as_str).collect();
        sk.push_str("#~");
        sk.push_str(&digest(&json!(programs).to_string())[..16]);
    }
    Key::new(partition(order), sk)
}

fn read_waiting(row: &Row) -> Result<Waiting, Damaged> {
    let text = |name: &str| row.get_text_if(name).map(str::to_owned);
    Ok(Waiting {
        goal: text("goal"),
        id: text("reversal_id"),
        amount: text("amount"),
        currency: row.parsed_if("currency", Currency::parse)?,
        items: row.parsed("items", |text| serde_json::from_str(text))?,
        reason: text("reason"),
        program: row.parsed_if("program", ProgramId::parse)?,
        programs: row.parsed("programs", |text| {
            let ids: Vec<String> = serde_json::from_str(text).map_err(drop)?;
            let ids = ids.iter().map(|id| ProgramId::parse(id).map_err(drop));
            ids.collect::<Result<_, ()>>()
        })?,
    })
}

impl Store {
    /// Takes a part of a conversion back: `seen` is what it was judged by.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn record_reversal(
        &self,
        seen: &Conversion,
        reversal: &Reversal,
        now: Timestamp,
    ) -> Result<Reversed, StoreError> {
        let mut next = seen.clone();
        next.refunded += reversal.amount;
        next.ver += 1;
        if next.is_taken_back() && seen.status == Status::Approved {
            next.status = Status::Reversed;
        }
        next.basket.clone_from(&reversal.basket);
        next.give_back();
        let pairs = next.credits.iter().zip(&seen.credits);
        let taken: Vec<Money> = pairs
            .map(|(after, before)| {
                before
                    .given_back
                    .checked_sub(after.given_back)
                    .expect("both are parts of one commission")
            })
            .collect();
        let counts = matches!(seen.status, Status::Approved | Status::Pending);
        let reversed: Vec<Value> = next
            .credits
            .iter()
            .zip(&taken)
            .filter(|_| counts)
            .map(|(credit, taken)| {
                json!({
                    "affiliate": credit.affiliate.as_str(),
                    "amount": taken.checked_neg().expect("a part is within the range").to_string(),
                    "currency": taken.currency().code(),
                })
            })
            .collect();
        let answer = json!({
            "reversed": reversed,
            "remaining": next.remaining().map(|amount| amount.to_string()),
        });

        // An order that is worth nothing is taken back as one of one, and lists tell of money.
        let value = match (next.reversed(), seen.reversed()) {
            (Some(after), Some(before)) => after.checked_sub(before),
            _ => None,
        };
        let place = place(&seen.key, reversal, now);
        let row = Row::new(&key(&seen.key, &reversal.id))
            .text("conversion", seen.key.conversion_id())
            .text("program", seen.program.as_str())
            .text("currency", seen.currency.code())
            .number("has_amount", i64::from(value.is_some()))
            .text("owner_pk", list_of(seen.key.merchant.as_str()))
            .text("owner_sk", &place)
            .text("id", &reversal.id)
            .text("fingerprint", &reversal.fingerprint)
            .number("amount", value.map_or(0, Money::minor))
            .text_if("reason", reversal.reason.clone())
            .text("recorded_at", now.to_string())
            .json("answer", &answer);
        let mut affiliates = seen.credits.iter().map(|credit| &credit.affiliate);
        let row = match affiliates.next() {
            Some(first) => row
                .text("affiliate_pk", list_of(first.as_str()))
                .text("affiliate_sk", &place),
            None => row,
        };
        // It stands in the list of the first affiliate only, and is pointed at in the others'.
        let pointers: Vec<Row> = affiliates
            .map(|affiliate| {
                Row::new(&pointer_key(&seen.key, &reversal.id, affiliate))
                    .text("conversion", seen.key.conversion_id())
                    .text("points_to", &reversal.id)
                    .text("affiliate_pk", list_of(affiliate.as_str()))
                    .text("affiliate_sk", &place)
            })
            .collect();
        let legs = if seen.status == Status::Approved {
            let source = format!("{}!{}", seen.key.conversion_id(), reversal.id);
            legs(seen, Kind::Reversed, &taken, &source, now)
        } else {
            Vec::new()
        };
        let guards = |days: &[Date]| {
            let mut guards = vec![Write::Add {
                table: self.core(),
                row: row.clone().json("lines", &booked(&legs, days)),
            }];
            guards.extend(self.changed(seen, &next, now));
            guards.extend(pointers.iter().map(|row| Write::Add {
                table: self.core(),
                row: row.clone(),
            }));
            guards
        };
        match self.book(guards, &legs, day_of(now)).await? {
            Booked::Done(_) => Ok(Reversed::Created(answer)),
            Booked::Guarded(0, Some(standing)) => {
                Ok(known_reversal(&standing, &reversal.fingerprint)?)
            }
            Booked::Guarded(..) => Ok(Reversed::Raced),
        }
    }

    /// What is known of a reversal of that id.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn reversal(
        &self,
        order: &OrderKey,
        id: &str,
        fingerprint: &str,
    ) -> Result<Option<Reversed>, StoreError> {
        match self.read(&key(order, id)).await? {
            Some(row) => Ok(Some(known_reversal(&row, fingerprint)?)),
            None => Ok(None),
        }
    }

    /// Part of what was taken back of a merchant's or an affiliate's orders, oldest first, each with
    /// its place. A view.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn reversals_listed(
        &self,
        list: &ConversionsOf<'_>,
        page: &Page,
    ) -> Result<(Vec<(String, ListedReversal)>, Option<Cursor>), StoreError> {
        let (index, owner, sort_key) = match list {
            ConversionsOf::Merchant(id) => (Index::ByOwner, id.as_str(), "owner_sk"),
            ConversionsOf::Affiliate(id) => (Index::ByAffiliate, id.as_str(), "affiliate_sk"),
        };
        let (rows, next) = self.listed(index, &list_of(owner), page).await?;
        let mut reversals = Vec::with_capacity(rows.len());
        for row in &rows {
            let place = row.get_text(sort_key)?.to_owned();
            match row.get_text_if("points_to") {
                None => reversals.push((place, read_listed(row)?)),
                Some(id) => {
                    let order = order_of(row)?;
                    let found = self.read(&key(&order, id)).await?;
                    let found = found.as_ref().map(read_listed).transpose()?;
                    reversals.extend(found.map(|found| (place, found)));
                }
            }
        }
        Ok((reversals, next))
    }

    /// Keeps a reversal for 30 days, until its sale arrives. The same again keeps the first; of the same
    /// name there is one.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn let_reversal_wait(
        &self,
        order: &OrderKey,
        waiting: &Waiting,
        now: Timestamp,
    ) -> Result<Waits, StoreError> {
        let until = now.saturating_add((WAITS_DAYS * 24).hours()).unwrap_or(now);
        let row = Row::new(&waiting_key(order, waiting))
            .text_if("goal", waiting.goal.clone())
            .text_if("reversal_id", waiting.id.clone())
            .text_if("amount", waiting.amount.clone())
            .text_if("currency", waiting.currency.map(Currency::code))
            .text_if("reason", waiting.reason.clone())
            .text_if("program", waiting.program.as_ref().map(ProgramId::as_str))
            .json("items", &json!(waiting.items))
            .json(
                "programs",
                &waiting.programs.iter().map(ProgramId::as_str).collect(),
            )
            .text("recorded_at", now.to_string())
            .number(EXPIRES_AT, until.as_second());
        let keep = Write::Replace {
            table: self.core(),
            row,
            condition: "attribute_not_exists(pk) OR expires_at <= :now".to_owned(),
            values: vec![(":now".into(), number(now.as_second()))],
        };
        let kept = self.transact(&[keep]).await?;
        let Outcome::Failed(mut held) = kept else {
            return Ok(Waits::Kept);
        };
        let standing = held.pop().flatten().flatten();
        let standing = standing.as_ref().map(read_waiting).transpose()?;
        // Its own write may have landed with its answer lost.
        let is_same = standing.is_none_or(|standing| standing.has_content_of(waiting));
        Ok(if is_same {
            Waits::Kept
        } else {
            Waits::Conflict
        })
    }

    /// Lets a reversal wait no longer whose sender was told that it has to say more.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn let_reversal_go(
        &self,
        order: &OrderKey,
        waiting: &Waiting,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let expire = Write::Change {
            table: self.core(),
            key: waiting_key(order, waiting),
            set: format!("SET {EXPIRES_AT} = :now"),
            condition: "attribute_exists(pk)".to_owned(),
            values: vec![(":now".into(), number(now.as_second()))],
        };
        self.transact(&[expire]).await?;
        Ok(())
    }

    /// The reversals that waited for this conversion of a program, which claims them: one that names
    /// no goal is of the first goal that arrives, and of no other then.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn claim_waiting(
        &self,
        order: &OrderKey,
        program: &ProgramId,
        now: Timestamp,
    ) -> Result<Vec<Waiting>, StoreError> {
        let table = self.core();
        let rows = self
            .read_between(&table, &partition(order), "#W#", "#W#~")
            .await?;
        let mut claimed = Vec::new();
        for row in &rows {
            let waiting = read_waiting(row)?;
            let is_ours = waiting.is_of(program)
                && match waiting.goal.as_deref() {
                    None | Some("*") => true,
                    Some(goal) => goal == order.goal,
                };
            if !is_ours || row.get_number(EXPIRES_AT)? <= now.as_second() {
                continue;
            }
            let is_claimed = match row.get_text_if("claimed_by") {
                _ if waiting.goal.is_some() => true,
                Some(goal) => goal == order.goal,
                None => self.claim(order, &waiting).await?,
            };
            if is_claimed {
                claimed.push(waiting);
            }
        }
        Ok(claimed)
    }

    /// Claims one that names no goal and that nobody has claimed yet.
    async fn claim(&self, order: &OrderKey, waiting: &Waiting) -> Result<bool, StoreError> {
        if !self.is_meant_for(order, waiting).await? {
            return Ok(false);
        }
        let claim = Write::Change {
            table: self.core(),
            key: waiting_key(order, waiting),
            set: "SET claimed_by = :goal".to_owned(),
            // What was swept meanwhile is not made anew.
            condition: "attribute_exists(pk) AND \
                        (attribute_not_exists(claimed_by) OR claimed_by = :goal)"
                .to_owned(),
            values: vec![(":goal".into(), text(&order.goal))],
        };
        Ok(matches!(self.transact(&[claim]).await?, Outcome::Done))
    }

    /// Whether one that names no goal is meant for this one. Not if another goal arrived before,
    /// though nobody lived to claim it for that one; and not if it was taken of another one without
    /// waiting, whose sender repeated it or whose write came late.
    async fn is_meant_for(&self, order: &OrderKey, waiting: &Waiting) -> Result<bool, StoreError> {
        let rows = self
            .read_between(&self.core(), &partition(order), "-", "~")
            .await?;
        let own = escaped(&order.goal);
        let name = escaped(waiting.id.as_deref().unwrap_or(WHOLE_REST));
        let name = format!("#R#{name}");
        let mut first: Option<(Timestamp, String)> = None;
        for row in &rows {
            let sk = row.get_text("sk")?;
            if !sk.contains('#') {
                let arrived = read(row)?;
                if waiting.is_of(&arrived.program) {
                    let arrived = (arrived.recorded_at, arrived.key.goal);
                    first = first.into_iter().chain([arrived]).min();
                }
                continue;
            }
            let taken_of = sk.strip_suffix(&name);
            if taken_of.is_some_and(|goal| !goal.contains('#') && goal != own) {
                return Ok(false);
            }
        }
        Ok(first.is_none_or(|(_, goal)| goal == order.goal))
    }
}

fn list_of(owner: &str) -> String {
    format!("L#reversal#{}", escaped(owner))
}

/// Its place in lists: by when it was recorded.
fn place(order: &OrderKey, reversal: &Reversal, now: Timestamp) -> String {
    let name = digest(&json!([order.conversion_id(), reversal.id]).to_string());
    format!("{:013}#{name}", now.as_millisecond())
}

fn order_of(row: &Row) -> Result<OrderKey, Damaged> {
    let order = OrderKey::of_conversion_id(row.get_text("conversion")?);
    order.ok_or_else(|| row.damaged("conversion"))
}

fn read_listed(row: &Row) -> Result<ListedReversal, Damaged> {
    let currency = row.parsed("currency", Currency::parse)?;
    let has_amount = row.get_number("has_amount")? == 1;
    let amount = Money::new(row.get_number("amount")?, currency);
    let id = row.get_text("id")?;
    Ok(ListedReversal {
        order: order_of(row)?,
        program: row.parsed("program", ProgramId::parse)?,
        // No name of a sender's begins with a blank.
        id: (!id.starts_with(' ')).then(|| id.to_owned()),
        reason: row.get_text_if("reason").map(str::to_owned),
        amount: has_amount.then_some(amount),
        currency,
        reversed: row.get_json("answer")?["reversed"].clone(),
        recorded_at: row.get_instant("recorded_at")?,
    })
}

fn known_reversal(row: &Row, fingerprint: &str) -> Result<Reversed, Damaged> {
    if row.get_text("fingerprint")? == fingerprint {
        Ok(Reversed::Before(row.get_json("answer")?))
    } else {
        Ok(Reversed::Conflict)
    }
}
