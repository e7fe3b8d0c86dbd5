//! What an order would earn by some version of the terms, with all else as it was frozen.

use shared::commission::{Buyer, Commission, Customer, Line, NoCommission, Sale, Standing};
use shared::conversion::{BasketLine, Conversion, Credit};
use shared::http_types::parse_instant;
use shared::money::Money;
use shared::setup::Program;

/// What a credit's affiliate would earn alone by an order of this value, by these terms: with what
/// was frozen with the order, its counters among it. One that was not asked for then stands at zero.
pub fn whole_of(
    terms: &Program,
    seen: &Conversion,
    credit: &Credit,
    amount: Option<Money>,
    basket: &[BasketLine],
) -> Result<Commission, NoCommission> {
    let lines = basket.iter().map(|line| line.line(seen.currency));
    let lines: Vec<Line<'_>> = lines.collect();
    let mut standings = credit.standings.clone();
    let since = &seen.facts["buyer"]["since"];
    let buyer = match seen.facts["buyer"].is_object() {
        true => Buyer::Named {
            since: since.as_str().and_then(parse_instant),
        },
        false => Buyer::Unnamed,
    };
    loop {
        let sale = Sale {
            at: seen.occurred_at,
            goal: &seen.key.goal,
            affiliate: &credit.affiliate,
            group: credit.group.as_deref(),
            customer: seen.facts["customer"].as_str().and_then(Customer::parse),
            country: credit.country.as_deref(),
            coupon: seen.facts["coupon"].as_str(),
            buyer,
            standings: &standings,
            amount,
            lines: &lines,
        };
        match terms.commission.commission(&sale, terms.rounding) {
            Err(NoCommission::Unknown(counter)) => {
                standings.0.insert(counter, Standing::default());
            }
            earned => return earned,
        }
    }
}
