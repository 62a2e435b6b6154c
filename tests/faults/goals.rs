//! What must come out of a scenario, and the verdict on what did.

use std::time::Duration;

use super::stage::{FRAME_MS, Figures, SOUND_MS};

#[derive(Clone, Copy, Debug)]
pub struct Goal {
    /// From the fault to media at the origin that takes over; `None`: whenever it comes.
    pub back: Option<Duration>,
    /// No picture and no sound lies between the old origin's recording and the new one's.
    pub nothing_missing: bool,
    /// The other leg has no gap larger than a frame, and no reconnect.
    pub other_leg: bool,
    /// Of leg `a`, exactly.
    pub failovers: Option<u64>,
    pub reconnects: Option<u64>,
}

/// The spare takes over.
pub const TAKEN_OVER: Goal = Goal { back: None, nothing_missing: true, other_leg: true, failovers: Some(1), reconnects: None };

/// The leg stays where it is.
pub const STAYS: Goal = Goal { failovers: Some(0), reconnects: Some(0), ..TAKEN_OVER };

/// The leg is back, wherever.
pub const BACK_SOON: Goal = Goal { failovers: None, ..TAKEN_OVER };

#[derive(Clone, Debug)]
pub struct Violation {
    pub scenario: &'static str,
    pub text: String,
}

impl Goal {
    /// All that is wrong with a round; times may be so many times longer than the goal.
    pub fn violations(&self, scenario: &'static str, figures: &Figures, patience: u32) -> Vec<Violation> {
        let mut found: Vec<String> = figures.faults.clone();
        if let (Some(goal), Some(back)) = (self.back, figures.back)
            && back > goal * patience
        {
            found.push(format!("media after {:.0} ms", back.as_secs_f64() * 1000.0));
        }
        if let Some(compared) = figures.compared.filter(|_| self.nothing_missing) {
            let (pictures, sounds) = (compared.missing_pictures, compared.missing_sounds);
            if pictures + sounds > 0 {
                found.push(format!("{pictures} pictures and {sounds} sounds missing"));
            }
        }
        found.extend(self.other_leg(figures));
        found.extend(self.moves(figures));
        found.into_iter().map(|text| Violation { scenario, text }).collect()
    }

    fn other_leg(&self, figures: &Figures) -> Option<String> {
        let (pictures, sounds) = (figures.other_picture_gap_ms, figures.other_sound_gap_ms);
        let broken = figures.legs.last().is_some_and(|leg| leg.reconnects > 0);
        let bad = pictures > FRAME_MS || sounds > SOUND_MS || broken;
        (self.other_leg && bad).then(|| format!("the other leg: gaps of {pictures} and {sounds} ms, broken: {broken}"))
    }

    fn moves(&self, figures: &Figures) -> Option<String> {
        let leg = figures.legs.first()?;
        let wrong = |wanted: Option<u64>, have| wanted.is_some_and(|wanted| wanted != have);
        let bad = wrong(self.failovers, leg.failovers) || wrong(self.reconnects, leg.reconnects);
        bad.then(|| format!("{} failovers, {} reconnects; last error: {:?}", leg.failovers, leg.reconnects, leg.last_error))
    }
}
