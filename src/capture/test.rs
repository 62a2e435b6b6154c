//! The test input's shell: a thread that fills its feed with the test card at the program's rate.

use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use tokio_util::sync::CancellationToken;

use crate::capture::testcard::TestCard;
use crate::capture::{Error, Port};
use crate::media::raw::{Frame, sample_index, sample_time};
use crate::status::Signal;

/// Half of the program's usual latency.
const MAX_LATE: Duration = Duration::from_millis(100);

pub async fn run(port: Port, stop: CancellationToken) -> Result<(), Error> {
    let framerate = port.format.framerate;
    port.report.update(|input| {
        input.signal = Signal::Locked;
        input.mode = format!("{}x{} {framerate} fps", port.format.width, port.format.height);
        input.rolling = true;
    });
    let (ended, end) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new().name("testcard".into());
    let work = move || {
        fill(&port, &stop);
        let _ = ended.send(());
    };
    thread.spawn(work).map_err(Error::Thread)?;
    let _ = end.await;
    Ok(())
}

/// The frame count is the number of the frame on the program's time line: what the strip shows tells when it was made.
fn fill(port: &Port, stop: &CancellationToken) {
    let card = TestCard::new(port.format);
    let rate = port.format.framerate;
    let mut index = rate.index_at(port.clock.now()) + 1;
    while !stop.is_cancelled() {
        let time = rate.time_of(index);
        let due = port.clock.epoch() + gst::ClockTime::from_nseconds(time.nanos());
        let _ = port.clock.gst_clock().new_single_shot_id(due).wait();
        port.picture(Frame { time, buffer: card.picture(index, time) });
        let (first, end) = (sample_index(time), sample_index(rate.time_of(index + 1)));
        port.sound(sample_time(first), &card.sound(first, (end - first) as usize));
        // Within the program's latency a late picture is as good as any; beyond it, one is left out as a camera would.
        let now = port.clock.now();
        let due = if now.since(time) > MAX_LATE { rate.index_at(now) } else { 0 };
        index = due.max(index + 1);
    }
}
