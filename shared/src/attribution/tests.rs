use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::http_types::{Fields, Invalid};
use crate::money::Currency;

const MINUTE: i64 = 60_000;
const T: i64 = 1_780_000_000_000;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap()
}

fn terms(json: Value) -> Result<Attribution, Invalid> {
    Attribution::read(Fields::from_object(json).unwrap())
}

/// `kind affiliate minutes [view] [out]`, separated by commas: minutes before the order.
fn candidates(text: &str) -> Vec<Candidate> {
    let parts = text.split(", ").filter(|part| !part.is_empty());
    parts
        .enumerate()
        .map(|(number, part)| {
            let words: Vec<&str> = part.split(' ').collect();
            let minutes: i64 = words[2].parse().unwrap();
            Candidate {
                kind: Kind::parse(words[0]).unwrap(),
                at: at(T - minutes * MINUTE),
                affiliate: AffiliateId::parse(words[1]).unwrap(),
                link: None,
                click: Some(format!("{number:016}")),
                class: Class::Human,
                is_view: words[3..].contains(&"view"),
                weight: 1,
                out: words.last().and_then(|word| LeftOut::parse(word)),
            }
        })
        .collect()
}

/// What each gets of 100.00, and which kind decided.
fn check(attribution: Value, given: &str, expected: &str) {
    let terms = terms(attribution).unwrap();
    let decision = Decision::of(&terms, candidates(given));
    let euro = Currency::parse("EUR").unwrap();
    let whole = Money::new(10_000, euro);
    let parts: Vec<String> = decision
        .shares()
        .iter()
        .map(|(affiliate, _)| format!("{affiliate} {}", decision.part(affiliate, whole)))
        .collect();
    let by = decision.decided_by.map_or("nobody", Kind::as_str);
    assert_eq!(format!("{by}: {}", parts.join(", ")), expected, "{given}");

    // Whatever order they are read in.
    let mut backwards = candidates(given);
    backwards.reverse();
    assert_eq!(
        Decision::of(&terms, backwards),
        decision,
        "{given} backwards"
    );
}

#[test]
fn each_model_splits_as_its_name_says() {
    let three = "journey ann 30, journey bob 20, click_id cyd 10";
    let two = "journey ann 20, click_id bob 10";
    let one = "click_id ann 10";
    for (model, of_three, of_two) in [
        ("last_click", "click_id: cyd 100.00", "click_id: bob 100.00"),
        ("first_click", "journey: ann 100.00", "journey: ann 100.00"),
        (
            "linear",
            "journey: ann 33.34, bob 33.33, cyd 33.33",
            "journey: ann 50.00, bob 50.00",
        ),
        (
            "position_based",
            "journey: ann 40.00, bob 20.00, cyd 40.00",
            "journey: ann 50.00, bob 50.00",
        ),
    ] {
        check(json!({"model": model}), three, of_three);
        check(json!({"model": model}), two, of_two);
        check(json!({"model": model}), one, "click_id: ann 100.00");
    }
    let four = "journey ann 40, journey bob 30, journey cyd 20, click_id dan 10";
    check(
        json!({"model": "position_based"}),
        four,
        "journey: ann 40.00, bob 10.00, cyd 10.00, dan 40.00",
    );
    // Of several touches of one affiliate each counts, and they are one part.
    check(
        json!({"model": "position_based"}),
        "journey ann 40, journey bob 30, journey ann 20, click_id bob 10",
        "journey: ann 50.00, bob 50.00",
    );
}

#[test]
fn time_decay_halves_by_the_programs_half_life() {
    let decay = |half_life: &str| json!({"model": "time_decay", "half_life": half_life});
    let hours = "journey ann 130, journey bob 70, click_id cyd 10";
    check(
        decay("1h"),
        hours,
        "journey: ann 14.29, bob 28.57, cyd 57.14",
    );
    check(
        decay("365d"),
        "journey ann 10, click_id bob 10",
        "journey: ann 50.00, bob 50.00",
    );
    // Two weeks before the last touch, a quarter of it.
    check(
        json!({"model": "time_decay"}),
        "journey ann 20160, click_id bob 0",
        "journey: ann 20.00, bob 80.00",
    );
    check(
        decay("1h"),
        "journey ann 200000, click_id bob 0",
        "click_id: bob 100.00",
    );
}

