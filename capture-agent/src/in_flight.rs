//! Which records of the spool are on their way to Kafka, and up to where all have arrived.

use std::collections::{HashSet, VecDeque};

/// Records in the order of the spool, from the first that has not arrived on.
#[derive(Debug, Clone, Default)]
pub struct InFlight {
    /// The sequence number of the first.
    first: usize,
    records: VecDeque<(i64, Fate)>,
    waiting: usize,
    acknowledged: i64,
}

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Nobody knows yet.
    Waiting,
    /// Kafka has it, or will never take it: it is dealt with.
    Settled,
    /// It has to be sent again.
    Failed,
}

impl InFlight {
    /// Nothing is on its way, and all up to this offset has been dealt with.
    #[must_use]
    pub fn after(acknowledged: i64) -> Self {
        Self { acknowledged, ..Self::default() }
    }

    /// Notes a record, and gives the sequence number under which its report will come. A `usize`, because that is what
    /// librdkafka carries for us; it may wrap.
    pub fn add(&mut self, offset: i64, fate: Fate) -> usize {
        let sequence = self.first.wrapping_add(self.records.len());
        self.records.push_back((offset, fate));
        self.waiting += usize::from(fate == Fate::Waiting);
        self.advance();
        sequence
    }

    /// Notes what became of a record. A report that comes twice changes nothing.
    pub fn report(&mut self, sequence: usize, fate: Fate) {
        let place = sequence.wrapping_sub(self.first);
        if let Some((_offset, known)) = self.records.get_mut(place)
            && *known == Fate::Waiting
        {
            *known = fate;
            self.waiting -= usize::from(fate != Fate::Waiting);
            self.advance();
        }
    }

    /// The offset up to which every record is settled.
    #[must_use]
    pub fn acknowledged(&self) -> i64 {
        self.acknowledged
    }

    /// How many records nobody knows of yet.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Whether all is settled.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Starts again after [`Self::acknowledged`]. Gives the offsets beyond it that have arrived already and need not be sent again.
    /// Reports of before are not to come any more.
    pub fn rewind(&mut self) -> HashSet<i64> {
        self.first = self.first.wrapping_add(self.records.len());
        self.waiting = 0;
        let settled = self.records.drain(..).filter(|(_offset, fate)| *fate == Fate::Settled);
        settled.map(|(offset, _fate)| offset).collect()
    }

    fn advance(&mut self) {
        while let Some((offset, Fate::Settled)) = self.records.front() {
            self.acknowledged = *offset;
            self.records.pop_front();
            self.first = self.first.wrapping_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_unbroken_run_from_the_beginning_is_acknowledged() {
        let mut in_flight = InFlight::after(10);
        let [a, b, c] = [11, 14, 15].map(|offset| in_flight.add(offset, Fate::Waiting));
        in_flight.report(b, Fate::Settled);
        assert_eq!((in_flight.acknowledged(), in_flight.waiting()), (10, 2));
        in_flight.report(a, Fate::Settled);
        assert_eq!((in_flight.acknowledged(), in_flight.waiting()), (14, 1));
        in_flight.report(a, Fate::Failed);
        in_flight.report(c, Fate::Settled);
        assert_eq!((in_flight.acknowledged(), in_flight.is_empty()), (15, true));
    }

    #[test]
    fn after_a_failure_all_but_what_arrived_is_sent_again() {
        let mut in_flight = InFlight { first: usize::MAX - 1, ..InFlight::after(0) };
        let [a, b, c, d] = [1, 2, 3, 4].map(|offset| in_flight.add(offset, Fate::Waiting));
        in_flight.report(a, Fate::Settled);
        in_flight.report(b, Fate::Failed);
        in_flight.report(c, Fate::Settled);
        assert_eq!(in_flight.acknowledged(), 1);
        assert_eq!(in_flight.rewind(), HashSet::from([3]));
        in_flight.report(d, Fate::Settled);
        let again = in_flight.add(2, Fate::Waiting);
        in_flight.add(3, Fate::Settled);
        assert_eq!(in_flight.acknowledged(), 1);
        in_flight.report(again, Fate::Settled);
        assert_eq!(in_flight.acknowledged(), 3);
    }
}
