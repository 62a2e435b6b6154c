//! Who is compared, and how each is started.

use std::process::Command;

use gstreamer as gst;
use gstreamer::prelude::*;

use crate::clip;
use crate::process::myself;
use crate::sink::Ports;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    Raw,
    RawHandedOver,
    RawBatched,
    Onaird,
    Ffmpeg,
    Rtmp2Sink,
    Librtmp,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    RealTime,
    /// In real time, with the time of publication in every packet.
    Stamped,
    /// In real time, by another thread than the one that knows the time.
    HandedOver,
    Full,
    /// At full speed, many tags in one write.
    Batched,
}

/// What a verb of this program is to do.
pub struct Job {
    pub pace: Pace,
    pub ports: Vec<u16>,
    pub control: u16,
}

const PACES: [(Pace, &str); 5] = [
    (Pace::RealTime, "real-time"),
    (Pace::Stamped, "stamped"),
    (Pace::HandedOver, "handed-over"),
    (Pace::Full, "full"),
    (Pace::Batched, "batched"),
];

impl Job {
    pub fn parse(words: &[&str]) -> Self {
        let [pace, control, ports @ ..] = words else { panic!("want a pace and ports, got {words:?}") };
        let (pace, _) = PACES.into_iter().find(|(_, word)| word == pace).expect("a pace");
        let port = |word: &&str| word.parse().expect("a port");
        Self { pace, control: port(control), ports: ports.iter().map(port).collect() }
    }

    pub fn command(&self, verb: &str) -> Command {
        let (_, pace) = PACES.into_iter().find(|(pace, _)| *pace == self.pace).expect("a pace");
        let mut command = myself();
        command.args([verb, pace, &self.control.to_string()]).args(self.ports.iter().map(u16::to_string));
        command
    }
}

impl Peer {
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw TCP, a write per tag",
            Self::RawHandedOver => "raw TCP, from a second thread",
            Self::RawBatched => "raw TCP, 64 tags per write",
            Self::Onaird => "onaird",
            Self::Ffmpeg => "ffmpeg -c copy",
            Self::Rtmp2Sink => "GStreamer rtmp2sink",
            Self::Librtmp => "librtmp (rtmpsink)",
        }
    }

    pub fn command(self, pace: Pace, legs: usize, ports: &Ports) -> Command {
        let rtmp = if pace == Pace::RealTime { ports.acking } else { ports.rtmp };
        let job = |pace, port| Job { pace, control: ports.control, ports: vec![port; legs] };
        let urls: Vec<String> = (0..legs).map(|leg| format!("rtmp://127.0.0.1:{rtmp}/live/key-{leg}")).collect();
        match self {
            Self::Raw => job(pace, ports.raw).command("raw"),
            Self::RawHandedOver => job(Pace::HandedOver, ports.raw).command("raw"),
            Self::RawBatched => job(Pace::Batched, ports.raw).command("raw"),
            Self::Onaird => job(pace, rtmp).command("onaird"),
            Self::Ffmpeg => ffmpeg(pace, &urls),
            // At its best: with the chunk size that it comes with it costs twice as much.
            Self::Rtmp2Sink => gstreamer(pace, urls.iter().map(|url| format!("rtmp2sink chunk-size=65536 location={url}"))),
            Self::Librtmp => gstreamer(pace, urls.iter().map(|url| format!("rtmpsink location=\"{url} live=1\""))),
        }
    }
}

fn ffmpeg(pace: Pace, urls: &[String]) -> Command {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-nostdin"]);
    if pace == Pace::RealTime {
        command.arg("-re");
    }
    command.args(["-stream_loop", "-1", "-i"]).arg(clip::path()).args(["-c", "copy"]);
    match urls {
        [url] => command.args(["-f", "flv", url]),
        urls => command
            .args(["-map", "0", "-f", "tee"])
            .arg(urls.iter().map(|url| format!("[f=flv]{url}")).collect::<Vec<_>>().join("|")),
    };
    command
}

/// It demultiplexes a file and multiplexes it again, because its sinks want FLV with times: without them librtmp crashes.
fn gstreamer(pace: Pace, sinks: impl Iterator<Item = String>) -> Command {
    let (file, sync) = (clip::long_path(), pace == Pace::RealTime);
    let sinks: Vec<String> = sinks.map(|sink| format!("t. ! queue ! {sink} sync={sync}")).collect();
    let description = format!(
        "filesrc location={} ! flvdemux name=d flvmux name=m streamable=true ! tee name=t d.video ! queue ! m.video \
         d.audio ! queue ! m.audio {}",
        file.display(),
        sinks.join(" ")
    );
    let mut command = myself();
    command.args(["gstreamer", &description]);
    command
}

/// Runs until its end, its fault, or until it is killed.
pub fn run_pipeline(description: &str) {
    gst::init().expect("GStreamer");
    let pipeline = gst::parse::launch(description).expect("a pipeline");
    pipeline.set_state(gst::State::Playing).expect("a pipeline that plays");
    let bus = pipeline.bus().expect("a bus");
    let end = bus.timed_pop_filtered(gst::ClockTime::NONE, &[gst::MessageType::Eos, gst::MessageType::Error]);
    if let Some(gst::MessageView::Error(error)) = end.as_ref().map(|message| message.view()) {
        panic!("{}: {:?}", error.error(), error.debug());
    }
}
