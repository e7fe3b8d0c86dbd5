//! What happens in a world, made from a seed: plain data, so that it can be printed and cut down.

use fastrand::Rng;

use crate::cast::{AFFILIATES, Commission, LEAD, PROGRAMS, SALE, TERMS, basket, customer};

/// Milliseconds.
pub const SECOND: i64 = 1_000;
pub const MINUTE: i64 = 60 * SECOND;
pub const HOUR: i64 = 60 * MINUTE;
pub const DAY: i64 = 24 * HOUR;
/// 2026-05-29T00:00:00Z; the 31st is a Sunday and a month's last day, so every schedule pays.
pub const FRIDAY: i64 = 1_780_012_800 * SECOND;

/// So many orders come by clicks at most.
const ORDERS_MOST: usize = 10;

/// The program of an order; few have baskets, or the rest would seldom meet each other.
fn shop(rng: &mut Rng) -> usize {
    rng.usize(0..PROGRAMS.len() * 2 - 1) / 2
}

/// How long ago an order was made that is posted now, in milliseconds: some shops tell of what nobody
/// clicked for at the day's end only.
fn ago(rng: &mut Rng, click: Option<usize>) -> i64 {
    if click.is_none() && rng.bool() {
        rng.i64(0..DAY)
    } else {
        rng.i64(0..200_000)
    }
}

/// One order of a merchant's shop. Its content is one of two: what a sender says of it may change.
#[derive(Debug, Clone)]
pub struct Order {
    pub program: usize,
    pub goal: &'static str,
    /// The number in its id, which orders of different goals may share.
    pub id: usize,
    /// In minor units.
    pub amounts: [i64; 2],
}

/// What is taken back of an order: of all of it, or of the lines of one sku.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    pub id: usize,
    /// In minor units.
    pub amount: i64,
    pub sku: Option<&'static str>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Click {
        click: usize,
        /// Whoever bought the order of this number.
        visitor: usize,
        program: usize,
        affiliate: usize,
        is_human: bool,
    },
    /// `copies` at once; `back` milliseconds ago by the shop's clock. With the coupon of an affiliate.
    Post {
        order: usize,
        click: Option<usize>,
        coupon: Option<usize>,
        content: usize,
        back: i64,
        copies: usize,
    },
    /// Posts and reversals of a shop in one request, a line each.
    Batch {
        merchant: usize,
        lines: Vec<Step>,
        copies: usize,
    },
    /// Without a part: all that is left. It waits so many milliseconds before it comes.
    Reverse {
        order: usize,
        part: Option<Part>,
        copies: usize,
        wait: u64,
    },
    Approve {
        order: usize,
        copies: usize,
    },
    Reject {
        order: usize,
    },
    /// What was rejected waits again.
    Reopen {
        order: usize,
    },
    /// One list of decisions over orders of the same shop: by order, and whether it is approved.
    Decisions {
        merchant: usize,
        lines: Vec<(usize, bool)>,
    },
    /// The order's new value, in minor units.
    Amend {
        order: usize,
        id: usize,
        amount: i64,
        copies: usize,
    },
    /// An affiliate misses a sale; the merchant accepts, or declines.
    Claim {
        order: usize,
        affiliate: usize,
        is_accepted: bool,
    },
    /// An admin gives an order that nobody is credited with to an affiliate; at the same time
    /// somebody else may give it to another.
    Credit {
        order: usize,
        affiliate: usize,
        another: Option<usize>,
    },
    /// The shop forgets the customer who made this order.
    Forget {
        order: usize,
    },
    /// A visitor wants to be forgotten, and shows an id of theirs.
    ForgetVisitor {
        click: usize,
    },
    /// The schedule's reconciliation: an account that differs is paid nothing.
    Reconcile,
    Adjust {
        id: usize,
        affiliate: usize,
        program: usize,
        amount: i64,
        in_days: i64,
        copies: usize,
    },
    Terms {
        affiliate: usize,
        terms: usize,
    },
    /// Other terms of a program: its next version.
    Version {
        program: usize,
    },
    /// The schedule's event of so many milliseconds ago, delivered this often.
    Run {
        copies: usize,
        back: i64,
    },
    /// Somebody takes payouts to the bank.
    Bank {
        seed: u64,
        tellers: usize,
    },
    Close {
        payer: &'static str,
    },
    /// A new key verifies; at the next of these it signs.
    Rotate,
    /// A deployment: all instances are new.
    Restart,
}

