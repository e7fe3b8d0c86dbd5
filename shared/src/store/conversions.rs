//! Conversions, their reversals, refused claims and tests.

use jiff::Timestamp;
use jiff::civil::Date;
use serde_json::{Value, json};

use super::booking::Booked;
use super::counters::Counted;
use super::customers::FirstCredit;
use super::records::{Index, audit_row};
use super::schema::escaped;
use super::transaction::{Outcome, Write, number};
use super::{Audit, Damaged, Key, Row, Store, StoreError};
use crate::commission::{Counter, Standing, Standings};
use crate::conversion::{BasketLine, Conversion, Credit, OrderKey, Status};
use crate::http_types::{Cursor, Page, parse_day, parse_instant};
use crate::ids::{AffiliateId, MerchantId, PayerId, ProgramId, RuleId};
use crate::ledger::{Kind, Leg, Pocket};
use crate::money::{Currency, Money, Rounding};
use crate::period::{Month, day_of};
use crate::setup::CapUse;

/// Whose conversions are listed.
#[derive(Debug, Clone, Copy)]
pub enum ConversionsOf<'a> {
    Merchant(&'a MerchantId),
    Affiliate(&'a AffiliateId),
}

/// What became of a new conversion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recorded {
    Created(Conversion),
    /// The order is known with the same content.
    Before(Conversion),
    /// The order is known with other content.
    Conflict,
    /// What it was judged by has moved in between: another order became the customer's first, or
    /// was counted. Judge again.
    Moved,
    /// A budget has no room for it.
    CapReached,
}

/// What is written with a new conversion, under conditions of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Besides {
    /// Makes it its customer's first credit.
    pub first: Option<FirstCredit>,
    pub counted: Vec<Counted>,
    pub caps: Vec<CapUse>,
}

/// What became of a change of a conversion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moved {
    Done(Box<Conversion>),
    /// Somebody else changed it in between.
    Raced,
}

pub(super) fn partition(key: &OrderKey) -> String {
    let merchant = escaped(key.merchant.as_str());
    match &key.program {
        None => format!("C#{merchant}#{}", escaped(&key.order_id)),
        Some(program) => format!(
            "C#{merchant}#{}:{}",
            escaped(program.as_str()),
            escaped(&key.order_id)
        ),
    }
}

fn conversion_key(key: &OrderKey) -> Key {
    Key::new(partition(key), escaped(&key.goal))
}

/// What became of one attempt to put a conversion.
enum Put {
    Done(Box<Conversion>),
    /// What stands in its place, if that was told.
    Held(Box<Option<Row>>),
    Moved,
    CapReached,
}

fn affiliate_list(affiliate: &AffiliateId) -> String {
    format!("L#conversion#{}", escaped(affiliate.as_str()))
}

/// Its place in lists: by when it was recorded first.
fn list_order(conversion: &Conversion) -> String {
    let recorded_at = conversion.recorded_at.as_millisecond();
    format!("{recorded_at:013}#{}", conversion.key.conversion_id())
}

fn write(conversion: &Conversion) -> Row {
    let credits: Value = conversion.credits.iter().map(credit_json).collect();
    let key = &conversion.key;
    let row = Row::new(&conversion_key(key))
        .text("merchant", key.merchant.as_str())
        .text("order_id", &key.order_id)
        .text("goal", &key.goal)
        .text_if("scope_program", key.program.as_ref().map(ProgramId::as_str))
        .text("payer", conversion.payer.as_str())
        .text("program", conversion.program.as_str())
        .number(
            "program_ver",
            i64::try_from(conversion.program_version).unwrap_or(i64::MAX),
        )
        .text("currency", conversion.currency.code())
        .text("fingerprint", &conversion.fingerprint)
        .text("rounding", conversion.rounding.as_str())
        .text("status", conversion.status.as_str())
        .text("occurred_at", conversion.occurred_at.to_string())
        .text("recorded_at", conversion.recorded_at.to_string())
        .number("refunded", conversion.refunded)
        .number("ver", conversion.ver)
        .json("credits", &credits)
        .json("split", &json!(conversion.split))
        .json("basket", &basket_json(&conversion.basket))
        .json("facts", &conversion.facts)
        .json("why", &conversion.why);
    let row = match conversion.amount {
        Some(amount) => row.number("amount", amount.minor()),
        None => row,
    };
    let row = row.text_if("said", conversion.said.as_ref().map(Value::to_string));
    let order = list_order(conversion);
    let row = row
        .text(
            "owner_pk",
            format!("L#conversion#{}", escaped(key.merchant.as_str())),
        )
        .text("owner_sk", &order);
    match conversion.credits.first() {
        Some(credit) => row
            .text("affiliate_pk", affiliate_list(&credit.affiliate))
            .text("affiliate_sk", order),
        None => row,
    }
}

