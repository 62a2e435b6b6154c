//! The encoder pipeline: raw pictures and sound in, packets into the hub. One, as long as the process lives.
//!
//! A thin shell over GStreamer: it pushes what the ticker gives it and never waits for the encoder (a picture that does not
//! fit is dropped and counted), and turns what comes out into [`Packet`]s on the program's time line. An encoder that fails
//! ends the program's task, and with it the process: systemd starts it again in milliseconds.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;
use tokio::sync::mpsc;

use crate::clock::MediaClock;
use crate::media::hub::Hub;
use crate::media::interleave::Interleaver;
use crate::media::packet::{AAC_FRAME_SAMPLES, AudioFormat, Format, Packet, Track, VideoFormat};
use crate::media::raw::{CHANNELS, RawFormat, SAMPLE_RATE, sample_time};
use crate::program::encoder::{AudioRecipe, Knob, Recipe, Settings};
use crate::units::{BitRate, MediaTime};

/// How many raw pictures may wait, in time, for an encoder which the machine kept from its work: more than the ticker makes up.
const MAX_WAITING: Duration = Duration::from_millis(2500);

/// Everything that the pipeline is made from.
pub struct Plan {
    pub format: RawFormat,
    pub recipe: &'static Recipe,
    pub audio_recipe: &'static AudioRecipe,
    pub settings: Settings,
    pub audio_bitrate: BitRate,
}

impl Plan {
    /// The pipeline as text: what the tests read and `gst-launch` understands.
    pub fn text(&self) -> String {
        let Self { format, recipe, audio_recipe, settings, audio_bitrate } = self;
        format!(
            "appsrc name=pictures format=time is-live=true block=false max-bytes=0 max-buffers=0 max-time=0 caps=\"{}\" \
             ! {} ! h264parse ! video/x-h264,stream-format=avc,alignment=au ! appsink name=video sync=false \
             appsrc name=sound format=time is-live=true block=false max-bytes=0 max-buffers=0 max-time=0 \
             caps=audio/x-raw,format=S16LE,layout=interleaved,rate={SAMPLE_RATE},channels={CHANNELS} \
             ! audioconvert ! {} ! aacparse ! audio/mpeg,mpegversion=4,stream-format=raw ! appsink name=audio sync=false",
            format.program_caps(),
            recipe.text(*settings),
            audio_recipe.text(*audio_bitrate),
        )
    }
}

/// The running pipeline; it stops when dropped.
pub struct Pipeline {
    pipeline: gst::Pipeline,
    pictures: gst_app::AppSrc,
    sound: gst_app::AppSrc,
    encoder: gst::Element,
    knob: Knob,
    /// Pictures.
    max_waiting: u64,
    outlet: Arc<Outlet>,
}

impl Pipeline {
    /// Builds and starts it. Errors come as sentences in `faults`, the first one at most.
    pub fn start(plan: &Plan, clock: &MediaClock, hub: Hub, faults: mpsc::Sender<String>) -> Result<Self, String> {
        let pipeline = gst::parse::launch(&plan.text()).map_err(|error| format!("encoder pipeline: {error}"))?;
        let pipeline = pipeline.downcast::<gst::Pipeline>().map_err(|_| "encoder pipeline: not a pipeline")?;
        let outlet = Arc::new(Outlet::new(plan, hub));
        let this = Self {
            pictures: named(&pipeline, "pictures")?,
            sound: named(&pipeline, "sound")?,
            encoder: named(&pipeline, "encoder")?,
            knob: plan.recipe.knob,
            max_waiting: plan.format.framerate.frames_in(MAX_WAITING),
            outlet: outlet.clone(),
            pipeline,
        };
        for (name, track) in [("video", Track::Video), ("audio", Track::Audio)] {
            outlet.clone().listen(&named(&this.pipeline, name)?, track);
        }
        this.report_faults(faults)?;
        this.play(clock)?;
        Ok(this)
    }

    /// Pushes a picture; false if the encoder is too far behind to take it.
    pub fn push_picture(&self, picture: &gst::Buffer, time: MediaTime, keyframe: bool) -> bool {
        if self.pictures.current_level_buffers() >= self.max_waiting {
            return false;
        }
        if keyframe {
            self.pictures.send_event(gst_video::DownstreamForceKeyUnitEvent::builder().all_headers(true).build());
        }
        let mut picture = picture.copy();
        if let Some(picture) = picture.get_mut() {
            picture.set_pts(gst::ClockTime::from_nseconds(time.nanos()));
            picture.set_dts(gst::ClockTime::NONE);
            picture.set_duration(gst::ClockTime::from_nseconds(self.outlet.frame_nanos));
        }
        self.pictures.push_buffer(picture).is_ok()
    }

