//! Halving, in whole numbers: the same weights on every machine.

/// What a touch of age zero weighs. The weights of a hundred touches add up within an `u64`.
pub const ONE: u64 = 1 << 52;

/// Within the reckoning 2^62 is 1, so that no product passes an `u128`.
const POINT: u32 = 62;

/// Beyond these the rest of a half life is below what `ONE` can tell apart.
const BITS: u32 = 56;

/// `ONE` x 2^(-age / half life), cut to a whole number: zero beyond 52 half lives.
pub fn weight(age_ms: u64, half_life_ms: u64) -> u64 {
    let halvings = age_ms / half_life_ms;
    if halvings > 52 {
        return 0;
    }
    // With the rest in binary digits, 0.b1 b2 b3 ..., the power is the product of those
    // 2^-(1/2^k) whose digit is set; each is the root of the one before it.
    let half_life = u128::from(half_life_ms);
    let mut rest = u128::from(age_ms % half_life_ms);
    let mut weight: u128 = 1 << POINT;
    let mut factor: u128 = 1 << (POINT - 1);
    for _ in 0..BITS {
        factor = (factor << POINT).isqrt();
        rest *= 2;
        if rest >= half_life {
            rest -= half_life;
            weight = (weight * factor) >> POINT;
        }
    }
    u64::try_from(weight >> (POINT - ONE.ilog2()) >> halvings).expect("at most `ONE`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_life_is_half_the_weight_and_all_between_is_a_power_of_two() {
        // By arithmetic with 60 digits; the reckoning may be a few parts in 2^52 below.
        for (age, half_life, exact) in [
            (0, 7, ONE),
            (7, 7, ONE / 2),
            (14, 7, ONE / 4),
            (1, 2, 3_184_525_836_262_886),
            (1, 3, 3_574_509_393_065_758),
            (2, 3, 2_837_089_985_411_397),
            (5, 4, 1_893_530_391_196_907),
            (1, 604_800_000, 4_503_599_622_209_025),
            (604_799_999, 604_800_000, 2_251_799_816_265_983),
        ] {
            let weight = weight(age, half_life);
            assert!(
                exact - 8 <= weight && weight <= exact,
                "{age} / {half_life}: {weight}, not {exact}"
            );
        }
        assert_eq!(weight(52, 1), 1);
        assert_eq!(weight(53, 1), 0);
        assert_eq!(weight(u64::MAX, 1), 0);
    }

    #[test]
    fn older_is_never_heavier() {
        let mut last = ONE;
        for age in 0..2_000 {
            let weight = weight(age, 997);
            assert!(weight <= last, "{age}");
            last = weight;
        }
    }
}
