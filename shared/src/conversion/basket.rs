//! An order's lines as they are kept: each can be taken back at its own rate.

use super::Item;
use crate::commission::{Commission, Line};
use crate::money::{Currency, Money, Rounding};

/// One line of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BasketLine {
    pub sku: String,
    pub category: Option<String>,
    /// The line's total, in minor units.
    pub amount: i64,
    /// Of the amount, taken back by name.
    pub taken: i64,
    /// What each credit earned by it, in minor units; empty while nobody is credited.
    pub earned: Vec<i64>,
}

impl BasketLine {
    /// A line as it comes: nothing earned, nothing taken back.
    #[must_use]
    pub fn of(item: &Item) -> Self {
        Self {
            sku: item.sku.clone(),
            category: item.category.clone(),
            amount: item.amount.minor(),
            taken: 0,
            earned: Vec::new(),
        }
    }

    /// What commission is reckoned on.
    #[must_use]
    pub fn line(&self, currency: Currency) -> Line<'_> {
        Line {
            sku: &self.sku,
            category: self.category.as_deref(),
            amount: Money::new(self.amount, currency),
        }
    }
}

/// Why lines cannot be taken back: a business answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    #[error("no line of the order has this sku")]
    SkuUnknown,
    #[error("more than is left of the lines of this sku")]
    Exceeds,
}

/// Takes so much of the lines of a sku back, the earlier lines first.
pub fn take(basket: &mut [BasketLine], sku: &str, amount: i64) -> Result<(), NotTaken> {
    let mut left = amount;
    let mut is_known = false;
    for line in basket.iter_mut().filter(|line| line.sku == sku) {
        is_known = true;
        let part = left.min(line.amount - line.taken);
        line.taken += part;
        left -= part;
    }
    match (is_known, left) {
        (false, _) => Err(NotTaken::SkuUnknown),
        (true, 0) => Ok(()),
        (true, _) => Err(NotTaken::Exceeds),
    }
}

/// Says of each line what every credit earned by it: `parts` are the credits' commissions, each with
/// what its affiliate would earn alone. A part is split as that whole is, by largest remainder.
pub fn earned_by_line(basket: &mut [BasketLine], parts: &[(Money, Option<&Commission>)]) {
    for line in &mut *basket {
        line.earned.clear();
    }
    for (part, whole) in parts {
        let lines = whole.iter().flat_map(|whole| &whole.lines);
        let weights: Vec<u64> = lines
            .map(|line| line.amount.minor().unsigned_abs())
            .collect();
        let mut earned = part.allocate(&weights).into_iter();
        for line in &mut *basket {
            line.earned.push(earned.next().map_or(0, Money::minor));
        }
    }
}