    /// Pushes interleaved samples whose first one has this index on the program's time line.
    pub fn push_sound(&self, first: u64, samples: &[i16]) {
        let bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        let mut buffer = gst::Buffer::from_slice(bytes);
        if let Some(buffer) = buffer.get_mut() {
            let start = sample_time(first);
            let end = sample_time(first + (samples.len() / CHANNELS) as u64);
            buffer.set_pts(gst::ClockTime::from_nseconds(start.nanos()));
            buffer.set_duration(gst::ClockTime::from_nseconds(end.nanos() - start.nanos()));
        }
        if self.sound.current_level_buffers() < 100 {
            let _ = self.sound.push_buffer(buffer);
        }
    }

    /// Changes the bit rate in place; it takes effect within the next pictures.
    pub fn set_bitrate(&self, bitrate: BitRate) {
        match self.knob {
            Knob::Kbps(property) => self.encoder.set_property_from_str(property, &bitrate.kbps().to_string()),
            Knob::Bps(property) => self.encoder.set_property_from_str(property, &bitrate.bps().to_string()),
            Knob::V4l2Control(control) => {
                let controls = gst::Structure::builder("controls").field(control, bitrate.bps() as i32).build();
                self.encoder.set_property("extra-controls", controls);
            }
        }
        if let Ok(mut state) = self.outlet.state.lock() {
            state.bitrate = bitrate;
        }
    }

    /// Tells the encoders that nothing more comes; when they have given all they have, it is told as the fault "ended".
    pub fn end(&self) {
        let _ = self.pictures.end_of_stream();
        let _ = self.sound.end_of_stream();
    }

    /// Publishes what still waits for its order.
    pub fn flush(&self) {
        let Ok(mut state) = self.outlet.state.lock() else { return };
        while let Some(packet) = state.interleaver.pop_rest() {
            state.counts.add(packet.track);
            self.outlet.hub.publish(packet);
        }
    }

    /// What went into the hub, and what had to be left out.
    pub fn counts(&self) -> Counts {
        let Ok(state) = self.outlet.state.lock() else { return Counts::default() };
        Counts { late: state.interleaver.late(), ..state.counts }
    }

    fn play(&self, clock: &MediaClock) -> Result<(), String> {
        self.pipeline.use_clock(Some(clock.gst_clock()));
        self.pipeline.set_start_time(gst::ClockTime::NONE);
        self.pipeline.set_base_time(clock.epoch());
        let started = self.pipeline.set_state(gst::State::Playing);
        started.map(|_| ()).map_err(|_| "encoder pipeline: it cannot be started; `onaird devices` lists what works".into())
    }

    fn report_faults(&self, faults: mpsc::Sender<String>) -> Result<(), String> {
        let bus = self.pipeline.bus().ok_or("encoder pipeline: no bus")?;
        bus.set_sync_handler(move |_, message| {
            match message.view() {
                gst::MessageView::Error(error) => {
                    let _ = faults.try_send(format!("encoder pipeline: {}", error.error()));
                }
                gst::MessageView::Eos(_) => {
                    let _ = faults.try_send("encoder pipeline: it ended by itself".into());
                }
                _ => {}
            }
            gst::BusSyncReply::Drop
        });
        Ok(())
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

fn named<T: IsA<gst::Element>>(pipeline: &gst::Pipeline, name: &str) -> Result<T, String> {
    let element = pipeline.by_name(name).and_then(|element| element.downcast::<T>().ok());
    element.ok_or_else(|| format!("encoder pipeline: no element called {name}"))
}

/// Packets since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub video: u64,
    pub audio: u64,
    /// Came out of the encoder too late, and were left out.
    pub late: u64,
}

impl Counts {
    fn add(&mut self, track: Track) {
        match track {
            Track::Video => self.video += 1,
            Track::Audio => self.audio += 1,
        }
    }
}

/// Where packets leave the pipeline: gathers the format, brings both tracks in order, publishes.
struct Outlet {
    hub: Hub,
    frame_nanos: u64,
    framerate: crate::units::FrameRate,
    size: (u32, u32),
    audio_bitrate: BitRate,
    priming: u32,
    state: Mutex<OutletState>,
}

struct OutletState {
    bitrate: BitRate,
    video_caps: Option<gst::Caps>,
    audio_caps: Option<gst::Caps>,
    avcc: Option<Bytes>,
    asc: Option<Bytes>,
    format: Option<Arc<Format>>,
    interleaver: Interleaver,
    counts: Counts,
}

impl Outlet {
    fn new(plan: &Plan, hub: Hub) -> Self {
        let format = plan.format;
        let state = OutletState {
            bitrate: plan.settings.bitrate,
            video_caps: None,
            audio_caps: None,
            avcc: None,
            asc: None,
            format: None,
            interleaver: Interleaver::default(),
            counts: Counts::default(),
        };
        Self {
            hub,
            frame_nanos: format.framerate.frame_duration().as_nanos() as u64,
            framerate: format.framerate,
            size: (format.width, format.height),
            audio_bitrate: plan.audio_bitrate,
            priming: plan.audio_recipe.priming,
            state: Mutex::new(state),
        }
    }

