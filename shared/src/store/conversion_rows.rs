//! How a conversion stands in the table.

use serde_json::{Value, json};

use super::schema::escaped;
use super::{Damaged, Key, Row};
use crate::commission::{Counter, Standing, Standings};
use crate::conversion::{BasketLine, Conversion, Credit, OrderKey, Status};
use crate::http_types::{parse_day, parse_instant};
use crate::ids::{AffiliateId, MerchantId, PayerId, ProgramId, RuleId};
use crate::money::{Currency, Money, Rounding};
use crate::period::Month;

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

pub(super) fn conversion_key(key: &OrderKey) -> Key {
    Key::new(partition(key), escaped(&key.goal))
}

pub(super) fn affiliate_list(affiliate: &AffiliateId) -> String {
    format!("L#conversion#{}", escaped(affiliate.as_str()))
}

/// Its place in lists: by when it was recorded first.
pub(super) fn list_order(conversion: &Conversion) -> String {
    let recorded_at = conversion.recorded_at.as_millisecond();
    format!("{recorded_at:013}#{}", conversion.key.conversion_id())
}

pub(super) fn write(conversion: &Conversion) -> Row {
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
        .text_if(
            "approves_on",
            conversion.approves_on.map(|day| day.to_string()),
        )
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
        approves_on: row.get_day_if("approves_on")?,
        refunded: row.get_number("refunded")?,
        ver: row.get_number("ver")?,
        facts: row.get_json("facts")?,
        why: row.get_json("why")?,
        said: row.parsed_if("said", |text| serde_json::from_str(text))?,
    })
}
