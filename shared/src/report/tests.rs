use expect_test::expect;
use jiff::civil::date;

use super::*;

fn row(affiliate: &str, name: &str) -> Row {
    let euro = Currency::parse("EUR").unwrap();
    let sums = [
        (Kind::Earned, 10_050),
        (Kind::Reversed, -50),
        (Kind::Adjustment, -100),
        (Kind::Paid, -9_000),
        (Kind::Returned, 100),
    ]
    .into_iter()
    .fold(Sums::default(), |sums, (kind, effect)| {
        sums + Sums::of(kind, effect)
    });
    Row {
        affiliate: AffiliateId::parse(affiliate).unwrap(),
        currency: euro,
        legal_name: name.to_owned(),
        country: "DE".to_owned(),
        held_reason: Some("schedule".to_owned()),
        figures: Figures {
            opening: -200,
            sums,
            closing: 800,
            in_payout: 9_000,
            on_hold: 5,
            unapproved: 0,
            conversions: 3,
            payouts: vec![PaidOut {
                id: "p1".to_owned(),
                day: date(2026, 7, 31),
                amount: Money::new(9_000, euro),
            }],
        },
    }
}

fn report(rows: Vec<Row>) -> Report {
    let euro = Currency::parse("EUR").unwrap();
    let count = i32::try_from(rows.len()).unwrap();
    let sums = OfMerchant {
        earned: i128::from(10_050 * count),
        reversed: i128::from(50 * count),
        conversions: i64::from(3 * count),
    };
    Report {
        payer: PayerId::house(),
        month: Month::parse("2026-07").unwrap(),
        rows,
        by_merchant: BTreeMap::from([((MerchantId::parse("shop").unwrap(), euro), sums)]),
    }
}

#[test]
fn the_raw_file_is_the_same_bytes_every_time() {
    let report = report(vec![row("anna", "Anna \"A\", Ltd"), row("bob", "=1+1")]);
    let raw = String::from_utf8(report.csv_raw()).unwrap();
    expect![[r#"
        payer,month,affiliate,legal_name,country,currency,opening,earned,reversed,adjustments,withheld,paid,returned,closing,in_payout,on_hold,unapproved,conversions,held_reason,payout_ids
        house,2026-07,anna,"Anna ""A"", Ltd",DE,EUR,-2.00,100.50,0.50,-1.00,0.00,90.00,1.00,8.00,90.00,0.05,0.00,3,schedule,p1
        house,2026-07,bob,=1+1,DE,EUR,-2.00,100.50,0.50,-1.00,0.00,90.00,1.00,8.00,90.00,0.05,0.00,3,schedule,p1
    "#]]
    .assert_eq(&raw);
    assert_eq!(raw.as_bytes(), report.csv_raw());
}

#[test]
fn people_get_a_file_that_no_spreadsheet_runs() {
    let report = report(vec![row("bob", "=1+1")]);
    let text = String::from_utf8(report.csv_for_people()).unwrap();
    let body = text.strip_prefix('\u{feff}').unwrap();
    let lines: Vec<&str> = body.split_terminator("\r\n").collect();
    assert_eq!(lines.len(), 2);
    // An amount below zero stays a number.
    assert!(
        lines[1].starts_with("house,2026-07,bob,'=1+1,DE,EUR,-2.00,"),
        "{text}"
    );
}

#[test]
fn a_report_adds_up_or_says_that_it_does_not() {
    let good = report(vec![row("anna", "Anna"), row("bob", "Bob")]);
    assert!(good.adds_up());
    let total = &good.totals()[&Currency::parse("EUR").unwrap()];
    assert_eq!(
        (total.opening, total.closing, total.conversions),
        (-400, 1_600, 6)
    );

    let mut wrong = good.clone();
    wrong.rows[1].figures.closing += 1;
    assert!(!wrong.adds_up());
    let mut wrong = good;
    wrong.by_merchant.values_mut().next().unwrap().earned -= 1;
    assert!(!wrong.adds_up());
}

#[test]
fn a_sealed_row_is_read_back_as_it_was() {
    let row = row("anna", "Anna");
    assert_eq!(Row::parse(&row.to_json()), Some(row.clone()));
    // However much it is: what is sealed is what the next month begins with.
    let mut far = row;
    far.figures.closing = 10_i128.pow(30) + 1;
    far.figures.opening = -far.figures.closing;
    assert_eq!(far.to_json()["closing"], "10000000000000000000000000000.01");
    assert_eq!(Row::parse(&far.to_json()), Some(far));
    assert_eq!(Row::parse(&json!({"affiliate": "anna"})), None);
}
