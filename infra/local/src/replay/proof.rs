//! What was found against what was predicted, figure by figure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::civil::Date;
use serde_json::Value;

use super::oracle::{Prediction, Row, Run, Worth};
use super::orders;
use super::shop::{Sealed, name_of};

/// What the stack came to, read from its answers.
#[derive(Debug, Default)]
pub struct Found {
    pub orders: BTreeMap<String, Worth>,
    pub runs: BTreeMap<Date, Run>,
    pub months: BTreeMap<(&'static str, Date), BTreeMap<String, Row>>,
    /// What does not fit together among the answers themselves.
    pub odd: Vec<Difference>,
}

/// One thing that is not as predicted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub what: String,
    pub predicted: String,
    pub found: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what,
            predicted,
            found,
        } = self;
        write!(f, "{what}: predicted {predicted}, found {found}")
    }
}

/// A difference, if there is one.
pub fn differ(
    what: impl FnOnce() -> String,
    predicted: impl fmt::Debug,
    found: impl fmt::Debug,
) -> Option<Difference> {
    let (predicted, found) = (format!("{predicted:?}"), format!("{found:?}"));
    (predicted != found).then(|| Difference {
        what: what(),
        predicted,
        found,
    })
}

/// All that is not as predicted; nothing is the proof.
#[must_use]
pub fn differences(prediction: &Prediction, found: &Found) -> Vec<Difference> {
    let mut all = Vec::new();
    for id in keys(&prediction.orders, &found.orders) {
        let (predicted, found) = (prediction.orders.get(id), found.orders.get(id));
        all.extend(order_differences(id, predicted, found));
    }
    for day in keys(&prediction.runs, &found.runs) {
        let none = Run::default();
        let predicted = prediction.runs.get(day).unwrap_or(&none);
        let found = found.runs.get(day).unwrap_or(&none);
        let what = || format!("the run of {day}, in cents");
        all.extend(differ(what, predicted, found));
    }
    for month in keys(&prediction.months, &found.months) {
        let none = BTreeMap::new();
        let predicted = prediction.months.get(month).unwrap_or(&none);
        let found = found.months.get(month).unwrap_or(&none);
        let name = format!("{} of {}", name_of(month.1), month.0);
        for affiliate in keys(predicted, found) {
            let has_row = |rows: &BTreeMap<String, Row>| rows.contains_key(affiliate);
            let what = || format!("{name}, {affiliate} has a row");
            all.extend(differ(what, has_row(predicted), has_row(found)));
            let empty = Row::default();
            let predicted = predicted.get(affiliate).unwrap_or(&empty);
            let found = found.get(affiliate).unwrap_or(&empty);
            all.extend(row_differences(
                &format!("{name}, {affiliate}"),
                predicted,
                found,
            ));
        }
    }
    all.extend(found.odd.iter().cloned());
    all
}

fn order_differences(
    id: &str,
    predicted: Option<&Worth>,
    found: Option<&Worth>,
) -> Vec<Difference> {
    let (Some(predicted), Some(found)) = (predicted, found) else {
        let known = |worth: Option<&Worth>| worth.is_some();
        let what = || format!("order `{id}` is created");
        return Vec::from_iter(differ(what, known(predicted), known(found)));
    };
    let affiliates = (&predicted.affiliate, &found.affiliate);
    let affiliate = differ(
        || format!("order `{id}`, affiliate"),
        affiliates.0,
        affiliates.1,
    );
    let what = || format!("order `{id}`, commission in cents");
    let commission = differ(what, predicted.commission, found.commission);
    let what = || format!("order `{id}`, refunds in cents");
    let given_back = differ(what, &predicted.given_back, &found.given_back);
    let all = [affiliate, commission, given_back];
    all.into_iter().flatten().collect()
}

fn row_differences(name: &str, predicted: &Row, found: &Row) -> Vec<Difference> {
    let figures = predicted.figures().into_iter().zip(found.figures());
    let mut all: Vec<Difference> = figures
        .filter_map(|((column, predicted), (_, found))| {
            differ(|| format!("{name}, {column} in cents"), predicted, found)
        })
        .collect();
    let what = || format!("{name}, payouts in cents");
    all.extend(differ(what, &predicted.payouts, &found.payouts));
    all
}

fn keys<'a, K: Ord, A, B>(one: &'a BTreeMap<K, A>, other: &'a BTreeMap<K, B>) -> BTreeSet<&'a K> {
    one.keys().chain(other.keys()).collect()
}

impl Found {
    /// What the answers to an order and its refunds said; `given_back` in the order of posting.
    pub fn add_order(&mut self, id: &str, commissions: &Value, given_back: &[Value]) {
        let worth = || {
            let (affiliate, commission) = only(commissions)?;
            let mut back = Vec::new();
            for reversed in given_back {
                let (_, cents) = only(reversed).filter(|(of, _)| *of == affiliate)?;
                back.push(cents);
            }
            Some(Worth {
                affiliate,
                commission,
                given_back: back,
            })
        };
        match worth() {
            Some(worth) => drop(self.orders.insert(id.to_owned(), worth)),
            None => self.odd.push(Difference {
                what: format!("the answers to order `{id}`"),
                predicted: "one commission in USD, and its parts".to_owned(),
                found: format!("{commissions} and {given_back:?}"),
            }),
        }
    }

