//! What a merchant offers to affiliates.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::caps::Cap;
use super::destination::{self, Destination, host};
use super::enrolment::hold_days;
use super::lists::Counted;
use super::text::{country, label_required, put};
use super::words::words;
use super::{Dates, Invalid, Record};
use crate::attribution::Attribution;
use crate::commission::Rules;
use crate::http_types::{Fields, Span};
use crate::ids::{MerchantId, ProgramId};
use crate::money::{Currency, Money, Rounding};

words!(
    /// Whether a program's links lead to it and its conversions are taken.
    ProgramStatus {
        Draft = "draft",
        Active = "active",
        Paused = "paused",
        Ended = "ended",
    }
);

words!(
    /// Whether a commission waits for the merchant.
    Approval {
        Auto = "auto",
        Manual = "manual",
    }
);

words!(
    /// How affiliates come in.
    Join {
        Open = "open",
        Approve = "approve",
        Invite = "invite",
    }
);

words!(
    /// What becomes of an affiliate's own order.
    SelfReferral {
        Refuse = "refuse",
        Review = "review",
    }
);

words!(
    /// What a goal counts as.
    GoalKind {
        Sale = "sale",
        Lead = "lead",
        Signup = "signup",
        Install = "install",
        Trial = "trial",
        Subscription = "subscription",
        Renewal = "renewal",
        Booking = "booking",
        Call = "call",
        Custom = "custom",
    }
);

words!(
    /// Whether visitors of a program's links are known again.
    VisitorCookie {
        On = "on",
        /// Each click is a journey of its own.
        Off = "off",
    }
);

/// A result that a merchant tells us of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Goal {
    /// Lower case: goals are compared without case.
    pub name: String,
    /// Whether a rule must pay it.
    pub payable: bool,
    pub kind: Option<GoalKind>,
    /// What the merchant would like one to cost.
    pub target_cpa: Option<Money>,
}

impl Goal {
    /// Whether a program could declare a goal of this name, whatever its case.
    #[must_use]
    pub fn is_name(text: &str) -> bool {
        goal_name(text).is_ok()
    }
}

/// The terms of one program, as of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    pub id: ProgramId,
    pub merchant: MerchantId,
    pub name: String,
    pub currency: Currency,
    pub destination: Destination,
    /// The hosts that a deep link may lead to: never empty.
    pub allowed_hosts: Vec<String>,
    /// Whether they were listed; otherwise they are the destination's host, whatever it becomes.
    pub hosts_are_listed: bool,
    pub status: ProgramStatus,
    /// Outside of them an active program is as a paused one.
    pub dates: Dates,
    /// At least one, no two of the same name.
    pub goals: Vec<Goal>,
    pub click_window: Span,
    /// How long a view may earn where no click does; zero: never.
    pub view_window: Span,
    pub attribution: Attribution,
    pub visitor_cookie: VisitorCookie,
    pub hold_days: u16,
    pub approval: Approval,
    /// How long the merchant has to decide before an order that waits for nothing else is approved;
    /// none: for ever.
    pub approve_after: Option<Span>,
    pub accept_late: Span,
    pub rounding: Rounding,
    pub click_id_param: String,
    /// Where visitors go while the program is not active.
    pub fallback: Option<Destination>,
    pub join: Join,
    pub terms_text: Option<String>,
    pub min_conversion_seconds: Option<u32>,
    pub self_referral: SelfReferral,
    pub commission: Rules,
    pub caps: Vec<Cap>,
}

impl Program {
    /// The goal of this name, whatever its case.
    #[must_use]
    pub fn goal(&self, name: &str) -> Option<&Goal> {
        self.goals
            .iter()
            .find(|goal| goal.name.eq_ignore_ascii_case(name))
    }

    /// What rules are asked when they are saved; versions from before may hold such as these.
    ///
    /// # Errors
    /// The first rule that no order can ever reach: its goal is none that the program declares
    /// (`rule_unreachable`), or its country does not exist (`country_invalid`).
    pub fn rules_are_within_reach(&self) -> Result<(), Invalid> {
        for (position, rule) in self.commission.as_slice().iter().enumerate() {
            if rule.goal().is_some_and(|goal| self.goal(goal).is_none()) {
                let field = format!("commission[{position}]");
                return Err(Invalid::new(field, "rule_unreachable"));
            }
            if rule.country().is_some_and(|text| country(text).is_err()) {
                let field = format!("commission[{position}].when.country");
                return Err(Invalid::new(field, "country_invalid"));
            }
        }
        Ok(())
    }

