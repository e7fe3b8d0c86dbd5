//! A day's run, an account at a time: gates, buckets, settles and what came of them.

use aws_sdk_dynamodb::types::ReturnValue;
use jiff::Timestamp;
use jiff::civil::Date;

use super::booking::{bucket_key, bucket_pk, bucket_row, entry_row, gate_key};
use super::marks::MARK;
use super::months::{NAMED, name_values};
use super::pockets::{accounts_pk, pocket, sums};
use super::schema::escaped;
use super::transaction::{Outcome as Sent, Write, number, text};
use super::{Damaged, Key, Row, Store, StoreError, payouts};
use crate::ledger::{Kind, Leg, Pocket, SHARDS, Sums};
use crate::money::{Currency, Money};
use crate::payout::{Account, Settled};

/// A day's run that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begun {
    /// Whatever this run closes bears it.
    pub epoch: i64,
    /// None where nobody has closed them, or lived to say when.
    pub gates_closed_at: Option<Timestamp>,
}

/// One affiliate's money that becomes payable on one day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    pub day: Date,
    pub pocket: Pocket,
    pub lane: u8,
    pub sums: Sums,
    /// How many conversions were booked into it.
    pub conversions: i64,
    pub state: State,
    /// What its settle came to; on the first lane of an account only.
    pub outcome: Option<Outcome>,
}

/// Whether a bucket takes lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Open,
    Closed,
    Drained,
}

/// What a settle came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Paid(Money),
    Held,
    Carried,
}

pub(super) fn account_key(pocket: &Pocket) -> Key {
    Key::new(
        accounts_pk(&pocket.affiliate),
        format!("{}#{}", escaped(pocket.payer.as_str()), pocket.currency),
    )
}

fn run_key(day: Date) -> Key {
    Key::new(format!("RUN#{day}"), "CUR")
}

fn books_key() -> Key {
    Key::new("BOOKS", "CUR")
}

fn bucket(row: &Row, day: Date) -> Result<Bucket, Damaged> {
    let pocket = pocket(row)?;
    let state = row.parsed("state", |text| match text {
        "open" => Ok(State::Open),
        "closed" => Ok(State::Closed),
        "drained" => Ok(State::Drained),
        _ => Err(()),
    })?;
    let outcome = match row.get_text_if("outcome") {
        None => None,
        Some("held") => Some(Outcome::Held),
        Some("carried") => Some(Outcome::Carried),
        Some(_) => Some(Outcome::Paid(Money::new(
            row.get_number("payout")?,
            pocket.currency,
        ))),
    };
    Ok(Bucket {
        day,
        sums: sums(row)?,
        conversions: row.get_number_if("conversions")?.unwrap_or(0),
        lane: u8::try_from(row.get_number("lane")?).unwrap_or(0),
        pocket,
        state,
        outcome,
    })
}

