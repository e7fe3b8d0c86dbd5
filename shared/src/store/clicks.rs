//! Clicks: one write each, within a visitor's journey.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::schema::{EXPIRES_AT, escaped};
use super::transaction::text;
use super::{Damaged, Key, Row, Store, StoreError};
use crate::click::{Click, Visitor};
use crate::ids::{AffiliateId, ProgramId};
use crate::traffic::{Class, bursts};

/// A click waits for its record no longer than this, twice.
const ATTEMPT: Duration = Duration::from_millis(120);
/// One write unit.
const ITEM_MOST: usize = 1_024;
/// The longest text of a dimension that is kept, in bytes. No sub id is longer.
const DIMENSION_MOST: usize = 64;

/// What statistics and the decision's trail know of a click beyond its id. No address, no user
/// agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClickRecord {
    pub program: ProgramId,
    pub affiliate: AffiliateId,
    pub slug: String,
    /// What spoke against it, by code.
    pub reason: Option<String>,
    /// `sub1` to `sub10`, `utm_*`: those that were there; of ad platforms' ids the names alone,
    /// with nothing behind them.
    pub tags: BTreeMap<String, String>,
    pub country: Option<String>,
    pub device: String,
    pub browser: String,
    pub language: Option<String>,
    /// The host that the visitor was sent to.
    pub landing: String,
}

/// A visitor's click or view, as it was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visit {
    /// What tells it from another one of the same millisecond, as [`Click::random`] has it.
    pub name: String,
    pub at: Timestamp,
    pub class: Class,
    pub is_view: bool,
    pub is_test: bool,
    /// Made while the program or the affiliate was not active.
    pub is_program_paused: bool,
    pub record: ClickRecord,
}

/// A journey's newest clicks that could earn; older ones have no influence.
const CLICKS_MOST: usize = 100;
/// So many of the newest views, of which only the last counts, and so many visits that could not earn:
/// the decision's trail tells of them. Neither takes a click's place.
const BESIDES_MOST: usize = 20;
/// So many of a visitor's visits are looked through: nobody's flood makes an order wait for long.
const LOOKED_AT_MOST: usize = 5_000;
/// How many are asked for at once.
const PAGE: i32 = 500;

impl Visit {
    /// Whether it could be credited, as far as itself goes.
    fn could_earn(&self) -> bool {
        !(self.is_test || self.is_program_paused || self.class == Class::Invalid)
    }
}

