//! Both encoders as the ticker sees them: it pushes, and need not know that one of them is a new one.
//!
//! A lock is held for the clone of an `Arc`; that on the memory for copies is the ticker's alone. Nothing here judges: see
//! [`repair`](crate::program::repair).

use std::sync::{Arc, Mutex, MutexGuard};

use gstreamer as gst;
use gstreamer_video as gst_video;

use crate::media::dmabuf::{self, Heap};
use crate::media::packet::{PerTrack, Track};
use crate::media::raw::{CHANNELS, sample_time};
use crate::program::pipeline::{Pipeline, Plan, Surroundings};
use crate::program::pool::Pool;
use crate::units::{BitRate, MediaTime};

pub struct Encoders {
    pipelines: PerTrack<Mutex<Arc<Pipeline>>>,
    picture: gst::ClockTime,
    /// For pictures that the encoder could not import where they lie.
    importable: Mutex<Pool>,
}

impl Encoders {
    /// Builds and starts both; the one for pictures imports from this `heap`, if there is one.
    pub async fn start(plan: Plan, heap: Option<Arc<Heap>>, surroundings: &Surroundings) -> Result<Self, String> {
        let build = async |track| {
            let life = surroundings.outlet.begin(track);
            let built = Pipeline::build(plan, track, life, surroundings.clone()).await;
            built
                .map(|pipeline| Mutex::new(Arc::new(pipeline)))
                .map_err(|fault| format!("encoder {}: {fault}", plan.encoder(track)))
        };
        let pipelines = PerTrack { video: build(Track::Video).await?, audio: build(Track::Audio).await? };
        let picture = gst::ClockTime::from_nseconds(plan.format.framerate.frame_duration().as_nanos() as u64);
        Ok(Self { pipelines, picture, importable: Mutex::new(Pool::new(&plan.format, heap)) })
    }

    /// Pushes a picture; false if the encoder is too far behind to take it, or there is no memory that it can import.
    pub fn push_picture(&self, picture: &gst::Buffer, time: MediaTime, keyframe: bool) -> bool {
        let pipeline = self.pipeline(Track::Video);
        let readable = if pipeline.imports { self.importable(picture) } else { Some(picture.clone()) };
        let Some(mut picture) = readable.map(|picture| picture.copy()) else { return false };
        if let Some(picture) = picture.get_mut() {
            picture.set_pts(gst::ClockTime::from_nseconds(time.nanos()));
            picture.set_dts(gst::ClockTime::NONE);
            picture.set_duration(self.picture);
        }
        let request = keyframe.then(|| gst_video::DownstreamForceKeyUnitEvent::builder().all_headers(true).build());
        pipeline.push(request, picture)
    }

    /// The picture in a dmabuf: itself, or a copy of it.
    fn importable(&self, picture: &gst::Buffer) -> Option<gst::Buffer> {
        if dmabuf::is_dmabuf(picture) { Some(picture.clone()) } else { lock(&self.importable).copy(picture) }
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
        self.pipeline(Track::Audio).push(None, buffer);
    }

    pub fn set_bitrate(&self, bitrate: BitRate) {
        self.pipeline(Track::Video).set_bitrate(bitrate);
    }

    /// The next picture or sound goes into this pipeline.
    pub fn replace(&self, track: Track, pipeline: Pipeline) {
        *self.slot(track) = Arc::new(pipeline);
    }

    pub fn pipeline(&self, track: Track) -> Arc<Pipeline> {
        self.slot(track).clone()
    }

    /// Tells both that nothing more comes.
    pub fn end(&self) {
        for track in Track::BOTH {
            self.pipeline(track).end();
        }
    }

    fn slot(&self, track: Track) -> MutexGuard<'_, Arc<Pipeline>> {
        lock(self.pipelines.of(track))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
