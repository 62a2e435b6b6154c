//! Connectors of a card, and analogue standards: which connector is used, and what its status says of the cable. Pure.
//!
//! ```text
//!   VIDIOC_ENUMINPUT: name, status ─┐                       ┌─▶ Signal
//!   VIDIOC_QUERYSTD:  candidates   ─┼─▶ look(Answers)  ─────┼─▶ Standard ─▶ Timings, pixel aspect
//!   5 V on the cable (HDMI)        ─┘                       └─▶ Remark: what a person should know beside
//! ```
//!
//! A card that cannot tell is believed: then only its pictures say whether there is a signal.

use std::fmt;

use crate::capture::native::{Rate, Timings};
use crate::config::Connector;
use crate::status::Signal;

/// The two families of analogue television; what they differ in beside lines is colour, which the card's decoder sees to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standard {
    /// PAL, SECAM: 50 fields a second.
    Lines625,
    /// NTSC, PAL-M, PAL-60: 59.94 fields a second.
    Lines525,
}

/// V4L2_STD_525_60 and V4L2_STD_625_50 of linux/videodev2.h, which are macros of casts that the bindings do not have.
const STD_525: u64 = 0xf900;
const STD_625: u64 = 0x00ff_06ff;

impl Standard {
    /// From a set of V4L2's standards; none if it is empty, or says nothing because both are in it.
    pub fn of(candidates: u64) -> Option<Self> {
        match (candidates & STD_625 != 0, candidates & STD_525 != 0) {
            (true, false) => Some(Self::Lines625),
            (false, true) => Some(Self::Lines525),
            _ => None,
        }
    }

    /// The active picture at the 13.5 MHz of ITU-R BT.601, as V4L2's drivers deliver it.
    pub fn timings(self) -> Timings {
        let (height, rate) = match self {
            Self::Lines625 => (576, Rate { numerator: 25, denominator: 1 }),
            Self::Lines525 => (480, Rate { numerator: 30_000, denominator: 1001 }),
        };
        Timings { width: 720, height, interlaced: true, rate }
    }

    /// Width to height of a pixel at 13.5 MHz. Square ones would be sampled at 14.75 MHz (625 lines) and at 12 + 3/11 MHz (525);
    /// VIDIOC_CROPCAP's documentation has the same figures, upside down: 54/59 and 11/10.
    pub fn pixel_aspect(self) -> (u32, u32) {
        match self {
            Self::Lines625 => (59, 54),
            Self::Lines525 => (10, 11),
        }
    }
}

/// One connector of a card, as VIDIOC_ENUMINPUT describes it. V4L2 promises the status of the current one only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entrance {
    pub number: u32,
    /// "HDMI 0", "S-Video 1".
    pub name: String,
    pub status: u32,
    /// It has analogue standards: composite, S-Video, an antenna.
    pub analogue: bool,
    /// It has DV timings: HDMI, SDI, component.
    pub digital: bool,
}

/// What a card answers about its current connector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// Of VIDIOC_ENUMINPUT.
    pub status: u32,
    /// Of VIDIOC_QUERYSTD; none if the card cannot detect standards.
    pub detected: Option<u64>,
    /// Of VIDIOC_G_STD.
    pub present: u64,
}

/// What is worth a person's attention although, or because, the picture is as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remark {
    BlackAndWhite,
    CopyProtected,
    /// Nothing can be switched on from here.
    SourceIsOff,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BlackAndWhite => "the card finds no colour in the signal; check the cable and the source's standard",
            Self::CopyProtected => "the source sends copy protection; switch it off there, or use another output of it",
            Self::SourceIsOff => "the source is switched off",
        })
    }
}

/// What one look at an analogue connector found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub signal: Signal,
    /// None if nothing tells; else what VIDIOC_S_STD should be given, by [`set_for`].
    pub standard: Option<Standard>,
    pub remark: Option<Remark>,
}

/// What the answers mean.
pub fn look(answers: &Answers) -> Found {
    let signal = match (verdict(answers.status), answers.detected) {
        // No standard in what is received: nothing that a decoder could lock to.
        (Signal::Locked, Some(0)) => Signal::NoSignal,
        (signal, _) => signal,
    };
    let told = answers.detected.and_then(Standard::of);
    let standard = told.or_else(|| Standard::of(answers.present)).filter(|_| signal == Signal::Locked);
    Found { signal, standard, remark: remark(answers.status) }
}

/// The signal by the status of a connector, digital ones too.
pub fn verdict(status: u32) -> Signal {
    use v4l::v4l_sys::*;
    const ABSENT: u32 = V4L2_IN_ST_NO_POWER | V4L2_IN_ST_NO_SIGNAL | V4L2_IN_ST_NO_CARRIER;
    const UNSTEADY: u32 =
        V4L2_IN_ST_NO_H_LOCK | V4L2_IN_ST_NO_V_LOCK | V4L2_IN_ST_NO_STD_LOCK | V4L2_IN_ST_NO_SYNC | V4L2_IN_ST_NO_EQU;
    match (status & ABSENT != 0, status & UNSTEADY != 0) {
        (true, _) => Signal::NoSignal,
        (false, true) => Signal::NoSync,
        (false, false) => Signal::Locked,
    }
}

