//! A connection of a leg from the first DNS query on: being opened, then open. It drives whichever it is, and holds no rule.

use std::pin::Pin;
use std::time::Duration;

use super::conn::{self, Conn};
use super::detect::Verdict;
use super::dial::Route;
use super::failover::Stage;
use super::flow::Flow;
use super::session::Session;
use super::view::View;
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

    /// Looks at the socket and judges; true if media is taken now and was not before.
    pub fn look(&mut self, view: &mut View) -> Result<bool, PublishError> {
        let Some(flow) = self.flow_mut() else { return Ok(false) };
        view.counted(flow.take_counts());
        let news = flow.look()?;
        self.told_live |= news;
        Ok(news)
    }

    /// For how long media has been live.
    pub fn lived(&self) -> Duration {
        self.flow().map_or(Duration::ZERO, |flow| flow.health().lived())
    }

    pub fn verdict(&self) -> Verdict {
        self.flow().map_or(Verdict::Fine, Flow::verdict)
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

/// A turn of a line, if there is one.
pub async fn turn(line: &mut Option<Line>, currents: &Currents, terms: Terms) -> Result<Turn, PublishError> {
    match line {
        Some(line) => line.turn(currents, terms).await,
        None => std::future::pending().await,
    }
}
