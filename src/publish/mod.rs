//! stub
use crate::{
    clock::MediaClock,
    config,
    media::hub::Hub,
    report::{Events, Report},
    status,
};
pub async fn run(
    _leg: config::Leg,
    _device_name: String,
    _hub: Hub,
    _clock: MediaClock,
    _report: Report<status::Leg>,
    _events: Events,
    stop: tokio_util::sync::CancellationToken,
) {
    stop.cancelled().await
}