pub fn remark(status: u32) -> Option<Remark> {
    use v4l::v4l_sys::*;
    let table = [
        (V4L2_IN_ST_NO_POWER, Remark::SourceIsOff),
        (V4L2_IN_ST_MACROVISION | V4L2_IN_ST_NO_ACCESS, Remark::CopyProtected),
        (V4L2_IN_ST_NO_COLOR | V4L2_IN_ST_COLOR_KILL, Remark::BlackAndWhite),
    ];
    table.iter().find(|(bits, _)| status & bits != 0).map(|(_, remark)| *remark)
}

/// What to give VIDIOC_S_STD for the card to follow the signal; none if it does already.
///
/// Only what the connector supports and what was detected; a card that follows within a family by itself is left alone.
pub fn set_for(answers: &Answers, supported: u64) -> Option<u64> {
    let detected = answers.detected?;
    let wanted = Standard::of(detected)?;
    let follows = Standard::of(answers.present) == Some(wanted) && answers.present & detected != 0;
    let set = detected & supported;
    (!follows && set != 0).then_some(set)
}

/// The cable by the 5 V that a source puts on it: only a receiver that has the control, and finds none, knows that there is no cable.
pub fn with_power(signal: Signal, power: Option<bool>) -> Signal {
    match (signal, power) {
        (Signal::NoSignal | Signal::NoSync, Some(false)) => Signal::NoCable,
        (signal, _) => signal,
    }
}

/// The connector that a configuration names; `Ok(None)`: whichever has a signal.
pub fn named(connector: &Connector, entrances: &[Entrance]) -> Result<Option<u32>, String> {
    let found = match connector {
        Connector::Auto => return Ok(None),
        Connector::Number(number) => entrances.iter().find(|entrance| entrance.number == *number),
        Connector::Name(name) => entrances.iter().find(|entrance| entrance.name.eq_ignore_ascii_case(name)),
    };
    let offered = || entrances.iter().map(|entrance| format!("{} \"{}\"", entrance.number, entrance.name)).collect::<Vec<_>>();
    found.map(|entrance| Some(entrance.number)).ok_or_else(|| match entrances {
        [] => format!("`connector`: this card has none to choose from, so not {connector} either; remove the key"),
        _ => format!("`connector`: this card has no {connector}; want one of: {}", offered().join(", ")),
    })
}

