//! Whether a picture is frozen or black, and a sound silent: rules over what is looked at and listened to. Pure.
//!
//! ```text
//!            no sign of life for `after`
//!   alive ───────────────────────────────▶ found        a sign: the grid changes · the picture is not black · the sound is loud enough
//!     ▲                                      │
//!     └──────────────────────────────────────┘
//!       signs for CLEAR, none farther than GAP from the next: one change of a slide, one crackle, end nothing
//! ```
//!
//! A picture is looked at on a grid of points, ten times a second. A frozen source repeats its numbers; a living camera never
//! does, for its sensor has noise, even in front of a wall. So the threshold lies below a sensor's noise and above what a
//! repeated picture gets from being compressed again. The grid is compared with the one at the last change, so that what
//! moves slowly moves too. While nothing comes at all, nothing is found: that is for others to tell.

use std::time::Duration;

use crate::config::Watch;
use crate::units::MediaTime;

/// Points across and down.
const COLUMNS: usize = 64;
const ROWS: usize = 36;
const POINTS: usize = COLUMNS * ROWS;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// Signs of life that are farther apart do not belong together.
const GAP: Duration = Duration::from_secs(1);

/// How long signs of life must go on until what was found is over.
const CLEAR: Duration = Duration::from_secs(1);

/// So many points must differ: fewer are specks of compression.
const CHANGED_POINTS: usize = 3;

/// A picture is black if all but a logo's share of it is; to be no longer black, it needs twice that share.
const BRIGHT_POINTS: usize = POINTS / 50;

/// One thing that is watched for.
#[derive(Clone, Debug)]
struct Vigil {
    after: Option<Duration>,
    found: bool,
    /// The last sign of life, and the first of those that belong to it.
    last: MediaTime,
    first: MediaTime,
    /// When there was anything to look at; `None`: never.
    seen: Option<MediaTime>,
}

impl Vigil {
    fn new(after: Option<Duration>) -> Self {
        Self { after, found: false, last: MediaTime::ZERO, first: MediaTime::ZERO, seen: None }
    }

    fn observe(&mut self, sign: bool, now: MediaTime) -> bool {
        let Some(after) = self.after else { return false };
        // After a time without anything to look at, it begins anew.
        if self.seen.is_none_or(|seen| now < seen || now.since(seen) > GAP) {
            (self.last, self.first) = (now, now);
        }
        self.seen = Some(now);
        if sign {
            if now.since(self.last) > GAP {
                self.first = now;
            }
            self.last = now;
        }
        if now.since(self.last) >= after {
            self.found = true;
        } else if sign && now.since(self.first) >= CLEAR {
            self.found = false;
        }
        self.found
    }
}

/// What was found in a picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sight {
    pub frozen: bool,
    pub black: bool,
}

/// The full plane of luma of a picture, as the program's formats have it.
#[derive(Clone, Copy, Debug)]
pub struct Luma<'a> {
    pub data: &'a [u8],
    pub stride: usize,
    pub width: usize,
    pub height: usize,
}

impl Luma<'_> {
    /// The picture on the grid, from the middle of each of its fields.
    fn sample(&self, grid: &mut [u8; POINTS]) {
        for (row, points) in grid.chunks_exact_mut(COLUMNS).enumerate() {
            let line = self.data.get((row * 2 + 1) * self.height / (2 * ROWS) * self.stride..).unwrap_or_default();
            for (column, point) in points.iter_mut().enumerate() {
                *point = line.get((column * 2 + 1) * self.width / (2 * COLUMNS)).copied().unwrap_or(0);
            }
        }
    }
}

/// Watches the pictures of one input.
#[derive(Clone, Debug)]
pub struct PictureWatch {
    frozen: Vigil,
    black: Vigil,
    noise: u8,
    /// Luma below which a point is black.
    level: u8,
    looked: Option<MediaTime>,
    now: Box<[u8; POINTS]>,
    /// As it was at the last change.
    before: Box<[u8; POINTS]>,
}

impl PictureWatch {
    pub fn new(watch: &Watch) -> Self {
        let (now, before) = (Box::new([0; POINTS]), Box::new([0; POINTS]));
        let level = 16.0 + 219.0 * watch.black_level / 100.0;
        let (frozen, black) = (Vigil::new(watch.frozen), Vigil::new(watch.black));
        Self { frozen, black, noise: watch.frozen_noise, level: level.round() as u8, looked: None, now, before }
    }

    /// Whether a picture at this time is worth a look: cheap to ask for each.
    pub fn is_due(&self, now: MediaTime) -> bool {
        let watched = self.frozen.after.is_some() || self.black.after.is_some();
        watched && self.looked.is_none_or(|looked| now < looked || now.since(looked) >= LOOK)
    }

    pub fn look(&mut self, luma: &Luma, now: MediaTime) -> Sight {
        self.looked = Some(now);
        luma.sample(&mut self.now);
        let changed = self.changed();
        if changed {
            std::mem::swap(&mut self.now, &mut self.before);
        }
        // Either way, `before` is what the picture looks like.
        let bright = self.before.iter().filter(|point| **point > self.level).count();
        let enough = if self.black.found { 2 * BRIGHT_POINTS } else { BRIGHT_POINTS };
        Sight { frozen: self.frozen.observe(changed, now), black: self.black.observe(bright > enough, now) }
    }

