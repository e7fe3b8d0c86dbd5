//! How a budget's whole is dealt out to lanes, and handed from one to another.

use crate::conversion::Conversion;
use crate::setup::CapUse;

/// Orders, and minor units of what they earn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Amounts {
    pub(super) count: i64,
    pub(super) used: i64,
}

/// What a budget is in all, and the version of the program that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Deal {
    pub(super) version: i64,
    pub(super) whole: Amounts,
}

/// A lane as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lane {
    /// What orders took through it. Below zero where it took over from others before lanes were dealt
    /// their room: then only the sum of all lanes is what orders took.
    pub(super) taken: Amounts,
    /// What they may still take through it.
    pub(super) room: Amounts,
    /// What its room is of; none before it was dealt any.
    pub(super) deal: Option<Deal>,
}

/// A lane before its first order.
pub(super) const UNUSED: Lane = Lane {
    taken: Amounts::NONE,
    room: Amounts::NONE,
    deal: None,
};

impl Amounts {
    const NONE: Self = Self { count: 0, used: 0 };

    /// What an order takes of a budget.
    pub(super) fn of(used: &CapUse) -> Self {
        Self {
            count: 1,
            used: used.amount.minor(),
        }
    }

    /// Whether an order that takes so much finds it in there. One that earns nothing needs nothing,
    /// even of a budget that was lowered below what had been taken.
    pub(super) fn fit(self, room: Self) -> bool {
        self.count <= room.count && (self.used == 0 || self.used <= room.used)
    }

    fn plus(self, other: Self) -> Self {
        Self {
            count: self.count.saturating_add(other.count),
            used: self.used.saturating_add(other.used),
        }
    }

    pub(super) fn minus(self, other: Self) -> Self {
        Self {
            count: self.count.saturating_sub(other.count),
            used: self.used.saturating_sub(other.used),
        }
    }

    /// A lane's part of all lanes; the parts add up. Where there is less than nothing, no lane has more.
    fn part(self, lane: usize, lanes: usize) -> Self {
        let part = |all: i64| {
            let wide = |number: usize| i128::try_from(number).expect("lanes are few");
            let up_to = |number: usize| i128::from(all) * wide(number) / wide(lanes);
            i64::try_from(up_to(lane + 1) - up_to(lane)).expect("a part is no larger")
        };
        Self {
            count: part(self.count),
            used: part(self.used),
        }
    }
}

impl Deal {
    /// By the terms that an order is judged by. Without a bound the whole is as much as sums of a few
    /// parts can hold.
    pub(super) fn of(conversion: &Conversion, used: &CapUse) -> Self {
        let unbounded = i64::MAX / 4;
        let version = conversion.program_version;
        Self {
            version: i64::try_from(version).expect("a program has few versions"),
            whole: Amounts {
                count: used.cap.count.map_or(unbounded, i64::from),
                used: used.cap.amount.map_or(unbounded, |amount| amount.minor()),
            },
        }
    }

    /// What lanes are to be dealt for an order with this deal: what they are, if that is newer or as much.
    pub(super) fn or_newer(self, lanes: &[Lane]) -> Self {
        let newest = lanes.iter().filter_map(|lane| lane.deal);
        let newest = newest.max_by_key(|deal| deal.version);
        let keeps = |newest: &Self| newest.version > self.version || newest.whole == self.whole;
        newest.filter(keeps).unwrap_or(self)
    }
}

/// All lanes as they are to stand for an order of one of them, and whether that has room then.
pub(super) fn with_room(
    lanes: &[Lane],
    own: usize,
    order: Amounts,
    deal: Deal,
) -> (Vec<Lane>, bool) {
    let sum = |amounts: fn(&Lane) -> Amounts| {
        let amounts = lanes.iter().map(amounts);
        amounts.fold(Amounts::NONE, Amounts::plus)
    };
    let left = deal.whole.minus(sum(|lane| lane.taken));
    let has_room = order.fit(left);
    // An older release, in the minutes in which both run, takes without asking for room.
    let is_dealt =
        lanes.iter().all(|lane| lane.deal == Some(deal)) && sum(|lane| lane.room) == left;
    let mut next = lanes.to_vec();
    if !is_dealt {
        let kept = if has_room { order } else { Amounts::NONE };
        let rest = left.minus(kept);
        for (number, lane) in next.iter_mut().enumerate() {
            lane.room = rest.part(number, lanes.len());
            lane.deal = Some(deal);
        }
        next[own].room = next[own].room.plus(kept);
    } else if has_room {
        hand_over(&mut next, own, order);
    }
    (next, has_room)
}

