//! Which of the modes that a driver offers is asked for. Pure.
//!
//! What the program would see comes first: the share of its pixels, and of its pictures per second, that a mode can fill. Of those
//! that fill as much: raw before JPEG before H.264, then the least excess, then the format that is cheapest to convert.

use std::cmp::Reverse;

use super::pixels::{self, Packing};
use crate::capture::card::Wanted;
use crate::capture::native::Rate;

/// A mode that a driver offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    pub fourcc: [u8; 4],
    pub width: u32,
    pub height: u32,
    /// Frames per second; 0/1 if the driver does not tell.
    pub rate: Rate,
}

/// A rate or size that is this near is met: 29.97 serves a program of 30, 1079 lines one of 1080.
const NEAR: f64 = 0.98;

/// The best one; `None` if none can be used. Of equals, the driver's first.
pub fn choose(offers: &[Offer], wanted: &Wanted) -> Option<Offer> {
    let ranked = offers.iter().filter_map(|offer| Some((rank(offer, wanted)?, offer)));
    ranked.min_by_key(|(rank, _)| *rank).map(|(_, offer)| *offer)
}

/// The smaller, the better.
fn rank(offer: &Offer, wanted: &Wanted) -> Option<impl Ord + Copy + use<>> {
    let cost = pixels::cost(offer.fourcc)?;
    let class = match pixels::packing(offer.fourcc)? {
        Packing::Raw(_) => 0,
        Packing::Jpeg => 1,
        Packing::H264 => 2,
    };
    let area = u64::from(offer.width) * u64::from(offer.height);
    let millihertz = (offer.rate.fps() * 1000.0).round() as u64;
    Some((Reverse(filled(offer, wanted)), class, area, millihertz, cost))
}

/// How much of what the program wants the mode can fill, in per cent. An unknown rate is taken for a sufficient one.
fn filled(offer: &Offer, wanted: &Wanted) -> u32 {
    let share = |have: f64, want: f64| if have >= want * NEAR { 1.0 } else { have / want };
    let rate = if offer.rate.numerator == 0 { 1.0 } else { share(offer.rate.fps(), wanted.fps) };
    let width = share(f64::from(offer.width), f64::from(wanted.width));
    let height = share(f64::from(offer.height), f64::from(wanted.height));
    (rate * width * height * 100.0).round() as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn offer(text: &str) -> Offer {
        let mut words = text.split(' ');
        let fourcc = words.next().unwrap().as_bytes().try_into().unwrap();
        let (width, height) = words.next().unwrap().split_once('x').unwrap();
        let numerator = words.next().unwrap().parse().unwrap();
        let rate = Rate { numerator, denominator: 1 };
        Offer { fourcc, width: width.parse().unwrap(), height: height.parse().unwrap(), rate }
    }

    #[test]
    fn the_best_of_what_real_devices_offer() {
        let table: &[(&str, &[&str], &str)] = &[
            // A webcam on USB 2: raw is slow where it is large.
            ("1280x720 30", &["YUYV 640x480 30", "YUYV 1280x720 10", "MJPG 640x480 30", "MJPG 1280x720 30"], "MJPG 1280x720 30"),
            ("640x360 30", &["YUYV 640x480 30", "YUYV 1280x720 10", "MJPG 1280x720 30"], "YUYV 640x480 30"),
            // A stick on USB 3.
            ("1280x720 30", &["YUYV 1920x1080 60", "NV12 1920x1080 60", "MJPG 1920x1080 60"], "NV12 1920x1080 60"),
            ("1280x720 30", &["NV12 1920x1080 60", "YUYV 1280x720 30", "NV12 1920x1080 30"], "YUYV 1280x720 30"),
            // The least rate that is enough, and 29.97-like nearness.
            ("1280x720 30", &["NV12 1280x720 60", "NV12 1280x720 30", "NV12 1280x720 25"], "NV12 1280x720 30"),
            ("1280x720 50", &["NV12 1280x720 30", "NV12 1280x720 60"], "NV12 1280x720 60"),
            // Nothing is large enough: the largest.
            ("1920x1080 30", &["UYVY 640x480 30", "UYVY 1280x720 30"], "UYVY 1280x720 30"),
            // A camera with its own encoder: JPEG is less delay than H.264, both more than raw.
            ("1920x1080 30", &["H264 1920x1080 30", "MJPG 1920x1080 30", "YUYV 1920x1080 5"], "MJPG 1920x1080 30"),
            ("1920x1080 30", &["H264 1920x1080 30", "YUYV 640x480 30"], "H264 1920x1080 30"),
            // A receiver has one size; what is cheap comes first, the unknown never.
            (
                "1280x720 30",
                &["BGR3 1920x1080 0", "???? 1920x1080 0", "NV16 1920x1080 0", "UYVY 1920x1080 0"],
                "UYVY 1920x1080 0",
            ),
        ];
        for (wanted, offers, best) in table {
            let (size, fps) = wanted.split_once(' ').unwrap();
            let size = offer(&format!("NV12 {size} 1"));
            let wanted = Wanted { width: size.width, height: size.height, fps: fps.parse().unwrap(), lend: None };
            let offers = offers.iter().map(|text| offer(text)).collect::<Vec<_>>();
            assert_eq!(choose(&offers, &wanted), Some(offer(best)), "{wanted:?} of {offers:?}");
        }
        assert_eq!(choose(&[offer("???? 640x480 30")], &Wanted { width: 1, height: 1, fps: 1.0, lend: None }), None);
    }

    proptest! {
        /// The order in which a driver lists its modes does not decide, unless they are equally good.
        #[test]
        fn a_choice_is_one_of_the_offers_and_fills_most(
            offers in prop::collection::vec((0usize..6, 1u32..4000, 1u32..3000, 0u32..120), 1..12),
            width in 64u32..4096, height in 64u32..2304, fps in 1u32..120,
        ) {
            let codes: [&[u8; 4]; 6] = [b"NV12", b"YUYV", b"BGR3", b"MJPG", b"H264", b"????"];
            let rate = |numerator| Rate { numerator, denominator: 1 };
            let offers = offers.into_iter().map(|(code, width, height, fps)| Offer { fourcc: *codes[code], width, height, rate: rate(fps) });
            let offers = offers.collect::<Vec<_>>();
            let wanted = Wanted { width, height, fps: f64::from(fps), lend: None };
            let usable = offers.iter().filter(|offer| pixels::packing(offer.fourcc).is_some());
            let most = usable.map(|offer| filled(offer, &wanted)).max();
            let best = choose(&offers, &wanted);
            prop_assert_eq!(best.map(|offer| filled(&offer, &wanted)), most);
            prop_assert!(best.is_none_or(|best| offers.contains(&best)));
            let reversed = offers.iter().rev().copied().collect::<Vec<_>>();
            prop_assert_eq!(choose(&reversed, &wanted), best);
        }
    }
}