fn credit_json(credit: &Credit) -> Value {
    json!({
        "affiliate": credit.affiliate.as_str(),
        "affiliate_ver": credit.affiliate_version,
        "group": credit.group,
        "country": credit.country,
        "standings": standings_json(&credit.standings),
        "commission": credit.commission.minor(),
        "given_back": credit.given_back.minor(),
        "lane": credit.lane,
        "payable_on": credit.payable_on.to_string(),
        "booked_on": credit.booked_on.map(|day| day.to_string()),
    })
}

fn standings_json(standings: &Standings) -> Value {
    let standings = standings.0.iter();
    standings
        .map(|(counter, standing)| {
            let (kind, rule, month) = match counter {
                Counter::Tier { rule, month } => {
                    ("tier", rule, month.map(|month| month.to_string()))
                }
                Counter::Customer { rule } => ("customer", rule, None),
            };
            json!([kind, rule.as_str(), month, standing.count, standing.sum])
        })
        .collect()
}

fn read_standings(json: &Value) -> Option<Standings> {
    let mut standings = Standings::default();
    for json in json.as_array()? {
        let rule = RuleId::parse(json[1].as_str()?).ok()?;
        let month = match json[2].as_str() {
            Some(month) => Some(Month::parse(month).ok()?),
            None => None,
        };
        let counter = match json[0].as_str()? {
            "tier" => Counter::Tier { rule, month },
            _ => Counter::Customer { rule },
        };
        let standing = Standing {
            count: json[3].as_i64()?,
            sum: json[4].as_i64()?,
        };
        standings.0.insert(counter, standing);
    }
    Some(standings)
}

fn basket_json(basket: &[BasketLine]) -> Value {
    let lines = basket.iter();
    lines
        .map(|line| {
            json!([
                line.sku,
                line.category,
                line.amount,
                line.taken,
                line.earned
            ])
        })
        .collect()
}

fn read_basket(text: &str) -> Result<Vec<BasketLine>, serde_json::Error> {
    type Line = (String, Option<String>, i64, i64, Vec<i64>);
    let lines: Vec<Line> = serde_json::from_str(text)?;
    let lines = lines.into_iter();
    Ok(lines
        .map(|(sku, category, amount, taken, earned)| BasketLine {
            sku,
            category,
            amount,
            taken,
            earned,
        })
        .collect())
}

fn read_credit(json: &Value, currency: Currency) -> Option<Credit> {
    let text = |name: &str| json[name].as_str();
    Some(Credit {
        affiliate: AffiliateId::parse(text("affiliate")?).ok()?,
        affiliate_version: json["affiliate_ver"].as_u64()?,
        group: text("group").map(str::to_owned),
        country: text("country").map(str::to_owned),
        standings: read_standings(&json["standings"])?,
        commission: Money::new(json["commission"].as_i64()?, currency),
        given_back: Money::new(json["given_back"].as_i64()?, currency),
        lane: u8::try_from(json["lane"].as_u64()?).ok()?,
        payable_on: parse_day(text("payable_on")?)?,
        booked_on: match text("booked_on") {
            Some(day) => Some(parse_day(day)?),
            None => None,
        },
    })
}

