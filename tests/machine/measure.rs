//! What a recording shows of a step: when the slate came and the picture was back, and the shape of what is on it. No verdicts.

use crate::diary::{Change, Step};
use crate::film::{Film, Kind, Shot};

/// Of the program.
const WIDTH: usize = 640;

/// Lines are green on black; scaled down, the thin ones of a border are darker.
const BRIGHT: u8 = 45;

/// A step as it was recorded.
#[derive(Debug, Default, PartialEq)]
pub struct Seen {
    pub slate_ms: Option<u64>,
    pub back_ms: Option<u64>,
    pub snow: usize,
    pub flickers: usize,
}

impl Seen {
    pub fn of(step: &Step, shots: &[Shot]) -> Self {
        let slates = || shots.iter().filter(|shot| shot.kind == Kind::Slate).map(|shot| shot.wall_ms);
        let slate = slates().next();
        // What heals by itself may heal before the slate comes.
        let from = slates().next_back().unwrap_or(if step.slate { i64::MAX } else { step.cured_ms as i64 });
        let back = shots.iter().find(|shot| shot.kind == Kind::One && shot.wall_ms > from).map(|shot| shot.wall_ms);
        let since = |moment: Option<i64>, from: u64| moment.map(|ms| (ms as u64).saturating_sub(from));
        let uncured =
            |shot: &&Shot| step.slate && slate.is_some_and(|slate| shot.wall_ms > slate) && shot.wall_ms < step.cured_ms as i64;
        Self {
            slate_ms: since(slate, step.begun_ms),
            back_ms: since(back, step.cured_ms),
            snow: shots.iter().filter(|shot| shot.kind == Kind::Snow).count(),
            flickers: shots.iter().filter(uncured).filter(|shot| shot.kind != Kind::Slate).count(),
        }
    }
}

/// Width to height.
pub struct Shape {
    pub picture: f64,
    pub square: f64,
}

/// Measured in the last one of the steady pictures: the card's border, and the square that it draws.
pub fn shape(change: &Change, films: &[Film]) -> Option<Shape> {
    let film = films.iter().find(|film| film.between(change.steady_ms, change.ended_ms).next().is_some())?;
    let shots: Vec<_> = film.between(change.steady_ms, change.ended_ms).collect();
    // Slow as the machine is, it may be late with some.
    let shot = shots.iter().rev().find(|shot| shot.kind != Kind::Slate)?;
    let still = film.still(shot.index);
    let (width, height) = (WIDTH, still.len() / WIDTH);
    let bright = |x: usize, y: usize| still[y * width + x] > BRIGHT;
    let row = |y: usize| (0..width).filter(|&x| bright(x, y)).collect::<Vec<_>>();
    let column = |x: usize| (0..height).filter(|&y| bright(x, y)).collect::<Vec<_>>();
    let span = |found: &[usize]| Some((found.last()? - found.first()? + 1) as f64);
    // Without the border, which is far out.
    let inner =
        |found: Vec<usize>, size: usize| found.into_iter().filter(|at| at.abs_diff(size / 2) < size * 2 / 5).count() as f64;
    let (across, down) = (row(height / 2), column(width / 2));
    let picture = span(&across)? / span(&down)?;
    let square = inner(across.into_iter().filter(|x| x.abs_diff(width / 2) < width / 3).collect(), width) / inner(down, height);
    Some(Shape { picture, square })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture every 100 ms from 1000 on.
    fn shots(kinds: &str) -> Vec<Shot> {
        let kind = |letter| match letter {
            's' => Kind::Slate,
            'x' => Kind::Snow,
            _ => Kind::One,
        };
        kinds
            .chars()
            .enumerate()
            .map(|(index, letter)| Shot { wall_ms: 1000 + 100 * index as i64, index, kind: kind(letter) })
            .collect()
    }

    fn step(slate: bool, cured_ms: u64) -> Step {
        Step { begun_ms: 1000, cured_ms, slate, ..Step::default() }
    }

    #[test]
    fn slate_and_picture_are_measured_from_the_mishap_and_from_the_cure() {
        let seen = Seen::of(&step(true, 1550), &shots("111sss11"));
        assert_eq!(seen, Seen { slate_ms: Some(300), back_ms: Some(50), snow: 0, flickers: 0 });
    }

    #[test]
    fn a_picture_that_never_comes_back_and_a_slate_that_never_comes_are_none() {
        assert_eq!(Seen::of(&step(true, 1500), &shots("111sssss")).back_ms, None);
        let seen = Seen::of(&step(true, 1500), &shots("11111111"));
        assert_eq!((seen.slate_ms, seen.back_ms), (None, None));
    }

    #[test]
    fn snow_and_flickers_are_seen() {
        let seen = Seen::of(&step(true, 1700), &shots("1xs1sss1"));
        assert_eq!((seen.snow, seen.flickers, seen.slate_ms, seen.back_ms), (1, 1, Some(200), Some(0)));
    }

    #[test]
    fn what_heals_by_itself_may_do_so_with_or_without_a_slate() {
        assert_eq!(Seen::of(&step(false, 1000), &shots("1111")).back_ms, Some(100));
        assert_eq!(Seen::of(&step(false, 1000), &shots("1ss1")).back_ms, Some(300));
    }
}
