//! Who is credited with an order: what may earn it, what is left out and why, and who gets which
//! part.

mod decay;
mod terms;

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::ids::AffiliateId;
use crate::money::Money;
use crate::setup::words::words;
use crate::traffic::Class;

pub use terms::{Attribution, Model, PositionWeights};

/// An order is shared by at most this many affiliates: all of them are credited in one
/// transaction.
pub const AFFILIATES_MOST: usize = 20;

/// How much later than the conversion a click may be that the sender itself names: clocks differ.
pub const SLACK_MS: i64 = 300_000;

words!(
    /// What a candidate came by.
    Kind {
        /// The sender named the click.
        ClickId = "click_id",
        /// A click or view of the same visitor in the same program.
        Journey = "journey",
        /// The order was made with a coupon that somebody owns.
        Coupon = "coupon",
        /// An earlier order of the same customer was credited.
        Customer = "customer",
    }
);

words!(
    /// Why a candidate gets nothing.
    LeftOut {
        /// A robot, a link preview, or not a visit at all.
        InvalidTraffic = "invalid_traffic",
        /// Made to try things out.
        Test = "test",
        /// Clicked while the program or the affiliate was not active.
        ProgramPaused = "program_paused",
        WindowClosed = "window_closed",
        AfterConversion = "after_conversion",
        /// Sooner before the conversion than the program takes for possible.
        TooSoon = "too_soon",
        /// The customer is the affiliate.
        SelfReferral = "self_referral",
        /// The affiliate was not active when the order was made.
        Suspended = "suspended",
        /// The affiliate had no place in the program any more, or none yet, when the order was made.
        NotEnrolled = "not_enrolled",
        /// A coupon before or after its dates.
        NotValidThen = "not_valid_then",
        /// The order that the customer was credited by was rejected, or taken back whole.
        FirstOrderVoid = "first_order_void",
        /// A view where there are clicks, or an earlier view.
        BehindClicks = "behind_clicks",
        /// More affiliates than can share an order came later, or stand after it among a customer's.
        TooManyAffiliates = "too_many_affiliates",
    }
);

/// Something that may earn the credit, or would have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub kind: Kind,
    /// When it was clicked or seen; of a customer, when the first credited order was made; of a
    /// coupon, when this order was.
    pub at: Timestamp,
    pub affiliate: AffiliateId,
    pub link: Option<String>,
    /// The click's short name; never an id that could claim anything.
    pub click: Option<String>,
    pub class: Class,
    pub is_view: bool,
    /// A customer's frozen share; 1 for all else.
    pub weight: u64,
    pub out: Option<LeftOut>,
}

impl Candidate {
    fn is_touch(&self) -> bool {
        matches!(self.kind, Kind::ClickId | Kind::Journey)
    }

    fn is_in(&self) -> bool {
        self.out.is_none()
    }
}

/// What speaks against a click or view by its times alone; nothing where it may count.
///
/// `0 <= T - click <= window`, both edges included. A click that the sender names may be up to
/// 300 s after `T`, and then counts as at `T`.
#[must_use]
pub fn out_of_time(
    is_named: bool,
    clicked_at: Timestamp,
    at: Timestamp,
    window_ms: i64,
    min_conversion_ms: i64,
) -> Option<LeftOut> {
    let age = at.as_millisecond() - clicked_at.as_millisecond();
    let slack = if is_named { SLACK_MS } else { 0 };
    if age < -slack {
        Some(LeftOut::AfterConversion)
    } else if window_ms < age {
        Some(LeftOut::WindowClosed)
    } else if age.max(0) < min_conversion_ms {
        Some(LeftOut::TooSoon)
    } else {
        None
    }
}

/// Who gets which part, and what was considered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Touches by their time, then the rest.
    pub candidates: Vec<Candidate>,
    /// One for each candidate; zero is nothing. All are zero where nobody is credited.
    pub weights: Vec<u64>,
    /// What decided, by the program's priority: the sender's own click, or its visitor's journey,
    /// or another kind; none where nobody is credited.
    pub decided_by: Option<Kind>,
}