impl Store {
    /// Records a click: one write of at most 1,024 bytes, which the table drops after
    /// `expires_at`.
    ///
    /// # Errors
    /// [`StoreError`] after two attempts of 120 ms. The click's id carries the claim all the same.
    pub async fn record_click(
        &self,
        click: &Click,
        record: &ClickRecord,
        expires_at: Timestamp,
    ) -> Result<(), StoreError> {
        let row = row(click, record, expires_at);
        let mut last = StoreError::Contended;
        for _ in 0..2 {
            // The SDK's own retries would wait longer than the visitor does.
            let put = self
                .client
                .put_item()
                .table_name(&self.tables.core)
                .set_item(Some(row.clone().into_item()))
                .customize()
                .config_override(
                    aws_sdk_dynamodb::Config::builder().retry_config(RetryConfig::disabled()),
                );
            match tokio::time::timeout(ATTEMPT, put.send()).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) => last = error.into(),
                Err(_) => last = StoreError::Unavailable("no answer within 120 ms".to_owned()),
            }
        }
        Err(last)
    }

    /// A visitor's newest [`CLICKS_MOST`] clicks in a program that could earn what was made at an
    /// instant, it included, with some of the views, and of what came later or could not earn, up to
    /// `until`, beside them, the earliest first, and the one that is named among them. What comes in
    /// bursts, of whatever kind, is suspect. What has expired by `now` is gone, swept or not.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn journey(
        &self,
        program: &ProgramId,
        visitor: Visitor,
        [earns_until, until]: [Timestamp; 2],
        named: Option<&str>,
        now: Timestamp,
    ) -> Result<Vec<Visit>, StoreError> {
        let (mut visits, mut times) = (Vec::new(), Vec::new());
        let (mut clicks, mut views, mut others) = (0, 0, 0);
        let mut looked_at = 0;
        let mut start = None;
        let last = format!("{:013}~", until.as_millisecond().max(0));
        loop {
            let answer = self
                .client
                .query()
                .table_name(&self.tables.core)
                .key_condition_expression("pk = :pk AND sk < :last")
                .expression_attribute_values(":pk", text(partition(program, visitor)))
                .expression_attribute_values(":last", text(&last))
                .scan_index_forward(false)
                .limit(PAGE)
                .consistent_read(true)
                .set_exclusive_start_key(start)
                .send()
                .await?;
            for item in answer.items.unwrap_or_default() {
                looked_at += 1;
                let row = Row::of(item);
                if row.get_number(EXPIRES_AT)? <= now.as_second() {
                    continue;
                }
                let visit = read_visit(program, &row)?;
                times.push(visit.at);
                let could_earn = visit.could_earn() && visit.at <= earns_until;
                let (kept, most) = match (could_earn, visit.is_view) {
                    (true, false) => (&mut clicks, CLICKS_MOST),
                    (true, true) => (&mut views, BESIDES_MOST),
                    (false, _) => (&mut others, BESIDES_MOST),
                };
                if *kept < most || named == Some(&visit.name) {
                    *kept += 1;
                    visits.push(visit);
                }
            }
            start = answer.last_evaluated_key;
            if start.is_none() || CLICKS_MOST <= clicks || LOOKED_AT_MOST <= looked_at {
                break;
            }
        }
        visits.reverse();
        times.reverse();
        let is_burst = times.iter().zip(bursts(&times));
        let in_bursts: BTreeSet<&Timestamp> = is_burst
            .filter(|(_, is_burst)| *is_burst)
            .map(|(time, _)| time)
            .collect();
        for visit in &mut visits {
            if visit.class == Class::Human && in_bursts.contains(&visit.at) {
                visit.class = Class::Suspect;
            }
        }
        Ok(visits)
    }

    /// The names of all clicks and views of a visitor, with their times, whether expired or not, the
    /// earliest first.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn visits_of(
        &self,
        program: &ProgramId,
        visitor: Visitor,
    ) -> Result<Vec<(Timestamp, String)>, StoreError> {
        let pk = partition(program, visitor);
        let rows = self.read_between(&self.core(), &pk, "!", "~").await?;
        let visits = rows.iter().map(|row| {
            let visit = read_visit(program, row)?;
            Ok((visit.at, visit.name))
        });
        Ok(visits.collect::<Result<_, Damaged>>()?)
    }
}

pub(super) fn partition(program: &ProgramId, visitor: Visitor) -> String {
    format!("J#{}#{visitor}", escaped(program.as_str()))
}

fn key(program: &ProgramId, click: &Click) -> Key {
    Key::new(
        partition(program, click.visitor()),
        format!(
            "{:013}#{}",
            click.clicked_at().as_millisecond(),
            click.random()
        ),
    )
}

fn row(click: &Click, record: &ClickRecord, expires_at: Timestamp) -> Row {
    let row = Row::new(&key(&record.program, click))
        .number(EXPIRES_AT, expires_at.as_second())
        .text("affiliate", record.affiliate.as_str())
        .text("slug", cut(&record.slug))
        .text("class", click.class().as_str())
        .number("test", i64::from(click.is_test()))
        .number("view", i64::from(click.is_view()))
        .number("paused", i64::from(click.is_program_paused()))
        .text_if("reason", record.reason.as_deref().map(cut))
        .text_if("country", record.country.as_deref().map(cut))
        .text("device", cut(&record.device))
        .text("browser", cut(&record.browser))
        .text_if("language", record.language.as_deref().map(cut))
        .text("landing", cut(&record.landing));

    // OK because the rest is at most some 700 bytes: each of its texts is bounded.
    let room = ITEM_MOST - size(&row.clone().text("tags", ""));
    row.json("tags", &tags(record, room))
}

/// As many tags as fit, sub ids first: a commission's statement may name them.
fn tags(record: &ClickRecord, room: usize) -> Value {
    let (subs, others): (Vec<_>, Vec<_>) = record
        .tags
        .iter()
        .partition(|(name, _)| name.starts_with("sub"));
    let mut kept: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, value) in subs.into_iter().chain(others) {
        kept.insert(name, cut(value));
        if json!(kept).to_string().len() > room {
            kept.remove(name.as_str());
        }
    }
    json!(kept)
}

/// The beginning of a text, whole characters only.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(DIMENSION_MOST)]
}

