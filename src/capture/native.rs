//! What comes in, as its device tells it: the words that drivers, recipes and the status share. Plain data.
//!
//! ```text
//!   Timings: what is on the cable (a receiver knows before it streams)      1920x1080i 25.00 fps
//!   Native:  what the driver puts into memory                               1920x1080 interlaced UYVY, BT.709, limited
//! ```

use std::fmt;

/// A rate as a driver tells it: frames (not fields) per second, as a fraction; 0/1 if it does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    pub numerator: u32,
    pub denominator: u32,
}

impl Rate {
    pub fn fps(self) -> f64 {
        f64::from(self.numerator) / f64::from(self.denominator.max(1))
    }
}

/// The signal on the cable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timings {
    pub width: u32,
    /// Lines of a whole frame.
    pub height: u32,
    pub interlaced: bool,
    pub rate: Rate,
}

impl fmt::Display for Timings {
    /// "1920x1080i 25.00 fps".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scan = if self.interlaced { "i" } else { "p" };
        write!(f, "{}x{}{scan} {:.2} fps", self.width, self.height, self.rate.fps())
    }
}

/// How the lines of a picture were taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan {
    Progressive,
    /// Two fields woven into each buffer, the one with the top line first in time …
    TopFirst,
    /// … or the other one.
    BottomFirst,
    /// One field in each buffer, half of `height` lines, top and bottom in turn.
    Alternate,
}

/// From colours to numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matrix {
    Bt601,
    Bt709,
    Bt2020,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// Black is 16.
    Limited,
    /// Black is 0.
    Full,
}

/// The format of the pictures that a device delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Native {
    /// V4L2's code of the pixel format.
    pub fourcc: [u8; 4],
    pub width: u32,
    /// Lines of a whole frame, also where each buffer holds one field.
    pub height: u32,
    /// Bytes from one line to the next, of the first plane; 0 for compressed pictures.
    pub stride: u32,
    pub scan: Scan,
    pub matrix: Matrix,
    pub range: Range,
    /// Width to height of one pixel; 1:1 for all that is not analogue or of its descent.
    pub pixel_aspect: (u32, u32),
    pub rate: Rate,
}

impl Native {
    pub fn fourcc_text(&self) -> String {
        String::from_utf8_lossy(&self.fourcc).trim_end().to_owned()
    }
}

impl fmt::Display for Native {
    /// "1920x1080i 25.00 fps UYVY".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scan = if self.scan == Scan::Progressive { "p" } else { "i" };
        write!(f, "{}x{}{scan} {:.2} fps {}", self.width, self.height, self.rate.fps(), self.fourcc_text())
    }
}