#[derive(Debug, Clone)]
pub struct Moment {
    /// Milliseconds since 1970.
    pub at: i64,
    pub steps: Vec<Step>,
}

#[derive(Debug, Clone)]
pub struct History {
    pub seed: u64,
    /// How rough the network is, in thousandths of calls for each kind of fault.
    pub roughness: u16,
    /// Whether most of it happens about midnight.
    pub is_nightly: bool,
    pub orders: Vec<Order>,
    pub terms: Vec<usize>,
    pub moments: Vec<Moment>,
}

impl History {
    pub fn of(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let first = FRIDAY + DAY * rng.i64(0..3);
        let days = rng.i64(3..5);
        let is_nightly = rng.u8(0..3) != 0;
        let mut moments = Vec::new();
        for day in 0..days {
            let start = first + day * DAY;
            let mut times = vec![
                HOUR,
                HOUR * rng.i64(6..12) + rng.i64(0..2),
                HOUR * rng.i64(12..22) + rng.i64(0..2),
            ];
            if is_nightly || rng.u8(0..6) == 0 {
                // Some work is under way when the day ends, and a run may come at once.
                let before = [600, 20_000][rng.usize(0..2)];
                times.push(DAY - rng.i64(50..before));
                let soon = [1_500, 3_000, 80_000][rng.usize(0..3)];
                times.push(DAY + rng.i64(100..soon));
            }
            let at = times.into_iter().map(|time| start + time);
            moments.extend(at.map(|at| Moment {
                at,
                steps: Vec::new(),
            }));
        }
        let mut history = Self {
            seed,
            roughness: [0, 8, 20, 40, 60][rng.usize(0..5)],
            is_nightly,
            orders: Vec::new(),
            terms: (0..AFFILIATES).map(|_| rng.usize(0..TERMS.len())).collect(),
            moments,
        };
        history.sales(&mut rng);
        history.come_again(&mut rng);
        history.office(&mut rng);
        history
    }

    fn push(&mut self, moment: usize, step: Step) {
        self.moments[moment].steps.push(step);
    }

    /// A moment not before this one; often one about midnight, if there is any.
    fn later(&self, rng: &mut Rng, moment: usize) -> usize {
        let about_midnight = |moment: &usize| {
            let time = self.moments[*moment].at % DAY;
            !(90_000..DAY - 90_000).contains(&time)
        };
        let nights: Vec<usize> = (moment..self.moments.len())
            .filter(about_midnight)
            .collect();
        match rng.choice(&nights) {
            Some(night) if self.is_nightly && rng.u8(0..8) != 0 => *night,
            _ => rng.usize(moment..self.moments.len()),
        }
    }

    fn sales(&mut self, rng: &mut Rng) {
        let mut clicks = 0;
        let mut before: Option<(usize, usize, usize)> = None;
        for order in 0..rng.usize(3..=ORDERS_MOST) {
            // A letter to many readers brings several orders at once.
            // Where orders are counted, most come several at once.
            let counts = |number: usize| {
                matches!(
                    PROGRAMS[number].commission,
                    Commission::Steps { .. } | Commission::Ending { .. }
                )
            };
            let rush = before
                .filter(|(number, ..)| rng.u8(0..3) == 0 || counts(*number) && rng.u8(0..4) != 0);
            let program = rush.map_or_else(|| shop(rng), |rush| rush.0);
            let sender = rush.map_or_else(|| rng.usize(0..AFFILIATES), |rush| rush.1);
            let amount = rng.i64(1..20_000);
            let (goal, id) = self.named(rng, order, program);
            self.orders.push(Order {
                program,
                goal,
                id,
                amounts: [amount, amount + rng.i64(1..900)],
            });
            let mut known = Vec::new();
            let mut from = rush.map_or_else(|| self.later(rng, 0), |rush| rush.2);
            for _ in 0..[1, 1, 2, 3, 0][rng.usize(0..5)] {
                let wrong = rng.u8(0..16) == 0;
                let program = if wrong {
                    rng.usize(0..PROGRAMS.len())
                } else {
                    program
                };
                let step = Step::Click {
                    click: clicks,
                    visitor: order,
                    program,
                    affiliate: if rng.bool() || counts(program) {
                        sender
                    } else {
                        rng.usize(0..AFFILIATES)
                    },
                    is_human: rng.u8(0..8) != 0,
                };
                // Some came before, at any time.
                let came_before = !known.is_empty() && rng.bool();
                let moment = if came_before {
                    rng.usize(0..=from)
                } else {
                    from
                };
                self.push(moment, step);
                known.push(clicks);
                clicks += 1;
            }
            if let Some(click) = rng.choice(&known).copied()
                && rng.u8(0..8) == 0
            {
                let moment = self.later(rng, from);
                self.push(moment, Step::ForgetVisitor { click });
            }
            if self.is_nightly && rush.is_none() {
                from = self.later(rng, from);
            }
            before = Some((program, sender, from));
            for post in 0..[1, 1, 2, 3][rng.usize(0..4)] {
                let click = if rng.u8(0..6) == 0 {
                    None
                } else {
                    rng.choice(&known).copied()
                };
                // Few say both whose coupon it was and what was clicked.
                let is_told = rng.u8(0..if click.is_none() { 2 } else { 8 }) == 0;
                let step = Step::Post {
                    order,
                    click,
                    coupon: is_told.then(|| rng.usize(0..AFFILIATES)),
                    content: usize::from(post > 0 && rng.u8(0..5) == 0),
                    back: ago(rng, click),
                    copies: [1, 1, 2, 4][rng.usize(0..4)],
                };
                self.push(from, step);
                from = self.later(rng, from);
            }
            self.afterwards(rng, order, amount, from);
        }
    }

