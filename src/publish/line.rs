//! A connection of a leg from the first DNS query on: being opened, then open. It drives whichever it is, and holds no rule.

use std::pin::Pin;

use super::conn::{self, Conn};
use super::dial::Route;
use super::failover::Stage;
use super::flow::Flow;
use super::session::Session;
use super::{Currents, PublishError, Terms};

type Opening = Pin<Box<dyn Future<Output = (Route, Result<(Conn, Session), PublishError>)> + Send>>;

pub struct Line {
    /// Index into the leg's list of origins.
    pub origin: usize,
    state: State,
    /// Media was taken, and the view knows.
    pub told_live: bool,
}

enum State {
    Opening(Opening),
    Open(Box<Flow>),
}

/// What a turn brought to light.
pub enum Turn {
    Nothing,
    /// It is open; what was learnt on the way.
    Opened(Box<Route>),
}

impl Line {
    pub fn open(origin: usize, mut route: Route, currents: Currents) -> Self {
        let opening = async move {
            let opened = conn::open(&mut route, &currents.device, currents.started_at.as_deref()).await;
            (route, opened)
        };
        Self { origin, state: State::Opening(Box::pin(opening)), told_live: false }
    }

    /// Waits until something can be done, and does it. Cancel safe.
    pub async fn turn(&mut self, currents: &Currents, terms: Terms) -> Result<Turn, PublishError> {
        match &mut self.state {
            State::Open(flow) => flow.turn().await.map(|()| Turn::Nothing),
            State::Opening(opening) => {
                let (route, opened) = opening.await;
                let (conn, session) = opened?;
                self.state = State::Open(Box::new(Flow::new(conn, session, currents, terms)?));
                Ok(Turn::Opened(Box::new(route)))
            }
        }
    }

    pub fn stage(&self) -> Stage {
        self.flow().map_or(Stage::Opening, Flow::stage)
    }

    pub fn flow(&self) -> Option<&Flow> {
        match &self.state {
            State::Open(flow) => Some(flow),
            State::Opening(_) => None,
        }
    }

    pub fn flow_mut(&mut self) -> Option<&mut Flow> {
        match &mut self.state {
            State::Open(flow) => Some(flow),
            State::Opening(_) => None,
        }
    }

    pub fn into_flow(self) -> Option<Flow> {
        match self.state {
            State::Open(flow) => Some(*flow),
            State::Opening(_) => None,
        }
    }
}
