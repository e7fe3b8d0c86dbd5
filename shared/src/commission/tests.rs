//! Rules as data: what is saved, what is refused, and what a sale earns by them.

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;

fn eur() -> Currency {
    Currency::parse("EUR").unwrap()
}

fn rules(json: &Value) -> Rules {
    Rules::parse(json, eur()).unwrap_or_else(|invalid| panic!("{json}: {invalid}"))
}

/// A sale in words: `goal=lead affiliate=bob amount=12.30 line=sku/category/10.00`.
/// Without words it is a sale by `anna` at noon on 1 July 2026, without an amount.
fn earn(rules: &Rules, words: &str, rounding: Rounding) -> Result<Commission, NoCommission> {
    let all = |name: &str| {
        let pairs = words
            .split_whitespace()
            .map(|word| word.split_once('=').unwrap());
        pairs
            .filter(|(own, _)| *own == name)
            .map(|(_, value)| value)
            .collect::<Vec<_>>()
    };
    let one = |name: &str| all(name).first().copied();
    let affiliate = AffiliateId::parse(one("affiliate").unwrap_or("anna")).unwrap();
    let money = |text: &str| Money::parse(text, eur()).unwrap();
    let lines: Vec<Line<'_>> = all("line")
        .into_iter()
        .map(|line| {
            let parts: Vec<&str> = line.split('/').collect();
            let category = Some(parts[1]).filter(|category| !category.is_empty());
            Line {
                sku: parts[0],
                category,
                amount: money(parts[2]),
            }
        })
        .collect();
    let sale = Sale {
        at: one("at").unwrap_or("2026-07-01T12:00:00Z").parse().unwrap(),
        goal: one("goal").unwrap_or("sale"),
        affiliate: &affiliate,
        group: one("group"),
        customer: one("customer").map(|word| Customer::parse(word).unwrap()),
        country: one("country"),
        coupon: one("coupon"),
        buyer: match one("since") {
            None => Buyer::Unnamed,
            Some("never") => Buyer::Named { since: None },
            Some(since) => Buyer::Named {
                since: Some(since.parse().unwrap()),
            },
        },
        standings: &Standings::default(),
        amount: one("amount").map(money),
        lines: &lines,
    };
    // As whoever asks does: what is not known is looked up.
    let mut standings = Standings::default();
    loop {
        let sale = Sale {
            standings: &standings,
            ..sale
        };
        match rules.commission(&sale, rounding) {
            Err(NoCommission::Unknown(counter)) => {
                let number = |name: &str| one(name).map_or(0, |text| text.parse().unwrap());
                let standing = Standing {
                    count: number("count"),
                    sum: number("sum"),
                };
                standings.0.insert(counter, standing);
            }
            earned => return earned,
        }
    }
}

fn check_by(rounding: Rounding, rules_json: Value, words: &str, expected: Expect) {
    let rules = rules(&rules_json);
    let found = match earn(&rules, words, rounding) {
        Err(refusal) => format!("{refusal:?}\n"),
        Ok(commission) => {
            let lines = commission.lines.iter().map(|line| {
                let sku = line
                    .sku
                    .as_deref()
                    .map(|sku| format!("{sku} "))
                    .unwrap_or_default();
                let rule = line.rule.as_ref().map_or("-", RuleId::as_str);
                format!("{sku}{rule}: {line}\n")
            });
            lines.collect::<String>() + &format!("{:?}\n", commission.amount)
        }
    };
    expected.assert_eq(&found);
}

fn check(rules_json: Value, words: &str, expected: Expect) {
    check_by(Rounding::HalfEven, rules_json, words, expected);
}

/// The field and the code by which a list is refused.
fn refused(json: Value) -> (String, &'static str) {
    let invalid = Rules::parse(&json, eur()).expect_err(&json.to_string());
    (invalid.field, invalid.code)
}

