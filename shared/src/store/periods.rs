//! How far a payer's month is on its way to being closed.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::records::{Index, audit_row};
use super::schema::escaped;
use super::transaction::{Outcome, Write, number};
use super::{Audit, Damaged, Key, Row, Store, StoreError};
use crate::http_types::{Cursor, Page};
use crate::ids::PayerId;
use crate::period::Month;

/// How far a month is. Each stage follows the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Open,
    Prepared,
    Approved,
    Closed,
}

impl Stage {
    const ALL: [Self; 4] = [Self::Open, Self::Prepared, Self::Approved, Self::Closed];

    /// The word on the wire and in the table.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Prepared => "prepared",
            Self::Approved => "approved",
            Self::Closed => "closed",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.as_str() == text)
    }
}

/// A month of a payer's books.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Period {
    pub payer: PayerId,
    pub month: Month,
    pub stage: Stage,
    /// Of the raw CSV, from `prepared` on.
    pub sha256: Option<String>,
    /// Whether two people had to agree, from `approved` on.
    pub four_eyes: Option<bool>,
    /// Who took which step and when.
    pub steps: Vec<Value>,
    /// The breakdown by merchant, from `closed` on.
    pub by_merchant: Value,
    pub ver: i64,
}

impl Period {
    /// A month that nobody has touched.
    #[must_use]
    pub fn open(payer: PayerId, month: Month) -> Self {
        Self {
            payer,
            month,
            stage: Stage::Open,
            sha256: None,
            four_eyes: None,
            steps: Vec::new(),
            by_merchant: json!([]),
            ver: 0,
        }
    }

    /// Who took the last step to a stage.
    #[must_use]
    pub fn person(&self, stage: Stage) -> Option<&str> {
        self.steps
            .iter()
            .rev()
            .find(|step| step["state"] == stage.as_str())
            .and_then(|step| step["person"].as_str())
    }
}

fn key(payer: &PayerId, month: Month) -> Key {
    Key::new(format!("PER#{}#{month}", escaped(payer.as_str())), "CUR")
}

fn write(period: &Period) -> Row {
    let row = Row::new(&key(&period.payer, period.month))
        .text("payer", period.payer.as_str())
        .text("month", period.month.to_string())
        .text("stage", period.stage.as_str())
        .text_if("sha256", period.sha256.clone())
        .json("steps", &json!(period.steps))
        .json("by_merchant", &period.by_merchant)
        .number("ver", period.ver)
        .text(
            "owner_pk",
            format!("L#period#{}", escaped(period.payer.as_str())),
        )
        .text("owner_sk", period.month.to_string());
    match period.four_eyes {
        Some(four_eyes) => row.number("four_eyes", i64::from(four_eyes)),
        None => row,
    }
}

fn read(row: &Row) -> Result<Period, Damaged> {
    let steps = row.get_json("steps")?;
    Ok(Period {
        payer: row.parsed("payer", PayerId::parse)?,
        month: row.parsed("month", Month::parse)?,
        stage: row.parsed("stage", |text| Stage::parse(text).ok_or(()))?,
        sha256: row.get_text_if("sha256").map(str::to_owned),
        four_eyes: row.get_number_if("four_eyes")?.map(|flag| flag == 1),
        steps: steps.as_array().cloned().unwrap_or_default(),
        by_merchant: row.get_json("by_merchant")?,
        ver: row.get_number("ver")?,
    })
}

impl Store {
    /// A month, as it is now.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn period(&self, payer: &PayerId, month: Month) -> Result<Period, StoreError> {
        Ok(match self.read(&key(payer, month)).await? {
            Some(row) => read(&row)?,
            None => Period::open(payer.clone(), month),
        })
    }

    /// Part of a payer's months that somebody has touched, in order. A view.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn periods(
        &self,
        payer: &PayerId,
        page: &Page,
    ) -> Result<(Vec<Period>, Option<Cursor>), StoreError> {
        let pk = format!("L#period#{}", escaped(payer.as_str()));
        let (rows, next) = self.listed(Index::ByOwner, &pk, page).await?;
        Ok((rows.iter().map(read).collect::<Result<_, _>>()?, next))
    }

    /// Takes a month to its next stage. False if somebody else moved it in between.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn move_period(
        &self,
        next: &Period,
        now: Timestamp,
        audit: &Audit,
    ) -> Result<bool, StoreError> {
        let (table, row) = (self.core(), write(next));
        let moved = if next.ver == 1 {
            Write::Add { table, row }
        } else {
            Write::Replace {
                table,
                row,
                condition: "ver = :seen".to_owned(),
                values: vec![(":seen".into(), number(next.ver - 1))],
            }
        };
        let key = key(&next.payer, next.month);
        let audit = Write::Add {
            table: self.core(),
            row: audit_row(audit, now, &key, next.ver.unsigned_abs()),
        };
        Ok(matches!(
            self.transact(&[moved, audit]).await?,
            Outcome::Done
        ))
    }
}