    /// Whether its links lead to it at this instant.
    #[must_use]
    pub fn is_active_at(&self, at: Timestamp) -> bool {
        self.status == ProgramStatus::Active && self.dates.hold(at)
    }

    /// Whether it leads to plain http on 127.0.0.1 anywhere, which only the one-machine stack serves.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.destination.is_loopback()
            || self.fallback.as_ref().is_some_and(Destination::is_loopback)
    }
}

const RULES: Counted = Counted {
    name: "commission",
    letter: 'r',
    kind: &["type", "goal", "when", "recurring", "tiers"],
};

const CAPS: Counted = Counted {
    name: "caps",
    letter: 'c',
    kind: &["per", "period"],
};

impl Record for Program {
    const KIND: &'static str = "program";
    const FIXED: &'static [&'static str] = &["id", "merchant", "currency"];

    fn keep_ids(before: &Value, asked: &mut Value, after: &Value, version: u64) -> bool {
        let [rules, caps] = [RULES, CAPS].map(|list| list.keep_ids(before, asked, after, version));
        rules || caps
    }

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn parse(json: &Value) -> Result<Self, Invalid> {
        let mut fields = Fields::from_object(json.clone())?;
        refuse_what_is_not_served(&mut fields)?;
        let currency = fields.parsed_required("currency", "currency_invalid", Currency::parse)?;
        let destination = destination::take(&mut fields, "destination")?
            .ok_or_else(|| fields.invalid("destination", "parameter_missing"))?;
        let listed_hosts = hosts(&mut fields)?;
        let hosts_are_listed = listed_hosts.is_some();
        let program = Self {
            id: fields.parsed_required("id", "id_invalid", ProgramId::parse)?,
            merchant: fields.parsed_required("merchant", "id_invalid", MerchantId::parse)?,
            name: label_required(&mut fields, "name", 200)?,
            currency,
            allowed_hosts: listed_hosts.unwrap_or_else(|| vec![destination.host().to_owned()]),
            hosts_are_listed,
            destination,
            status: ProgramStatus::take(&mut fields, "status")?.unwrap_or(ProgramStatus::Draft),
            dates: Dates::take(&mut fields)?,
            goals: goals(&mut fields, currency)?,
            click_window: fields.span("click_window")?.unwrap_or(Span::days(30)),
            view_window: fields.span("view_window")?.unwrap_or(Span::ZERO),
            attribution: fields
                .object("attribution")?
                .map(Attribution::read)
                .transpose()?
                .unwrap_or_default(),
            visitor_cookie: VisitorCookie::take(&mut fields, "visitor_cookie")?
                .unwrap_or(VisitorCookie::On),
            hold_days: hold_days(&mut fields, "hold_days")?.unwrap_or(30),
            approval: Approval::take(&mut fields, "approval")?.unwrap_or(Approval::Auto),
            approve_after: fields.span("approve_after")?,
            accept_late: fields.span("accept_late")?.unwrap_or(Span::days(90)),
            rounding: fields
                .parsed("rounding", "word_unknown", Rounding::parse)?
                .unwrap_or_default(),
            click_id_param: fields
                .parsed("click_id_param", "parameter_name_invalid", parameter_name)?
                .unwrap_or_else(|| "click_id".to_owned()),
            fallback: destination::take(&mut fields, "fallback")?,
            join: Join::take(&mut fields, "join")?.unwrap_or(Join::Approve),
            terms_text: terms_text(&mut fields)?,
            min_conversion_seconds: seconds(&mut fields, "min_conversion_seconds")?,
            self_referral: SelfReferral::take(&mut fields, "self_referral")?
                .unwrap_or(SelfReferral::Refuse),
            commission: commission(&mut fields, currency)?,
            caps: Cap::read_all(fields.objects("caps")?.unwrap_or_default(), currency)?,
        };
        if program.approve_after.is_some() && program.approval == Approval::Auto {
            return Err(fields.invalid("approve_after", "approval_not_manual"));
        }
        fields.finish()?;
        Ok(program)
    }

    fn to_json(&self) -> Value {
        let mut json = json!({
            "id": self.id.as_str(),
            "merchant": self.merchant.as_str(),
            "name": self.name,
            "currency": self.currency.code(),
            "destination": self.destination.as_str(),
            "status": self.status.as_str(),
            "goals": self.goals.iter().map(print_goal).collect::<Vec<_>>(),
            "click_window": self.click_window.to_string(),
            "view_window": self.view_window.to_string(),
            "hold_days": self.hold_days,
            "approval": self.approval.as_str(),
            "accept_late": self.accept_late.to_string(),
            "attribution": self.attribution.to_json(),
            "visitor_cookie": self.visitor_cookie.as_str(),
            "rounding": self.rounding.as_str(),
            "click_id_param": self.click_id_param,
            "join": self.join.as_str(),
            "other_currencies": "refuse",
            "self_referral": self.self_referral.as_str(),
            "commission": self.commission.to_json(),
        });
        put(
            &mut json,
            "allowed_hosts",
            self.hosts_are_listed.then(|| self.allowed_hosts.clone()),
        );
        self.dates.put_on(&mut json);
        put(
            &mut json,
            "approve_after",
            self.approve_after.map(|after| after.to_string()),
        );
        put(
            &mut json,
            "fallback",
            self.fallback.as_ref().map(Destination::as_str),
        );
        let caps: Vec<Value> = self.caps.iter().map(Cap::to_json).collect();
        put(&mut json, "caps", (!caps.is_empty()).then_some(caps));
        put(&mut json, "terms_text", self.terms_text.as_deref());
        put(
            &mut json,
            "min_conversion_seconds",
            self.min_conversion_seconds,
        );
        json
    }
}

