//! The upload: every closed segment reaches the bucket, once, whole, and with a ledger beside it that says so.
//!
//! ```text
//!  index ──▶ what waits ──▶ plan (what next) ──▶ way (HEAD, parts, complete, HEAD) ──▶ store ──▶ gate ──▶ the bucket
//!    ▲                                            │                                              ▲
//!    └────────────── uploaded, begun, gone ◀──────┘                       share of the line ─────┘ (conductor)
//! ```
//!
//! It is a reader of the archive's folder and nothing more: recording does not know of it, and no state of it is kept anywhere but
//! in the index and in the bucket. What the index says is begun is gone on with from the parts that the store has; what the store
//! has and the index does not know is ended. Nothing in the bucket is overwritten that is not of this box. It never gives up: a
//! network that is away is waited for, and so is a person who corrects a key.
//!
//! The legs go first: they leave it a share of the line, or none. Memory is bounded by three parts.

mod access;
mod desk;
mod escort;
mod gate;
mod look;
mod object;
mod pace;
mod plan;
mod store;
#[cfg(test)]
mod testing;
mod trouble;
mod way;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use bytes::Bytes;
use jiff::civil::Date;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::index::{DAY_MS, Entry, Index, day_begin_ms};
use super::manifest::Manifest;
use crate::clock::MediaClock;
use crate::config;
use crate::control::UploadShare;
use crate::report::{Events, Report};
use crate::status::{self, UploadState};
use crate::units::{ByteSize, MediaTime};
use desk::Desk;
use gate::Gate;
use look::{Look, begun, look, prints};
use object::Place;
use plan::{Due, Next, Plan};
use store::Store;
use trouble::Trouble;
use way::{End, Way};

/// How often speed and waiting are told.
const TELL: Duration = Duration::from_secs(1);

/// How often uploads that nobody knows are looked for.
const TIDY: Duration = Duration::from_secs(6 * 3600);

/// Days whose ledger in the bucket is remembered.
const DAYS: usize = 8;

/// What the uploader is given.
pub struct Room {
    pub config: config::Upload,
    /// `[device] name`.
    pub device: String,
    /// Where segments and index are.
    pub folder: PathBuf,
    /// What the legs leave of the line.
    pub share: watch::Receiver<UploadShare>,
    pub clock: MediaClock,
    pub report: Report<status::Upload>,
    pub events: Events,
}

/// Uploads until it is told to stop; then it leaves at once, and whatever is on its way is gone on with in the next life. Returns
/// earlier only if it cannot have a thread.
pub async fn run(room: Room, stop: CancellationToken) {
    let desk = match Desk::open(&room.folder) {
        Ok(desk) => desk,
        Err(error) => return room.events.add(format!("upload: its thread cannot be started: {error}")),
    };
    let gate = Arc::new(Gate::new(room.config.bandwidth, room.share.clone(), room.clock.clone()));
    let report = room.report.clone();
    let mut uploader = Uploader {
        place: Place::new(&room.config.prefix, &room.device),
        gate: gate.clone(),
        room,
        desk,
        store: None,
        plan: Plan::default(),
        tidied: None,
        older: BTreeMap::new(),
    };
    tokio::select! {
        () = uploader.run() => {}
        () = tell(&gate, &report) => {}
        () = stop.cancelled() => {}
    }
}

/// What changes by itself.
async fn tell(gate: &Gate, report: &Report<status::Upload>) {
    let mut seconds = interval(TELL);
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        seconds.tick().await;
        let speed = gate.speed();
        report.update(|upload| {
            upload.bytes_per_s = speed;
            upload.stuck_s = if upload.pending == 0 { 0 } else { upload.stuck_s + TELL.as_secs() };
        });
    }
}

struct Uploader {
    room: Room,
    gate: Arc<Gate>,
    desk: Desk,
    place: Place,
    store: Option<Store>,
    plan: Plan,
    /// When uploads that nobody knows were last looked for.
    tidied: Option<MediaTime>,
    /// What the bucket's ledger of a day said when it was first looked at.
    older: BTreeMap<Date, Option<Manifest>>,
}

impl Uploader {
    /// Never ends.
    async fn run(&mut self) {
        loop {
            match self.step().await {
                Ok(rest) => sleep(rest).await,
                Err(trouble) => self.bear(&trouble).await,
            }
        }
    }

    /// One thing; how long to rest after it.
    async fn step(&mut self) -> Result<Duration, Trouble> {
        let look = self.look().await?;
        let now = self.room.clock.now();
        let next = self.plan.next(now, look.segment.is_some(), &look.due);
        if let Next::Rest(rest) = next {
            self.state(UploadState::Idle, None);
            return Ok(rest);
        }
        if self.gate.is_shut() {
            return Err(Trouble::Yielded);
        }
        let store = self.store().await?;
        self.tidy(&store).await?;
        match (next, look.segment) {
            (Next::Segment, Some(entry)) => self.segment(&store, &entry).await?,
            (Next::Manifest(due), _) => self.manifest(&store, due, look.due.len() > 1).await?,
            _ => {}
        }
        self.plan.worked();
        self.room.report.update(|upload| upload.last_error = None);
        Ok(Duration::ZERO)
    }

    async fn look(&mut self) -> Result<Look, Trouble> {
        let left_out = self.plan.left_out(self.room.clock.now());
        let look = self.desk.index(move |index| look(index, &left_out)).await?;
        // Before anything was recorded there is no index.
        let look = look.unwrap_or_default();
        let failed = self.plan.failed();
        self.room.report.update(|upload| {
            (upload.pending, upload.uploaded, upload.failed) = (look.pending, look.uploaded, failed);
            upload.last_failed.take_if(|_| failed == 0);
        });
        Ok(look)
    }