/// In which order connectors are tried for a signal: the current one first, for it costs nothing; then by number.
pub fn trial_order(entrances: &[Entrance], current: u32) -> Vec<u32> {
    let others = entrances.iter().map(|entrance| entrance.number).filter(|number| *number != current);
    [current].into_iter().chain(others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // Of linux/videodev2.h.
    const PAL: u64 = 0xff;
    const PAL_B: u64 = 0x1;
    const PAL_M: u64 = 0x100;
    const PAL_60: u64 = 0x800;
    const NTSC_M: u64 = 0x1000;
    const NTSC_443: u64 = 0x4000;
    const SECAM_L: u64 = 0x40_0000;
    const ALL: u64 = STD_525 | STD_625;
    const ATSC: u64 = 0x300_0000;

    const NO_SIGNAL: u32 = 0x2;
    const NO_COLOR: u32 = 0x4;
    const NO_H_LOCK: u32 = 0x100;
    const COLOR_KILL: u32 = 0x200;
    const NO_SYNC: u32 = 0x1_0000;
    const MACROVISION: u32 = 0x100_0000;

    #[test]
    fn standards_belong_to_a_family() {
        let table = [
            (PAL, Some(Standard::Lines625)),
            (PAL_B, Some(Standard::Lines625)),
            (SECAM_L | PAL, Some(Standard::Lines625)),
            (PAL_M, Some(Standard::Lines525)),
            (PAL_60 | NTSC_443, Some(Standard::Lines525)),
            (NTSC_M, Some(Standard::Lines525)),
            (ALL, None),
            (PAL_B | NTSC_M, None),
            (ATSC, None),
            (0, None),
        ];
        for (candidates, want) in table {
            assert_eq!(Standard::of(candidates), want, "{candidates:#x}");
        }
    }

    #[test]
    fn timings_and_pixels_of_bt_601() {
        assert_eq!(Standard::Lines625.timings().to_string(), "720x576i 25.00 fps");
        assert_eq!(Standard::Lines525.timings().to_string(), "720x480i 29.97 fps");
        // 702 and 711 of the 720 pixels are the 4:3 picture.
        for (standard, active) in [(Standard::Lines625, 702.0), (Standard::Lines525, 710.85)] {
            let (width, height) = standard.pixel_aspect();
            let shape = active * f64::from(width) / f64::from(height) / f64::from(standard.timings().height);
            assert!((shape - 4.0 / 3.0).abs() < 0.015, "{standard:?}: {shape}");
        }
    }

    #[test]
    fn the_cable_by_status_and_standard() {
        let (nothing, pal) = (Some(0), Some(PAL_B));
        let table = [
            (0, pal, NTSC_M, Signal::Locked, Some(Standard::Lines625)),
            (0, nothing, PAL, Signal::NoSignal, None),
            (0, None, PAL, Signal::Locked, Some(Standard::Lines625)),
            (0, None, 0, Signal::Locked, None),
            // "When detection is not possible, the set must contain all standards": then the one in force.
            (0, Some(ALL), NTSC_M, Signal::Locked, Some(Standard::Lines525)),
            (NO_SIGNAL, nothing, PAL, Signal::NoSignal, None),
            (NO_SIGNAL | NO_H_LOCK, pal, PAL, Signal::NoSignal, None),
            (NO_H_LOCK, nothing, PAL, Signal::NoSync, None),
            (NO_SYNC, None, PAL, Signal::NoSync, None),
            (COLOR_KILL, pal, PAL, Signal::Locked, Some(Standard::Lines625)),
        ];
        for (status, detected, present, signal, standard) in table {
            let found = look(&Answers { status, detected, present });
            assert_eq!((found.signal, found.standard), (signal, standard), "{status:#x} {detected:?} {present:#x}");
        }
    }

    #[test]
    fn what_a_person_should_know_is_remarked() {
        let table = [
            (0, None),
            (NO_SIGNAL, None),
            (NO_COLOR, Some(Remark::BlackAndWhite)),
            (COLOR_KILL, Some(Remark::BlackAndWhite)),
            (MACROVISION | NO_COLOR, Some(Remark::CopyProtected)),
            (1, Some(Remark::SourceIsOff)),
        ];
        for (status, want) in table {
            assert_eq!(remark(status), want, "{status:#x}");
        }
    }

    #[test]
    fn the_standard_is_set_only_where_it_must_be() {
        let table = [
            (Some(PAL_B), PAL, ALL, None, "follows within the family"),
            (Some(PAL_B), NTSC_M, ALL, Some(PAL_B), "another family"),
            (Some(SECAM_L), PAL, ALL, Some(SECAM_L), "the colour is another one"),
            (Some(SECAM_L), PAL, PAL | NTSC_M, None, "not supported"),
            (Some(0), PAL, ALL, None, "nothing received"),
            (Some(ALL), PAL, ALL, None, "not detected"),
            (None, PAL, ALL, None, "cannot be detected"),
        ];
        for (detected, present, supported, want, why) in table {
            assert_eq!(set_for(&Answers { status: 0, detected, present }, supported), want, "{why}");
        }
    }

    #[test]
    fn no_cable_is_said_only_by_a_receiver_that_knows() {
        let table = [
            (Signal::NoSignal, Some(false), Signal::NoCable),
            (Signal::NoSync, Some(false), Signal::NoCable),
            (Signal::NoSignal, Some(true), Signal::NoSignal),
            (Signal::NoSignal, None, Signal::NoSignal),
            // Sources without 5 V exist; a picture is a picture.
            (Signal::Locked, Some(false), Signal::Locked),
            (Signal::OutOfRange, Some(false), Signal::OutOfRange),
        ];
        for (signal, power, want) in table {
            assert_eq!(with_power(signal, power), want, "{signal} {power:?}");
        }
    }

    fn entrances() -> Vec<Entrance> {
        let entrance = |number, name: &str| Entrance { number, name: name.into(), ..Entrance::default() };
        vec![entrance(0, "Composite 0"), entrance(1, "S-Video 0"), entrance(2, "HDMI 0")]
    }

    #[test]
    fn a_connector_by_number_or_name() {
        let table = [
            (Connector::Auto, Ok(None)),
            (Connector::Number(1), Ok(Some(1))),
            (Connector::Name("hdmi 0".into()), Ok(Some(2))),
            (
                Connector::Number(3),
                Err("`connector`: this card has no 3; want one of: 0 \"Composite 0\", 1 \"S-Video 0\", 2 \"HDMI 0\""),
            ),
            (
                Connector::Name("SDI".into()),
                Err("`connector`: this card has no \"SDI\"; want one of: 0 \"Composite 0\", 1 \"S-Video 0\", 2 \"HDMI 0\""),
            ),
        ];
        for (connector, want) in table {
            assert_eq!(named(&connector, &entrances()), want.map_err(str::to_owned));
        }
        let none = named(&Connector::Number(0), &[]).unwrap_err();
        assert_eq!(none, "`connector`: this card has none to choose from, so not 0 either; remove the key");
    }

    #[test]
    fn the_current_connector_is_tried_first() {
        assert_eq!(trial_order(&entrances(), 1), [1, 0, 2]);
        assert_eq!(trial_order(&[], 0), [0]);
    }

    proptest! {
        #[test]
        fn what_is_set_was_detected_and_is_supported(status: u32, detected: u64, present: u64, supported: u64) {
            let answers = Answers { status, detected: Some(detected), present };
            if let Some(set) = set_for(&answers, supported) {
                prop_assert!(set != 0 && set & detected == set && set & supported == set);
            }
            let found = look(&answers);
            prop_assert!(found.standard.is_none() || found.signal == Signal::Locked);
        }
    }
}
