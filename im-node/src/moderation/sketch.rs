//! How many different users were seen, without keeping who: HyperLogLog of 1,024 registers.

use std::fmt::Write as _;

use im_core::model::UserId;

/// Registers: the estimate is off by 3.25 % (one standard deviation), for one KiB.
const REGISTERS: usize = 1_024;
/// Bits of a hash that choose one.
const CHOICE_BITS: u32 = 10;
/// The correction for that many (Flajolet and others, 2007).
const ALPHA: f64 = 0.7213 / (1.0 + 1.079 / REGISTERS as f64);

/// A sketch of a set of users. Those of several nodes are joined, and who is in both counts once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sketch {
    registers: Vec<u8>,
}

impl Default for Sketch {
    fn default() -> Self {
        Self {
            registers: vec![0; REGISTERS],
        }
    }
}

impl Sketch {
    /// A user was seen. True when the sketch is another one by that.
    pub(crate) fn see(&mut self, user: &UserId) -> bool {
        let hash = mixed(user.as_str());
        let register = &mut self.registers[(hash >> (u64::BITS - CHOICE_BITS)) as usize];
        let rest = hash << CHOICE_BITS;
        let rank = (rest.leading_zeros().min(u64::BITS - CHOICE_BITS) + 1) as u8;
        let more = rank > *register;
        *register = rank.max(*register);
        more
    }

    /// Everybody of either.
    pub(crate) fn join(&mut self, other: &Self) {
        for (own, other) in self.registers.iter_mut().zip(&other.registers) {
            *own = (*own).max(*other);
        }
    }

    /// About how many.
    pub(crate) fn count(&self) -> u64 {
        let all = REGISTERS as f64;
        let sum: f64 = self
            .registers
            .iter()
            .map(|rank| 0.5_f64.powi((*rank).into()))
            .sum();
        let raw = ALPHA * all * all / sum;
        let empty = self.registers.iter().filter(|rank| **rank == 0).count();
        // Of few, the empty registers say it better.
        let estimate = if raw <= 2.5 * all && empty > 0 {
            all * (all / empty as f64).ln()
        } else {
            raw
        };
        estimate.round() as u64
    }

    /// As a text: two hexadecimal digits a register.
    pub(crate) fn to_text(&self) -> String {
        let mut text = String::with_capacity(2 * REGISTERS);
        for rank in &self.registers {
            let _ = write!(text, "{rank:02x}");
        }
        text
    }

    /// Reads [`to_text`](Self::to_text).
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        if text.len() != 2 * REGISTERS {
            return None;
        }
        let rank = |at: usize| u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok();
        let registers = (0..REGISTERS).map(rank).collect::<Option<Vec<_>>>()?;
        Some(Self { registers })
    }
}

/// FNV-1a, then a finalizer (SplitMix64's) that spreads it over all bits: the same on every node.
fn mixed(text: &str) -> u64 {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(users: std::ops::Range<u32>) -> Sketch {
        let mut sketch = Sketch::default();
        for n in users {
            sketch.see(&UserId::new(format!("user-{n}")).unwrap());
        }
        sketch
    }

    #[test]
    fn the_estimate_is_near() {
        for (count, off) in [
            (0, 0),
            (1, 0),
            (10, 0),
            (100, 3),
            (1_000, 60),
            (50_000, 5_000),
        ] {
            let estimate = of(0..count).count();
            assert!(
                estimate.abs_diff(count.into()) <= off,
                "{count}: {estimate}"
            );
        }
    }

    #[test]
    fn who_is_in_both_counts_once() {
        let mut joined = of(0..600);
        joined.join(&of(400..1_000));
        assert_eq!(joined, of(0..1_000));
        assert!(!joined.see(&UserId::new("user-7").unwrap()));
    }

    #[test]
    fn a_sketch_is_read_back() {
        let sketch = of(0..1_000);
        assert_eq!(Sketch::from_text(&sketch.to_text()), Some(sketch));
        let odd = "é".repeat(REGISTERS);
        for bad in [
            "",
            "00",
            &"0".repeat(2 * REGISTERS + 1),
            &odd,
            &"x".repeat(2_048),
        ] {
            assert_eq!(Sketch::from_text(bad), None);
        }
    }
}
