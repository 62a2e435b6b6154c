//! What happens when an encoder fails or falls silent: a new one takes its place, and the stream goes on where it would be
//! anyway. A shell around [`vigil`](crate::program::vigil)'s rules; it lives in the program's actor and never blocks it.
//!
//! ```text
//!            fault, or hung                        built
//!   works ─────────────────▶ being rebuilt ─────────────────▶ works
//!     │                       │   ▲  the old one is stopped (on its own thread, waited for ≤ 0.3 s: a device may allow
//!     │ for the fourth time   │   │  but one user), the new one is built (on its own thread, ≤ 5 s)
//!     │ in a minute           └───┘  not built: tried again
//!     ▼
//!   given up: the program's task ends with the cause, and the process starts again
//! ```
//!
//! Pictures and sound are pushed all the while and lost with the old encoder; times go on, so that only the outage is missing. One
//! that imported dmabufs does so no more.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::media::packet::{PerTrack, Track};
use crate::program::encoders::Encoders;
use crate::program::outlet::Life;
use crate::program::pipeline::{Cause, Fault, Pipeline, Plan, Surroundings};
use crate::program::vigil::{Budget, Vigil};
use crate::units::BitRate;

/// How long a new encoder waits for the old one to be stopped.
const FAREWELL: Duration = Duration::from_millis(300);

/// More encoders than this that cannot be stopped are too many.
const MAX_LEFT_BEHIND: usize = 3;

/// An encoder that was built anew, or not.
pub struct Built {
    track: Track,
    life: Life,
    cause: String,
    bitrate: BitRate,
    result: Result<Pipeline, String>,
}

pub struct Repair {
    surroundings: Surroundings,
    watches: PerTrack<Watch>,
    budget: Budget,
    works: JoinSet<Built>,
}

struct Watch {
    vigil: Vigil,
    in_repair: bool,
}

impl Repair {
    pub fn new(plan: &Plan, surroundings: Surroundings) -> Self {
        let watch = || Watch { vigil: Vigil::new(plan.settings.gop, plan.format.framerate), in_repair: false };
        let watches = PerTrack { video: watch(), audio: watch() };
        Self { surroundings, watches, budget: Budget::default(), works: JoinSet::new() }
    }

    /// Looks for hung encoders, a few times a second; `ticks`: how often something was pushed since the start. An error is the
    /// end of the program.
    pub fn look(&mut self, plan: &mut Plan, encoders: &Encoders, ticks: u64) -> Result<(), String> {
        let now = self.surroundings.clock.now();
        for track in Track::BOTH {
            let watch = self.watches.of_mut(track);
            let came = self.surroundings.outlet.came(track);
            let hung = watch.vigil.look(ticks, came, now).filter(|_| !watch.in_repair);
            if let Some(quiet) = hung {
                self.begin(plan, encoders, track, format!("gave nothing for {:.0} s", quiet.as_secs_f64()))?;
            }
        }
        Ok(())
    }

    /// A pipeline has said its last word; what an old one says is of no interest.
    pub fn heed(&mut self, plan: &mut Plan, encoders: &Encoders, fault: Fault) -> Result<(), String> {
        let Fault { track, life, cause } = fault;
        if life != self.surroundings.outlet.life(track) {
            return Ok(());
        }
        let cause = match cause {
            Cause::Error(error) => format!("failed ({error})"),
            Cause::Ended => "ended by itself".into(),
        };
        self.begin(plan, encoders, track, cause)
    }

    /// The next rebuild to be over; never, if there is none.
    pub async fn built(&mut self) -> Built {
        loop {
            match self.works.join_next().await {
                Some(Ok(built)) => return built,
                // One that panicked: its encoder will be found silent.
                Some(Err(_)) => {
                    for track in Track::BOTH {
                        self.watches.of_mut(track).in_repair = false;
                    }
                }
                None => std::future::pending().await,
            }
        }
    }

    /// Puts the new encoder into its place; a sentence for people.
    pub fn finish(&mut self, plan: &mut Plan, encoders: &Encoders, built: Built) -> Result<Option<String>, String> {
        let Built { track, life, cause, bitrate, result } = built;
        if life != self.surroundings.outlet.life(track) {
            // It has failed already, and the next one is on its way.
            return Ok(None);
        }
        match result {
            Ok(pipeline) => {
                encoders.replace(track, pipeline);
                let watch = self.watches.of_mut(track);
                watch.vigil.restart();
                watch.in_repair = false;
                if bitrate != plan.settings.bitrate {
                    encoders.set_bitrate(plan.settings.bitrate);
                }
                Ok(Some(format!("encoder {} {cause}: rebuilt", plan.encoder(track))))
            }
            Err(fault) => self.begin(plan, encoders, track, format!("{cause}, and then {fault}")).map(|()| None),
        }
    }

    fn begin(&mut self, plan: &mut Plan, encoders: &Encoders, track: Track, mut cause: String) -> Result<(), String> {
        let Surroundings { clock, outlet, leaving, .. } = &self.surroundings;
        let left_behind = leaving.load(Ordering::Relaxed);
        if left_behind >= MAX_LEFT_BEHIND || !self.budget.allows(clock.now()) {
            return Err(format!("encoder {} {cause}; rebuilding it has not helped", plan.encoder(track)));
        }
        // A card's memory may be such that the encoder cannot read it, which shows only now.
        if track == Track::Video && std::mem::take(&mut plan.imports) {
            cause += "; from now on pictures are copied for it";
        }
        tracing::warn!("encoder {} {cause}: rebuilding it", plan.encoder(track));
        let (old, life, surroundings) = (encoders.pipeline(track), outlet.begin(track), self.surroundings.clone());
        self.watches.of_mut(track).in_repair = true;
        let plan = *plan;
        self.works.spawn(async move {
            let _ = tokio::time::timeout(FAREWELL, old.stop()).await;
            let result = Pipeline::build(plan, track, life, surroundings).await;
            Built { track, life, cause, bitrate: plan.settings.bitrate, result }
        });
        Ok(())
    }
}