#[test]
fn a_share_is_rounded_once_by_the_programs_rounding() {
    let share = || json!([{"type": "percent", "percent": "7.5"}]);
    check(
        share(),
        "amount=12.30",
        expect![[r#"
        r1: 12.30 EUR x 7.5 % = 0.9225 -> 0.92 half_even
        0.92 EUR
    "#]],
    );
    check_by(
        Rounding::HalfUp,
        share(),
        "amount=0.60",
        expect![[r#"
        r1: 0.60 EUR x 7.5 % = 0.045 -> 0.05 half_up
        0.05 EUR
    "#]],
    );
    check_by(
        Rounding::HalfEven,
        share(),
        "amount=0.60",
        expect![[r#"
        r1: 0.60 EUR x 7.5 % = 0.045 -> 0.04 half_even
        0.04 EUR
    "#]],
    );
    check_by(
        Rounding::Down,
        share(),
        "amount=0.65",
        expect![[r#"
        r1: 0.65 EUR x 7.5 % = 0.04875 -> 0.04 down
        0.04 EUR
    "#]],
    );
    check(
        share(),
        "amount=0",
        expect![[r#"
        r1: 0.00 EUR x 7.5 % = 0 -> 0.00 half_even
        0.00 EUR
    "#]],
    );
}

#[test]
fn a_share_needs_an_amount_and_a_flat_rule_does_not() {
    check(
        json!([{"type": "percent", "percent": "7.5"}]),
        "",
        expect![[r#"
        AmountRequired
    "#]],
    );
    check(
        json!([{"type": "flat", "amount": "5"}]),
        "",
        expect![[r#"
        r1: 5.00 EUR for the order
        5.00 EUR
    "#]],
    );
    check(
        json!([{"type": "flat", "amount": "5"}]),
        "amount=0",
        expect![[r#"
        r1: 5.00 EUR for the order
        5.00 EUR
    "#]],
    );

    let mixed = rules(
        &json!([{"goal": "lead", "type": "flat", "amount": "5"}, {"goal": "sale", "type": "percent", "percent": "5"}]),
    );
    assert!(needs_amount(&mixed, "sale"));
    assert!(!needs_amount(&mixed, "lead"));
    assert!(!needs_amount(&mixed, "call"));
    let share = || json!({"type": "percent", "percent": "5"});
    assert!(needs_amount(&rules(&json!([share()])), "lead"));
    // One that may pay without is enough, unless it is over or for a line that the order has not.
    let either = |flat: Value| needs_amount(&rules(&json!([flat, share()])), "sale");
    let flat = json!({"type": "flat", "amount": "5", "when": {"country": "DE"}});
    assert!(!either(flat.clone()));
    for (member, value) in [
        ("when", json!({"sku": "boots"})),
        ("when", json!({"category": "boots"})),
        ("valid_to", json!("2026-07-01T12:00:00Z")),
        ("goal", json!("lead")),
    ] {
        let mut other = flat.clone();
        other[member] = value;
        assert!(either(other), "{member}");
    }
}

/// Of an order at noon on 1 July 2026.
fn needs_amount(rules: &Rules, goal: &str) -> bool {
    rules.needs_amount(goal, "2026-07-01T12:00:00Z".parse().unwrap())
}

#[test]
fn a_goal_that_no_rule_holds_for_is_refused() {
    check(
        json!([]),
        "amount=10",
        expect![[r#"
        NoRule
    "#]],
    );
    check(
        json!([{"goal": "lead", "type": "flat", "amount": "5"}]),
        "amount=10",
        expect![[r#"
        NoRule
    "#]],
    );
}

#[test]
fn each_line_is_paid_by_the_first_rule_that_holds_for_it() {
    let program = || {
        json!([
            {"id": "sock", "type": "percent", "percent": "50", "when": {"sku": "sock"}},
            {"id": "feet", "type": "percent", "percent": "20", "when": {"category": "feet"}},
            {"id": "rest", "type": "percent", "percent": "1"},
        ])
    };
    check(
        program(),
        "line=sock/feet/1.01 line=shoe/feet/1.01 line=hat/head/1.01 line=bag//1.01",
        expect![[r#"
        sock sock: 1.01 EUR x 50 % = 0.505 -> 0.50 half_even
        shoe feet: 1.01 EUR x 20 % = 0.202 -> 0.20 half_even
        hat rest: 1.01 EUR x 1 % = 0.0101 -> 0.01 half_even
        bag rest: 1.01 EUR x 1 % = 0.0101 -> 0.01 half_even
        0.72 EUR
    "#]],
    );
    // Without lines there is nothing that a rule about a line could hold for.
    check(
        program(),
        "amount=1.01",
        expect![[r#"
        rest: 1.01 EUR x 1 % = 0.0101 -> 0.01 half_even
        0.01 EUR
    "#]],
    );
}

#[test]
fn lines_are_rounded_one_by_one() {
    check(
        json!([{"type": "percent", "percent": "5"}]),
        "line=a//0.50 line=b//0.50",
        expect![[r#"
        a r1: 0.50 EUR x 5 % = 0.025 -> 0.02 half_even
        b r1: 0.50 EUR x 5 % = 0.025 -> 0.02 half_even
        0.04 EUR
    "#]],
    );
}

#[test]
fn a_line_without_a_rule_earns_nothing_beside_one_that_has_one() {
    check(
        json!([{"type": "percent", "percent": "10", "when": {"sku": "sock"}}]),
        "line=sock//10.00 line=shoe//90.00",
        expect![[r#"
            sock r1: 10.00 EUR x 10 % = 1 -> 1.00 half_even
            shoe -: no rule holds
            1.00 EUR
        "#]],
    );
    check(
        json!([{"type": "percent", "percent": "10", "when": {"sku": "sock"}}]),
        "line=shoe//90.00",
        expect![[r#"
        NoRule
    "#]],
    );
}

#[test]
fn a_flat_amount_is_paid_once_for_the_order() {
    check(
        json!([
            {"id": "gift", "type": "flat", "amount": "3.00", "when": {"category": "gift"}},
            {"id": "rest", "type": "flat", "amount": "1.00"},
        ]),
        "line=a//9.00 line=b/gift/9.00 line=c//9.00 line=d/gift/9.00",
        expect![[r#"
            a rest: 1.00 EUR for the order
            b gift: 3.00 EUR for the order
            c rest: paid on an earlier line of the order
            d gift: paid on an earlier line of the order
            4.00 EUR
        "#]],
    );
}

#[test]
fn min_and_max_bound_each_line() {
    let bounded = || json!([{"type": "percent", "percent": "10", "min": "1.00", "max": "5.00"}]);
    check(
        bounded(),
        "line=a//9.99 line=b//10.00 line=c//50.00 line=d//50.10",
        expect![[r#"
        a r1: 9.99 EUR x 10 % = 0.999 -> 1.00 half_even
        b r1: 10.00 EUR x 10 % = 1 -> 1.00 half_even
        c r1: 50.00 EUR x 10 % = 5 -> 5.00 half_even
        d r1: 50.10 EUR x 10 % = 5.01 -> 5.01 half_even, cut to the rule's maximum of 5.00
        12.00 EUR
    "#]],
    );
    check(
        bounded(),
        "amount=0.01",
        expect![[r#"
        r1: 0.01 EUR x 10 % = 0.001 -> 0.00 half_even, raised to the rule's minimum of 1.00
        1.00 EUR
    "#]],
    );
    check(
        json!([{"type": "percent", "percent": "10", "min": "2", "max": "2.00"}]),
        "amount=100",
        expect![[r#"
        r1: 100.00 EUR x 10 % = 10 -> 10.00 half_even, cut to the rule's maximum of 2.00
        2.00 EUR
    "#]],
    );
    check(
        bounded(),
        "amount=0",
        expect![[r#"
        r1: 0.00 EUR x 10 % = 0 -> 0.00 half_even
        0.00 EUR
    "#]],
    );
}

#[test]
fn a_rule_is_valid_from_an_instant_on_and_no_longer_at_its_end() {
    let dated = rules(&json!([{
        "id": "july", "type": "flat", "amount": "1",
        "valid_from": "2026-07-01T00:00:00Z", "valid_to": "2026-08-01T00:00:00Z",
    }]));
    for (at, holds) in [
        ("2026-06-30T23:59:59.999Z", false),
        ("2026-07-01T00:00:00Z", true),
        ("2026-07-31T23:59:59.999Z", true),
        ("2026-08-01T00:00:00Z", false),
    ] {
        assert_eq!(
            earn(&dated, &format!("at={at}"), Rounding::HalfEven).is_ok(),
            holds,
            "{at}"
        );
    }
}

#[test]
fn every_condition_alone_makes_the_difference() {
    let table = [
        (json!({"goal": "lead"}), "goal=lead", "goal=sale"),
        (json!({"goal": "Lead"}), "goal=lead", "goal=signup"),
        (
            json!({"when": {"affiliate": "bob"}}),
            "affiliate=bob",
            "affiliate=anna",
        ),
        (json!({"when": {"group": "vip"}}), "group=vip", "group=VIP"),
        (json!({"when": {"group": "vip"}}), "group=vip", ""),
        (
            json!({"when": {"sku": "sock"}}),
            "line=sock//1",
            "line=Sock//1",
        ),
        (
            json!({"when": {"category": "feet"}}),
            "line=sock/feet/1",
            "line=feet//1",
        ),
        (
            json!({"when": {"customer": "new"}}),
            "customer=new",
            "customer=returning",
        ),
        (
            json!({"when": {"customer": "returning"}}),
            "customer=returning",
            "",
        ),
        (
            json!({"when": {"country": "DE"}}),
            "country=DE",
            "country=AT",
        ),
        (
            json!({"when": {"coupon": "Save10"}}),
            "coupon=sAVE10",
            "coupon=save1",
        ),
        (
            json!({"valid_from": "2026-07-01T12:00:00Z"}),
            "",
            "at=2026-07-01T11:59:59Z",
        ),
        (
            json!({"valid_to": "2026-07-01T12:00:00Z"}),
            "at=2026-07-01T11:59:59Z",
            "",
        ),
    ];
    for (condition, holds, fails) in table {
        let mut special = condition.clone();
        special["id"] = json!("special");
        special["type"] = json!("flat");
        special["amount"] = json!("9");
        let program = rules(&json!([special, {"id": "rest", "type": "flat", "amount": "1"}]));
        let decider = |words: &str| {
            let commission = earn(&program, words, Rounding::HalfEven).unwrap();
            commission.lines[0].rule.as_ref().map(ToString::to_string)
        };
        assert_eq!(
            decider(holds).as_deref(),
            Some("special"),
            "{condition}: {holds}"
        );
        assert_eq!(
            decider(fails).as_deref(),
            Some("rest"),
            "{condition}: {fails}"
        );
    }
}

#[test]
fn all_conditions_of_a_rule_must_hold_together() {
    let program = rules(&json!([{
        "goal": "lead", "type": "flat", "amount": "1",
        "when": {"affiliate": "bob", "group": "vip", "country": "DE", "coupon": "c1", "customer": "new"},
    }]));
    let whole = "goal=lead affiliate=bob group=vip country=DE coupon=c1 customer=new";
    assert!(earn(&program, whole, Rounding::HalfEven).is_ok());
    for word in whole.split(' ') {
        let without = whole.replace(word, "");
        assert_eq!(
            earn(&program, &without, Rounding::HalfEven),
            Err(NoCommission::NoRule),
            "{without}"
        );
    }
}

#[test]
fn what_cannot_be_meant_or_is_not_done_yet_is_refused_by_its_field() {
    let percent = |extra: Value| {
        let mut rule = json!({"type": "percent", "percent": "5"});
        rule.as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        json!([rule])
    };
    let table = [
        (json!({"type": "flat"}), "commission", "not_a_list"),
        (json!(["flat"]), "commission[0]", "not_an_object"),
        (json!([{}]), "commission[0].type", "parameter_missing"),
        (
            json!([{"type": "bonus"}]),
            "commission[0].type",
            "rule_type_unknown",
        ),
        (
            json!([{"type": "tiered"}]),
            "commission[0].tiers",
            "parameter_missing",
        ),
        (
            percent(json!({"tiers": {"by": "count"}})),
            "commission[0].tiers",
            "parameter_unknown",
        ),
        (
            percent(json!({"recurring": {}})),
            "commission[0].recurring.max_count",
            "parameter_missing",
        ),
        (
            percent(json!({"recurring": {"max_months": 0}})),
            "commission[0].recurring.max_months",
            "number_invalid",
        ),
        (
            tiered("count", json!([])),
            "commission[0].tiers.steps",
            "length_invalid",
        ),
        (
            tiered("count", json!([{"from": 2, "percent": "5"}])),
            "commission[0].tiers.steps[0].from",
            "tier_gap",
        ),
        (
            tiered("amount", json!([{"from": "0.01", "percent": "5"}])),
            "commission[0].tiers.steps[0].from",
            "tier_gap",
        ),
        (
            tiered(
                "count",
                json!([{"from": 0, "percent": "5"}, {"from": 3, "percent": "6"}, {"from": 3, "percent": "7"}]),
            ),
            "commission[0].tiers.steps[2].from",
            "tier_overlap",
        ),
        (
            tiered("count", json!([{"from": 0, "percent": "101"}])),
            "commission[0].tiers.steps[0].percent",
            "percent_invalid",
        ),
        (
            tiered(
                "count",
                json!([{"from": 0, "percent": "5"}, {"from": 3, "amount": "6"}]),
            ),
            "commission[0].tiers.steps[1].percent",
            "tier_mixed",
        ),
        (
            tiered("amount", json!([{"from": 0, "percent": "5"}])),
            "commission[0].tiers.steps[0].from",
            "type_wrong",
        ),
        (
            tiered("month", json!([{"from": 0, "percent": "5"}])),
            "commission[0].tiers.by",
            "word_unknown",
        ),
        (
            json!([{"type": "tiered", "tiers": {"by": "count", "period": "month", "mode": "retroactive", "steps": [{"from": 0, "percent": "5"}]}}]),
            "commission[0].tiers.mode",
            "not_supported",
        ),
        (
            percent(json!({"bonus": "5"})),
            "commission[0].bonus",
            "parameter_unknown",
        ),
        (
            percent(json!({"amount": "5"})),
            "commission[0].amount",
            "parameter_unknown",
        ),
        (
            json!([{"type": "percent"}]),
            "commission[0].percent",
            "parameter_missing",
        ),
        (
            json!([{"type": "percent", "percent": 5}]),
            "commission[0].percent",
            "type_wrong",
        ),
        (
            json!([{"type": "percent", "percent": "100.1"}]),
            "commission[0].percent",
            "percent_invalid",
        ),
        (
            json!([{"type": "percent", "percent": "-1"}]),
            "commission[0].percent",
            "percent_invalid",
        ),
        (
            json!([{"type": "flat"}]),
            "commission[0].amount",
            "parameter_missing",
        ),
        (
            json!([{"type": "flat", "amount": 5}]),
            "commission[0].amount",
            "type_wrong",
        ),
        (
            json!([{"type": "flat", "amount": "5.001"}]),
            "commission[0].amount",
            "amount_invalid",
        ),
        (
            json!([{"type": "flat", "amount": "-5"}]),
            "commission[0].amount",
            "amount_invalid",
        ),
        (
            percent(json!({"min": "0.001"})),
            "commission[0].min",
            "amount_invalid",
        ),
        (
            percent(json!({"max": "1e3"})),
            "commission[0].max",
            "amount_invalid",
        ),
        (
            percent(json!({"min": "2.01", "max": "2"})),
            "commission[0].min",
            "min_over_max",
        ),
        (
            percent(json!({"valid_from": "2026-07-01"})),
            "commission[0].valid_from",
            "instant_invalid",
        ),
        (
            percent(
                json!({"valid_from": "2026-07-01T00:00:00Z", "valid_to": "2026-07-01T00:00:00Z"}),
            ),
            "commission[0].valid_to",
            "validity_empty",
        ),
        (
            percent(json!({"id": "R1"})),
            "commission[0].id",
            "id_invalid",
        ),
        (
            percent(json!({"goal": "a b"})),
            "commission[0].goal",
            "goal_invalid",
        ),
        (
            percent(json!({"when": []})),
            "commission[0].when",
            "not_an_object",
        ),
        (
            percent(json!({"when": {"device": "phone"}})),
            "commission[0].when.device",
            "parameter_unknown",
        ),
        (
            percent(json!({"when": {"affiliate": "B"}})),
            "commission[0].when.affiliate",
            "affiliate_invalid",
        ),
        (
            percent(json!({"when": {"group": "a b"}})),
            "commission[0].when.group",
            "group_invalid",
        ),
        (
            percent(json!({"when": {"sku": "a\nb"}})),
            "commission[0].when.sku",
            "sku_invalid",
        ),
        (
            percent(json!({"when": {"sku": ["a"]}})),
            "commission[0].when.sku",
            "type_wrong",
        ),
        (
            percent(json!({"when": {"category": "\u{0}"}})),
            "commission[0].when.category",
            "category_invalid",
        ),
        (
            percent(json!({"when": {"customer": "old"}})),
            "commission[0].when.customer",
            "customer_invalid",
        ),
        (
            percent(json!({"when": {"country": "de"}})),
            "commission[0].when.country",
            "country_invalid",
        ),
        (
            percent(json!({"when": {"coupon": "  "}})),
            "commission[0].when.coupon",
            "coupon_invalid",
        ),
        (
            json!([{"id": "aa", "type": "flat", "amount": "1", "goal": "x"}, {"id": "aa", "type": "flat", "amount": "1"}]),
            "commission[1].id",
            "rule_id_repeated",
        ),
        (
            vec![json!({"type": "flat", "amount": "1"}); RULES_MAX + 1].into(),
            "commission",
            "too_many",
        ),
    ];
    for (json, field, code) in table {
        let shown: String = json.to_string().chars().take(200).collect();
        assert_eq!(refused(json), (field.to_owned(), code), "{shown}");
    }
}

fn tiered(by: &str, steps: Value) -> Value {
    json!([{"type": "tiered", "tiers": {"by": by, "period": "month", "steps": steps}}])
}

#[test]
fn tiers_are_printed_as_they_are_read() {
    for (by, steps) in [
        (
            "count",
            json!([{"from": 0, "percent": "5"}, {"from": 10, "percent": "7.5"}]),
        ),
        (
            "amount",
            json!([{"from": "0.00", "amount": "1.00"}, {"from": "99.50", "amount": "2.00"}]),
        ),
    ] {
        let printed = json!([{
            "id": "r1", "type": "tiered", "recurring": {"max_count": 12, "max_months": 24},
            "tiers": {"by": by, "period": "lifetime", "mode": "marginal", "steps": steps},
        }]);
        assert_eq!(rules(&printed).to_json(), printed);
    }
}

#[test]
fn an_order_moves_the_counters_of_the_rules_that_it_may_meet() {
    let ann = AffiliateId::parse("ann").unwrap();
    let skus: Vec<String> = (1..=3).map(|number| format!("s{number}")).collect();
    let lines: Vec<Line<'_>> = skus
        .iter()
        .map(|sku| Line {
            sku,
            category: Some("boots"),
            amount: Money::new(100, eur()),
        })
        .collect();
    let most = |list: &[Value], count: usize| {
        let at = "2026-07-01T12:00:00Z".parse().unwrap();
        let rules = rules(&json!(list));
        rules.counters_most("sale", at, &ann, &lines[..count])
    };
    let steps = |when: Value| {
        let mut rule = tiered("count", json!([{"from": 1, "amount": "2"}]))[0].take();
        rule["when"] = when;
        rule
    };
    let ends = |when: Value| {
        let mut rule = steps(when);
        rule["recurring"] = json!({"max_count": 3});
        rule
    };
    let with = |member: &str, value: Value| {
        let mut rule = steps(json!({"affiliate": "ann"}));
        rule[member] = value;
        rule
    };
    let who = |who: &str| steps(json!({"affiliate": who}));
    let sku = |sku: &str| steps(json!({"sku": sku}));
    for (list, expected) in [
        (vec![json!({"type": "flat", "amount": "1"})], [0, 0, 0]),
        // Of rules that hold for all lines alike the first that holds is met.
        (vec![who("bob"), who("cyd"), who("ann")], [1, 1, 1]),
        (vec![who("ann"), ends(json!({"group": "vip"}))], [2, 2, 2]),
        // Those for somebody else, another goal or time are not.
        (
            vec![ends(json!({"affiliate": "bob"})), who("ann")],
            [1, 1, 1],
        ),
        (vec![with("goal", json!("lead"))], [0, 0, 0]),
        (
            vec![with("valid_to", json!("2026-07-01T12:00:00Z"))],
            [0, 0, 0],
        ),
        // Of rules for lines each that one of the lines meets.
        (vec![sku("s1"), sku("s2"), sku("s9"), who("ann")], [1, 2, 3]),
        (vec![ends(json!({"sku": "s1"})), sku("s2")], [0, 2, 3]),
        // A line meets one of several.
        (
            ["g1", "g2", "g3", "g4"]
                .map(|group| ends(json!({"category": "boots", "group": group})))
                .to_vec(),
            [0, 2, 6],
        ),
        (vec![steps(json!({"category": "socks"}))], [0, 0, 0]),
    ] {
        let found = [0, 1, 3].map(|count| most(&list, count));
        assert_eq!(found, expected, "{list:?}");
    }
}

#[test]
fn steps_need_an_amount_to_be_climbed_by_or_to_pay_a_share_of() {
    for (by, step, expected) in [
        ("count", json!({"from": 1, "amount": "5"}), false),
        ("count", json!({"from": 1, "percent": "5"}), true),
        ("amount", json!({"from": "0", "amount": "5"}), true),
        ("amount", json!({"from": "0", "percent": "5"}), true),
    ] {
        let rules = rules(&tiered(by, json!([step])));
        assert_eq!(needs_amount(&rules, "sale"), expected, "{by} {step}");
    }
}

#[test]
fn an_order_is_paid_by_the_step_its_number_stands_on() {
    let steps = json!([{"from": 0, "percent": "5"}, {"from": 3, "percent": "10"}]);
    for (before, paid) in [(0, "5.00"), (1, "5.00"), (2, "10.00"), (3, "10.00")] {
        let rules = rules(&tiered("count", steps.clone()));
        let words = format!("amount=100 count={before} sum=9999");
        let earned = earn(&rules, &words, Rounding::HalfEven).unwrap();
        assert_eq!(earned.amount.to_string(), paid, "{before}");
        let month = Some(Month::parse("2026-07").unwrap());
        let rule = RuleId::parse("r1").unwrap();
        let [advance] = &earned.advances[..] else {
            panic!("{earned:?}");
        };
        assert_eq!(advance.counter, Counter::Tier { rule, month });
        assert_eq!(
            (advance.before.count, advance.value.minor()),
            (before, 10_000)
        );
    }
    let flat = json!([{"from": 1, "amount": "2"}, {"from": 2, "amount": "3"}]);
    check(
        tiered("count", flat),
        "line=a//10 line=b//10 count=1",
        expect![[r#"
            a r1: 3.00 EUR for the order
            b r1: paid on an earlier line of the order
            3.00 EUR
        "#]],
    );
}

#[test]
fn a_sale_across_a_step_is_split_at_it_and_rounded_once() {
    let steps = json!([
        {"from": "0", "percent": "5"}, {"from": "100", "percent": "7.5"}, {"from": "200", "percent": "10"},
    ]);
    let check =
        |words: &str, expected: Expect| check(tiered("amount", steps.clone()), words, expected);
    check(
        "amount=40 count=3 sum=0",
        expect![[r#"
            r1: 40.00 EUR x 5 % -> 2.00 half_even
            2.00 EUR
        "#]],
    );
    check(
        "amount=40 count=3 sum=9000",
        expect![[r#"
            r1: 10.00 EUR x 5 % + 30.00 EUR x 7.5 % -> 2.75 half_even
            2.75 EUR
        "#]],
    );
    check(
        "amount=250 count=1 sum=1",
        expect![[r#"
            r1: 99.99 EUR x 5 % + 100.00 EUR x 7.5 % + 50.01 EUR x 10 % -> 17.50 half_even
            17.50 EUR
        "#]],
    );
    // The edge belongs to the higher step.
    check(
        "amount=10 count=1 sum=10000",
        expect![[r#"
            r1: 10.00 EUR x 7.5 % -> 0.75 half_even
            0.75 EUR
        "#]],
    );
    // The lines of one order climb one after the other.
    check(
        "line=a//60 line=b//60 sum=0",
        expect![[r#"
            a r1: 60.00 EUR x 5 % -> 3.00 half_even
            b r1: 40.00 EUR x 5 % + 20.00 EUR x 7.5 % -> 3.50 half_even
            6.50 EUR
        "#]],
    );
    check("count=1", expect!["AmountRequired\n"]);
    check(
        "amount=0 count=1 sum=9",
        expect![[r#"
            r1: 0.00 EUR x 5 % -> 0.00 half_even
            0.00 EUR
        "#]],
    );
}

#[test]
fn a_rule_ends_for_a_customer_and_the_next_one_takes_over() {
    let json = json!([
        {"type": "percent", "percent": "30", "recurring": {"max_count": 2}},
        {"type": "percent", "percent": "1"},
    ]);
    for (words, percent) in [
        ("since=never count=0", "30"),
        ("since=2026-01-01T00:00:00Z count=1", "30"),
        ("since=2026-01-01T00:00:00Z count=2", "1"),
    ] {
        let earned = earn(
            &rules(&json),
            &format!("amount=100 {words}"),
            Rounding::Down,
        )
        .unwrap();
        assert_eq!(
            earned.amount.to_string(),
            format!("{percent}.00"),
            "{words}"
        );
        assert_eq!(earned.advances.len(), usize::from(percent == "30"));
    }
    check(json, "amount=100", expect!["CustomerRequired\n"]);
    let months = json!([{"type": "flat", "amount": "3", "recurring": {"max_months": 6}}]);
    let late = "since=2026-01-01T12:00:00Z";
    check(
        months.clone(),
        &format!("{late} at=2026-07-01T12:00:00Z"),
        expect!["NoRule\n"],
    );
    check(
        months,
        &format!("{late} at=2026-07-01T11:59:59Z"),
        expect![[r#"
            r1: 3.00 EUR for the order
            3.00 EUR
        "#]],
    );
}

proptest! {
    /// Climbed in one order or in many, the steps pay the same but for roundings.
    #[test]
    fn however_a_value_is_cut_into_orders_the_steps_pay_the_same(
        orders in prop::collection::vec(0_i64..50_000, 1..12),
    ) {
        let steps = json!([
            {"from": "0", "percent": "5"}, {"from": "100", "percent": "7.5"}, {"from": "400", "percent": "12.25"},
        ]);
        let rules = rules(&tiered("amount", steps));
        let paid = |minor: i64, sum: i64| {
            let words = format!("amount={}.{:02} sum={sum} count=1", minor / 100, minor % 100);
            earn(&rules, &words, Rounding::HalfEven).unwrap().amount.minor()
        };
        let mut sum = 0;
        let mut total = 0;
        for order in &orders {
            total += paid(*order, sum);
            sum += order;
        }
        let at_once = paid(sum, 0);
        prop_assert!((total - at_once).abs() * 2 <= i64::try_from(orders.len()).unwrap() + 1);
    }
}

#[test]
fn a_rule_that_earlier_ones_leave_nothing_to_is_refused() {
    let flat = |extra: Value| {
        let mut rule = json!({"type": "flat", "amount": "1"});
        rule.as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        rule
    };
    let half = ("2026-07-01T00:00:00Z", "2026-08-01T00:00:00Z");
    let unreachable = [
        vec![json!({}), json!({})],
        vec![json!({}), json!({"goal": "lead"})],
        vec![json!({}), json!({"when": {"sku": "a"}})],
        vec![
            json!({"when": {"sku": "a"}}),
            json!({"when": {"sku": "a", "country": "DE"}}),
        ],
        vec![
            json!({"when": {"coupon": "save"}}),
            json!({"when": {"coupon": " SAVE "}}),
        ],
        vec![
            json!({"goal": "lead"}),
            json!({"goal": "LEAD", "when": {"group": "vip"}}),
        ],
        vec![json!({}), json!({"valid_from": half.0})],
        vec![
            json!({"valid_from": half.0}),
            json!({"valid_from": half.0, "valid_to": half.1}),
        ],
        vec![
            json!({"valid_to": half.0}),
            json!({"valid_from": half.0}),
            json!({"when": {"sku": "a"}}),
        ],
        vec![
            json!({"valid_from": half.0}),
            json!({"valid_to": half.1}),
            json!({}),
        ],
    ];
    for rules in unreachable {
        let last = rules.len() - 1;
        let shown = format!("{rules:?}");
        let rules: Value = rules.into_iter().map(flat).collect();
        assert_eq!(
            refused(rules),
            (format!("commission[{last}]"), "rule_unreachable"),
            "{shown}"
        );
    }

    let reachable = [
        vec![json!({"goal": "lead"}), json!({})],
        vec![json!({"goal": "lead"}), json!({"goal": "sale"})],
        vec![json!({"when": {"sku": "a"}}), json!({"when": {"sku": "b"}})],
        vec![
            json!({"when": {"sku": "a"}}),
            json!({"when": {"category": "a"}}),
        ],
        vec![
            json!({"when": {"sku": "a", "country": "DE"}}),
            json!({"when": {"sku": "a"}}),
        ],
        vec![
            json!({"when": {"customer": "new"}}),
            json!({"when": {"customer": "returning"}}),
            json!({}),
        ],
        vec![json!({"valid_from": half.0}), json!({})],
        vec![
            json!({"valid_to": half.0}),
            json!({"valid_from": half.1}),
            json!({}),
        ],
        vec![
            json!({"valid_from": half.0, "valid_to": half.1}),
            json!({"valid_from": half.0}),
        ],
    ];
    for list in reachable {
        rules(&list.into_iter().map(flat).collect());
    }
}

#[test]
fn a_program_has_so_many_rules_and_no_more() {
    let rules = (0..RULES_MAX).map(|number| {
        json!({"type": "flat", "amount": "1", "when": {"affiliate": format!("a{number}")}})
    });
    let rules: Vec<Value> = rules.collect();
    let read = Rules::parse(&rules.into(), eur()).unwrap();
    assert_eq!(read.as_slice().len(), 1_000);
}

#[test]
fn rules_are_printed_as_they_were_given_with_an_id_each() {
    let given = json!([
        {"id": "r2", "goal": "sale", "type": "percent", "percent": "7.50", "min": "1", "max": "20.0",
         "valid_from": "2026-01-01T00:00:00Z", "valid_to": "2027-01-01T00:00:00Z",
         "when": {"affiliate": "bob", "group": "vip", "sku": "a b", "category": "c/d", "customer": "new",
                  "country": "DE", "coupon": "Save10"}},
        {"type": "flat", "amount": "5", "when": {}},
    ]);
    let printed = json!([
        {"id": "r2", "goal": "sale", "type": "percent", "percent": "7.5", "min": "1.00", "max": "20.00",
         "valid_from": "2026-01-01T00:00:00Z", "valid_to": "2027-01-01T00:00:00Z",
         "when": {"affiliate": "bob", "group": "vip", "sku": "a b", "category": "c/d", "customer": "new",
                  "country": "DE", "coupon": "Save10"}},
        {"id": "r3", "type": "flat", "amount": "5.00"},
    ]);
    assert_eq!(rules(&given).to_json(), printed);
    assert_eq!(rules(&printed), rules(&given));
    let ids: Vec<String> = rules(&given)
        .as_slice()
        .iter()
        .map(|rule| rule.id().to_string())
        .collect();
    assert_eq!(ids, ["r2", "r3"]);
}

#[test]
fn exact_shares_have_all_their_digits_and_no_more() {
    let share = |minor, currency, percent| {
        let money = Money::new(minor, Currency::parse(currency).unwrap());
        exact_share(money, Percent::parse(percent).unwrap())
    };
    assert_eq!(share(1230, "EUR", "7.5"), "0.9225");
    assert_eq!(share(-1230, "EUR", "7.5"), "-0.9225");
    assert_eq!(share(1200, "JPY", "10"), "120");
    assert_eq!(share(1, "JPY", "0.0000000001"), "0.000000000001");
    assert_eq!(share(100_000, "EUR", "100"), "1000");
    assert_eq!(share(0, "EUR", "100"), "0");
    assert_eq!(
        share(i64::MAX, "CLF", "99.9999999999"),
        "922337203684555.2434963145224193"
    );
}

/// A few values a condition, so that rules and sales often meet.
fn any_when() -> impl Strategy<Value = (Option<u8>, Option<u8>, Option<u8>, Option<u8>)> {
    let few = || prop::option::of(0..3_u8);
    (few(), few(), few(), few())
}

proptest! {
    #[test]
    fn the_index_finds_the_rule_that_trying_each_in_turn_finds(
        asked in prop::collection::vec(any_when(), 1..40),
        sales in prop::collection::vec(any_when(), 1..20),
    ) {
        let mut kept: Vec<Value> = Vec::new();
        for (number, (goal, affiliate, sku, country)) in asked.into_iter().enumerate() {
            let mut when = serde_json::Map::new();
            affiliate.map(|n| when.insert("affiliate".into(), format!("a{n}").into()));
            sku.map(|n| when.insert("sku".into(), format!("s{n}").into()));
            country.map(|n| when.insert("country".into(), ["DE", "AT", "CH"][usize::from(n)].into()));
            let mut rule = json!({"id": format!("x{number}"), "type": "flat", "amount": "1", "when": when});
            if let Some(n) = goal {
                rule["goal"] = format!("g{n}").into();
            }
            kept.push(rule);
            if Rules::parse(&kept.clone().into(), eur()).is_err() {
                kept.pop();
            }
        }
        let rules = rules(&kept.into());
        for (goal, affiliate, sku, country) in sales {
            let affiliate = AffiliateId::parse(&format!("a{}", affiliate.unwrap_or(9))).unwrap();
            let goal = format!("g{}", goal.unwrap_or(9));
            let sku = sku.map(|n| format!("s{n}"));
            let lines: Vec<Line<'_>> = sku.iter().map(|sku| Line { sku, category: None, amount: Money::new(1, eur()) }).collect();
            let sale = Sale {
                at: Timestamp::UNIX_EPOCH, goal: &goal, affiliate: &affiliate, group: None, customer: None,
                country: country.map(|n| ["DE", "AT", "CH"][usize::from(n)]), coupon: None, buyer: Buyer::Unnamed, standings: &Standings::default(), amount: None, lines: &lines,
            };
            let mut facts = Facts::of(&sale);
            facts.set_line(sku.as_deref(), None);
            let by_trying = rules.rules.iter().position(|rule| rule.asked.hold(&facts) && rule.valid_at(sale.at));
            prop_assert_eq!(rules.index.first(&rules.rules, &facts, sale.at, |_| true), by_trying);
        }
    }
}