pub(super) fn read(row: &Row) -> Result<Conversion, Damaged> {
    let currency = row.parsed("currency", Currency::parse)?;
    let credits = row.parsed("credits", |text| {
        let list: Vec<Value> = serde_json::from_str(text).map_err(drop)?;
        let credits: Option<Vec<Credit>> = list
            .iter()
            .map(|json| read_credit(json, currency))
            .collect();
        credits.ok_or(())
    })?;
    let program = row.parsed_if("scope_program", ProgramId::parse)?;
    Ok(Conversion {
        key: OrderKey {
            merchant: row.parsed("merchant", MerchantId::parse)?,
            program,
            order_id: row.get_text("order_id")?.to_owned(),
            goal: row.get_text("goal")?.to_owned(),
        },
        payer: row.parsed("payer", PayerId::parse)?,
        program: row.parsed("program", ProgramId::parse)?,
        program_version: row.get_number("program_ver")?.unsigned_abs(),
        currency,
        amount: row
            .get_number_if("amount")?
            .map(|minor| Money::new(minor, currency)),
        fingerprint: row.get_text("fingerprint")?.to_owned(),
        rounding: row.parsed("rounding", Rounding::parse)?,
        status: row.parsed("status", |text| Status::parse(text).ok_or(()))?,
        occurred_at: row.parsed("occurred_at", |text| parse_instant(text).ok_or(()))?,
        recorded_at: row.get_instant("recorded_at")?,
        credits,
        split: row.parsed("split", |text| serde_json::from_str(text))?,
        basket: row.parsed("basket", read_basket)?,
        refunded: row.get_number("refunded")?,
        ver: row.get_number("ver")?,
        facts: row.get_json("facts")?,
        why: row.get_json("why")?,
        said: row.parsed_if("said", |text| serde_json::from_str(text))?,
    })
}

/// The line of one credit.
pub(super) fn leg(
    conversion: &Conversion,
    place: usize,
    kind: Kind,
    effect: Money,
    source: &str,
    now: Timestamp,
) -> Leg {
    let credit = &conversion.credits[place];
    Leg {
        pocket: Pocket {
            payer: conversion.payer.clone(),
            affiliate: credit.affiliate.clone(),
            currency: conversion.currency,
        },
        lane: credit.lane,
        kind,
        effect,
        payable_on: match kind {
            Kind::Reversed => credit.booked_on.unwrap_or(credit.payable_on),
            _ => credit.payable_on,
        },
        source: source.to_owned(),
        number: u8::try_from(place).expect("at most 20 affiliates share an order"),
        recorded_at: now,
        because: json!({
            "merchant": conversion.key.merchant.as_str(),
            "program": conversion.program.as_str(),
            "program_version": conversion.program_version,
            "affiliate_version": credit.affiliate_version,
            "group": credit.group,
            "conversion": conversion.key.conversion_id(),
            "order_amount": conversion.amount.map(|amount| amount.to_string()),
        }),
    }
}

/// The lines of all credits.
pub(super) fn legs(
    conversion: &Conversion,
    kind: Kind,
    amounts: &[Money],
    source: &str,
    now: Timestamp,
) -> Vec<Leg> {
    let amounts = amounts.iter().enumerate();
    amounts
        .map(|(place, amount)| leg(conversion, place, kind, *amount, source, now))
        .collect()
}

impl Store {
    /// What a change of a conversion does to what waits for approval.
    fn unapproved(
        &self,
        seen: Option<&Conversion>,
        next: &Conversion,
        now: Timestamp,
    ) -> Vec<Write> {
        let waits = |conversion: &Conversion| conversion.status == Status::Pending;
        let (was, is) = (seen.is_some_and(waits), waits(next));
        if !was && !is {
            return Vec::new();
        }
        let before = seen.filter(|_| was).map(Conversion::left);
        let after = is.then(|| next.left());
        let amount = |list: &Option<Vec<Money>>, place: usize| {
            list.as_ref()
                .and_then(|list| list.get(place))
                .map_or(0, |money| money.minor())
        };
        let credits = next.credits.iter().enumerate();
        credits
            .map(|(place, credit)| {
                let pocket = Pocket {
                    payer: next.payer.clone(),
                    affiliate: credit.affiliate.clone(),
                    currency: next.currency,
                };
                let source = format!("{}!{}", next.key.conversion_id(), next.ver);
                let change = amount(&after, place) - amount(&before, place);
                self.note_unapproved(&pocket, day_of(now), &source, change)
            })
            .collect()
    }

