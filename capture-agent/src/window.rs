//! How many records may be on their way to Kafka at once, by how long they take: on a good line as many as librdkafka queues, on a
//! bad one so few that a request is answered before its time is over (`socket.timeout.ms`). A request that is too large for the line
//! would time out, and be sent again as it is, for ever.

use std::time::{Duration, Instant};

/// To begin with, under 20 kilobytes even when they cannot be compressed: a line of 1 kB/s carries them within a request's time, which is
/// 60 s unless it is set otherwise. Ten rounds later, a quarter of a second on a good line, it is [`MOST`].
const FIRST: usize = 50;
/// After a request's time was over: what the line carries is not known any more.
const LEAST: usize = 20;
/// Below librdkafka's own bound, `queue.buffering.max.messages`.
const MOST: usize = 50_000;
/// A window that was delivered within this time may be twice as large.
const QUICK: Duration = Duration::from_secs(2);
/// One that took longer than this is made smaller.
const SLOW: Duration = Duration::from_secs(10);

/// The window.
#[derive(Debug)]
pub struct Window {
    records: usize,
    /// Up to which offset the present round goes, and since when.
    round: Option<(i64, Instant)>,
}

impl Default for Window {
    fn default() -> Self {
        Self { records: FIRST, round: None }
    }
}

impl Window {
    /// How many more may be sent when so many are on their way.
    #[must_use]
    pub fn room(&self, on_their_way: usize) -> usize {
        self.records.saturating_sub(on_their_way)
    }

    /// Notes that records up to this offset have been sent, and those up to `acknowledged` are with Kafka. A window that was not filled
    /// says nothing about the line.
    pub fn note(&mut self, sent: i64, acknowledged: i64, is_full: bool, now: Instant) {
        match self.round {
            None if is_full && sent > acknowledged => self.round = Some((sent, now)),
            Some((until, since)) if acknowledged >= until => {
                let took = now.saturating_duration_since(since);
                if took <= QUICK {
                    self.records = (self.records * 2).min(MOST);
                } else if took > SLOW {
                    self.records = (self.records / 4).max(LEAST);
                }
                self.round = None;
            }
            _ => {}
        }
    }

    /// Whether fewer could be on their way than that: where not, another attempt would be no smaller.
    #[must_use]
    pub fn is_open(&self, on_their_way: usize) -> bool {
        on_their_way > LEAST
    }

    /// The time of requests was over, again and again. It begins anew with the fewest, as TCP does: halving what was a thousand times too
    /// much would take hours.
    pub fn close(&mut self) {
        *self = Self { records: LEAST, round: None };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Delivers full windows over a line that takes so long for a record.
    fn deliver(window: &mut Window, rounds: usize, for_a_record: Duration) {
        let (mut now, mut offset) = (Instant::now(), 0);
        for _ in 0..rounds {
            let records = window.room(0);
            let sent = offset + i64::try_from(records).unwrap();
            window.note(sent, offset, true, now);
            now += for_a_record * u32::try_from(records).unwrap();
            window.note(sent, sent, true, now);
            offset = sent;
        }
    }

    #[test]
    fn a_good_line_is_filled_and_a_bad_one_is_not() {
        let mut window = Window::default();
        deliver(&mut window, 10, Duration::from_micros(10));
        assert_eq!(window.room(0), MOST);
        assert_eq!(window.room(MOST + 7), 0);
        deliver(&mut window, 10, Duration::from_millis(50));
        assert!((LEAST..=200).contains(&window.room(0)), "{window:?}");
        deliver(&mut window, 10, Duration::from_micros(10));
        assert_eq!(window.room(0), MOST);
    }

    #[test]
    fn after_timeouts_it_begins_anew_and_a_good_line_is_filled_soon() {
        let mut window = Window::default();
        deliver(&mut window, 20, Duration::from_micros(10));
        assert!(window.is_open(MOST) && !window.is_open(LEAST));
        window.close();
        assert_eq!(window.room(0), LEAST);
        deliver(&mut window, 12, Duration::from_micros(10));
        assert_eq!(window.room(0), MOST);
    }

    /// A record of 350 bytes at 1 kB/s, and the 60 seconds that librdkafka gives a request.
    #[test]
    fn on_the_slowest_line_every_round_is_over_before_a_request_s_time() {
        let mut window = Window::default();
        for _round in 0..20 {
            assert!(window.room(0) * 350 < 60 * 1_000, "{window:?}");
            deliver(&mut window, 1, Duration::from_millis(350));
        }
    }

    #[test]
    fn a_window_that_is_not_full_says_nothing_about_the_line() {
        let mut window = Window::default();
        let now = Instant::now();
        window.note(3, 0, false, now);
        window.note(3, 3, false, now + SLOW * 2);
        assert_eq!(window.room(0), FIRST);
    }
}