/// What the table counts, or a little more: it packs two digits of a number into a byte.
fn size(row: &Row) -> usize {
    let item = row.clone().into_item();
    item.iter()
        .map(|(name, value)| {
            let (AttributeValue::S(text) | AttributeValue::N(text)) = value else {
                return name.len();
            };
            name.len() + text.len() + 1
        })
        .sum()
}

fn read(program: &ProgramId, row: &Row) -> Result<ClickRecord, Damaged> {
    let owned = |name: &str| row.get_text_if(name).map(str::to_owned);
    Ok(ClickRecord {
        program: program.clone(),
        affiliate: row.parsed("affiliate", AffiliateId::parse)?,
        slug: row.get_text("slug")?.to_owned(),
        reason: owned("reason"),
        tags: row.parsed("tags", |text| serde_json::from_str(text))?,
        country: owned("country"),
        device: row.get_text("device")?.to_owned(),
        browser: row.get_text("browser")?.to_owned(),
        language: owned("language"),
        landing: row.get_text("landing")?.to_owned(),
    })
}

fn read_visit(program: &ProgramId, row: &Row) -> Result<Visit, Damaged> {
    let key = row.get_text("sk")?;
    let (at, name) = key.split_once('#').ok_or_else(|| row.damaged("sk"))?;
    let at: Option<i64> = at.parse().ok();
    let at = at.and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let flag = |name: &str| row.get_number_if(name).map(|flag| flag == Some(1));
    Ok(Visit {
        name: name.to_owned(),
        at: at.ok_or_else(|| row.damaged("sk"))?,
        class: row.parsed("class", |text| Class::parse(text).ok_or(()))?,
        is_view: flag("view")?,
        is_test: flag("test")?,
        is_program_paused: flag("paused")?,
        record: read(program, row)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::click::{Clicking, LinkId};
    use crate::keys::KeyRing;

    fn check(tags: BTreeMap<String, String>, long: &str) -> (usize, ClickRecord) {
        let keys = KeyRing::generate("prod", [7; 32]).unwrap().0;
        let program = ProgramId::parse(&"p".repeat(32)).unwrap();
        let click = Click::mint(
            &Clicking {
                link: LinkId::of("go"),
                visitor: Visitor::of(&[3; 16], &program, &keys),
                now: Timestamp::MAX,
                random: [255; 8],
                class: Class::Invalid,
                is_view: false,
                is_test: true,
                is_consent_denied: false,
                is_program_paused: false,
            },
            &keys,
        );
        let record = ClickRecord {
            program: program.clone(),
            affiliate: AffiliateId::parse(&"a".repeat(32)).unwrap(),
            slug: "s".repeat(64),
            reason: Some(long.to_owned()),
            tags,
            country: Some(long.to_owned()),
            device: long.to_owned(),
            browser: long.to_owned(),
            language: Some(long.to_owned()),
            landing: long.to_owned(),
        };
        let row = row(&click, &record, Timestamp::MAX);
        (size(&row), read(&program, &row).unwrap())
    }

    fn tags(value: &str) -> BTreeMap<String, String> {
        (1..=10)
            .map(|number| format!("sub{number}"))
            .chain((1..=50).map(|number| format!("utm_{number}")))
            .map(|name| (name, value.to_owned()))
            .collect()
    }

    #[test]
    fn a_click_is_one_write_unit_whatever_the_visitor_brings() {
        for value in ["", "x", "\u{1}\"\\", "\u{1f600}"] {
            let value = value.repeat(300);
            let (bytes, read) = check(tags(&value), &value);
            assert!(bytes <= ITEM_MOST, "{bytes} bytes: {read:?}");
        }
    }

    #[test]
    fn sub_ids_are_kept_whole_and_before_all_else() {
        let mut given = tags(&"u".repeat(64));
        given.retain(|name, _| !name.starts_with("sub"));
        given.insert("gclid".to_owned(), String::new());
        for number in 1..=5 {
            given.insert(format!("sub{number}"), "s".repeat(64));
        }
        let (_, read) = check(given, "chrome");
        for number in 1..=5 {
            assert_eq!(read.tags[&format!("sub{number}")], "s".repeat(64));
        }
        assert_eq!(read.tags["gclid"], "");
        assert!(read.tags.len() < 20, "{:?}", read.tags);
    }
}
