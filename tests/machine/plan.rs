//! What a run shall do: told to the guest in one variable. Plain data.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Holds a [`Plan`] as JSON.
pub const VARIABLE: &str = "MACHINE_PLAN";

/// In the shared folder.
pub const DIARY: &str = "diary.json";

/// The daemon's configuration in its second life, among the product's files.
pub const SECOND: &str = "second.toml";

/// `return_after` of that configuration.
pub const RETURN_AFTER_MS: u64 = 1000;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Plan {
    /// The shared folder, as the guest sees it.
    pub folder: PathBuf,
    /// Random mishaps in a row.
    pub events: usize,
    pub seed: u64,
    /// How long the sound is listened to at least.
    pub sound_s: u64,
    /// How much too slow its source's clock is.
    pub slower_ppm: i64,
    /// Switches between two cards, and other modes on the cable.
    pub second_life: bool,
    /// The daemon knows a list in `program.input`.
    pub failover: bool,
    /// Names of steps; empty for all.
    pub only: Vec<String>,
}

impl Plan {
    pub fn from_environment() -> Self {
        let text = std::env::var(VARIABLE).unwrap_or_else(|_| panic!("{VARIABLE} is not set: this runs in the bench machine"));
        serde_json::from_str(&text).unwrap()
    }

    pub fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|wanted| wanted == name)
    }
}

/// A mode on the cable and what must become of it.
#[derive(Clone, Copy, Debug)]
pub struct Mode {
    /// As the card's menu has it.
    pub name: &'static str,
    /// The card, and its controls: which mode is on the cable, and that it is the selected one.
    pub card: &'static str,
    pub controls: [&'static str; 2],
    /// How the status begins to tell it.
    pub words: &'static str,
    /// Of the whole picture, as it should be seen.
    pub aspect: f64,
}

const HDMI: [&str; 2] = ["dv_timings", "dv_timings_signal_mode"];
const ANALOGUE: [&str; 2] = ["standard", "standard_signal_mode"];

/// "Selected", in the menus of signal modes.
pub const SELECTED: i64 = 4;

/// The first card's receiver refuses the interlaced modes with 480 and 576 lines, whose pixel clock is below its range; they come on the
/// second card, an analogue one.
pub const MODES: [Mode; 6] = [
    Mode { name: "720x480p59", card: "one", controls: HDMI, words: "720x480p", aspect: 4.0 / 3.0 },
    Mode { name: "1280x720p30", card: "one", controls: HDMI, words: "1280x720p", aspect: 16.0 / 9.0 },
    Mode { name: "1920x1080p24", card: "one", controls: HDMI, words: "1920x1080p", aspect: 16.0 / 9.0 },
    Mode { name: "1920x1080i25", card: "one", controls: HDMI, words: "1920x1080i", aspect: 16.0 / 9.0 },
    // All 720 samples of a line are shown; 4:3 are the 704 in their middle (ITU-R BT.601).
    Mode { name: "PAL-BGH", card: "two", controls: ANALOGUE, words: "720x576i", aspect: 720.0 / 576.0 * 59.0 / 54.0 },
    Mode { name: "NTSC-M", card: "two", controls: ANALOGUE, words: "720x480i", aspect: 720.0 / 480.0 * 10.0 / 11.0 },
];