#[test]
fn custom_weights_are_by_position() {
    let custom = |first: &str, middle: &str, last: &str| json!({"model": "custom", "weights": {"first": first, "middle": middle, "last": last}});
    let four = "journey ann 40, journey bob 30, journey cyd 20, click_id dan 10";
    check(
        custom("30", "20", "50"),
        four,
        "journey: ann 30.00, bob 10.00, cyd 10.00, dan 50.00",
    );
    check(
        custom("0.5", "0", "0.5"),
        four,
        "journey: ann 50.00, dan 50.00",
    );
    check(custom("0", "1", "0"), four, "journey: bob 50.00, cyd 50.00");
    // Two have no middle: by what is left, and alike where nothing is.
    check(
        custom("1", "5", "3"),
        "journey ann 20, click_id bob 10",
        "journey: ann 25.00, bob 75.00",
    );
    check(
        custom("0", "1", "0"),
        "journey ann 20, click_id bob 10",
        "journey: ann 50.00, bob 50.00",
    );
    check(
        custom("0", "1", "0"),
        "click_id ann 10",
        "click_id: ann 100.00",
    );
}

#[test]
fn what_is_left_over_goes_to_the_earlier_touch() {
    let euro = Currency::parse("EUR").unwrap();
    let terms = terms(json!({"model": "linear"})).unwrap();
    for (minor, expected) in [
        (1, [1, 0, 0]),
        (2, [1, 1, 0]),
        (3, [1, 1, 1]),
        (4, [2, 1, 1]),
    ] {
        let given = "journey cyd 30, journey bob 20, click_id ann 10";
        let decision = Decision::of(&terms, candidates(given));
        let parts: Vec<i64> = decision
            .shares()
            .iter()
            .map(|(affiliate, _)| decision.part(affiliate, Money::new(minor, euro)).minor())
            .collect();
        assert_eq!(parts, expected, "{minor}");
    }
    // At the same millisecond the click's own name decides, whoever is read first.
    check(
        json!({"model": "first_click"}),
        "journey bob 10, click_id ann 10",
        "journey: bob 100.00",
    );
}

#[test]
fn the_programs_priority_decides_between_kinds() {
    let all = "click_id ann 10, journey bob 5, coupon cyd 0, customer dan 999";
    for (priority, expected) in [
        (
            json!(["click_id", "journey", "coupon", "customer"]),
            "click_id: ann 100.00",
        ),
        (json!(["journey", "click_id"]), "journey: bob 100.00"),
        (json!(["coupon", "click_id"]), "coupon: cyd 100.00"),
        (json!(["customer", "coupon"]), "customer: dan 100.00"),
    ] {
        check(json!({"priority": priority}), all, expected);
    }
    // The next kind has its turn where one has nobody.
    for (given, expected) in [
        (
            "click_id ann 10 window_closed, journey bob 20",
            "journey: bob 100.00",
        ),
        (
            "click_id ann 10 invalid_traffic, coupon cyd 0",
            "coupon: cyd 100.00",
        ),
        (
            "coupon cyd 0 not_valid_then, customer dan 9",
            "customer: dan 100.00",
        ),
        ("click_id ann 10 self_referral", "nobody: "),
        ("", "nobody: "),
    ] {
        check(json!({}), given, expected);
    }
    check(
        json!({"priority": ["coupon"]}),
        "click_id ann 10",
        "nobody: ",
    );
    // With a split the click that the sender names is one touch of its journey, and need not count.
    let linear = json!({"model": "linear"});
    let split = "click_id ann 30 window_closed, journey bob 20, journey cyd 10";
    check(linear, split, "journey: bob 50.00, cyd 50.00");
}

#[test]
fn a_journey_takes_the_named_clicks_turn_only_where_one_is_named() {
    let priority = json!(["click_id", "coupon", "journey"]);
    let journey = "journey ann 30, journey bob 20, coupon cyd 0";
    let robots = format!("click_id dan 10 invalid_traffic, {journey}");
    let old = format!("click_id dan 10 window_closed, {journey}");
    for (model, of_journey) in [
        ("first_click", "journey: ann 100.00"),
        ("linear", "journey: ann 50.00, bob 50.00"),
        ("time_decay", "journey: ann 49.98, bob 50.02"),
        ("position_based", "journey: ann 50.00, bob 50.00"),
    ] {
        let terms = json!({"model": model, "priority": priority});
        check(terms.clone(), journey, "coupon: cyd 100.00");
        check(terms.clone(), &robots, of_journey);
        check(terms, &old, of_journey);
        let only_named = json!({"model": model, "priority": ["click_id"]});
        check(only_named, journey, "nobody: ");
    }
}