/// What one credit gives back of its commission: for what was taken by name at the lines' own
/// rates, each line rounded once; for what was taken of the order as a whole in proportion to what
/// those lines left. All of the order gives back all of the commission.
///
/// `refunded` of `whole` was taken back in all. As several parts are rounded, it may fall by a few
/// minor units as more is taken back; whoever books it lets it rise only.
pub fn given_back(
    basket: &[BasketLine],
    credit: usize,
    commission: Money,
    (refunded, whole): (i64, i64),
    rounding: Rounding,
) -> Money {
    let currency = commission.currency();
    let mut by_name = Money::zero(currency);
    let mut taken = 0;
    for line in basket.iter().filter(|line| line.taken > 0) {
        let earned = Money::new(line.earned.get(credit).copied().unwrap_or(0), currency);
        let part = earned
            .portion(line.taken, line.amount, rounding)
            .expect("no more of a line is taken back than there is");
        by_name = by_name.checked_add(part).expect("parts of one commission");
        taken += line.taken;
    }
    let rest = commission
        .checked_sub(by_name)
        .expect("the lines' earnings add up to the commission");
    if taken == whole {
        return commission;
    }
    let of_the_rest = rest
        .portion(refunded - taken, whole - taken, rounding)
        .expect("no more is taken back than the whole");
    by_name
        .checked_add(of_the_rest)
        .expect("parts of one commission")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::commission::{LineCommission, Reckoning};

    fn line(sku: &str, amount: i64, earned: i64) -> BasketLine {
        BasketLine {
            sku: sku.to_owned(),
            category: None,
            amount,
            taken: 0,
            earned: vec![earned],
        }
    }

    #[test]
    fn lines_are_taken_by_name_and_no_further_than_they_go() {
        let mut basket = vec![line("a", 100, 10), line("b", 50, 0), line("a", 20, 2)];
        assert_eq!(take(&mut basket, "c", 1), Err(NotTaken::SkuUnknown));
        assert_eq!(take(&mut basket, "a", 110), Ok(()));
        assert_eq!(
            (basket[0].taken, basket[1].taken, basket[2].taken),
            (100, 0, 10)
        );
        assert_eq!(take(&mut basket.clone(), "a", 11), Err(NotTaken::Exceeds));
        assert_eq!(take(&mut basket, "a", 10), Ok(()));
    }

    #[test]
    fn each_line_gives_back_what_it_earned() {
        let euro = Currency::parse("EUR").unwrap();
        let commission = Money::new(1_000, euro);
        let back = |basket: &[BasketLine], refunded| {
            given_back(
                basket,
                0,
                commission,
                (refunded, 20_000),
                Rounding::HalfEven,
            )
            .minor()
        };
        // A line at 10 % and one at nothing.
        let mut basket = vec![line("paid", 10_000, 1_000), line("free", 10_000, 0)];
        assert_eq!(back(&basket, 10_000), 500);
        take(&mut basket, "free", 10_000).unwrap();
        assert_eq!(back(&basket, 10_000), 0);
        assert_eq!(back(&basket, 15_000), 500);
        take(&mut basket, "paid", 5_000).unwrap();
        assert_eq!(back(&basket, 15_000), 500);
        assert_eq!(back(&basket, 20_000), 1_000);
    }

    #[test]
    fn a_line_that_is_worth_nothing_gives_nothing_back() {
        let euro = Currency::parse("EUR").unwrap();
        let mut basket = vec![line("free", 0, 0), line("paid", 100, 10)];
        assert_eq!(take(&mut basket, "free", 0), Ok(()));
        assert_eq!(take(&mut basket, "paid", 50), Ok(()));
        let commission = Money::new(10, euro);
        let back = given_back(&basket, 0, commission, (50, 100), Rounding::HalfEven);
        assert_eq!(back.minor(), 5);
    }

    #[test]
    fn each_line_is_told_what_every_credit_earned_by_it() {
        let euro = Currency::parse("EUR").unwrap();
        let earned = |minor| LineCommission {
            sku: None,
            rule: None,
            reckoning: Reckoning::NoRule,
            bound: None,
            amount: Money::new(minor, euro),
        };
        let whole = Commission {
            amount: Money::new(4_000, euro),
            lines: vec![earned(3_000), earned(1_000)],
            advances: Vec::new(),
        };
        let mut basket = vec![line("a", 30_000, 7), line("b", 10_000, 8)];
        let part = Money::new(1_001, euro);
        earned_by_line(&mut basket, &[(part, Some(&whole)), (part, None)]);
        // 750.75 and 250.25; the odd cent goes to the larger remainder.
        let earned: Vec<&[i64]> = basket.iter().map(|line| line.earned.as_slice()).collect();
        assert_eq!(earned, [[751, 0], [250, 0]]);
    }

    proptest! {
        #[test]
        fn what_is_given_back_stays_within_the_commission_and_ends_at_it(
            lines in prop::collection::vec((1_i64..10_000, 0_i64..10_000), 1..6),
            steps in prop::collection::vec((0_usize..7, 1_i64..5_000), 1..20),
        ) {
            let euro = Currency::parse("EUR").unwrap();
            let mut basket: Vec<BasketLine> = lines
                .iter()
                .enumerate()
                .map(|(number, (amount, earned))| line(&format!("s{number}"), *amount, *earned))
                .collect();
            let whole: i64 = lines.iter().map(|(amount, _)| amount).sum();
            let commission = Money::new(lines.iter().map(|(_, earned)| earned).sum(), euro);
            let mut refunded = 0;
            for (sku, amount) in steps {
                let amount = amount.min(whole - refunded);
                let mut next = basket.clone();
                if take(&mut next, &format!("s{sku}"), amount).is_ok() {
                    basket = next;
                    refunded += amount;
                } else if sku == 6 {
                    refunded += amount;
                }
                let back = given_back(&basket, 0, commission, (refunded, whole), Rounding::HalfEven).minor();
                prop_assert!((0..=commission.minor()).contains(&back), "{back}");
            }
            let all = given_back(&basket, 0, commission, (whole, whole), Rounding::HalfEven);
            prop_assert_eq!(all, commission);
        }
    }
}
