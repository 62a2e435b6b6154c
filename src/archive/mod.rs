//! stub
use crate::{
    config,
    media::hub::Hub,
    report::{Events, Report},
    status,
};
pub async fn run(
    _config: config::Archive,
    _hub: Hub,
    _report: Report<status::Archive>,
    _events: Events,
    stop: tokio_util::sync::CancellationToken,
) {
    stop.cancelled().await
}