/// Has the lanes with most room give an order's lane what that lacks, which all of them have.
fn hand_over(lanes: &mut [Lane], own: usize, order: Amounts) {
    let mut lacking = Amounts {
        count: (order.count - lanes[own].room.count).max(0),
        used: (order.used - lanes[own].room.used).max(0),
    };
    let mut others: Vec<usize> = (0..lanes.len()).filter(|number| *number != own).collect();
    others.sort_by_key(|other| {
        let room = lanes[*other].room;
        std::cmp::Reverse((room.used, room.count))
    });
    for other in others {
        let part = Amounts {
            count: handed_over(lacking.count, lanes[other].room.count),
            used: handed_over(lacking.used, lanes[other].room.used),
        };
        lacking.count = (lacking.count - part.count).max(0);
        lacking.used = (lacking.used - part.used).max(0);
        lanes[other].room = lanes[other].room.minus(part);
        lanes[own].room = lanes[own].room.plus(part);
    }
}

/// What one lane gives: what is lacking, or half of what it has if that is more, so that the next
/// order need not ask again.
fn handed_over(lacking: i64, room: i64) -> i64 {
    if lacking == 0 {
        return 0;
    }
    lacking.max(room / 2).min(room).max(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the table would: whether the lane has room by a deal that serves.
    fn takes(lane: &mut Lane, order: Amounts, deal: Deal) -> bool {
        let serves = |dealt: Deal| dealt.version >= deal.version || dealt.whole == deal.whole;
        let takes = lane.deal.is_some_and(serves) && order.fit(lane.room);
        if takes {
            lane.taken = lane.taken.plus(order);
            lane.room = lane.room.minus(order);
        }
        takes
    }

    #[test]
    fn an_order_is_taken_if_all_that_was_taken_leaves_room_for_it_whatever_was_dealt_before() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..2_000 {
            let count = [1, 2, 8][random.usize(..3)];
            let mut lanes = vec![UNUSED; count];
            if random.bool() {
                // Before budgets were dealt out: one lane took over from another.
                lanes[0].taken.used = random.i64(0..1_000);
                lanes[count - 1].taken.used -= random.i64(0..100).min(lanes[0].taken.used);
            }
            let deals: Vec<Deal> = (1..=4)
                .map(|version| Deal {
                    version,
                    whole: Amounts {
                        count: random.i64(0..40),
                        used: random.i64(0..3_000),
                    },
                })
                .collect();
            let mut newest = 0;
            for _ in 0..60 {
                let version = random.usize(..=(newest + 1).min(3));
                let deal = deals[version];
                let order = Amounts {
                    count: 1,
                    used: random.i64(0..300) * random.i64(0..2),
                };
                let own = random.usize(..count);
                let before = lanes
                    .iter()
                    .fold(Amounts::NONE, |sum, lane| sum.plus(lane.taken));
                let dealt_before = lanes[own].deal.map_or(0, |deal| deal.version);
                let mut is_taken = takes(&mut lanes[own], order, deal);
                let mut in_force = lanes[own].deal;
                if !is_taken {
                    let meant = deal.or_newer(&lanes);
                    let (next, has_room) = with_room(&lanes, own, order, meant);
                    lanes = next;
                    in_force = Some(meant);
                    is_taken = has_room;
                    assert_eq!(takes(&mut lanes[own], order, deal), has_room);
                }
                let in_force = in_force.expect("an order is taken of what was dealt");
                assert!(in_force.version >= deal.version || in_force.whole == deal.whole);
                assert!(in_force.version >= dealt_before);
                assert_eq!(is_taken, order.fit(in_force.whole.minus(before)));
                newest = newest.max(version);
                let all = lanes.iter().fold(Amounts::NONE, |sum, lane| {
                    sum.plus(lane.taken).plus(lane.room)
                });
                assert_eq!(all, in_force.whole);
            }
        }
    }

    #[test]
    fn lanes_have_even_parts_of_what_is_left_and_the_orders_own_has_its_room_besides() {
        let deal = |version, used| Deal {
            version,
            whole: Amounts { count: 100, used },
        };
        let order = Amounts {
            count: 1,
            used: 610,
        };
        let room = |lanes: &[Lane]| lanes.iter().map(|lane| lane.room.used).collect::<Vec<_>>();
        let (lanes, has_room) = with_room(&[UNUSED; 4], 1, order, deal(1, 1_000));
        assert_eq!((room(&lanes), has_room), (vec![97, 708, 97, 98], true));
        let mut lanes = lanes;
        assert!(takes(&mut lanes[1], order, deal(1, 1_000)));
        let (lowered, has_room) = with_room(&lanes, 3, order, deal(2, 500));
        assert_eq!(
            (room(&lowered), has_room),
            (vec![-27, -28, -27, -28], false)
        );
    }
}
