//! What the guest tells the host: when it did what to the cards, and what the daemon said of it. Plain data, by the guest's wall
//! clock in milliseconds, which is also in every key picture that the origins record.

use serde::{Deserialize, Serialize};

/// One mishap that was cured and waited for.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Step {
    pub name: String,
    pub begun_ms: u64,
    pub cured_ms: u64,
    pub ended_ms: u64,
    /// The slate must come; a mishap that cures itself may be over before.
    pub slate: bool,
    /// How long good pictures must have come before they are shown again.
    pub proof_ms: u64,
    /// How long the daemon may wait before it tries again.
    pub retry_ms: u64,
    /// When the status said what it should, from the beginning; from the cure on, when it said that all is well.
    pub told_after_ms: Option<u64>,
    pub well_after_ms: Option<u64>,
    pub alarm: String,
}

/// Another mode on the cable.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Change {
    pub mode: String,
    pub begun_ms: u64,
    /// From here on the new mode's pictures are on air …
    pub steady_ms: u64,
    /// … to here.
    pub ended_ms: u64,
}

/// The program's way from one input to another.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Switch {
    pub name: String,
    pub begun_ms: u64,
    pub ended_ms: u64,
    /// The input whose picture must come.
    pub to: String,
    /// What that may take: the goal, and the wait that the rule wants.
    pub goal_ms: u64,
    pub wait_ms: u64,
}

/// Many mishaps, nobody waiting for the picture in between.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Storm {
    pub seed: u64,
    pub events: Vec<String>,
    pub begun_ms: u64,
    pub ended_ms: u64,
    /// From the last cure to the picture, by the status.
    pub well_after_ms: Option<u64>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Sound {
    pub begun_ms: u64,
    pub ended_ms: u64,
    /// How much too slow the source's clock was made, and was by what it played.
    pub ppm: i64,
    pub played_ppm: f64,
    /// Largest amounts that the status has told; none if it tells none.
    pub offset_ms: Option<f64>,
    pub readings: u64,
    /// Faults of the player itself: they would be heard too.
    pub underruns: u64,
    pub drift_ppm: Option<f64>,
}

/// What the daemon holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Footprint {
    pub descriptors: Vec<String>,
    pub threads: Vec<String>,
    pub rss_kib: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Diary {
    pub steps: Vec<Step>,
    pub changes: Vec<Change>,
    pub switches: Vec<Switch>,
    pub storm: Storm,
    pub sound: Sound,
    /// At the start, after each mishap once, and at the end.
    pub before: Footprint,
    pub warm: Footprint,
    pub after: Footprint,
    pub faults: Vec<String>,
    /// The guest has done all that it was told.
    pub complete: bool,
}