    /// The goal and the id of an order: with two goals there may be one of each under one id.
    fn named(&self, rng: &mut Rng, order: usize, program: usize) -> (&'static str, usize) {
        if PROGRAMS[program].lead.is_none() {
            return (SALE, order);
        }
        let is_free = |id: &usize| {
            let of_id = self.orders.iter().filter(|order| order.id == *id);
            self.orders[*id].program == program && of_id.count() == 1
        };
        let other = (0..order).rfind(is_free).filter(|_| rng.bool());
        let goal = match other {
            Some(other) if self.orders[other].goal == SALE => LEAD,
            Some(_) => SALE,
            None => [SALE, SALE, LEAD][rng.usize(0..3)],
        };
        (goal, other.unwrap_or(order))
    }

    /// Some customers buy once more, long after, and no click leads there.
    fn come_again(&mut self, rng: &mut Rng) {
        for before in 0..self.orders.len() {
            let (order, program) = (self.orders.len(), self.orders[before].program);
            let is_known = PROGRAMS[program].knows_customers && customer(before) == customer(order);
            let is_first =
                |step: &Step| matches!(step, Step::Post { order, .. } if *order == before);
            let first = self
                .moments
                .iter()
                .find(|moment| moment.steps.iter().any(is_first))
                .map(|moment| moment.at);
            let is_later =
                |moment: &usize| first.is_some_and(|first| self.moments[*moment].at > first + HOUR);
            let later: Vec<usize> = (0..self.moments.len()).filter(is_later).collect();
            let later = rng.choice(later);
            if let Some(later) = later.filter(|_| is_known && rng.bool()) {
                let amount = rng.i64(1..20_000);
                self.orders.push(Order {
                    program,
                    goal: SALE,
                    id: order,
                    amounts: [amount, amount + rng.i64(1..900)],
                });
                let step = Step::Post {
                    order,
                    click: None,
                    coupon: None,
                    content: 0,
                    back: rng.i64(0..200_000),
                    copies: [1, 1, 2][rng.usize(0..3)],
                };
                self.push(later, step);
            }
        }
    }

    /// What is taken back, approved, rejected: at any time, also before the sale is known.
    fn afterwards(&mut self, rng: &mut Rng, order: usize, amount: i64, from: usize) {
        for part in 0..[0, 0, 1, 2, 3][rng.usize(0..5)] {
            let is_whole = rng.u8(0..5) == 0;
            let part = self.part(rng, order, part, amount * 2 / 3);
            let step = Step::Reverse {
                order,
                part: (!is_whole).then_some(part),
                copies: [1, 1, 2][rng.usize(0..3)],
                wait: 0,
            };
            let after = if rng.bool() { from } else { 0 };
            let moment = self.later(rng, after);
            self.push(moment, step);
            if PROGRAMS[self.orders[order].program].is_manual && rng.bool() {
                self.push(moment, Step::Approve { order, copies: 1 });
            }
        }
        if PROGRAMS[self.orders[order].program].is_manual {
            for _ in 0..rng.usize(0..3) {
                let moment = self.later(rng, 0);
                let copies = rng.usize(1..3);
                self.push(moment, Step::Approve { order, copies });
            }
            if rng.u8(0..4) == 0 {
                let moment = self.later(rng, 0);
                self.push(moment, Step::Reject { order });
                if rng.bool() {
                    let moment = self.later(rng, moment);
                    self.push(moment, Step::Reopen { order });
                    let moment = self.later(rng, moment);
                    self.push(moment, Step::Approve { order, copies: 1 });
                }
            }
        }
        self.exceptions(rng, order, amount);
    }

