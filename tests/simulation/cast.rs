//! Who and what is in every world: programs with their terms, affiliates' terms, baskets.

use crate::history::{DAY, HOUR};

/// How many affiliates there are.
pub const AFFILIATES: usize = 4;

/// A program's terms, by which the model reckons for itself.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    pub id: &'static str,
    pub merchant: usize,
    pub payer: &'static str,
    pub currency: &'static str,
    pub commission: Commission,
    pub rounding: &'static str,
    pub hold_days: i64,
    pub is_manual: bool,
    /// Whether the run of the next day approves what nobody decided.
    pub approves_after_a_day: bool,
    /// What all its orders may earn together, in minor units.
    pub budget: Option<i64>,
    /// How many orders of a day an affiliate may have.
    pub orders_a_day: Option<usize>,
    /// What its other goal earns, in minor units.
    pub lead: Option<i64>,
    pub window: &'static str,
    pub window_ms: i64,
    pub model: Model,
    /// Whether its shop names its customers, who are then known ever after.
    pub knows_customers: bool,
}

impl Program {
    /// Its terms as of that version: the first is as it stands below, and each later one pays more and
    /// holds, rounds and bounds in another way.
    pub fn of_version(self, number: i64) -> Self {
        let by = number - 1;
        let commission = match self.commission {
            Commission::Share(share) => Commission::Share(share + by * 1_001),
            Commission::Ending { most, first, then } => Commission::Ending {
                most,
                first: first + by * 1_001,
                then: then + by * 501,
            },
            Commission::Lines { shoes, rest } => Commission::Lines {
                shoes: shoes + by * 701,
                rest: rest + by * 301,
            },
            // What is paid at a step has to tell which step it was.
            Commission::Steps { .. } | Commission::Flat(_) => self.commission,
        };
        let place = usize::try_from(by).unwrap_or(0);
        let rounding = ROUNDINGS.iter().position(|word| *word == self.rounding);
        Self {
            commission,
            hold_days: self.hold_days + by % 3,
            rounding: ROUNDINGS[(rounding.unwrap_or(0) + place) % 3],
            budget: self.budget.map(|budget| budget + [0, -100, -50][place % 3]),
            lead: self.lead.map(|lead| lead + by),
            ..self
        }
    }

    /// Its terms for orders of that goal.
    pub fn of_goal(self, goal: &str) -> Self {
        match self.lead {
            Some(lead) if goal == LEAD => Self {
                commission: Commission::Flat(lead),
                ..self
            },
            _ => self,
        }
    }

    /// Whether its shop says what is in a basket.
    pub fn has_basket(&self) -> bool {
        matches!(self.commission, Commission::Lines { .. })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    LastClick,
    Linear,
}

#[derive(Debug, Clone, Copy)]
pub enum Commission {
    /// Of an amount, in thousandths of a percent.
    Share(i64),
    /// In minor units, for an affiliate's orders before the one of this number, and from it on.
    Steps { first: i64, from: usize, then: i64 },
    /// Of an amount, in thousandths of a percent: for so many orders of a customer by an affiliate, and
    /// for those after them.
    Ending { most: usize, first: i64, then: i64 },
    /// In minor units.
    Flat(i64),
    /// Of each line of the basket: what is for shoes, and what for anything else, in thousandths of
    /// a percent.
    Lines { shoes: i64, rest: i64 },
}

/// What is in the basket of an order of so much, each line's sku and what it comes to: two of them
/// are of one sku.
pub fn basket(amount: i64) -> [(&'static str, i64); 3] {
    let (first, book) = (amount / 2, amount / 3);
    [(SHOE, first), ("book", book), (SHOE, amount - first - book)]
}

const ROUNDINGS: [&str; 3] = ["half_even", "half_up", "down"];

pub const SALE: &str = "sale";
/// What another goal than a sale is called.
pub const LEAD: &str = "lead";

/// What a rule pays another share for.
pub const SHOE: &str = "shoe";

/// A link that takes so many clicks of people in all: by affiliate and program.
pub const BOUNDED: [(usize, usize, usize); 3] = [(2, 0, 1), (1, 1, 2), (3, 3, 1)];

pub const PROGRAMS: [Program; 5] = [
    Program {
        id: "p0",
        merchant: 0,
        payer: "house",
        currency: "EUR",
        commission: Commission::Ending {
            most: 2,
            first: 10_000,
            then: 6_000,
        },
        rounding: "half_even",
        hold_days: 0,
        is_manual: false,
        approves_after_a_day: false,
        budget: None,
        orders_a_day: None,
        lead: None,
        window: "30d",
        window_ms: 30 * DAY,
        model: Model::LastClick,
        knows_customers: true,
    },
    Program {
        id: "p1",
        merchant: 0,
        payer: "house",
        currency: "EUR",
        commission: Commission::Share(7_250),
        rounding: "half_up",
        hold_days: 1,
        is_manual: true,
        approves_after_a_day: false,
        budget: None,
        orders_a_day: None,
        lead: Some(75),
        window: "1d",
        window_ms: DAY,
        model: Model::Linear,
        knows_customers: false,
    },
    Program {
        id: "p2",
        merchant: 1,
        payer: "agency",
        currency: "JPY",
        commission: Commission::Share(3_333),
        rounding: "down",
        hold_days: 0,
        is_manual: false,
        approves_after_a_day: false,
        budget: Some(700),
        orders_a_day: Some(2),
        lead: None,
        window: "30d",
        window_ms: 30 * DAY,
        model: Model::Linear,
        knows_customers: false,
    },
    Program {
        id: "p3",
        merchant: 1,
        payer: "agency",
        currency: "EUR",
        commission: Commission::Steps {
            first: 150,
            from: 2,
            then: 250,
        },
        rounding: "half_even",
        hold_days: 2,
        is_manual: true,
        approves_after_a_day: true,
        budget: None,
        orders_a_day: None,
        lead: None,
        window: "12h",
        window_ms: 12 * HOUR,
        model: Model::LastClick,
        knows_customers: true,
    },
    Program {
        id: "p4",
        merchant: 0,
        payer: "house",
        currency: "EUR",
        commission: Commission::Lines {
            shoes: 8_000,
            rest: 2_500,
        },
        rounding: "half_even",
        hold_days: 1,
        is_manual: false,
        approves_after_a_day: false,
        budget: None,
        orders_a_day: None,
        lead: None,
        window: "30d",
        window_ms: 30 * DAY,
        model: Model::LastClick,
        knows_customers: false,
    },
];

/// What an affiliate may be paid by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    pub currency: &'static str,
    pub schedule: &'static str,
    /// In minor units.
    pub minimum: i64,
    pub is_active: bool,
}

pub const TERMS: [Terms; 6] = [
    Terms {
        currency: "EUR",
        schedule: "daily",
        minimum: 0,
        is_active: true,
    },
    Terms {
        currency: "EUR",
        schedule: "weekly",
        minimum: 500,
        is_active: true,
    },
    Terms {
        currency: "EUR",
        schedule: "monthly",
        minimum: 0,
        is_active: true,
    },
    Terms {
        currency: "JPY",
        schedule: "daily",
        minimum: 0,
        is_active: true,
    },
    Terms {
        currency: "EUR",
        schedule: "daily",
        minimum: 2_000,
        is_active: true,
    },
    Terms {
        currency: "EUR",
        schedule: "daily",
        minimum: 0,
        is_active: false,
    },
];

/// A shop has few customers, who come again.
pub const CUSTOMERS: usize = 2;

/// The customer who makes an order: each makes some in a row.
pub fn customer(order: usize) -> usize {
    order / 4 % CUSTOMERS
}