#[test]
fn a_named_click_among_others_is_a_touch_of_its_journey() {
    check(
        json!({"model": "linear"}),
        "click_id ann 30, journey bob 10",
        "journey: ann 50.00, bob 50.00",
    );
}

#[test]
fn each_credited_touch_says_whose_it_is() {
    let terms = terms(json!({"model": "linear"})).unwrap();
    let given =
        "journey ann 40, journey bob 30 test, journey cyd 20, click_id ann 10, coupon bob 0";
    let decision = Decision::of(&terms, candidates(given));
    // Of ann and cyd, in the order of their first touches; bob's do not count.
    assert_eq!(decision.split(), [(0, 1), (1, 1), (0, 1)]);
    let coupon = decision.first_of(Kind::Coupon).unwrap();
    assert_eq!(coupon.affiliate.as_str(), "bob");
    assert_eq!(decision.first_of(Kind::Customer), None);
}

#[test]
fn a_view_counts_only_where_no_click_does_and_then_the_last_one() {
    let views = "journey ann 30 view, journey bob 20 view";
    for model in ["last_click", "first_click", "linear"] {
        check(
            json!({"model": model, "priority": ["journey"]}),
            views,
            "journey: bob 100.00",
        );
    }
    let clicked = "journey ann 30, journey bob 20 view";
    check(json!({}), clicked, "journey: ann 100.00");
    let robot = "journey ann 30 invalid_traffic, journey bob 20 view";
    check(json!({}), robot, "journey: bob 100.00");
}

#[test]
fn the_latest_twenty_affiliates_share_an_order() {
    let given: Vec<String> = (0..25)
        .map(|number| format!("journey a{number:02} {}", 100 - number))
        .chain(["journey a24 1".to_owned(), "journey a00 200".to_owned()])
        .collect();
    let terms = terms(json!({"model": "linear"})).unwrap();
    let decision = Decision::of(&terms, candidates(&given.join(", ")));
    let shares = decision.shares();
    assert_eq!(shares.len(), AFFILIATES_MOST);
    assert_eq!(shares[0].0.as_str(), "a05");
    assert_eq!(shares[19], (AffiliateId::parse("a24").unwrap(), 2));
    let left_out = decision
        .candidates
        .iter()
        .filter(|candidate| candidate.out == Some(LeftOut::TooManyAffiliates));
    assert_eq!(left_out.count(), 6);
}

#[test]
fn a_known_customer_is_shared_by_as_many_as_there_is_room_for() {
    let terms = terms(json!({})).unwrap();
    let given = "customer ann 30, customer bob 30, customer cyd 30";
    let decision = Decision::among(&terms, candidates(given), 2);
    assert_eq!(decision.decided_by, Some(Kind::Customer));
    let shares = decision.shares();
    let shares: Vec<&str> = shares.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(shares, ["bob", "cyd"]);
    let left_out = decision.candidates[0].out;
    assert_eq!(left_out, Some(LeftOut::TooManyAffiliates));
}

#[test]
fn whoever_shares_with_nobody_is_not_left_out_for_room() {
    let given: Vec<String> = (0..25)
        .map(|number| format!("journey a{number:02} {}", 100 - number))
        .collect();
    let given = given.join(", ");
    check(
        json!({"model": "first_click"}),
        &given,
        "journey: a00 100.00",
    );
    check(json!({}), &given, "journey: a24 100.00");
}

#[test]
fn windows_include_both_their_edges() {
    let window = 30 * MINUTE;
    for (age, named, other) in [
        (
            -SLACK_MS - 1,
            Some(LeftOut::AfterConversion),
            Some(LeftOut::AfterConversion),
        ),
        (-SLACK_MS, None, Some(LeftOut::AfterConversion)),
        (-1, None, Some(LeftOut::AfterConversion)),
        (0, None, None),
        (window, None, None),
        (
            window + 1,
            Some(LeftOut::WindowClosed),
            Some(LeftOut::WindowClosed),
        ),
    ] {
        let out = |is_named| out_of_time(is_named, at(T - age), at(T), window, 0);
        assert_eq!((out(true), out(false)), (named, other), "{age}");
    }
    for (age, expected) in [(4_999, Some(LeftOut::TooSoon)), (5_000, None)] {
        assert_eq!(
            out_of_time(true, at(T - age), at(T), window, 5_000),
            expected,
            "{age}"
        );
    }
    assert_eq!(
        out_of_time(true, at(T + 9), at(T), window, 1),
        Some(LeftOut::TooSoon)
    );
}

