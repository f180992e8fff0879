//! A bound on new addresses: anybody nearby can make up thousands a second, and each would be an item of the table for ever.
//!
//! Two token buckets, for random addresses and for those that say a maker gave them (the bit is as easily made up as the rest, but the
//! household's devices must not be shut out by a flood of random ones). An address that was not heard lately takes a token, one that was
//! goes through. What is dropped is counted.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use domain::Mac;

/// So many addresses are remembered twice over: about 1 MB.
const MOST_REMEMBERED: usize = 20_000;
const MINUTE: Duration = Duration::from_secs(60);

/// The buckets, and who was heard.
#[derive(Debug)]
pub struct Flood {
    random: Bucket,
    of_makers: Bucket,
    /// Addresses heard lately; the older generation goes when the younger is full.
    young: HashSet<Mac>,
    old: HashSet<Mac>,
    dropped: u64,
    last_dropped: Option<Instant>,
}

impl Flood {
    /// Full buckets of so many addresses a minute; 0 lets everything through.
    #[must_use]
    pub fn new(a_minute: u32, now: Instant) -> Self {
        let bucket = Bucket { a_minute: f64::from(a_minute), tokens: f64::from(a_minute), filled: now };
        Self {
            random: bucket,
            of_makers: bucket,
            young: HashSet::new(),
            old: HashSet::new(),
            dropped: 0,
            last_dropped: None,
        }
    }

    /// Whether a probe request of this address goes through. It is counted if not.
    pub fn admits(&mut self, source: Option<Mac>, now: Instant) -> bool {
        let Some(mac) = source.filter(|_| self.random.a_minute > 0.0) else { return true };
        if self.young.contains(&mac) {
            return true;
        }
        let bucket = if mac.is_locally_administered() { &mut self.random } else { &mut self.of_makers };
        if !self.old.contains(&mac) && !bucket.take(now) {
            self.dropped += 1;
            self.last_dropped = Some(now);
            return false;
        }
        if self.young.len() >= MOST_REMEMBERED {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(mac);
        true
    }

    /// How many were dropped.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Whether any was in the last minute.
    #[must_use]
    pub fn is_on(&self, now: Instant) -> bool {
        self.last_dropped.is_some_and(|last| now.saturating_duration_since(last) < MINUTE)
    }
}

/// Tokens that come in the course of a minute, and are at most as many.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    a_minute: f64,
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    fn take(&mut self, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + since / MINUTE.as_secs_f64() * self.a_minute).min(self.a_minute);
        self.filled = now;
        let is_left = self.tokens >= 1.0;
        self.tokens -= f64::from(u8::from(is_left));
        is_left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(number: u32) -> Option<Mac> {
        let [a, b, c, d] = number.to_be_bytes();
        Some(Mac::new([0x02, 0, a, b, c, d]))
    }

    #[test]
    fn new_random_addresses_beyond_the_bound_are_dropped_and_known_ones_go_through() {
        let start = Instant::now();
        let mut flood = Flood::new(60, start);
        let admitted = (0..1_000).filter(|number| flood.admits(random(*number), start)).count();
        assert_eq!((admitted, flood.dropped()), (60, 940));
        assert!(flood.admits(random(7), start), "heard before");
        assert!(
            flood.admits(Some(Mac::new([0xa4, 0x83, 0xe7, 0x4e, 0x39, 0x15])), start),
            "a maker's address"
        );
        assert!(flood.admits(None, start));
        let made = |number: u32| Some(Mac::new([0xa4, 0x83, 0xe7, 0, 0, number as u8]));
        let of_makers = (0..200).filter(|number| flood.admits(made(*number), start)).count();
        assert_eq!(of_makers, 59, "as easily made up");
        let later = start + Duration::from_secs(10);
        let admitted = (2_000..3_000).filter(|number| flood.admits(random(*number), later)).count();
        assert_eq!(admitted, 10, "a token a second");
        assert!(flood.is_on(later) && !flood.is_on(later + MINUTE));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_an_address_that_stays_stays_known() {
        let start = Instant::now();
        let mut flood = Flood::new(u32::MAX, start);
        for number in 0..200_000 {
            assert!(flood.admits(random(number), start));
            assert!(flood.admits(random(0), start));
        }
        assert!(flood.young.len() + flood.old.len() <= 2 * MOST_REMEMBERED);
        flood.random.tokens = 0.0;
        assert!(flood.admits(random(0), start) && !flood.admits(random(1), start));
    }

    #[test]
    fn a_limit_of_0_lets_everything_through() {
        let mut flood = Flood::new(0, Instant::now());
        assert!((0..1_000).all(|number| flood.admits(random(number), Instant::now())));
    }
}