    /// The writes that put `next` in the place of `seen`, if that is still what stands there.
    pub(super) fn changed(
        &self,
        seen: &Conversion,
        next: &Conversion,
        now: Timestamp,
    ) -> Vec<Write> {
        let mut writes = vec![Write::Replace {
            table: self.core(),
            row: write(&Conversion {
                said: Some(seen.answer()),
                ..next.clone()
            }),
            condition: "ver = :seen".to_owned(),
            values: vec![(":seen".into(), number(seen.ver))],
        }];
        writes.extend(self.unapproved(Some(seen), next, now));
        writes
    }

    /// The line of who changed a conversion, and why.
    pub(super) fn audited(
        &self,
        audit: &Audit,
        seen: &Conversion,
        ver: i64,
        now: Timestamp,
    ) -> Write {
        let about = conversion_key(&seen.key);
        let about = Key::new(format!("{}#{}", about.pk, about.sk), "CUR");
        Write::Add {
            table: self.core(),
            row: audit_row(audit, now, &about, ver.unsigned_abs()),
        }
    }

    /// Writes down who decided about a conversion, and why, where the decision itself is written by
    /// other means.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn audit_conversion(
        &self,
        seen: &Conversion,
        audit: &Audit,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let line = self.audited(audit, seen, seen.ver + 1, now);
        self.transact(&[line]).await.map(drop)
    }

    /// The conversion of an order, as it is now.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn conversion(&self, key: &OrderKey) -> Result<Option<Conversion>, StoreError> {
        let row = self.read(&conversion_key(key)).await?;
        Ok(row.as_ref().map(read).transpose()?)
    }

    /// The conversions of an order, one for each goal that was posted.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn conversions_of(&self, key: &OrderKey) -> Result<Vec<Conversion>, StoreError> {
        let table = self.core();
        let rows = self.read_between(&table, &partition(key), "-", "~").await?;
        let is_conversion = |row: &&Row| row.get_text("sk").is_ok_and(|sk| !sk.contains('#'));
        let conversions = rows.iter().filter(is_conversion).map(read);
        Ok(conversions.collect::<Result<_, _>>()?)
    }

    /// Part of the conversions of a merchant or of an affiliate, oldest first, each with its place,
    /// which says when it was recorded and tells the same order in every list. A view.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn conversions_listed(
        &self,
        list: &ConversionsOf<'_>,
        page: &Page,
    ) -> Result<(Vec<(String, Conversion)>, Option<Cursor>), StoreError> {
        let (index, pk) = match list {
            ConversionsOf::Merchant(id) => (Index::ByOwner, escaped(id.as_str())),
            ConversionsOf::Affiliate(id) => (Index::ByAffiliate, escaped(id.as_str())),
        };
        let (rows, next) = self
            .listed(index, &format!("L#conversion#{pk}"), page)
            .await?;
        let mut conversions = Vec::with_capacity(rows.len());
        for row in &rows {
            let Some(id) = row.get_text_if("points_to") else {
                let conversion = read(row)?;
                conversions.push((list_order(&conversion), conversion));
                continue;
            };
            let order = OrderKey::of_conversion_id(id).ok_or_else(|| row.damaged("points_to"))?;
            let conversion = self.conversion(&order).await?;
            conversions.extend(conversion.map(|conversion| (list_order(&conversion), conversion)));
        }
        Ok((conversions, next))
    }

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
        for _ in 0..3 {
            match self.put_conversion(&next, besides, seen).await? {
                Put::Done(recorded) => return Ok(Recorded::Created(*recorded)),
                Put::Moved => return Ok(Recorded::Moved),
                Put::CapReached => return Ok(Recorded::CapReached),
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
                    next.refunded = standing.refunded;
                    for (line, seen) in next.basket.iter_mut().zip(&standing.basket) {
                        line.taken = seen.taken;
                    }
                    next.give_back();
                    let is_whole = next.refunded == next.whole();
                    if is_whole && next.status == Status::Approved {
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
            counted,
            caps,
        } = besides;
        let conditions = usize::from(first.is_some()) + counted.len();
        let program = &conversion.program;
        let caps: Option<Vec<Write>> = caps.iter().map(|used| self.taken(program, used)).collect();
        let Some(caps) = caps else {
            // Whoever has it already is told so, whatever became of the budget.
            return Ok(match self.conversion(&conversion.key).await? {
                Some(known) if known.status != Status::Unattributed => {
                    Put::Held(Box::new(Some(write(&known))))
                }
                _ => Put::CapReached,
            });
        };
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
            let counted = counted.iter();
            guards.extend(counted.map(|counted| self.counted(&booked.program, counted)));
            guards.extend(caps.iter().cloned());
            guards.extend(self.unapproved(None, &booked, booked.recorded_at));
            guards.extend(self.other_lists(&booked));
            guards
        };
        let booked = self
            .book(guards, &legs, day_of(conversion.recorded_at))
            .await?;
        Ok(match booked {
            Booked::Done(days) => Put::Done(Box::new(with_days(&days))),
            Booked::Guarded(0, held) => Put::Held(Box::new(held)),
            Booked::Guarded(place, _) if place <= conditions => Put::Moved,
            Booked::Guarded(place, _) if place <= conditions + caps.len() => Put::CapReached,
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

    /// Approves or rejects what waits: `next` takes the place of the conversion of `seen.ver`,
    /// and an approved one is booked with what is left of it.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn decide_conversion(
        &self,
        seen: &Conversion,
        status: Status,
        now: Timestamp,
        audit: &Audit,
    ) -> Result<Moved, StoreError> {
        let mut next = seen.clone();
        next.status = status;
        next.ver = seen.ver + 1;
        let legs = if status == Status::Approved {
            legs(
                seen,
                Kind::Earned,
                &seen.left(),
                &seen.key.conversion_id(),
                now,
            )
        } else {
            Vec::new()
        };
        let with_days = |days: &[Date]| {
            let mut booked = next.clone();
            for (credit, day) in booked.credits.iter_mut().zip(days) {
                credit.booked_on = Some(*day);
            }
            booked
        };
        let guards = |days: &[Date]| {
            let mut guards = self.changed(seen, &with_days(days), now);
            guards.push(self.audited(audit, seen, next.ver, now));
            guards
        };
        match self.book(guards, &legs, day_of(now)).await? {
            Booked::Done(days) => Ok(Moved::Done(Box::new(with_days(&days)))),
            Booked::Guarded(..) => Ok(Moved::Raced),
        }
    }

    /// Keeps a test apart, and that the program has had one. Whether it is the first of its order.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn record_test(&self, conversion: &Conversion) -> Result<bool, StoreError> {
        let mut key = conversion_key(&conversion.key);
        key.sk.push_str("#TEST");
        let row = Row::new(&key)
            .text("program", conversion.program.as_str())
            .text("recorded_at", conversion.recorded_at.to_string());
        let tested = Row::new(&tested_key(conversion.program.as_str()))
            .text("at", conversion.recorded_at.to_string());
        let table = self.core();
        // The program's mark goes first: a test that counts once must not be lost for the launch.
        let mark = Write::Add {
            table: table.clone(),
            row: tested,
        };
        self.transact(&[mark]).await?;
        match self.transact(&[Write::Add { table, row }]).await? {
            Outcome::Done => Ok(true),
            Outcome::Failed(_) => Ok(false),
        }
    }

    /// Whether a program has had a test conversion.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn has_test_conversion(&self, program: &str) -> Result<bool, StoreError> {
        Ok(self.read(&tested_key(program)).await?.is_some())
    }
}

fn tested_key(program: &str) -> Key {
    Key::new(format!("TESTED#{}", escaped(program)), "CUR")
}