/// Members that the contract knows and nothing honours yet pass only as what is done anyway:
/// a rule that is taken and then ignored pays the wrong money.
fn refuse_what_is_not_served(fields: &mut Fields) -> Result<(), Invalid> {
    if fields
        .text("other_currencies")?
        .is_some_and(|choice| choice != "refuse")
    {
        return Err(fields.invalid("other_currencies", "not_supported"));
    }
    Ok(())
}

fn hosts(fields: &mut Fields) -> Result<Option<Vec<String>>, Invalid> {
    let Some(listed) = fields.texts("allowed_hosts")? else {
        return Ok(None);
    };
    let mut hosts = Vec::with_capacity(listed.len());
    for text in listed {
        let host = host(&text).map_err(|()| fields.invalid("allowed_hosts", "host_invalid"))?;
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    if (1..=50).contains(&hosts.len()) {
        Ok(Some(hosts))
    } else {
        Err(fields.invalid("allowed_hosts", "length_invalid"))
    }
}

fn goals(fields: &mut Fields, currency: Currency) -> Result<Vec<Goal>, Invalid> {
    let Some(list) = fields.objects("goals")? else {
        return Ok(vec![Goal {
            name: "sale".to_owned(),
            payable: true,
            kind: None,
            target_cpa: None,
        }]);
    };
    let mut goals: Vec<Goal> = Vec::with_capacity(list.len());
    for mut goal in list {
        let name = goal.parsed_required("name", "goal_invalid", goal_name)?;
        if goals.iter().any(|other| other.name == name) {
            return Err(goal.invalid("name", "goal_repeated"));
        }
        goals.push(Goal {
            name,
            payable: goal.flag("payable")?.unwrap_or(true),
            kind: GoalKind::take(&mut goal, "kind")?,
            target_cpa: goal.parsed("target_cpa", "amount_invalid", |text| {
                Money::parse(text, currency)
            })?,
        });
        goal.finish()?;
    }
    if (1..=50).contains(&goals.len()) {
        Ok(goals)
    } else {
        Err(fields.invalid("goals", "length_invalid"))
    }
}

fn print_goal(goal: &Goal) -> Value {
    let mut json = Map::new();
    json.insert("name".to_owned(), json!(goal.name));
    json.insert("payable".to_owned(), json!(goal.payable));
    let mut json = Value::Object(json);
    put(&mut json, "kind", goal.kind.map(GoalKind::as_str));
    put(
        &mut json,
        "target_cpa",
        goal.target_cpa.map(|amount| amount.to_string()),
    );
    json
}

fn goal_name(text: &str) -> Result<String, ()> {
    let name = text.to_ascii_lowercase();
    let is_plain = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
    if (1..=64).contains(&name.len()) && is_plain {
        Ok(name)
    } else {
        Err(())
    }
}

fn parameter_name(text: &str) -> Result<String, ()> {
    let is_plain = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
    if (1..=64).contains(&text.len()) && is_plain {
        Ok(text.to_owned())
    } else {
        Err(())
    }
}

fn terms_text(fields: &mut Fields) -> Result<Option<String>, Invalid> {
    // Several lines are fine here, other than in a label.
    let Some(text) = fields.text("terms_text")? else {
        return Ok(None);
    };
    let is_clean = text
        .chars()
        .all(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t'));
    if text.len() <= 20_000 && is_clean {
        Ok(Some(text))
    } else {
        Err(fields.invalid("terms_text", "text_invalid"))
    }
}

fn seconds(fields: &mut Fields, name: &str) -> Result<Option<u32>, Invalid> {
    match fields.whole(name)? {
        None => Ok(None),
        Some(seconds) => {
            let seconds =
                u32::try_from(seconds).map_err(|_| fields.invalid(name, "number_invalid"))?;
            Ok((seconds > 0).then_some(seconds))
        }
    }
}

fn commission(fields: &mut Fields, currency: Currency) -> Result<Rules, Invalid> {
    let rules = fields
        .value("commission")?
        .ok_or_else(|| fields.invalid("commission", "parameter_missing"))?;
    Rules::parse(&rules, currency)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given() -> Value {
        json!({
            "id": "shoes", "merchant": "shop", "name": "Shoes", "currency": "EUR",
            "destination": "https://shop.example/?c={click_id}",
            "commission": [{"type": "percent", "percent": "10"}],
        })
    }

    fn with(member: &str, value: Value) -> Value {
        let mut given = given();
        given[member] = value;
        given
    }

    #[test]
    fn a_program_is_read_with_its_defaults() {
        let program = Program::parse(&given()).unwrap();
        let printed = json!({
            "id": "shoes", "merchant": "shop", "name": "Shoes", "currency": "EUR",
            "destination": "https://shop.example/?c={click_id}", "status": "draft",
            "goals": [{"name": "sale", "payable": true}], "click_window": "30d", "view_window": "0d", "hold_days": 30,
            "approval": "auto", "accept_late": "90d",
            "attribution": {"model": "last_click", "priority": ["click_id", "journey", "coupon", "customer"], "half_life": "7d"},
            "visitor_cookie": "on", "rounding": "half_even", "click_id_param": "click_id", "join": "approve", "other_currencies": "refuse",
            "self_referral": "refuse", "commission": [{"id": "r1", "type": "percent", "percent": "10"}],
        });
        assert_eq!(program.to_json(), printed);
        assert_eq!(Program::parse(&printed).unwrap(), program);
        assert_eq!(program.allowed_hosts, ["shop.example"]);
    }

    #[test]
    fn everything_said_is_printed_back() {
        let mut given = given();
        for (member, value) in [
            ("allowed_hosts", json!(["shop.example", "www.shop.example"])),
            ("status", json!("paused")),
            (
                "goals",
                json!([{"name": "lead", "payable": false, "kind": "lead", "target_cpa": "5.00"}, {"name": "sale", "payable": true}]),
            ),
            ("click_window", json!("12h")),
            ("view_window", json!("1d")),
            ("visitor_cookie", json!("off")),
            (
                "caps",
                json!([
                    {"id": "c1", "per": "program", "period": "month", "amount": "1000.00"},
                    {"id": "own", "per": "affiliate", "period": "day", "count": 3},
                ]),
            ),
            (
                "attribution",
                json!({"model": "linear", "priority": ["coupon", "journey"], "half_life": "7d"}),
            ),
            ("hold_days", json!(0)),
            ("approval", json!("manual")),
            ("approve_after", json!("14d")),
            ("starts_at", json!("2026-07-01T00:00:00Z")),
            ("ends_at", json!("2026-08-01T00:00:00Z")),
            ("accept_late", json!("7d")),
            ("rounding", json!("down")),
            ("click_id_param", json!("cid")),
            ("fallback", json!("https://shop.example/closed")),
            ("join", json!("open")),
            ("terms_text", json!("No coupons.\nNo brand bidding.")),
            ("min_conversion_seconds", json!(5)),
            ("self_referral", json!("review")),
        ] {
            given[member] = value;
        }
        let printed = Program::parse(&given).unwrap().to_json();
        for (member, value) in given.as_object().unwrap() {
            if member != "commission" {
                assert_eq!(&printed[member], value, "{member}");
            }
        }
    }

    #[test]
    fn a_goal_is_found_whatever_its_case() {
        let program = Program::parse(&with("goals", json!([{"name": "Lead"}]))).unwrap();
        assert!(program.goal("LEAD").is_some() && program.goal("sale").is_none());
    }

    #[test]
    fn a_rule_within_reach_is_for_a_declared_goal_and_a_country_that_exists() {
        let flat = |extra: Value| {
            let mut rule = json!({"type": "flat", "amount": "1"});
            super::super::merge(&mut rule, &extra);
            rule
        };
        let unreachable = ("commission[1]", "rule_unreachable");
        let nowhere = ("commission[1].when.country", "country_invalid");
        for (extra, refused) in [
            (json!({"goal": "trial.start"}), None),
            (json!({"goal": "Trial.START"}), None),
            (json!({"goal": "trial"}), Some(unreachable)),
            (json!({"goal": "sale"}), Some(unreachable)),
            (json!({"when": {"country": "GB"}}), None),
            (json!({"when": {"country": "UK"}}), Some(nowhere)),
        ] {
            let mut given = with("goals", json!([{"name": "trial.start"}]));
            let first = flat(json!({"when": {"sku": "a"}}));
            given["commission"] = json!([first, flat(extra.clone())]);
            let program = Program::parse(&given).unwrap();
            assert_eq!(Program::parse(&program.to_json()).unwrap(), program);
            let expected = refused.map_or(Ok(()), |(field, code)| Err(Invalid::new(field, code)));
            assert_eq!(program.rules_are_within_reach(), expected, "{extra}");
        }
    }

    #[test]
    fn what_is_not_served_is_refused_unless_it_is_what_is_done_anyway() {
        for (member, value) in [
            ("view_window", json!("0h")),
            ("other_currencies", json!("refuse")),
            ("caps", json!([])),
            ("approve_after", json!(null)),
            ("attribution", json!({})),
            (
                "attribution",
                json!({"model": "last_click", "half_life": "7d"}),
            ),
        ] {
            assert_eq!(
                Program::parse(&with(member, value)),
                Program::parse(&given()),
                "{member}"
            );
        }
        for (member, value, code) in [
            ("other_currencies", json!("convert"), "not_supported"),
            // Nobody is waited for.
            ("approve_after", json!("30d"), "approval_not_manual"),
        ] {
            assert_eq!(
                Program::parse(&with(member, value)),
                Err(Invalid::new(member, code))
            );
        }
    }

    #[test]
    fn what_cannot_be_taken_is_named() {
        for (member, value, field, code) in [
            ("currency", json!("EURO"), "currency", "currency_invalid"),
            (
                "destination",
                json!(null),
                "destination",
                "parameter_missing",
            ),
            (
                "destination",
                json!("http://shop.example"),
                "destination",
                "address_invalid",
            ),
            (
                "destination",
                json!("https://shop.example/{x}"),
                "destination",
                "macro_unknown",
            ),
            (
                "allowed_hosts",
                json!([]),
                "allowed_hosts",
                "length_invalid",
            ),
            (
                "allowed_hosts",
                json!(["*.shop.example"]),
                "allowed_hosts",
                "host_invalid",
            ),
            (
                "allowed_hosts",
                json!("shop.example"),
                "allowed_hosts",
                "not_a_list",
            ),
            ("goals", json!([]), "goals", "length_invalid"),
            (
                "goals",
                json!([{"name": "a"}, {"name": "A"}]),
                "goals[1].name",
                "goal_repeated",
            ),
            (
                "goals",
                json!([{"name": "a", "rate": "1"}]),
                "goals[0].rate",
                "parameter_unknown",
            ),
            (
                "goals",
                json!([{"name": "a", "target_cpa": 5}]),
                "goals[0].target_cpa",
                "type_wrong",
            ),
            ("click_window", json!(30), "click_window", "type_wrong"),
            (
                "click_window",
                json!("30"),
                "click_window",
                "duration_invalid",
            ),
            ("hold_days", json!(181), "hold_days", "hold_days_invalid"),
            ("rounding", json!("up"), "rounding", "word_unknown"),
            (
                "click_id_param",
                json!("a b"),
                "click_id_param",
                "parameter_name_invalid",
            ),
            (
                "min_conversion_seconds",
                json!(4_294_967_296_u64),
                "min_conversion_seconds",
                "number_invalid",
            ),
            (
                "attribution",
                json!({"modell": "linear"}),
                "attribution.modell",
                "parameter_unknown",
            ),
            (
                "attribution",
                json!({"weights": ["1"]}),
                "attribution.weights",
                "not_an_object",
            ),
            (
                "attribution",
                json!("linear"),
                "attribution",
                "not_an_object",
            ),
            ("commission", json!(null), "commission", "parameter_missing"),
            (
                "commission",
                json!([{"type": "percent", "percent": 10}]),
                "commission[0].percent",
                "type_wrong",
            ),
            ("caps", json!([{}]), "caps[0].count", "parameter_missing"),
            (
                "caps",
                json!([{"count": 1}, {"id": "c1", "count": 2}]),
                "caps[1].id",
                "id_repeated",
            ),
            (
                "caps",
                json!([{"count": 1, "per": "click"}]),
                "caps[0].per",
                "word_unknown",
            ),
            ("colour", json!("red"), "colour", "parameter_unknown"),
        ] {
            assert_eq!(
                Program::parse(&with(member, value)),
                Err(Invalid::new(field, code)),
                "{member}"
            );
        }
    }
}