impl Decision {
    /// Decides by the program's terms. The order in which the candidates come has no influence.
    #[must_use]
    pub fn of(terms: &Attribution, candidates: Vec<Candidate>) -> Self {
        Self::among(terms, candidates, AFFILIATES_MOST)
    }

    /// As [`Self::of`], where one transaction has room for so many affiliates only.
    #[must_use]
    pub fn among(terms: &Attribution, mut candidates: Vec<Candidate>, most: usize) -> Self {
        candidates.sort_by(|a, b| {
            let rank = |candidate: &Candidate| match candidate.kind {
                Kind::ClickId | Kind::Journey => 0,
                Kind::Coupon => 1,
                Kind::Customer => 2,
            };
            (rank(a), a.at, &a.click, &a.affiliate).cmp(&(rank(b), b.at, &b.click, &b.affiliate))
        });
        let mut decision = Self {
            weights: vec![0; candidates.len()],
            candidates,
            decided_by: None,
        };
        decision.keep_views_behind_clicks();
        for kind in &terms.priority {
            if decision.decide_by(*kind, terms, most) {
                decision.decided_by = Some(decision.kind_of_touches().unwrap_or(*kind));
                break;
            }
        }
        decision
    }

    /// Seeing is less than clicking: the last view counts, and only where no click does.
    fn keep_views_behind_clicks(&mut self) {
        let touches = self.places(Candidate::is_touch);
        let (views, clicks): (Vec<usize>, Vec<usize>) = touches
            .into_iter()
            .partition(|place| self.candidates[*place].is_view);
        let counting = views.len().min(usize::from(clicks.is_empty()));
        for place in &views[..views.len() - counting] {
            self.candidates[*place].out = Some(LeftOut::BehindClicks);
        }
    }

    /// The places of the candidates that are in and of these kinds.
    fn places(&self, is_of: impl Fn(&Candidate) -> bool) -> Vec<usize> {
        let places = self.candidates.iter().enumerate();
        places
            .filter(|(_, candidate)| candidate.is_in() && is_of(candidate))
            .map(|(place, _)| place)
            .collect()
    }

    /// Whether this kind has somebody to credit.
    fn decide_by(&mut self, kind: Kind, terms: &Attribution, most: usize) -> bool {
        // The journey of somebody who names no click has a turn of its own.
        if kind == Kind::ClickId && self.first_of(kind).is_none() {
            return false;
        }
        let places = match kind {
            // With any other model the named click, good or not, names its journey.
            Kind::ClickId if terms.model == Model::LastClick => {
                self.places(|candidate| candidate.kind == Kind::ClickId)
            }
            Kind::ClickId | Kind::Journey => self.places(Candidate::is_touch),
            Kind::Coupon | Kind::Customer => self.places(|candidate| candidate.kind == kind),
        };
        // A customer's shares were frozen when there may have been more room.
        let is_shared = match kind {
            Kind::ClickId | Kind::Journey => {
                !matches!(terms.model, Model::LastClick | Model::FirstClick)
            }
            Kind::Coupon => false,
            Kind::Customer => true,
        };
        let places = if is_shared {
            self.latest_affiliates(places, most)
        } else {
            places
        };
        if places.is_empty() {
            return false;
        }
        let weights = match kind {
            Kind::ClickId | Kind::Journey => {
                let times: Vec<Timestamp> = places
                    .iter()
                    .map(|place| self.candidates[*place].at)
                    .collect();
                terms.weights_of(&times)
            }
            Kind::Coupon | Kind::Customer => places
                .iter()
                .map(|place| self.candidates[*place].weight)
                .collect(),
        };
        for (place, weight) in places.into_iter().zip(weights) {
            self.weights[place] = weight;
        }
        true
    }

