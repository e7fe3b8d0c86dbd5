//! The set-up's records: the one in force, and every version there ever was.

use std::collections::{BTreeSet, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;
use jiff::civil::Date;

use super::schema::escaped;
use super::transaction::{Outcome, Write, number, text};
use super::{Damaged, Key, Row, Store, StoreError};
use crate::http_types::{Cursor, Page};
use crate::ids::AffiliateId;
use crate::ledger::{SHARDS, lane_of};
use crate::period::day_of;
use crate::rights::Caller;
use crate::rights::Role;
use crate::setup::{Affiliate, Merchant, Record};

/// The table takes no longer sort key, in bytes, nor any question about one.
const SORT_KEY_MOST: usize = 1_024;

/// A record with its place in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned<R> {
    pub record: R,
    /// From 1 up.
    pub version: u64,
    /// When the record was made, whatever the version.
    pub made_at: Timestamp,
    /// When this version came into force.
    pub since: Timestamp,
}

impl<R> Versioned<R> {
    /// Another thing in the same place.
    pub(super) fn with<T>(self, record: T) -> Versioned<T> {
        Versioned {
            record,
            version: self.version,
            made_at: self.made_at,
            since: self.since,
        }
    }
}

impl<R: Record> Versioned<R> {
    /// Where it stands in its lists: the oldest first.
    #[must_use]
    pub fn place(&self) -> Cursor {
        let made_at = self.made_at.as_millisecond();
        let id = self.record.id();
        Cursor::after(format!("{made_at:013}#{}", escaped(&id)))
    }
}

/// One of the core table's indexes, by its place in [`super::CORE_INDEXES`].
#[derive(Debug, Clone, Copy)]
pub(super) enum Index {
    ByOwner,
    ByAffiliate,
}

/// What became of a new record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created<R> {
    New(Versioned<R>),
    /// Something of that id stands there already.
    Exists(Versioned<R>),
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replaced<R> {
    Done(Versioned<R>),
    /// Somebody else changed it in between, or it does not exist.
    Moved,
}

/// Who changed what: written with the change, in one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    pub key: String,
    pub person: String,
    pub what: String,
    pub reason: Option<String>,
}

impl Audit {
    /// What somebody with a key does.
    #[must_use]
    pub fn by(caller: &Caller, what: impl Into<String>, reason: Option<String>) -> Self {
        Self {
            key: caller.key.to_string(),
            person: caller.person.clone(),
            what: what.into(),
            reason,
        }
    }
}

pub(super) fn current<R: Record>(id: &str) -> Key {
    Key::new(format!("{}#{}", R::KIND, escaped(id)), "CUR")
}

pub(super) fn version_key<R: Record>(id: &str, version: u64) -> Key {
    Key::new(current::<R>(id).pk, format!("V#{version:09}"))
}

pub(super) fn audit_row(audit: &Audit, now: Timestamp, about: &Key, version: u64) -> Row {
    let day = day_of(now);
    let about = format!("{}#{version}", about.pk);
    let key = Key::new(
        format!("AUDIT#{day}"),
        format!("{:013}#{about}", now.as_millisecond()),
    );
    Row::new(&key)
        .text("at", now.to_string())
        .text("key", &audit.key)
        .text("person", &audit.person)
        .text("what", &audit.what)
        .text("about", about)
        .text_if("reason", audit.reason.clone())
}

/// The list of what is one owner's.
fn owner_list<R: Record>(owner: &str) -> String {
    format!("L#{}#{}", R::KIND, escaped(owner))
}

/// Where it stands which records are an owner's, of those that are found at once.
fn owned_pk<R: Record>(owner: &str) -> String {
    format!("OWN#{}#{}", R::KIND, escaped(owner))
}

/// What was changed on a day, of the records that runs read.
fn changes_pk<R: Record>(day: Date) -> String {
    format!("CHANGES#{}#{day}", R::KIND)
}

/// Where it stands which record was given a name.
fn name_key<R: Record>(name: &str) -> Key {
    Key::new(format!("NAME#{}#{}", R::KIND, escaped(name)), "CUR")
}

/// Where it stands that there are several.
fn several_key<R: Record>() -> Key {
    Key::new(format!("SEVERAL#{}", R::KIND), "CUR")
}

fn row<R: Record>(versioned: &Versioned<R>) -> Row {
    let record = &versioned.record;
    let id = record.id();
    let place = versioned.place();
    let mut row = Row::new(&current::<R>(&id))
        .number("ver", i64::try_from(versioned.version).unwrap_or(i64::MAX))
        .text("made_at", versioned.made_at.to_string())
        .text("since", versioned.since.to_string())
        .json("doc", &record.to_json())
        .text("owner_pk", format!("L#{}", R::KIND))
        .text("owner_sk", place.key());
    if let Some(owner) = record.owner() {
        row = row
            .text("affiliate_pk", owner_list::<R>(&owner))
            .text("affiliate_sk", place.key());
    }
    row
}