    /// A part of an order: of one sku's lines where it has a basket.
    fn part(&self, rng: &mut Rng, order: usize, id: usize, most: i64) -> Part {
        let of_lines = PROGRAMS[self.orders[order].program].has_basket();
        Part {
            id,
            amount: rng.i64(1..=most.max(1)),
            sku: of_lines.then(|| basket(0)[rng.usize(0..3)].0),
        }
    }

    /// What a few orders meet: another value, a claim, a customer who wants to be forgotten.
    fn exceptions(&mut self, rng: &mut Rng, order: usize, amount: i64) {
        let program = PROGRAMS[self.orders[order].program];
        if rng.u8(0..3) == 0 {
            for id in 0..rng.usize(1..3) {
                let step = Step::Amend {
                    order,
                    id,
                    amount: rng.i64(amount / 3 + 1..=amount * 2),
                    copies: [1, 1, 2][rng.usize(0..3)],
                };
                let moment = self.later(rng, 0);
                self.push(moment, step);
            }
        }
        // A lead that nobody posted could be claimed without an amount, and would then be another order.
        let is_claimed = self.orders[order].goal == SALE && rng.u8(0..4) == 0;
        if !program.knows_customers && is_claimed {
            let step = Step::Claim {
                order,
                affiliate: rng.usize(0..AFFILIATES),
                is_accepted: rng.u8(0..4) != 0,
            };
            let moment = self.later(rng, 0);
            self.push(moment, step);
        }
        if !program.knows_customers && rng.u8(0..3) == 0 {
            let moment = self.later(rng, 0);
            let step = Step::Credit {
                order,
                affiliate: rng.usize(0..AFFILIATES),
                another: (rng.u8(0..4) != 0).then(|| rng.usize(0..AFFILIATES)),
            };
            self.push(moment, step);
        }
        if program.knows_customers && rng.u8(0..6) == 0 {
            let moment = self.later(rng, 0);
            self.push(moment, Step::Forget { order });
        }
    }

    /// What comes back while a day is being settled, and what is adjusted then.
    fn comes_back(&mut self, rng: &mut Rng, moment: usize) {
        for number in 0..2 {
            let step = Step::Adjust {
                id: 100 + moment * 2 + number,
                affiliate: rng.usize(0..AFFILIATES),
                program: rng.usize(0..PROGRAMS.len()),
                amount: rng.i64(1..100),
                in_days: -1,
                copies: 1,
            };
            self.push(moment, step);
        }
        for order in 0..self.orders.len() {
            if rng.u8(0..4) != 0 {
                let amount = self.orders[order].amounts[0];
                // No other part of it has this number.
                let part = self.part(rng, order, 100 + moment, amount / 8);
                let step = Step::Reverse {
                    order,
                    part: Some(part),
                    copies: 1,
                    // The buckets of a day are closed and read after its gates, and a minute later.
                    wait: [0, rng.u64(0..100), rng.u64(60_000..61_000)][rng.usize(0..3)],
                };
                self.push(moment, step);
            }
        }
    }

    /// A shop's list of what it made of its orders.
    fn decisions(&mut self, rng: &mut Rng, moment: usize) {
        let merchant = rng.usize(0..2);
        let of_shop = |order: &usize| {
            let program = PROGRAMS[self.orders[*order].program];
            program.merchant == merchant && program.is_manual
        };
        let orders = (0..self.orders.len()).filter(of_shop);
        let lines: Vec<(usize, bool)> = orders.map(|order| (order, rng.u8(0..5) != 0)).collect();
        if !lines.is_empty() {
            self.push(moment, Step::Decisions { merchant, lines });
        }
    }