    async fn store(&mut self) -> Result<Store, Trouble> {
        if self.store.is_none() {
            self.store = Some(Store::new(&self.room.config, self.gate.clone()).await?);
        }
        self.store.clone().ok_or(Trouble::Absent)
    }

    /// Ends what was begun and is not in the index: by an earlier life, or for a file that was deleted meanwhile.
    async fn tidy(&mut self, store: &Store) -> Result<(), Trouble> {
        let now = self.room.clock.now();
        if self.tidied.is_some_and(|at| now.since(at) < TIDY) {
            return Ok(());
        }
        let unfinished = match store.unfinished(self.place.folder()).await {
            Ok(unfinished) => unfinished,
            Err(trouble @ (Trouble::Unable | Trouble::Denied(_))) => {
                if self.tidied.replace(now).is_none() {
                    self.room.events.add(format!("upload: unfinished uploads are not looked for: {trouble}"));
                }
                return Ok(());
            }
            Err(trouble) => return Err(trouble),
        };
        let known = self.desk.index(begun).await?.unwrap_or_default();
        for upload in unfinished.into_iter().filter(|upload| !known.contains(&upload.id)) {
            store.abort(&upload).await?;
            self.room.events.add(format!("upload: ended an unfinished upload of {} that the index does not know", upload.object));
        }
        self.tidied = Some(now);
        Ok(())
    }

    async fn segment(&mut self, store: &Store, entry: &Entry) -> Result<(), Trouble> {
        self.state(UploadState::Uploading, Some(self.place.segment(entry)));
        let (landed, part_size) = (AtomicUsize::new(0), self.room.config.part_size.bytes());
        let way = Way { desk: &self.desk, store, place: &self.place, part_size, landed: &landed };
        let (file, now) = (entry.name.closed(), self.room.clock.now());
        let end = way.take(entry).await;
        if landed.into_inner() > 0 {
            self.plan.worked();
        }
        match end? {
            End::There { object } => {
                self.plan.settled(entry.name);
                self.room.report.update(|upload| upload.stuck_s = 0);
                let took = self.room.clock.now().since(now).as_secs_f64();
                tracing::info!("upload: {object}, {}, in {took:.1} s", ByteSize::from_bytes(entry.bytes));
            }
            End::Gone => {
                self.plan.settled(entry.name);
                self.room.events.add(format!("upload: {file} was deleted before it was uploaded"));
            }
            End::Failed(why) => {
                self.plan.leave_out(entry.name, now);
                self.room.events.add(format!("upload: {file} is left out for an hour: {why}"));
                self.room.report.update(|upload| upload.last_failed = Some(why));
            }
        }
        Ok(())
    }

    async fn manifest(&mut self, store: &Store, (day, version): Due, more: bool) -> Result<(), Trouble> {
        let object = self.place.manifest(day);
        self.state(UploadState::Uploading, Some(object.clone()));
        let read = move |index: &Index| Ok((index.of_day(day)?, index.gaps(day_begin_ms(day), day_begin_ms(day) + DAY_MS)?));
        let Some((entries, gaps)) = self.desk.index(read).await? else { return Ok(()) };
        let mut manifest = Manifest::of(&self.room.device, day, &entries, &gaps);
        if let Some(older) = self.older(store, day, &object).await? {
            manifest = manifest.merge(older);
        }
        let bytes = Bytes::from(manifest.to_bytes());
        store.put(&object, "application/json", &[], bytes.clone(), &prints(&bytes)).await?;
        self.desk.index(move |index| index.day_sent(day, version)).await?;
        self.plan.manifest_sent(self.room.clock.now(), more);
        Ok(())
    }

    /// What the bucket's ledger of this day said before this life wrote to it: an index that was made anew knows less.
    async fn older(&mut self, store: &Store, day: Date, object: &str) -> Result<Option<&Manifest>, Trouble> {
        if !self.older.contains_key(&day) {
            let text = store.get(object).await?;
            let parsed = text.map(|text| Manifest::parse(&text)).transpose().unwrap_or_else(|fault| {
                self.room.events.add(format!("upload: {object} is replaced: {fault}"));
                None
            });
            self.older.insert(day, parsed);
            while self.older.len() > DAYS {
                self.older.pop_first();
            }
        }
        Ok(self.older.get(&day).and_then(Option::as_ref))
    }

    /// Says what is wrong, and rests.
    async fn bear(&mut self, trouble: &Trouble) {
        let state = match trouble {
            Trouble::Refused(_) | Trouble::Denied(_) => UploadState::Rejected,
            Trouble::Yielded => UploadState::Yielding,
            _ => UploadState::Waiting,
        };
        if *trouble == Trouble::Yielded {
            self.state(state, None);
            return self.gate.opened().await;
        }
        let text = trouble.to_string();
        let is_news = self.room.report.current().last_error.as_ref() != Some(&text);
        let told = format!("upload: {text}");
        self.room.report.update(|upload| (upload.state, upload.object, upload.last_error) = (state, None, Some(text)));
        if is_news {
            self.room.events.add(told);
        }
        sleep(self.plan.troubled(trouble, fastrand::f64())).await;
    }

    fn state(&self, state: UploadState, object: Option<String>) {
        self.room.report.update(|upload| (upload.state, upload.object) = (state, object));
    }
}