/// Versions are found by their record only: they stand in no list.
fn version_row<R: Record>(versioned: &Versioned<R>) -> Row {
    let key = version_key::<R>(&versioned.record.id(), versioned.version);
    Row::new(&key)
        .number("ver", i64::try_from(versioned.version).unwrap_or(i64::MAX))
        .text("made_at", versioned.made_at.to_string())
        .text("since", versioned.since.to_string())
        .json("doc", &versioned.record.to_json())
}

pub(super) fn read<R: Record>(row: &Row) -> Result<Versioned<R>, Damaged> {
    let doc = row.get_json("doc")?;
    let record = row.parsed("doc", |_| R::parse(&doc))?;
    Ok(head(row)?.with(record))
}

/// A version's place in time, without what it says.
pub(super) fn head(row: &Row) -> Result<Versioned<()>, Damaged> {
    Ok(Versioned {
        record: (),
        version: row.get_number("ver")?.unsigned_abs(),
        made_at: row.get_instant("made_at")?,
        since: row.get_instant("since")?,
    })
}

impl Store {
    /// The record in force.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn record<R: Record>(&self, id: &str) -> Result<Option<Versioned<R>>, StoreError> {
        let row = self.read(&current::<R>(id)).await?;
        Ok(row.as_ref().map(read).transpose()?)
    }

    /// Writes down who did something that concerns a record and leaves it as it is.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn audit_record<R: Record>(
        &self,
        about: &Versioned<R>,
        audit: &Audit,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let key = current::<R>(&about.record.id());
        let line = Write::Add {
            table: self.core(),
            row: audit_row(audit, now, &key, about.version),
        };
        self.transact(&[line]).await.map(drop)
    }

    /// Whether one was made beside the first, as it is now: lists are views. Of those that were made
    /// before this was noted only a list knows.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn has_several<R: Record>(&self) -> Result<bool, StoreError> {
        Ok(self.read(&several_key::<R>()).await?.is_some())
    }

    /// The record that was given this name.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn record_called<R: Record>(
        &self,
        name: &str,
    ) -> Result<Option<Versioned<R>>, StoreError> {
        match self.read(&name_key::<R>(name)).await? {
            Some(row) => self.record(row.get_text("id")?).await,
            None => Ok(None),
        }
    }

    /// Whether the merchant or affiliate that a role is for exists.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn knows(&self, role: &Role) -> Result<bool, StoreError> {
        Ok(match role {
            Role::Admin | Role::Finance => true,
            Role::Merchant(id) => self.record::<Merchant>(id.as_str()).await?.is_some(),
            Role::Affiliate(id) => self.record::<Affiliate>(id.as_str()).await?.is_some(),
        })
    }

    /// The version that was in force at an instant; the first one for an instant before it.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn record_at<R: Record>(
        &self,
        id: &str,
        at: Timestamp,
    ) -> Result<Option<Versioned<R>>, StoreError> {
        match self.record::<R>(id).await? {
            Some(current) => self.as_of(current, at).await.map(Some),
            None => Ok(None),
        }
    }

    /// The version that was in force at an instant, of a record whose last one is known.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn as_of<R: Record>(
        &self,
        current: Versioned<R>,
        at: Timestamp,
    ) -> Result<Versioned<R>, StoreError> {
        if current.since <= at || current.version == 1 {
            return Ok(current);
        }
        let id = current.record.id();
        let row = self.version_at::<R>(&id, current.version, at, None).await?;
        Ok(read(&row)?)
    }

    /// The item, or some attributes of it, of the version that was in force at an instant, or of the
    /// first one for an instant before it; the version `last` came later.
    ///
    /// Versions are numbered without a gap and follow each other in time, so it is looked for under its
    /// key: from the last one back in strides that double, and then between two of them. A list of all
    /// would grow with every change of the record, and may miss for a while what a transaction has just
    /// written.
    pub(super) async fn version_at<R: Record>(
        &self,
        id: &str,
        last: u64,
        at: Timestamp,
        parts: Option<&str>,
    ) -> Result<Row, StoreError> {
        let version = async |number: u64| {
            let key = version_key::<R>(id, number);
            let row = self.read_item(&key, parts.map(str::to_owned)).await?;
            let row = row.ok_or(StoreError::Contended)?;
            let is_in_force = row.get_instant("since")? <= at;
            Ok::<_, StoreError>((row, is_in_force))
        };
        let (mut later, mut stride) = (last, 1);
        let (mut number, mut found) = loop {
            let number = later.saturating_sub(stride).max(1);
            let (row, is_in_force) = version(number).await?;
            if is_in_force || number == 1 {
                break (number, row);
            }
            later = number;
            stride *= 2;
        };
        while number + 1 < later {
            let middle = number.midpoint(later);
            match version(middle).await? {
                (row, true) => (number, found) = (middle, row),
                (_, false) => later = middle,
            }
        }
        Ok(found)
    }

    /// One version of a record.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn version<R: Record>(
        &self,
        id: &str,
        version: u64,
    ) -> Result<Option<Versioned<R>>, StoreError> {
        let row = self.read(&version_key::<R>(id, version)).await?;
        Ok(row.as_ref().map(read).transpose()?)
    }

    /// All versions of a record, the first one first.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn versions<R: Record>(&self, id: &str) -> Result<Vec<Versioned<R>>, StoreError> {
        let pk = current::<R>(id).pk;
        let core = self.core();
        let rows = self.read_between(&core, &pk, "V#", "V#~").await?;
        Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
    }

    /// Whose records came to be changed on a day.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn affiliates_changed_on(
        &self,
        day: Date,
    ) -> Result<BTreeSet<AffiliateId>, StoreError> {
        let pk = changes_pk::<Affiliate>(day);
        let rows = self.read_between(&self.core(), &pk, "!", "~").await?;
        let ids = rows.iter().map(|row| row.parsed("id", AffiliateId::parse));
        Ok(ids.collect::<Result<_, _>>()?)
    }

    /// Makes a record, if nothing of its id or name exists.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn create<R: Record>(
        &self,
        record: &R,
        now: Timestamp,
        audit: &Audit,
    ) -> Result<Created<R>, StoreError> {
        let versioned = Versioned {
            record: record.clone(),
            version: 1,
            made_at: now,
            since: now,
        };
        let table = self.core();
        let add = |row: Row| Write::Add {
            table: table.clone(),
            row,
        };
        let about = current::<R>(&record.id());
        let mut writes = vec![
            add(row(&versioned)),
            add(version_row(&versioned)),
            add(audit_row(audit, now, &about, 1)),
        ];
        if record.is_beside_the_first() {
            writes.push(Write::Replace {
                table: table.clone(),
                row: Row::new(&several_key::<R>()),
                condition: "attribute_not_exists(pk) OR attribute_exists(pk)".to_owned(),
                values: Vec::new(),
            });
        }
        let name = record.given_name();
        writes.extend(name.map(|name| add(Row::new(&name_key::<R>(name)).text("id", record.id()))));
        if R::IS_FOUND_AT_ONCE
            && let Some(owner) = record.owner()
        {
            let id = record.id();
            let own = Key::new(owned_pk::<R>(&owner), escaped(&id));
            writes.push(add(Row::new(&own).text("id", id)));
        }
        if matches!(self.transact(&writes).await?, Outcome::Done) {
            return Ok(Created::New(versioned));
        }
        if let Some(existing) = self.record(&record.id()).await? {
            return Ok(Created::Exists(existing));
        }
        let namesake = match name {
            Some(name) => self.record_called(name).await?,
            None => None,
        };
        namesake.map(Created::Exists).ok_or(StoreError::Contended)
    }

    /// The ids of an owner's records, as of now: of those that are found at once, and were made since
    /// they are. For money and credentials, where a list would lag.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn owned<R: Record>(&self, owner: &str) -> Result<Vec<String>, StoreError> {
        let pk = owned_pk::<R>(owner);
        let rows = self.read_between(&self.core(), &pk, "!", "~").await?;
        let ids = rows.iter().map(|row| row.get_text("id").map(str::to_owned));
        Ok(ids.collect::<Result<_, _>>()?)
    }

    /// Puts a changed record in force from `now` on, if the version in force is `seen`. One that runs
    /// read is noted for the run of that day, which looks at whatever the change may set free.
    ///
    /// # Errors
    /// [`StoreError::RunBegun`] for a record that runs read, where that of the day has begun: nothing
    /// is changed. Others as usual.
    pub async fn replace<R: Record>(
        &self,
        seen: &Versioned<R>,
        record: &R,
        now: Timestamp,
        audit: &Audit,
    ) -> Result<Replaced<R>, StoreError> {
        let (next, mut writes) = self.replacing(seen, record, now, audit);
        let day = day_of(next.since);
        let gate = writes.len();
        if R::IS_READ_BY_RUNS {
            let (id, version) = (record.id(), next.version);
            writes.push(self.gate_is_open(day, lane_of(&id, SHARDS)));
            let change = Key::new(
                changes_pk::<R>(day),
                format!("{}#{version:09}", escaped(&id)),
            );
            writes.push(Write::Add {
                table: self.core(),
                row: Row::new(&change).text("id", id),
            });
        }
        match self.transact(&writes).await? {
            Outcome::Done => Ok(Replaced::Done(next)),
            // Our own write may have landed with its answer lost and its token forgotten.
            Outcome::Failed(reasons) => match self.record::<R>(&record.id()).await? {
                Some(now_in_force)
                    if now_in_force.version == next.version
                        && now_in_force.record.to_json() == next.record.to_json() =>
                {
                    Ok(Replaced::Done(now_in_force))
                }
                _ if reasons.get(gate).is_some_and(Option::is_some) => {
                    Err(StoreError::RunBegun(day))
                }
                _ => Ok(Replaced::Moved),
            },
        }
    }

    /// A record's next version, and the members of a transaction that put it in force if `seen` is.
    pub(super) fn replacing<R: Record>(
        &self,
        seen: &Versioned<R>,
        record: &R,
        now: Timestamp,
        audit: &Audit,
    ) -> (Versioned<R>, Vec<Write>) {
        let next = Versioned {
            record: record.clone(),
            version: seen.version + 1,
            made_at: seen.made_at,
            // Versions follow each other, whatever the clocks of those who make them say.
            since: now.max(seen.since),
        };
        let table = self.core();
        let seen_version = i64::try_from(seen.version).unwrap_or(i64::MAX);
        let key = current::<R>(&record.id());
        let mut set = "SET doc = :doc, ver = :next, since = :since".to_owned();
        let mut values = vec![
            (":doc".into(), text(record.to_json().to_string())),
            (":next".into(), number(seen_version + 1)),
            (":since".into(), text(next.since.to_string())),
            (":seen".into(), number(seen_version)),
        ];
        if let Some(owner) = record
            .owner()
            .filter(|owner| seen.record.owner().as_ref() != Some(owner))
        {
            set.push_str(", affiliate_pk = :list");
            values.push((":list".into(), text(owner_list::<R>(&owner))));
        }
        let writes = vec![
            Write::Change {
                table: table.clone(),
                key: key.clone(),
                set,
                condition: "ver = :seen".to_owned(),
                values,
            },
            Write::Add {
                table: table.clone(),
                row: version_row(&next),
            },
            Write::Add {
                table,
                row: audit_row(audit, now, &key, next.version),
            },
        ];
        (next, writes)
    }

    /// Part of a list, oldest first, with where it goes on. A view: it may lag a moment.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn records<R: Record>(
        &self,
        owner: Option<&str>,
        page: &Page,
    ) -> Result<(Vec<Versioned<R>>, Option<Cursor>), StoreError> {
        let (index, pk) = match owner {
            None => (Index::ByOwner, format!("L#{}", R::KIND)),
            Some(owner) => (Index::ByAffiliate, owner_list::<R>(owner)),
        };
        let (rows, next) = self.listed(index, &pk, page).await?;
        let records = rows.iter().map(read).collect::<Result<_, _>>()?;
        Ok((records, next))
    }

    /// A whole list, for the few who need all of it. A view: it may lag a moment.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn all_records<R: Record>(
        &self,
        owner: Option<&str>,
    ) -> Result<Vec<Versioned<R>>, StoreError> {
        let mut all = Vec::new();
        let mut page = Page {
            limit: 200,
            after: None,
        };
        loop {
            let (records, next) = self.records(owner, &page).await?;
            all.extend(records);
            if next.is_none() {
                return Ok(all);
            }
            page.after = next;
        }
    }

    /// Part of an index's partition, in order, with where it goes on.
    pub(super) async fn listed(
        &self,
        index: Index,
        pk: &str,
        page: &Page,
    ) -> Result<(Vec<Row>, Option<Cursor>), StoreError> {
        let (name, pk_name, sk_name) = super::CORE_INDEXES[index as usize];
        // No sort key is shorter than one digit, nor longer than the table takes: what a made-up cursor
        // has beyond that divides nothing.
        let after = page.after.as_ref().map_or("!", Cursor::key);
        let after = &after[..after.floor_char_boundary(SORT_KEY_MOST)];
        let mut rows: Vec<Row> = Vec::new();
        let mut start: Option<HashMap<String, AttributeValue>> = None;
        loop {
            let answer = self
                .client
                .query()
                .table_name(&self.tables.core)
                .index_name(name)
                .key_condition_expression(format!("{pk_name} = :pk AND {sk_name} > :after"))
                .expression_attribute_values(":pk", text(pk))
                .expression_attribute_values(":after", text(after))
                .limit(i32::try_from(page.limit + 1).unwrap_or(i32::MAX))
                .set_exclusive_start_key(start)
                .send()
                .await?;
            rows.extend(answer.items.unwrap_or_default().into_iter().map(Row::of));
            start = answer.last_evaluated_key;
            if start.is_none() || rows.len() > page.limit {
                break;
            }
        }
        let has_more = rows.len() > page.limit;
        rows.truncate(page.limit);
        let next = match rows.last() {
            Some(last) if has_more => Some(Cursor::after(last.get_text(sk_name)?)),
            _ => None,
        };
        Ok((rows, next))
    }
}
