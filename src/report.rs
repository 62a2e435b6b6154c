//! Status flows up: one `watch<Status>`, and for each room a handle that can write its own part and nothing else.

use std::sync::Arc;

use tokio::sync::watch;

use crate::status::{Event, Status};

/// How many events the status remembers.
const EVENTS: usize = 20;

type Part<T> = dyn Fn(&mut Status) -> &mut T + Send + Sync;

/// The right to write one part of the status.
pub struct Report<T> {
    status: watch::Sender<Status>,
    part: Arc<Part<T>>,
}

impl<T> Clone for Report<T> {
    fn clone(&self) -> Self {
        Self { status: self.status.clone(), part: self.part.clone() }
    }
}

impl<T: Clone + PartialEq> Report<T> {
    pub fn new(status: &watch::Sender<Status>, part: impl Fn(&mut Status) -> &mut T + Send + Sync + 'static) -> Self {
        Self { status: status.clone(), part: Arc::new(part) }
    }

    /// The part as it stands.
    pub fn current(&self) -> T {
        let mut current = None;
        self.status.send_if_modified(|status| {
            current = Some((self.part)(status).clone());
            false
        });
        current.expect("the closure has been called")
    }

    /// Changes the part; those who watch are woken only if it differs afterwards.
    pub fn update(&self, change: impl FnOnce(&mut T)) {
        self.status.send_if_modified(|status| {
            let part = (self.part)(status);
            let before = part.clone();
            change(part);
            *part != before
        });
    }
}

/// Remember something that happened, for people: the last `EVENTS` of them stand in the status; all go to the log.
#[derive(Clone)]
pub struct Events {
    status: watch::Sender<Status>,
    clock: crate::clock::MediaClock,
}

impl Events {
    pub fn new(status: &watch::Sender<Status>, clock: crate::clock::MediaClock) -> Self {
        Self { status: status.clone(), clock }
    }

    pub fn add(&self, text: impl Into<String>) {
        let event = Event { at_s: self.clock.now().millis() as f64 / 1000.0, text: text.into() };
        tracing::info!("{}", event.text);
        self.status.send_modify(|status| {
            status.events.push(event);
            let excess = status.events.len().saturating_sub(EVENTS);
            status.events.drain(..excess);
        });
    }
}