    fn changed(&self) -> bool {
        let pairs = self.now.iter().zip(self.before.iter());
        pairs.filter(|(now, before)| now.abs_diff(**before) > self.noise).count() >= CHANGED_POINTS
    }
}

/// Watches the sound of one input.
#[derive(Clone, Debug)]
pub struct SoundWatch {
    silent: Vigil,
    /// Mean square of the samples below which it is silence.
    power: f64,
}

impl SoundWatch {
    pub fn new(watch: &Watch) -> Self {
        let full_scale = f64::from(1 << 15);
        // Of a sine at full scale, as meters read it: 3 dB below its peak.
        let power = full_scale * full_scale / 2.0 * 10f64.powf(watch.silence_dbfs / 10.0);
        Self { silent: Vigil::new(watch.silence), power }
    }

    pub fn is_on(&self) -> bool {
        self.silent.after.is_some()
    }

    /// Takes samples as they come, of some milliseconds; whether it is silent.
    pub fn hear(&mut self, samples: &[i16], now: MediaTime) -> bool {
        if samples.is_empty() {
            return self.silent.found;
        }
        let sum: u64 = samples.iter().map(|sample| u64::from(sample.unsigned_abs()).pow(2)).sum();
        self.silent.observe(sum as f64 / samples.len() as f64 > self.power, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WIDTH: usize = 640;
    const HEIGHT: usize = 360;

    fn watch() -> Watch {
        Watch { frozen: Some(Duration::from_secs(10)), black: Some(Duration::from_secs(10)), ..Watch::default() }
    }

    /// Looks at pictures, one each 100 ms, from a time on; the times at which what was found changed.
    fn look(watch: &mut PictureWatch, from_ms: u64, count: u64, mut draw: impl FnMut(u64, &mut [u8])) -> Vec<(u64, Sight)> {
        let mut data = vec![0; WIDTH * HEIGHT];
        let mut news = Vec::new();
        for index in 0..count {
            draw(index, &mut data);
            let now = MediaTime::from_millis(from_ms + index * 100);
            assert!(watch.is_due(now));
            let sight = watch.look(&Luma { data: &data, stride: WIDTH, width: WIDTH, height: HEIGHT }, now);
            if news.last().map_or(Sight::default(), |(_, last)| *last) != sight {
                news.push((from_ms + index * 100, sight));
            }
        }
        news
    }

    const FROZEN: Sight = Sight { frozen: true, black: false };
    const BLACK: Sight = Sight { frozen: true, black: true };
    const FINE: Sight = Sight { frozen: false, black: false };

    /// Noise of a camera in front of a wall: standard deviation about 1.6.
    fn noise(_: u64, data: &mut [u8]) {
        data.iter_mut().for_each(|point| *point = 118 + fastrand::u8(0..3) + fastrand::u8(0..3) + fastrand::u8(0..3));
    }

    #[test]
    fn a_still_is_frozen_after_its_time_and_a_wall_before_a_camera_never() {
        assert_eq!(look(&mut PictureWatch::new(&watch()), 0, 300, |_, data| data.fill(120)), [(10_000, FROZEN)]);
        assert_eq!(look(&mut PictureWatch::new(&watch()), 0, 300, noise), []);
    }

    #[test]
    fn specks_of_compression_are_no_life_and_slow_motion_is() {
        let specks = |index: u64, data: &mut [u8]| {
            data.iter_mut().enumerate().for_each(|(place, point)| *point = 120 + ((place as u64 + index) % 3) as u8);
        };
        assert_eq!(look(&mut PictureWatch::new(&watch()), 0, 150, specks).len(), 1);
        let slow = |index: u64, data: &mut [u8]| data.fill(60 + (index / 10) as u8);
        assert_eq!(look(&mut PictureWatch::new(&watch()), 0, 600, slow), []);
    }

    #[test]
    fn a_change_of_slide_does_not_clear_and_motion_does() {
        let mut watch = PictureWatch::new(&watch());
        assert_eq!(look(&mut watch, 0, 120, |_, data| data.fill(120)), [(10_000, FROZEN)]);
        let slide = look(&mut watch, 12_000, 90, |_, data| data.fill(90));
        assert_eq!(slide, [(12_000, FROZEN)], "still so");
        let motion = look(&mut watch, 21_000, 30, |index, data| data.fill(50 + (10 * index % 100) as u8));
        assert_eq!(motion, [(21_000, FROZEN), (22_000, FINE)]);
    }

    #[test]
    fn black_may_have_a_logo_and_noise_and_is_over_when_there_is_a_picture() {
        let still = watch();
        let mut watch = PictureWatch::new(&still);
        let dark = |_: u64, data: &mut [u8]| {
            data.iter_mut().for_each(|point| *point = 16 + fastrand::u8(0..8));
            // A logo of one per cent.
            (10..46).for_each(|line| data[line * WIDTH + 500..line * WIDTH + 564].fill(200));
        };
        assert_eq!(look(&mut watch, 0, 130, dark), [(10_000, Sight { frozen: false, black: true })]);
        let back = look(&mut watch, 13_000, 20, noise);
        assert_eq!(back.last(), Some(&(14_000, FINE)));
        assert_eq!(
            look(&mut PictureWatch::new(&Watch { silence: None, ..still }), 0, 130, |_, data| data.fill(16)),
            [(10_000, BLACK)]
        );
    }

    #[test]
    fn a_time_without_pictures_is_nobodys_still() {
        let mut watch = PictureWatch::new(&watch());
        assert_eq!(look(&mut watch, 0, 50, |_, data| data.fill(120)), []);
        assert_eq!(look(&mut watch, 30_000, 90, |_, data| data.fill(120)), []);
    }

    #[test]
    fn what_is_switched_off_is_never_found_nor_looked_at() {
        let off = PictureWatch::new(&Watch { frozen: None, black: None, ..Watch::default() });
        assert!(!off.is_due(MediaTime::ZERO));
        let mut half = PictureWatch::new(&Watch { black: None, ..watch() });
        assert_eq!(look(&mut half, 0, 150, |_, data| data.fill(16)), [(10_000, FROZEN)]);
    }

    /// Pictures at 60 a second: ten of them are looked at.
    #[test]
    fn a_look_is_due_ten_times_a_second() {
        let mut watch = PictureWatch::new(&watch());
        let mut looks = 0;
        for index in 0..600u64 {
            let now = MediaTime::from_nanos(index * 16_666_667);
            if watch.is_due(now) {
                looks += 1;
                watch.look(&Luma { data: &[0; 16], stride: 4, width: 4, height: 4 }, now);
            }
        }
        assert!((85..=101).contains(&looks), "{looks}");
    }

    fn tone(dbfs: f64) -> Vec<i16> {
        let peak = 32_767.0 * 10f64.powf(dbfs / 20.0);
        (0..480).flat_map(|index| [(peak * (f64::from(index) * 0.1309).sin()).round() as i16; 2]).collect()
    }

    fn hear(watch: &mut SoundWatch, from_ms: u64, count: u64, samples: impl Fn(u64) -> Vec<i16>) -> Vec<(u64, bool)> {
        let mut news = Vec::new();
        for index in 0..count {
            let now = from_ms + index * 10;
            let silent = watch.hear(&samples(index), MediaTime::from_millis(now));
            if news.last().is_some_and(|(_, last)| *last) != silent {
                news.push((now, silent));
            }
        }
        news
    }

    #[test]
    fn silence_is_by_its_level_and_one_crackle_is_no_sound() {
        let on = Watch { silence: Some(Duration::from_secs(20)), ..Watch::default() };
        let table: [(f64, &[(u64, bool)]); 3] = [(-200.0, &[(20_000, true)]), (-62.0, &[(20_000, true)]), (-58.0, &[])];
        for (dbfs, want) in table {
            assert_eq!(hear(&mut SoundWatch::new(&on), 0, 2_500, |_| tone(dbfs)), want, "{dbfs}");
        }
        let mut watch = SoundWatch::new(&on);
        let crackle = |index: u64| tone(if index == 2_200 { -6.0 } else { -200.0 });
        assert_eq!(hear(&mut watch, 0, 2_500, crackle), [(20_000, true)]);
        assert_eq!(hear(&mut watch, 25_000, 200, |_| tone(-20.0)), [(25_000, true), (26_000, false)]);
        assert!(!SoundWatch::new(&Watch { silence: None, ..on }).is_on());
        // Speech: words and pauses.
        let speech = |index: u64| tone(if index % 300 < 40 { -30.0 } else { -75.0 });
        assert_eq!(hear(&mut SoundWatch::new(&on), 0, 6_000, speech), []);
    }

    proptest! {
        /// Found only after `after` without a sign, and never while signs keep coming; sizes of pictures do not matter.
        #[test]
        fn found_means_no_sign_for_the_time(signs in prop::collection::vec(any::<bool>(), 1..400), after_ms in 200u64..9_000) {
            let mut vigil = Vigil::new(Some(Duration::from_millis(after_ms)));
            let (mut last, mut found) = (0, false);
            for (index, sign) in signs.iter().enumerate() {
                let now = index as u64 * 100;
                if *sign {
                    last = now;
                }
                let before = std::mem::replace(&mut found, vigil.observe(*sign, MediaTime::from_millis(now)));
                prop_assert!(!found || before || now - last >= after_ms);
                prop_assert!(found || now - last < after_ms);
                prop_assert!(!before || found || *sign);
            }
        }

        #[test]
        fn any_size_can_be_looked_at(width in 1usize..200, height in 1usize..200, cut in 0usize..50) {
            let data = vec![7; (width * height).saturating_sub(cut)];
            PictureWatch::new(&watch()).look(&Luma { data: &data, stride: width, width, height }, MediaTime::ZERO);
        }
    }
}