    fn listen(self: Arc<Self>, sink: &gst_app::AppSink, track: Track) {
        let callbacks = gst_app::AppSinkCallbacks::builder().new_sample(move |sink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            self.take(&sample, track);
            Ok(gst::FlowSuccess::Ok)
        });
        sink.set_callbacks(callbacks.build());
    }

    /// Never waits for a consumer: the lock is held by the other track's thread at most for as long as a push takes.
    fn take(&self, sample: &gst::Sample, track: Track) {
        let Ok(mut state) = self.state.lock() else { return };
        self.note_format(&mut state, sample, track);
        let (Some(format), Some(buffer)) = (state.format.clone(), sample.buffer()) else { return };
        let Some(packet) = self.packet(buffer, sample, track, format) else { return };
        state.interleaver.push(packet);
        while let Some(packet) = state.interleaver.pop() {
            state.counts.add(packet.track);
            self.hub.publish(packet);
        }
    }

    fn packet(&self, buffer: &gst::BufferRef, sample: &gst::Sample, track: Track, format: Arc<Format>) -> Option<Packet> {
        let keyframe = track == Track::Video && !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
        // Encoders may shift their stamps (x264enc by 1000 hours) and say so in the segment.
        let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
        let running = segment.to_running_time(buffer.pts()?)?.nseconds();
        let (nanos, duration) = match track {
            Track::Video => (running, self.frame_nanos),
            Track::Audio => {
                // The encoder's first samples are its own; without this, sound would come late by them.
                let priming = sample_time(u64::from(self.priming)).nanos();
                (running.checked_sub(priming)?, sample_time(u64::from(AAC_FRAME_SAMPLES)).nanos())
            }
        };
        let time = MediaTime::from_nanos(nanos);
        let duration = Duration::from_nanos(duration);
        // A copy, because the hub keeps packets for seconds and a hardware encoder owns but a few buffers.
        let data = Bytes::copy_from_slice(&buffer.map_readable().ok()?);
        Some(Packet { track, time, duration, keyframe, data, format })
    }

    /// Keeps what the caps say of the decoder's needs; a change makes a new format.
    fn note_format(&self, state: &mut OutletState, sample: &gst::Sample, track: Track) {
        let Some(caps) = sample.caps_owned() else { return };
        let (seen, known) = match track {
            Track::Video => (&mut state.video_caps, &mut state.avcc),
            Track::Audio => (&mut state.audio_caps, &mut state.asc),
        };
        if seen.as_ref().is_some_and(|seen| seen.as_ptr() == caps.as_ptr()) {
            return;
        }
        let data = codec_data(&caps);
        *seen = Some(caps);
        if data.is_none() || *known == data {
            return;
        }
        *known = data;
        if let (Some(avcc), Some(asc)) = (state.avcc.clone(), state.asc.clone()) {
            let (width, height) = self.size;
            let video = VideoFormat { width, height, framerate: self.framerate, bitrate: state.bitrate, avcc };
            let audio = AudioFormat { rate: SAMPLE_RATE, channels: CHANNELS as u16, bitrate: self.audio_bitrate, asc };
            state.format = Some(Arc::new(Format { video, audio }));
        }
    }
}

/// What a decoder needs before the first packet: avcC or AudioSpecificConfig.
fn codec_data(caps: &gst::Caps) -> Option<Bytes> {
    let data = caps.structure(0)?.get::<gst::Buffer>("codec_data").ok()?;
    let map = data.map_readable().ok()?;
    Some(Bytes::copy_from_slice(&map))
}