    /// What credited touches are called together: a journey, unless it is the named click alone.
    fn kind_of_touches(&self) -> Option<Kind> {
        let mut touches = self.credited().map(|(candidate, _)| candidate);
        let first = touches.next().filter(|first| first.is_touch())?;
        let is_journey =
            first.kind == Kind::Journey || touches.any(|touch| touch.kind == Kind::Journey);
        Some(if is_journey {
            Kind::Journey
        } else {
            Kind::ClickId
        })
    }

    /// Those candidates, from the last one back, whose affiliates one transaction has room for.
    fn latest_affiliates(&mut self, places: Vec<usize>, most: usize) -> Vec<usize> {
        let mut affiliates: BTreeSet<AffiliateId> = BTreeSet::new();
        let mut kept: Vec<usize> = Vec::with_capacity(places.len());
        for place in places.into_iter().rev() {
            let candidate = &mut self.candidates[place];
            let has_room = affiliates.len() < most;
            if has_room || affiliates.contains(&candidate.affiliate) {
                affiliates.insert(candidate.affiliate.clone());
                kept.push(place);
            } else {
                candidate.out = Some(LeftOut::TooManyAffiliates);
            }
        }
        kept.reverse();
        kept
    }

    /// The candidates that get something, with their weights.
    pub fn credited(&self) -> impl Iterator<Item = (&Candidate, u64)> {
        let weights = self.weights.iter().copied();
        self.candidates
            .iter()
            .zip(weights)
            .filter(|(_, weight)| *weight > 0)
    }

    /// The sum of all weights: an affiliate's share is its own weights by this.
    #[must_use]
    pub fn total_weight(&self) -> u64 {
        self.weights.iter().sum()
    }

    /// Whoever is credited, each once, in the order of their first touch, with their weight.
    #[must_use]
    pub fn shares(&self) -> Vec<(AffiliateId, u64)> {
        let mut shares: Vec<(AffiliateId, u64)> = Vec::new();
        for (candidate, weight) in self.credited() {
            let known = shares
                .iter_mut()
                .find(|(affiliate, _)| *affiliate == candidate.affiliate);
            match known {
                Some((_, sum)) => *sum += weight,
                None => shares.push((candidate.affiliate.clone(), weight)),
            }
        }
        shares
    }

    /// The credited touches: whose each is, by its place among [`Self::shares`], and its weight.
    #[must_use]
    pub fn split(&self) -> Vec<(usize, u64)> {
        let shares = self.shares();
        let owner = |affiliate: &AffiliateId| {
            let place = shares.iter().position(|(own, _)| own == affiliate);
            place.expect("whoever is credited has a share")
        };
        self.credited()
            .map(|(candidate, weight)| (owner(&candidate.affiliate), weight))
            .collect()
    }

    /// An affiliate's part of `whole`, which is what it would earn alone on its own terms: split
    /// over all touches by largest remainder, ties to the earlier, its own touches added up. Where
    /// all have the same `whole`, their parts add up to it exactly.
    #[must_use]
    pub fn part(&self, affiliate: &AffiliateId, whole: Money) -> Money {
        part_of(whole, &self.weights, |place| {
            self.candidates[place].affiliate == *affiliate
        })
    }

    /// The first candidate of this kind, whatever became of it.
    #[must_use]
    pub fn first_of(&self, kind: Kind) -> Option<&Candidate> {
        let mut candidates = self.candidates.iter();
        candidates.find(|candidate| candidate.kind == kind)
    }
}

/// The sum of one's own parts of `whole`, split over all touches: see [`Decision::part`].
#[must_use]
pub fn part_of(whole: Money, weights: &[u64], is_own: impl Fn(usize) -> bool) -> Money {
    let parts = whole.allocate(weights).into_iter().enumerate();
    let own = parts.filter(|(place, _)| is_own(*place));
    own.fold(Money::zero(whole.currency()), |sum, (_, part)| {
        sum.checked_add(part)
            .expect("some parts are no more than the whole")
    })
}

#[cfg(test)]
mod tests;