impl Store {
    /// Opens the books on a day, if they are not open: the first day that has a run.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn open_books(&self, day: Date) -> Result<(), StoreError> {
        // Asked first: a write that finds them open would be in the way of others that do.
        if self.read(&books_key()).await?.is_some() {
            return Ok(());
        }
        let row = Row::new(&books_key()).text("first", day.to_string());
        let table = self.core();
        self.transact(&[Write::Add { table, row }]).await?;
        Ok(())
    }

    /// The first day of the books; none before anything was set up.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn first_day(&self) -> Result<Option<Date>, StoreError> {
        let books = self.read(&books_key()).await?;
        Ok(books.map(|books| books.get_day("first")).transpose()?)
    }

    /// The earliest day whose run is not done; none before anything was set up.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn next_day_to_run(&self) -> Result<Option<Date>, StoreError> {
        let Some(books) = self.read(&books_key()).await? else {
            return Ok(None);
        };
        match books.get_text_if("done") {
            None => Ok(Some(books.get_day("first")?)),
            Some(_) => Ok(Some(crate::period::days_after(books.get_day("done")?, 1))),
        }
    }

    /// Begins or resumes a day's run. The epoch that it answers is higher than any before:
    /// whoever still works under a lower one changes nothing any more.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn begin_run(&self, day: Date) -> Result<Begun, StoreError> {
        let answer = self
            .client
            .update_item()
            .table_name(&self.tables.core)
            .set_key(Some(run_key(day).attributes()))
            .update_expression("ADD epoch :one")
            .expression_attribute_values(":one", number(1))
            .return_values(ReturnValue::AllNew)
            .send()
            .await?;
        let row = Row::of(answer.attributes.unwrap_or_default());
        Ok(Begun {
            epoch: row.get_number("epoch")?,
            gates_closed_at: match row.get_text_if("gates_closed_at") {
                None => None,
                Some(_) => Some(row.get_instant("gates_closed_at")?),
            },
        })
    }

    /// Remembers when a day's gates were closed, by the clock of the process that closed them;
    /// what was remembered first stands, and is answered.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn note_gates_closed(
        &self,
        day: Date,
        at: Timestamp,
    ) -> Result<Timestamp, StoreError> {
        let answer = self
            .client
            .update_item()
            .table_name(&self.tables.core)
            .set_key(Some(run_key(day).attributes()))
            .update_expression("SET gates_closed_at = if_not_exists(gates_closed_at, :at)")
            .expression_attribute_values(":at", text(at.to_string()))
            .return_values(ReturnValue::AllNew)
            .send()
            .await?;
        let row = Row::of(answer.attributes.unwrap_or_default());
        Ok(row.get_instant("gates_closed_at")?)
    }

    /// From here on no bucket of that day can be made.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn close_gates(&self, day: Date) -> Result<(), StoreError> {
        let closed = self.read(&gate_key(day, SHARDS - 1)).await?;
        if closed.is_some() {
            return Ok(());
        }
        let gates: Vec<Write> = (0..SHARDS)
            .map(|shard| Write::Replace {
                table: self.core(),
                row: Row::new(&gate_key(day, shard)),
                condition: "attribute_not_exists(pk) OR attribute_exists(pk)".to_owned(),
                values: Vec::new(),
            })
            .collect();
        self.transact(&gates).await?;
        Ok(())
    }

    /// The buckets of one partition of a day.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn buckets(&self, day: Date, shard: u8) -> Result<Vec<Bucket>, StoreError> {
        let table = self.core();
        // `!GATE` sorts before, `~` after every key of a bucket.
        let rows = self
            .read_between(&table, &bucket_pk(day, shard), "-", "~")
            .await?;
        Ok(rows
            .iter()
            .map(|row| bucket(row, day))
            .collect::<Result<_, _>>()?)
    }

    /// A pocket's own buckets of a day, each read under its key: a list may miss for a while what
    /// a transaction has just written.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn buckets_of(
        &self,
        pocket: &Pocket,
        lanes: u8,
        day: Date,
    ) -> Result<Vec<Bucket>, StoreError> {
        let mut buckets = Vec::new();
        for lane in 0..lanes {
            let row = self.read(&bucket_key(day, pocket, lane)).await?;
            buckets.extend(row.map(|row| bucket(&row, day)).transpose()?);
        }
        Ok(buckets)
    }

    /// Closes a bucket for this epoch and reads it then, and not before. None if there is none, or
    /// if it is drained.
    ///
    /// # Errors
    /// [`StoreError::Contended`] if a later epoch has it: whoever was overtaken cannot know whether
    /// that run lives to drain it, and must not call the day done. Others as usual.
    pub async fn close_bucket(
        &self,
        pocket: &Pocket,
        lane: u8,
        day: Date,
        epoch: i64,
    ) -> Result<Option<Bucket>, StoreError> {
        let key = bucket_key(day, pocket, lane);
        let close = Write::Change {
            table: self.core(),
            key: key.clone(),
            set: "SET #state = :closed, epoch = :epoch".to_owned(),
            condition: "#state = :open OR (#state = :closed AND epoch < :epoch)".to_owned(),
            values: vec![
                (":closed".into(), text("closed")),
                (":open".into(), text("open")),
                (":epoch".into(), number(epoch)),
            ],
        };
        self.transact(&[close]).await?;
        let Some(row) = self.read(&key).await? else {
            return Ok(None);
        };
        let is_ours = row.get_number_if("epoch")? == Some(epoch);
        let bucket = bucket(&row, day)?;
        match bucket.state {
            State::Drained => Ok(None),
            State::Closed if is_ours => Ok(Some(bucket)),
            State::Closed | State::Open => Err(StoreError::Contended),
        }
    }

    /// An account; a new one is empty.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn account(&self, pocket: &Pocket) -> Result<Account, StoreError> {
        let row = self.read(&account_key(pocket)).await?;
        Ok(match row {
            Some(row) => account(&row, pocket.currency)?,
            None => Account::new(pocket.currency),
        })
    }

    /// Takes an account's closed buckets of a day in, pays what is due, and remembers when to
    /// look again: one transaction. False if somebody else did, or has a later epoch.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn settle(
        &self,
        buckets: &[Bucket],
        before: &Account,
        settled: &Settled,
        epoch: i64,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut wake_exists = false;
        for _ in 0..4 {
            let writes = self.settle_writes(buckets, before, settled, epoch, now, wake_exists);
            match self.transact(&writes).await? {
                Sent::Done => return Ok(true),
                Sent::Failed(reasons) => {
                    let fixed = writes.len() - wake_count(settled, wake_exists);
                    if reasons.iter().take(fixed).any(Option::is_some) {
                        return Ok(false);
                    }
                    wake_exists = !wake_exists;
                }
            }
        }
        Err(StoreError::Contended)
    }

    fn settle_writes(
        &self,
        buckets: &[Bucket],
        before: &Account,
        settled: &Settled,
        epoch: i64,
        now: Timestamp,
        wake_exists: bool,
    ) -> Vec<Write> {
        let first = &buckets[0];
        let (day, pocket) = (first.day, &first.pocket);
        let mut writes = Vec::with_capacity(buckets.len() + 6);
        for (place, bucket) in buckets.iter().enumerate() {
            writes.push(self.drain(bucket, (place == 0).then_some(settled), epoch));
        }
        writes.push(self.move_account(pocket, before, settled, day));
        writes.push(self.add_to_month(buckets, before, settled));
        if let Some(payout) = settled.payout {
            let id = pocket.payout_id(day);
            writes.push(Write::Add {
                table: self.core(),
                row: payouts::new_row(&id, pocket, payout, day, before.last_payout, now),
            });
            let paid = Leg {
                pocket: pocket.clone(),
                lane: 0,
                kind: Kind::Paid,
                effect: payout.checked_neg().expect("a payout is positive"),
                payable_on: day,
                source: id.clone(),
                number: 0,
                recorded_at: now,
                because: serde_json::json!({ "payout": id }),
            };
            writes.push(Write::Add {
                table: self.ledger(),
                row: entry_row(&paid, day),
            });
        }
        if let Some(wake_on) = settled.wake_on {
            let key = bucket_key(wake_on, pocket, 0);
            if wake_exists {
                writes.push(Write::Check {
                    table: self.core(),
                    key,
                    condition: "#state = :open".to_owned(),
                    values: vec![(":open".into(), text("open"))],
                });
            } else {
                writes.push(Write::Add {
                    table: self.core(),
                    row: bucket_row(wake_on, pocket, 0, Sums::default(), 0),
                });
                writes.push(self.gate_is_open(wake_on, pocket.shard()));
            }
        }
        writes
    }

    fn drain(&self, bucket: &Bucket, settled: Option<&Settled>, epoch: i64) -> Write {
        let sums = Kind::ALL
            .iter()
            .map(|kind| format!(" AND {kind} = :{kind}"))
            .collect::<String>();
        let mut values = vec![
            (":drained".into(), text("drained")),
            (":closed".into(), text("closed")),
            (":epoch".into(), number(epoch)),
        ];
        for kind in Kind::ALL {
            values.push((format!(":{kind}"), number(bucket.sums.get(kind))));
        }
        let mut set = "SET #state = :drained".to_owned();
        if let Some(settled) = settled {
            let outcome = match (settled.payout, settled.held) {
                (Some(payout), _) => {
                    set.push_str(", payout = :payout");
                    values.push((":payout".into(), number(payout.minor())));
                    "paid"
                }
                (None, Some(held)) if held.is_a_hold() => "held",
                _ => "carried",
            };
            set.push_str(", outcome = :outcome");
            values.push((":outcome".into(), text(outcome)));
        }
        Write::Change {
            table: self.core(),
            key: bucket_key(bucket.day, &bucket.pocket, bucket.lane),
            set,
            condition: format!("#state = :closed AND epoch = :epoch{sums}"),
            values,
        }
    }

    fn move_account(
        &self,
        pocket: &Pocket,
        before: &Account,
        settled: &Settled,
        day: Date,
    ) -> Write {
        let after = &settled.account;
        let mut set = format!("SET {NAMED}, ver = :ver, carry = :carry, through = :day");
        let mut values = name_values(pocket);
        values.extend([
            (":ver".into(), number(after.ver)),
            (":carry".into(), number(after.carry)),
            (":day".into(), text(day.to_string())),
        ]);
        for kind in Kind::ALL {
            set.push_str(&format!(", {kind} = :{kind}"));
            values.push((format!(":{kind}"), number(after.lifetime.get(kind))));
        }
        if settled.payout.is_some() {
            set.push_str(", last_payout = :day");
        }
        // A mark makes an account's item too, before its first settle.
        let mut condition = if before.ver == 0 {
            "attribute_not_exists(ver)".to_owned()
        } else {
            values.push((":seen".into(), number(before.ver)));
            "ver = :seen AND through < :day".to_owned()
        };
        if settled.payout.is_some() {
            // A mark that was set since the account was read stops the payout all the same.
            condition.push_str(&format!(" AND attribute_not_exists({MARK})"));
        }
        Write::Change {
            table: self.core(),
            key: account_key(pocket),
            set,
            condition,
            values,
        }
    }

    /// Has the run of `day`, if it has not begun, look at an account though no money may come.
    ///
    /// # Errors
    /// [`StoreError`]
    pub(super) async fn wake(&self, pocket: &Pocket, day: Date) -> Result<(), StoreError> {
        let gate = self.gate_is_open(day, pocket.shard());
        self.add_empty_bucket(pocket, day, gate).await?;
        Ok(())
    }

    /// Lets a day's run, whose gates are closed, settle an account without money of that day.
    ///
    /// # Errors
    /// [`StoreError::Contended`] if a later epoch has the run: see [`Self::close_bucket`]. Others as
    /// usual.
    pub async fn look_again(
        &self,
        pocket: &Pocket,
        day: Date,
        epoch: i64,
    ) -> Result<(), StoreError> {
        let is_ours = Write::Check {
            table: self.core(),
            key: run_key(day),
            condition: "epoch = :epoch".to_owned(),
            values: vec![(":epoch".into(), number(epoch))],
        };
        match self.add_empty_bucket(pocket, day, is_ours).await? {
            Sent::Failed(reasons) if reasons.get(1).is_some_and(Option::is_some) => {
                Err(StoreError::Contended)
            }
            Sent::Done | Sent::Failed(_) => Ok(()),
        }
    }

    async fn add_empty_bucket(
        &self,
        pocket: &Pocket,
        day: Date,
        check: Write,
    ) -> Result<Sent, StoreError> {
        let row = bucket_row(day, pocket, 0, Sums::default(), 0);
        let table = self.core();
        self.transact(&[Write::Add { table, row }, check]).await
    }

    /// Says that a day's run is done, if it is the next one in order.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn finish_run(&self, day: Date) -> Result<(), StoreError> {
        let done = Write::Change {
            table: self.core(),
            key: books_key(),
            set: "SET done = :day".to_owned(),
            condition: "attribute_not_exists(done) OR done < :day".to_owned(),
            values: vec![(":day".into(), text(day.to_string()))],
        };
        self.transact(&[done]).await?;
        Ok(())
    }
}

fn wake_count(settled: &Settled, exists: bool) -> usize {
    match settled.wake_on {
        None => 0,
        Some(_) if exists => 1,
        Some(_) => 2,
    }
}

fn account(row: &Row, currency: Currency) -> Result<Account, Damaged> {
    let differs_since = match row.get_text_if(MARK) {
        None => None,
        Some(_) => Some(row.get_instant(MARK)?),
    };
    // A mark makes the item before the first settle, and may be gone again by then.
    if row.get_number_if("ver")?.is_none() && row.get_sum_if("carry")?.is_none() {
        return Ok(Account {
            differs_since,
            ..Account::new(currency)
        });
    }
    Ok(Account {
        differs_since,
        currency,
        carry: row.get_sum("carry")?,
        lifetime: sums(row)?,
        through: Some(row.get_day("through")?),
        ver: row.get_number("ver")?,
        sent: row.get_sum_if("sent")?.unwrap_or(0),
        last_payout: row.get_day_if("last_payout")?,
    })
}