    /// What the run of a day was answered with.
    pub fn add_run(&mut self, day: Date, answer: &Value) {
        let run = || {
            let mut sums = BTreeMap::new();
            for sum in answer["total"].as_array()? {
                let payer = sum["payer"].as_str()?.to_owned();
                if sum["currency"] != "USD" || sums.insert(payer, cents(&sum["amount"])?).is_some()
                {
                    return None;
                }
            }
            let payouts = answer["payouts"].as_u64()?;
            Some(Run { payouts, sums })
        };
        match run() {
            Some(run) => drop(self.runs.insert(day, run)),
            None => self.odd.push(Difference {
                what: format!("the run of {day}"),
                predicted: "a count and sums in USD".to_owned(),
                found: answer.to_string(),
            }),
        }
    }

    /// What an affiliate's balances say after the last run, held against its last rows. Payers
    /// with nothing for it may be left out.
    pub fn add_balances(&mut self, affiliate: &str, answer: &Value, prediction: &Prediction) {
        let nothing = [Some(0); 4];
        let mut found = BTreeMap::new();
        for balance in answer["items"].as_array().into_iter().flatten() {
            let payer = balance["payer"].as_str().unwrap_or_default();
            let names = ["on_hold", "payable", "in_payout", "paid"];
            found.insert(payer, names.map(|name| cents(&balance[name])));
        }
        found.retain(|_, figures| *figures != nothing);
        let mut predicted = BTreeMap::new();
        // Months come in order: the last row of a payer is the one that stays.
        for ((payer, _), rows) in &prediction.months {
            if let Some(row) = rows.get(affiliate) {
                let figures = [row.on_hold, row.closing, row.in_payout, 0];
                predicted.insert(*payer, figures.map(Some));
            }
        }
        predicted.retain(|_, figures| *figures != nothing);
        let what =
            || format!("the balances of {affiliate} in cents: on hold, payable, in payout, paid");
        self.odd.extend(differ(what, predicted, found));
    }

    /// The rows of a month's report, and whether it is the one that was sealed.
    pub fn add_month(&mut self, sealed: &Sealed, report: &Value, csv_sha256: &str) {
        let name = format!("{} of {}", name_of(sealed.month), sealed.payer);
        let seals = [report["sha256"].as_str().unwrap_or_default(), csv_sha256];
        for found in seals {
            let what = || format!("{name}, SHA-256");
            self.odd.extend(differ(what, sealed.sha256.as_str(), found));
        }
        let state = report["state"].as_str();
        self.odd
            .extend(differ(|| format!("{name}, state"), Some("closed"), state));

        let mut rows = BTreeMap::new();
        let mut sums = Row::default().figures();
        for json in report["rows"].as_array().into_iter().flatten() {
            let affiliate = json["affiliate"].as_str().unwrap_or_default().to_owned();
            match row(json) {
                Some(row) => {
                    for (sum, (_, figure)) in sums.iter_mut().zip(row.figures()) {
                        sum.1 += figure;
                    }
                    let again = rows.insert(affiliate.clone(), row);
                    let what = || format!("{name}, {affiliate} again");
                    self.odd.extend(differ(what, None::<Row>, again));
                }
                None => self.odd.push(Difference {
                    what: format!("{name}, {affiliate}"),
                    predicted: "a row in USD with all columns".to_owned(),
                    found: json.to_string(),
                }),
            }
        }
        let totals = report["totals"].as_array().cloned().unwrap_or_default();
        let none = Value::Null;
        let total = totals.first().unwrap_or(&none);
        for (column, sum) in sums {
            // A month without rows has no totals.
            let found = figure(total, column).or(totals.is_empty().then_some(0));
            let what = || format!("{name}, total of {column} in cents");
            self.odd.extend(differ(what, Some(sum), found));
        }
        self.months.insert((sealed.payer, sealed.month), rows);
    }
}

/// The affiliate and the cents of a list of one amount in USD.
fn only(list: &Value) -> Option<(String, i128)> {
    match list.as_array()?.as_slice() {
        [one] if one["currency"] == "USD" => {
            let affiliate = one["affiliate"].as_str()?.to_owned();
            Some((affiliate, cents(&one["amount"])?))
        }
        _ => None,
    }
}

fn row(json: &Value) -> Option<Row> {
    if json["currency"] != "USD" {
        return None;
    }
    let of = |column: &str| figure(json, column);
    let mut payouts = Vec::new();
    for payout in json["payouts"].as_array()? {
        let day = payout["day"].as_str()?.parse().ok()?;
        payouts.push((day, cents(&payout["amount"])?));
    }
    payouts.sort_unstable();
    Some(Row {
        opening: of("opening")?,
        earned: of("earned")?,
        reversed: of("reversed")?,
        adjustments: of("adjustments")?,
        withheld: of("withheld")?,
        paid: of("paid")?,
        returned: of("returned")?,
        closing: of("closing")?,
        in_payout: of("in_payout")?,
        on_hold: of("on_hold")?,
        unapproved: of("unapproved")?,
        conversions: of("conversions")?,
        payouts,
    })
}

/// Cents; of the conversions their number.
fn figure(json: &Value, column: &str) -> Option<i128> {
    match &json[column] {
        Value::Number(count) => count.as_i64().map(i128::from),
        amount => cents(amount),
    }
}

/// The cents of an amount like `-12.34`.
fn cents(amount: &Value) -> Option<i128> {
    let text = amount.as_str()?;
    match text.strip_prefix('-') {
        Some(magnitude) => orders::cents(magnitude).map(|cents| -i128::from(cents)),
        None => orders::cents(text).map(i128::from),
    }
}
