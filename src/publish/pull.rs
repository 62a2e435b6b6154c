//! The shell of the proof of air: pulls the stream back from where the world gets it, now and then and for no longer than it
//! takes to see one key picture. What a sighting is worth is [`verify`](super::verify)'s to say.
//!
//! It runs beside its leg in a task of its own and shares nothing with it but the status: a server that misbehaves here, or
//! that never answers, costs a look and nothing else. RTMP is played until a key picture has come, of HLS the playlist and the
//! first bytes of its newest segment are read; all of it over the leg's own network interface. No media library takes part: one
//! that crashes or hangs on a server's bytes would do so in the process that is on air.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::conn::Conn;
use super::dial::Door;
use super::hls::{self, Address, Answer, Playlist};
use super::player::Player;
use super::verify::{Look, Verifier};
use crate::clock::MediaClock;
use crate::config;
use crate::media::hub::{Hub, Item, Reader};
use crate::media::stamp::{self, Framing, Seen};
use crate::report::Report;
use crate::status::{self, LegState};
use crate::units::MediaTime;

/// How often the sent pictures are noted and the status written.
const TICK: Duration = Duration::from_millis(250);

/// The longest that one look may take; a key picture may be 10 s away.
const LOOK: Duration = Duration::from_secs(12);

/// From one address to the next, in one look.
const MAX_HOPS: usize = 4;

const MAX_PLAYLIST: usize = 512 << 10;
/// The first key picture's mark stands near a segment's beginning.
const MAX_SEGMENT: usize = 512 << 10;

/// Watches over one leg, for ever; ends at once if none of its origins can be looked at.
pub async fn run(leg: config::Leg, hub: Hub, clock: MediaClock, report: Report<status::Leg>) {
    if leg.origins.iter().all(|origin| origin.verify.is_none()) {
        return;
    }
    let mut watch = Watch {
        reader: hub.reader(),
        verifier: Verifier::default(),
        live: None,
        looks: JoinSet::new(),
        next: MediaTime::ZERO,
        segment: None,
        leg,
        clock,
        report,
    };
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        watch.tick();
    }
}

struct Watch {
    leg: config::Leg,
    clock: MediaClock,
    report: Report<status::Leg>,
    reader: Reader,
    verifier: Verifier,
    /// The origin that the leg is live on, if it can be looked at, and which connection to it that is.
    live: Option<(usize, u64)>,
    /// One at a time.
    looks: JoinSet<Looked>,
    next: MediaTime,
    /// The segment that was looked at last.
    segment: Option<String>,
}

/// What a look brought, and when.
struct Looked {
    look: Look,
    at: MediaTime,
    segment: Option<String>,
    piece: Option<Duration>,
}

impl Watch {
    fn tick(&mut self) {
        self.note_sent();
        let now = self.clock.now();
        let live = self.find_live();
        if live != self.live {
            (self.live, self.looks, self.segment) = (live, JoinSet::new(), None);
            match live {
                Some(_) => self.verifier.live(now),
                None => self.verifier.off(),
            }
            self.next = self.verifier.next_look(now);
        }
        while let Some(Ok(looked)) = self.looks.try_join_next() {
            self.apply(looked, now);
        }
        if let Some((origin, _)) = self.live.filter(|_| self.looks.is_empty() && now >= self.next) {
            self.start_look(origin);
        }
        let proof = self.verifier.proof(now);
        self.report.update(|leg| leg.proof = proof);
    }

    fn note_sent(&mut self) {
        while let Some(item) = self.reader.try_next() {
            if let Item::Packet(packet) = item
                && packet.keyframe
                && let Some(seen) = stamp::of(&packet.data)
            {
                self.verifier.sent(seen);
            }
        }
    }

    fn find_live(&self) -> Option<(usize, u64)> {
        let leg = self.report.current();
        if leg.state != LegState::Live {
            return None;
        }
        let index = self.leg.origins.iter().position(|origin| origin.url.to_string() == leg.origin)?;
        self.leg.origins[index].verify.as_ref().map(|_| (index, leg.reconnects))
    }

    fn apply(&mut self, looked: Looked, now: MediaTime) {
        if let Some(piece) = looked.piece {
            self.verifier.served_in(piece);
        }
        self.segment = looked.segment.or(self.segment.take());
        self.verifier.looked(looked.look, looked.at);
        self.next = self.verifier.next_look(now);
    }

    fn start_look(&mut self, origin: usize) {
        let origin = &self.leg.origins[origin];
        let Some(url) = origin.verify.as_ref().map(|url| url.expose().to_owned()) else { return };
        let view = View {
            ca: origin.ca_file.clone().map(|file| (origin.url.host.clone(), file)),
            interface: self.leg.interface.clone(),
            before: self.segment.clone(),
        };
        let clock = self.clock.clone();
        self.looks.spawn(async move {
            let mut found = Found::default();
            let result = timeout(LOOK, view.look(&url, &mut found)).await;
            let look = match result {
                Ok(Ok(look)) => look,
                Ok(Err(fault)) => Look::Nothing(fault),
                Err(_) => Look::Nothing(format!("no picture came within {} s", LOOK.as_secs())),
            };
            Looked { look, at: clock.now(), segment: found.segment, piece: found.piece }
        });
    }
}

