//! What a session wants on the wire, in order, as pieces: bytes of its own beside slices of packets. Pure.
//!
//! A packet's bytes are never copied: they stay where the encoder put them until the socket has taken them. Headers and
//! commands, a few bytes each, lie one after the other in one buffer that is used again and again. It has no limit of its
//! own: how much may wait is the business of who fills it.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

/// Own bytes that are written already are forgotten in portions of at least this size, so that moving the others is rare.
const FORGET: usize = 4096;

#[derive(Debug, Default)]
pub struct Outbox {
    pieces: VecDeque<Piece>,
    /// The bytes of all `Piece::Own`, one after the other, from `own_start` on.
    own: Vec<u8>,
    own_start: usize,
    len: usize,
    total: u64,
}

#[derive(Debug)]
enum Piece {
    /// So many of the own bytes.
    Own(usize),
    Shared(Bytes),
}

impl Outbox {
    /// Appends a copy of a few bytes.
    pub fn push_own(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.own.extend_from_slice(bytes);
        self.count(bytes.len());
        match self.pieces.back_mut() {
            Some(Piece::Own(len)) => *len += bytes.len(),
            _ => self.pieces.push_back(Piece::Own(bytes.len())),
        }
    }

    /// Appends a slice of a packet.
    pub fn push_shared(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.count(bytes.len());
            self.pieces.push_back(Piece::Shared(bytes));
        }
    }

    fn count(&mut self, bytes: usize) {
        self.len += bytes;
        self.total += bytes as u64;
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// All bytes that were ever appended.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Fills `out` with what is to be written next, as far as it reaches; returns how many slices that were.
    pub fn slices<'a>(&'a self, out: &mut [IoSlice<'a>]) -> usize {
        let mut own = &self.own[self.own_start..];
        let mut count = 0;
        for (slot, piece) in out.iter_mut().zip(&self.pieces) {
            *slot = match piece {
                Piece::Shared(bytes) => IoSlice::new(bytes),
                Piece::Own(len) => {
                    let (now, later) = own.split_at(*len);
                    own = later;
                    IoSlice::new(now)
                }
            };
            count += 1;
        }
        count
    }

    /// All that waits, copied: for the little that is said where no media is sent.
    pub fn take(&mut self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len);
        while !self.is_empty() {
            let mut slices = [IoSlice::new(&[]); 8];
            let filled = self.slices(&mut slices);
            let start = bytes.len();
            slices[..filled].iter().for_each(|slice| bytes.extend_from_slice(slice));
            self.sent(bytes.len() - start);
        }
        bytes
    }

    /// The first `count` bytes have been written.
    pub fn sent(&mut self, count: usize) {
        let mut left = count.min(self.len);
        self.len -= left;
        while left > 0 {
            let Some(piece) = self.pieces.front_mut() else { break };
            let taken = left.min(piece.len());
            left -= taken;
            if piece.take(taken) {
                self.own_start += taken;
            }
            if piece.len() == 0 {
                self.pieces.pop_front();
            }
        }
        self.forget();
    }

    /// Keeps the buffer of own bytes short, even if there is never a moment when nothing waits.
    fn forget(&mut self) {
        if self.own_start == self.own.len() {
            self.own.clear();
            self.own_start = 0;
        } else if self.own_start >= FORGET && self.own_start * 2 >= self.own.len() {
            self.own.drain(..self.own_start);
            self.own_start = 0;
        }
    }
}

impl Piece {
    fn len(&self) -> usize {
        match self {
            Self::Own(len) => *len,
            Self::Shared(bytes) => bytes.len(),
        }
    }

    /// Shortens it at its front; true if these were own bytes.
    fn take(&mut self, count: usize) -> bool {
        match self {
            Self::Own(len) => {
                *len -= count;
                true
            }
            Self::Shared(bytes) => {
                bytes.advance(count);
                false
            }
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use proptest::prelude::*;

    /// All that waits, through so many slices at a time.
    pub fn drain(outbox: &mut Outbox, at_once: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while !outbox.is_empty() {
            let before = all.len();
            let mut slices = vec![IoSlice::new(&[]); at_once];
            let count = outbox.slices(&mut slices);
            slices[..count].iter().for_each(|slice| all.extend_from_slice(slice));
            assert!(all.len() > before, "bytes wait that no slice shows");
            let written = all.len() - before;
            outbox.sent(written);
        }
        all
    }

    #[test]
    fn shared_bytes_are_shown_where_they_lie() {
        let (mut outbox, packet) = (Outbox::default(), Bytes::from_static(b"packet"));
        outbox.push_own(b"a");
        outbox.push_own(b"b");
        outbox.push_shared(packet.clone());
        let mut slices = [IoSlice::new(&[]); 4];
        assert_eq!(outbox.slices(&mut slices), 2, "own bytes in a row are one piece");
        assert_eq!((&slices[0][..], slices[1].as_ptr()), (&b"ab"[..], packet.as_ptr()));
        assert_eq!(outbox.slices(&mut slices[..1]), 1);
        assert_eq!(outbox.slices(&mut []), 0);
    }

    #[test]
    fn the_buffer_stays_short_though_something_always_waits() {
        let mut outbox = Outbox::default();
        outbox.push_own(&[0; 16]);
        for _ in 0..10_000 {
            outbox.push_own(&[1; 16]);
            outbox.push_shared(Bytes::from_static(&[2; 100]));
            outbox.sent(116);
        }
        assert!(outbox.own.capacity() < 4 * FORGET && outbox.pieces.capacity() < 16);
        assert_eq!((outbox.len(), outbox.total()), (16, 16 + 10_000 * 116));
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(pieces in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..50)), 0..60), takes in prop::collection::vec(0usize..300, 0..60)) {
            let (mut outbox, mut wanted, mut got, mut takes) = (Outbox::default(), Vec::new(), Vec::new(), takes.into_iter());
            for (shared, bytes) in pieces {
                wanted.extend_from_slice(&bytes);
                match shared {
                    true => outbox.push_shared(Bytes::from(bytes)),
                    false => outbox.push_own(&bytes),
                }
                let mut slices = [IoSlice::new(&[]); 3];
                let count = outbox.slices(&mut slices);
                let shown: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
                let taken = takes.next().unwrap_or(0).min(shown.len());
                got.extend_from_slice(&shown[..taken]);
                outbox.sent(taken);
                prop_assert_eq!(outbox.len(), wanted.len() - got.len());
            }
            got.extend(drain(&mut outbox, 2));
            prop_assert_eq!(outbox.total(), wanted.len() as u64);
            prop_assert_eq!(got, wanted);
            outbox.sent(usize::MAX);
        }
    }
}
