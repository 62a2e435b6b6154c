//! Where a segment comes from, told in its own head, so that an index can be made from the files alone.
//!
//! ```text
//! uuid box (ISO/IEC 14496-12, 11.1), after `moov`; players skip it
//!   usertype   16 bytes   6f6e6169-7264-8173-a567-6d656e740001 ("onaird", "segment", 1, as a UUID of version 8)
//!   run        16 bytes   random, one for each life of the daemon
//!   base        8 bytes   ns, big endian: the first picture on the run's time line
//!   start       8 bytes   ms since 1970, signed: what the clock said when the first picture was made
//!   dropped     8 bytes   GOPs that were lost right before it
//! ```
//!
//! A later version may add to the end. Files of older versions have no such box: they tell their second in `mvhd` alone.

use mp4_atom::{Atom, Decode, Encode, ExtendedType, Uuid};

use super::entry::Run;
use crate::units::MediaTime;

const USERTYPE: ExtendedType =
    ExtendedType::new(&[0x6f, 0x6e, 0x61, 0x69, 0x72, 0x64, 0x81, 0x73, 0xa5, 0x67, 0x6d, 0x65, 0x6e, 0x74, 0, 1]);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    pub run: Run,
    /// The first picture on the run's time line.
    pub base: MediaTime,
    /// Unix milliseconds of the first picture.
    pub start_ms: i64,
    pub dropped_gops: u64,
}

impl Origin {
    /// Of a file that does not say more than its second.
    pub fn of_second(unix_seconds: i64) -> Self {
        Self { run: Run::UNKNOWN, base: MediaTime::ZERO, start_ms: unix_seconds.saturating_mul(1000), dropped_gops: 0 }
    }

    /// The whole box.
    pub fn encode(&self, bytes: &mut Vec<u8>) -> mp4_atom::Result<()> {
        let mut payload = self.run.0.to_vec();
        payload.extend(self.base.nanos().to_be_bytes());
        payload.extend(self.start_ms.to_be_bytes());
        payload.extend(self.dropped_gops.to_be_bytes());
        Uuid::Unknown(USERTYPE, payload).encode(bytes)
    }

    /// From the body of a `uuid` box; `None` if it is another one's.
    pub fn decode_body(mut body: &[u8]) -> Option<Self> {
        let Ok(Uuid::Unknown(USERTYPE, payload)) = Uuid::decode_body(&mut body) else { return None };
        let mut rest = &payload[..];
        let run = <[u8; 16]>::decode(&mut rest).ok()?;
        let base = u64::decode(&mut rest).ok()?;
        let start_ms = i64::from_be_bytes(<[u8; 8]>::decode(&mut rest).ok()?);
        let dropped_gops = u64::decode(&mut rest).ok()?;
        Some(Self { run: Run(run), base: MediaTime::from_nanos(base), start_ms, dropped_gops })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn body(box_bytes: &[u8]) -> &[u8] {
        assert_eq!(&box_bytes[4..8], b"uuid");
        assert_eq!(u32::from_be_bytes(box_bytes[..4].try_into().unwrap()) as usize, box_bytes.len());
        &box_bytes[8..]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(run: [u8; 16], base: u64, start_ms: i64, dropped_gops: u64, more: Vec<u8>) {
            let origin = Origin { run: Run(run), base: MediaTime::from_nanos(base), start_ms, dropped_gops };
            let mut bytes = Vec::new();
            origin.encode(&mut bytes).unwrap();
            let mut longer = body(&bytes).to_vec();
            longer.extend(more);
            prop_assert_eq!(Origin::decode_body(&longer), Some(origin));
        }

        #[test]
        fn what_is_not_ours(body in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(Origin::decode_body(&body), None);
        }
    }

    #[test]
    fn a_box_that_is_too_short() {
        let mut bytes = Vec::new();
        Origin::of_second(1).encode(&mut bytes).unwrap();
        assert_eq!(Origin::decode_body(&body(&bytes)[..30]), None);
    }
}