/// What a look learns by the way.
#[derive(Default)]
struct Found {
    segment: Option<String>,
    piece: Option<Duration>,
}

/// How the origin is looked at.
struct View {
    /// Authorities to trust, for one host.
    ca: Option<(String, std::path::PathBuf)>,
    interface: Option<String>,
    /// The segment that was the newest last time.
    before: Option<String>,
}

impl View {
    async fn look(&self, url: &str, found: &mut Found) -> Result<Look, String> {
        match Address::parse(url) {
            Some(address) => self.look_at_hls(address, found).await,
            None => self.look_at_rtmp(url).await,
        }
    }

    fn door(&self, secure: bool, host: &str, port: u16) -> Door {
        let ca_file = self.ca.as_ref().filter(|(trusted, _)| trusted == host).map(|(_, file)| file.clone());
        Door::new(secure, host, port, ca_file, self.interface.clone())
    }

    async fn look_at_rtmp(&self, url: &str) -> Result<Look, String> {
        let (url, stream) = config::split_rtmp(url)?;
        let mut io = Conn::connect(&mut self.door(url.secure, &url.host, url.port)).await.map_err(words)?;
        let mut player = Player::new(&url.app, &url.to_string(), stream).map_err(words)?;
        let mut buffer = vec![0; 32 << 10];
        loop {
            io.send(&player.take_pending()).await.map_err(words)?;
            let count = io.receive(&mut buffer).await.map_err(words)?;
            if count == 0 {
                return Err("it ended the connection before a key picture came".into());
            }
            let pictures = player.receive(&buffer[..count]).map_err(words)?;
            if let Some(picture) = pictures.iter().find(|picture| is_key_picture(picture)) {
                return Ok(marks(stamp::find(picture, Framing::Lengths)));
            }
        }
    }

    async fn look_at_hls(&self, mut address: Address, found: &mut Found) -> Result<Look, String> {
        for _ in 0..MAX_HOPS {
            let answer = self.fetch(&mut address, MAX_PLAYLIST, |_| false).await?;
            match hls::playlist(&String::from_utf8_lossy(&answer.body))? {
                Playlist::Renditions(best) => address = join(&address, &best)?,
                Playlist::Segments { target, newest } => {
                    found.piece = Some(target);
                    if self.before.as_ref() == Some(&newest) {
                        return Err("its playlist has no newer segment than before".into());
                    }
                    let mut segment = join(&address, &newest)?;
                    let is_enough = |answer: &Answer| segment_marks(&answer.body).iter().any(|seen| !seen.head.is_empty());
                    let answer = self.fetch(&mut segment, MAX_SEGMENT, is_enough).await?;
                    found.segment = Some(newest);
                    return Ok(marks(segment_marks(&answer.body)));
                }
            }
        }
        Err("its playlists only lead to other playlists".into())
    }

    /// An answer up to so many bytes, or until it is enough; `address` follows where the server leads.
    async fn fetch(&self, address: &mut Address, limit: usize, is_enough: impl Fn(&Answer) -> bool) -> Result<Answer, String> {
        for _ in 0..MAX_HOPS {
            let answer = self.get(address, limit, &is_enough).await?;
            match (answer.status, &answer.location) {
                (200 | 206, _) => return Ok(answer),
                (300..=399, Some(location)) => *address = join(address, location)?,
                (status, _) => return Err(format!("its server answers with the status {status}")),
            }
        }
        Err("its server only leads to other places".into())
    }

    async fn get(&self, address: &Address, limit: usize, is_enough: &impl Fn(&Answer) -> bool) -> Result<Answer, String> {
        let mut io = Conn::connect(&mut self.door(address.secure, &address.host, address.port)).await.map_err(words)?;
        io.send(address.request().as_bytes()).await.map_err(words)?;
        let (mut bytes, mut buffer) = (Vec::new(), vec![0; 32 << 10]);
        loop {
            let count = io.receive(&mut buffer).await.map_err(words)?;
            bytes.extend_from_slice(&buffer[..count]);
            let answer = hls::answer(&bytes)?;
            match answer {
                Some(answer) if answer.complete || count == 0 || bytes.len() >= limit || is_enough(&answer) => return Ok(answer),
                None if count == 0 => return Err("its server ended the connection without an answer".into()),
                _ => {}
            }
        }
    }
}

/// Errors of the layers below name hosts and addresses, never paths or streams.
fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn join(address: &Address, reference: &str) -> Result<Address, String> {
    address.join(reference).ok_or_else(|| "it leads to an address that cannot be read".into())
}

/// An FLV tag body with H.264: a key frame, and not the decoder's configuration.
fn is_key_picture(body: &[u8]) -> bool {
    matches!(body, [0x17, 1, ..])
}

fn marks(seen: Vec<Seen>) -> Look {
    if seen.is_empty() { Look::Unmarked } else { Look::Marks(seen) }
}

fn segment_marks(segment: &[u8]) -> Vec<Seen> {
    match hls::is_ts(segment) {
        true => hls::elementary(segment).iter().flat_map(|stream| stamp::find(stream, Framing::StartCodes)).collect(),
        false => stamp::find(segment, Framing::Lengths),
    }
}
