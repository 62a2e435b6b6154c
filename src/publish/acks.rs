//! What a peer's acknowledgements prove: how many bytes its process has read, at least. A rule about numbers.
//!
//! The specification wants the total of bytes received, modulo 2^32. Servers send that, or that without the handshake, or the
//! bytes since their last acknowledgement, or a total that starts again somewhere, or nonsense. So nothing is believed that
//! could be too much:
//!
//! ```text
//!            values go forward: only the way that they have gone counts; a step back counts nothing
//!   unknown ──── 3 values ───▶ a total ── does not go forward, 3 times, and the sum of all is possible ──▶ increments
//!                                 │
//!                                 └── a value beyond what was written ──▶ not to be trusted, for good
//! ```
//!
//! It refuses to say more than was written, and says nothing until three values fit. A server that counts without the
//! handshake is believed 3073 bytes less: too little does no harm.

/// Values before anything is believed.
const TRUST: u64 = 3;

/// Values that do not go forward, before they are taken for increments.
const STANDSTILLS: u64 = 3;

/// Nobody reads so much between two acknowledgements; a step back looks like it, modulo 2^32.
const FAR: u64 = 1 << 31;

#[derive(Debug, Default)]
pub struct Acks {
    count: u64,
    value: u32,
    /// Read, if the values are totals.
    way: u64,
    /// Read, if the values are increments.
    sum: u64,
    standstills: u64,
    /// A total was beyond what was written: they are no totals.
    way_refuted: bool,
    /// All together are more than was written: they are no increments.
    sum_refuted: bool,
}

impl Acks {
    /// An acknowledgement has come; `written_total` bytes were written before it, the handshake's included.
    pub fn note(&mut self, value: u32, written_total: u64) {
        self.follow(value, written_total);
        self.sum = self.sum.saturating_add(value.into());
        self.sum_refuted |= self.sum > written_total;
        self.value = value;
        self.count += 1;
    }

    /// Follows the values as totals.
    fn follow(&mut self, value: u32, written_total: u64) {
        let step = u64::from(value.wrapping_sub(self.value));
        let possible = step < FAR && self.way + step <= written_total;
        if step > 0 && possible {
            self.way += step;
        } else if step > 0 && value > self.value {
            self.way_refuted = true;
        } else {
            self.standstills += 1;
        }
    }

    /// Bytes that the peer's process has read, at least, of those counted as written; `None` while there is no telling.
    pub fn read_at_least(&self) -> Option<u64> {
        if self.count < TRUST {
            return None;
        }
        if !self.sum_refuted && self.standstills >= STANDSTILLS {
            return Some(self.sum);
        }
        (!self.way_refuted).then_some(self.way)
    }

    pub fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HANDSHAKE: u64 = 3073;

    fn after(values: &[u32], written: u64) -> Acks {
        let mut acks = Acks::default();
        values.iter().for_each(|value| acks.note(*value, written));
        acks
    }

    #[test]
    fn totals_are_believed_from_the_third_on() {
        let table: [(&[u32], u64, Option<u64>); 8] = [
            (&[], 100, None),
            (&[10, 20], 100, None),
            (&[10, 20, 30], 100, Some(30)),
            (&[10, 20, 30, 30, 30], 80, Some(30)),
            (&[10, 20, 101, 40, 50], 100, None),
            (&[60, 70, 80, 10, 20], 100, Some(90)),
            (&[50, 50, 50, 50, 50], 100, Some(50)),
            (&[0, 0, 0, 0], 100, Some(0)),
        ];
        for (values, written, read) in table {
            assert_eq!(after(values, written).read_at_least(), read, "{values:?}");
        }
    }

    #[test]
    fn increments_are_summed_once_it_is_clear_that_they_are() {
        assert_eq!(after(&[131_325; 3], 1 << 30).read_at_least(), Some(131_325));
        assert_eq!(after(&[131_325; 4], 1 << 30).read_at_least(), Some(4 * 131_325));
        assert_eq!(after(&[131_325; 40_000], 1 << 33).read_at_least(), Some(40_000 * 131_325));
    }

    #[test]
    fn a_total_goes_on_behind_2_to_the_32_and_behind_a_new_start() {
        let mut acks = Acks::default();
        for total in (1 << 20..9u64 << 32).step_by(1 << 20) {
            acks.note(total as u32, total + 1000);
            assert!(total < 3 << 20 || acks.read_at_least() == Some(total));
        }
        let (mut acks, mut read) = (Acks::default(), 0u64);
        for value in (1 << 20..0xF000_0000u32).step_by(1 << 20).chain((1 << 20..1 << 30).step_by(1 << 20)) {
            read += 1 << 20;
            acks.note(value, read);
        }
        assert_eq!(acks.read_at_least(), Some(read - (1 << 20)));
    }

    #[derive(Clone, Copy, Debug)]
    enum Style {
        Total,
        WithoutHandshake,
        Increments,
    }

    /// What a server with this way of counting says when it has read `read` bytes, `before` of them at its last word.
    fn said(style: Style, read: u64, before: u64) -> u32 {
        match style {
            Style::Total => read as u32,
            Style::WithoutHandshake => (read - HANDSHAKE) as u32,
            Style::Increments => (read - before) as u32,
        }
    }

    proptest! {
        #[test]
        fn never_more_than_was_read_and_little_less(
            style in prop_oneof![Just(Style::Total), Just(Style::WithoutHandshake), Just(Style::Increments)],
            old in prop_oneof![Just(0u64), 0u64..1 << 34],
            steps in prop::collection::vec((1u64..200_000, 0u64..500_000), 10..200),
            lost in 0usize..5,
        ) {
            let (mut acks, mut read) = (Acks::default(), HANDSHAKE);
            // A long life before, in words of 256 MiB.
            let life = std::iter::repeat_n((1 << 28, 1 << 20), (old >> 28) as usize);
            for (index, (step, in_flight)) in life.chain(steps).enumerate() {
                let before = if index == 0 { 0 } else { read };
                read += step;
                if lost == 0 || index % 7 != lost {
                    acks.note(said(style, read, before), read + in_flight);
                }
                prop_assert!(acks.read_at_least().is_none_or(|known| known <= read), "{acks:?} of {read}");
            }
            if !matches!(style, Style::Increments) {
                prop_assert!(acks.read_at_least().is_some_and(|known| known + HANDSHAKE + 200_000 >= read), "{acks:?} of {read}");
            }
        }

        #[test]
        fn equal_increments_are_followed_exactly(size in 1000u32..200_000, count in 4u64..2000) {
            let mut acks = Acks::default();
            (1..=count).for_each(|index| acks.note(size, HANDSHAKE + index * u64::from(size)));
            prop_assert_eq!(acks.read_at_least(), Some(count * u64::from(size)));
        }

        #[test]
        fn nonsense_is_never_believed_beyond_what_was_written(values in prop::collection::vec((any::<u32>(), 0u64..1 << 33), 0..50)) {
            let (mut acks, mut written) = (Acks::default(), HANDSHAKE);
            for (value, more) in values {
                written += more;
                acks.note(value, written);
                prop_assert!(acks.read_at_least().is_none_or(|read| read <= written));
            }
        }
    }
}
