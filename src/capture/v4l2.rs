//! A capture device as an input: its pictures and its sound, each on a thread of its own.
//!
//! They know nothing of each other, so that a missing sound card cannot take the picture away.

use std::path::PathBuf;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::capture::card::Seat;
use crate::capture::{Error, Port, edid, sound, video};
use crate::config::{Connector, Edid};

/// Where an input sits, from its configuration. An EDID that cannot be used is said, and the built-in one is taken.
pub async fn seat(port: &Port, device: PathBuf, connector: Connector, edid: Edid) -> Seat {
    let format = &port.format;
    let built_in = || edid::built_in(format.width, format.height, format.framerate.fps());
    let edid = match edid {
        Edid::Auto => Some(built_in()),
        Edid::Keep => None,
        Edid::File(path) => Some(users_edid(path).await.unwrap_or_else(|fault| {
            port.events.add(format!("input {}: {fault}; the built-in EDID is used", port.name));
            built_in()
        })),
    };
    Seat { input: port.name.clone(), device, connector, edid }
}

/// A disk that hangs keeps this input waiting and nobody else.
async fn users_edid(path: PathBuf) -> Result<Vec<u8>, String> {
    let name = path.display().to_string();
    let read = move || {
        let bytes = std::fs::read(&path).map_err(|error| error.to_string())?;
        edid::read(&bytes).map(<[u8]>::to_vec).map_err(|fault| fault.to_string())
    };
    let read = tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string());
    read.flatten().map_err(|fault| format!("the EDID in {name} cannot be used ({fault})"))
}

pub async fn run(seat: Seat, audio: Option<String>, port: Port, stop: CancellationToken) -> Result<(), Error> {
    let pictures = video::run(seat.clone(), port.cards.clone(), port.clone(), stop.clone());
    tokio::select! {
        ended = pictures => ended,
        () = keep_sound(audio, seat, &port, &stop) => Ok(()),
    }
}

async fn keep_sound(name: Option<String>, seat: Seat, port: &Port, stop: &CancellationToken) {
    if let Some(name) = name {
        let cards = port.cards.clone();
        let spec = sound::Spec { name, beside: Box::new(move || cards.path(&seat)) };
        if let Err(error) = sound::run(Arc::new(sound::alsa::Alsa), spec, port.clone(), stop.clone()).await {
            port.fault(&error.to_string(), true);
        }
    }
    std::future::pending().await
}