    fn office(&mut self, rng: &mut Rng) {
        for id in 0..rng.usize(0..4) {
            let step = Step::Adjust {
                id,
                affiliate: rng.usize(0..AFFILIATES),
                program: rng.usize(0..PROGRAMS.len()),
                amount: rng.i64(-3_000..6_000),
                in_days: rng.i64(-2..3),
                copies: [1, 1, 3][rng.usize(0..3)],
            };
            let moment = self.later(rng, 0);
            self.push(moment, step);
        }
        for moment in 0..self.moments.len() {
            let at = self.moments[moment].at;
            let is_early = match at % DAY {
                ..=90_000 => self.is_nightly || rng.bool(),
                time => time == HOUR && rng.u8(0..4) != 0,
            };
            if is_early {
                let copies = [1, 2, 2, 3][rng.usize(0..4)];
                let back = if rng.u8(0..5) == 0 { DAY } else { 0 };
                self.push(moment, Step::Run { copies, back });
                if self.is_nightly || rng.bool() {
                    self.comes_back(rng, moment);
                }
            } else if rng.u8(0..9) == 0 {
                let back = HOUR * rng.i64(0..30);
                self.push(moment, Step::Run { copies: 1, back });
            }
            if rng.u8(0..8) == 0 {
                self.decisions(rng, moment);
            }
            if rng.u8(0..8) == 0 {
                self.push(moment, Step::Reconcile);
            }
            if rng.u8(0..3) == 0 {
                let step = Step::Bank {
                    seed: rng.u64(..),
                    tellers: rng.usize(2..4),
                };
                self.push(moment, step);
            }
            // Most change what is in force at a day's end just before it.
            let is_late = at % DAY > DAY - 90_000;
            if is_late || rng.u8(0..3) == 0 {
                let step = Step::Terms {
                    affiliate: rng.usize(0..AFFILIATES),
                    terms: rng.usize(0..TERMS.len()),
                };
                self.push(moment, step);
            }
            if rng.u8(0..4) == 0 {
                let program = shop(rng);
                self.push(moment, Step::Version { program });
            }
            if at >= FRIDAY + 3 * DAY + 2 * HOUR && rng.u8(0..3) == 0 {
                let payer = if rng.bool() { "house" } else { "agency" };
                self.push(moment, Step::Close { payer });
            }
            match rng.u8(0..24) {
                0 | 1 => self.push(moment, Step::Rotate),
                2 => self.push(moment, Step::Restart),
                _ => {}
            }
        }
        for moment in 0..self.moments.len() {
            if rng.u8(0..4) == 0 {
                self.batch(rng, moment);
            }
            rng.shuffle(&mut self.moments[moment].steps);
        }
    }

    /// A shop sends all of a moment in one request, in some order.
    fn batch(&mut self, rng: &mut Rng, moment: usize) {
        let merchant = rng.usize(0..2);
        let orders = &self.orders;
        let is_theirs = |step: &mut Step| match step {
            Step::Post { order, .. } | Step::Reverse { order, wait: 0, .. } => {
                PROGRAMS[orders[*order].program].merchant == merchant
            }
            _ => false,
        };
        let steps = &mut self.moments[moment].steps;
        let mut lines: Vec<Step> = steps.extract_if(.., is_theirs).collect();
        rng.shuffle(&mut lines);
        if !lines.is_empty() {
            let copies = [1, 1, 2][rng.usize(0..3)];
            let step = Step::Batch {
                merchant,
                lines,
                copies,
            };
            self.push(moment, step);
        }
    }

    /// What is to be taken back of which order, alone or in a batch.
    pub fn reversals(&self) -> impl Iterator<Item = (usize, Option<Part>)> {
        let each = self.steps().flat_map(|step| match step {
            Step::Batch { lines, .. } => lines.as_slice(),
            step => std::slice::from_ref(step),
        });
        each.filter_map(|step| match step {
            Step::Reverse { order, part, .. } => Some((*order, *part)),
            _ => None,
        })
    }

    /// All steps, moment by moment.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.moments.iter().flat_map(|moment| &moment.steps)
    }

    /// How many steps there are.
    pub fn len(&self) -> usize {
        self.moments.iter().map(|moment| moment.steps.len()).sum()
    }

    /// The same without some steps, counted from the first moment's first.
    pub fn without(&self, steps: std::ops::Range<usize>) -> Self {
        let mut number = 0;
        let mut cut = self.clone();
        for moment in &mut cut.moments {
            moment.steps.retain(|_| {
                let is_kept = !steps.contains(&number);
                number += 1;
                is_kept
            });
        }
        cut
    }
}