#[test]
fn terms_are_read_with_their_defaults_and_refused_where_they_make_no_sense() {
    let usual = json!({"model": "last_click", "priority": ["click_id", "journey", "coupon", "customer"], "half_life": "7d"});
    assert_eq!(terms(json!({})).unwrap().to_json(), usual);
    let own = json!({
        "model": "custom", "priority": ["coupon", "journey"], "half_life": "12h",
        "weights": {"first": "1", "middle": "0.25", "last": "9999.9999"},
    });
    assert_eq!(terms(own.clone()).unwrap().to_json(), own);
    let mut with_surplus_zeros = own.clone();
    with_surplus_zeros["weights"]["middle"] = json!(format!("00.25{}", "0".repeat(40)));
    assert_eq!(terms(with_surplus_zeros).unwrap().to_json(), own);
    let weights = |first: &str| json!({"first": first, "middle": "0", "last": "0"});
    for (given, field, code) in [
        (json!({"model": "markov"}), "model", "word_unknown"),
        (json!({"priority": []}), "priority", "length_invalid"),
        (json!({"priority": ["click"]}), "priority", "word_unknown"),
        (
            json!({"priority": ["coupon", "coupon"]}),
            "priority",
            "word_repeated",
        ),
        (json!({"half_life": "0d"}), "half_life", "duration_invalid"),
        (
            json!({"weights": weights("1")}),
            "weights",
            "only_with_custom",
        ),
        (json!({"model": "custom"}), "weights", "parameter_missing"),
        (
            json!({"model": "custom", "weights": weights("0")}),
            "weights.last",
            "weight_invalid",
        ),
        (
            json!({"model": "custom", "weights": weights("-1")}),
            "weights.first",
            "weight_invalid",
        ),
        (
            json!({"model": "custom", "weights": weights("1e3")}),
            "weights.first",
            "weight_invalid",
        ),
        (
            json!({"model": "custom", "weights": weights("10000")}),
            "weights.first",
            "weight_invalid",
        ),
        (
            json!({"model": "custom", "weights": weights("0.00001")}),
            "weights.first",
            "weight_invalid",
        ),
        (json!({"modell": "linear"}), "modell", "parameter_unknown"),
    ] {
        assert_eq!(
            terms(given.clone()),
            Err(Invalid::new(field, code)),
            "{given}"
        );
    }
}

fn currencies() -> impl Strategy<Value = Currency> {
    // 0, 2, 3 and 4 digits after the point.
    prop::sample::select(vec!["JPY", "EUR", "KWD", "CLF"])
        .prop_map(|code| Currency::parse(code).unwrap())
}

fn models() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![
        json!({"model": "last_click"}),
        json!({"model": "first_click"}),
        json!({"model": "linear"}),
        json!({"model": "time_decay", "half_life": "3h"}),
        json!({"model": "position_based"}),
        json!({"model": "custom", "weights": {"first": "3", "middle": "0.5", "last": "7.25"}}),
    ])
}

proptest! {
    #[test]
    fn parts_add_up_and_none_is_off_its_exact_share_by_a_minor_unit(
        model in models(),
        currency in currencies(),
        minor in 0_i64..=1_000_000_000_000_000,
        touches in prop::collection::vec((0_u32..20, 0_i64..100_000), 1..=20),
    ) {
        let given: Vec<String> = touches
            .iter()
            .map(|(affiliate, minutes)| format!("journey a{affiliate:02} {minutes}"))
            .collect();
        let decision = Decision::of(&terms(model).unwrap(), candidates(&given.join(", ")));
        let whole = Money::new(minor, currency);
        let total = i128::from(decision.total_weight());
        let mut sum = 0_i128;
        for (affiliate, weight) in decision.shares() {
            let part = i128::from(decision.part(&affiliate, whole).minor());
            // Of each touch's own part: an affiliate's is the sum of as many.
            let own = decision.credited().filter(|(candidate, _)| candidate.affiliate == affiliate);
            let off = (part * total - i128::from(minor) * i128::from(weight)).abs();
            let touches = i128::try_from(own.count()).unwrap();
            prop_assert!(off < total * touches, "{part} of {minor} by {weight} in {total}");
            sum += part;
        }
        prop_assert_eq!(sum, i128::from(minor));
        for (touch, part) in decision.weights.iter().zip(whole.allocate(&decision.weights)) {
            let off = i128::from(part.minor()) * total - i128::from(minor) * i128::from(*touch);
            prop_assert!(off.abs() < total);
        }
    }
}
