//! Numbers of the RTMP wire, and the count of what has been received. Pure.
//!
//! It knows the numbers that a publisher meets and no more.

/// Message types.
pub mod kind {
    pub const SET_CHUNK_SIZE: u8 = 1;
    pub const ABORT: u8 = 2;
    pub const ACKNOWLEDGEMENT: u8 = 3;
    pub const USER_CONTROL: u8 = 4;
    pub const WINDOW: u8 = 5;
    pub const PEER_BANDWIDTH: u8 = 6;
    pub const AUDIO: u8 = 8;
    pub const VIDEO: u8 = 9;
    pub const AMF3_COMMAND: u8 = 17;
    pub const DATA: u8 = 18;
    pub const COMMAND: u8 = 20;
}

/// Chunk streams that we write on; 2 is prescribed, the others are custom.
pub mod chunk_stream {
    pub const CONTROL: u8 = 2;
    pub const COMMAND: u8 = 3;
    pub const AUDIO: u8 = 4;
    pub const DATA: u8 = 5;
    pub const VIDEO: u8 = 6;
}

/// What has been received, for the acknowledgements that a server may want: it is told the total, modulo 2^32, at least
/// once in each window.
#[derive(Debug, Default)]
pub struct Received {
    total: u32,
    acknowledged: u32,
    window: u32,
}

impl Received {
    /// 0: the server wants none.
    pub fn set_window(&mut self, window: u32) {
        self.window = window;
    }

    /// Adds bytes; `Some` if it is time to tell the total.
    pub fn add(&mut self, bytes: usize) -> Option<u32> {
        self.total = self.total.wrapping_add(bytes as u32);
        let due = self.window > 0 && self.total.wrapping_sub(self.acknowledged) >= self.window.div_ceil(2);
        if due {
            self.acknowledged = self.total;
        }
        due.then_some(self.total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_told_twice_in_a_window_and_wraps() {
        let mut received = Received { window: 1000, total: u32::MAX - 99, acknowledged: u32::MAX - 99 };
        assert_eq!(
            [received.add(400), received.add(100), received.add(499), received.add(1)],
            [None, Some(400), None, Some(900)]
        );
        received.set_window(0);
        assert_eq!(received.add(1 << 20), None);
    }
}
