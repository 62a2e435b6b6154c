//! A publication one step at a time, for pre-flight: each step is to be seen and timed, where a leg wants all of them at once and
//! as fast as they go. A shell that decides nothing; every step has a limit.

use std::time::Duration;

use tokio::time::timeout;

use super::PublishError;
use super::conn::{self, Conn};
use super::dial::Route;
use super::health::SocketTruth;
use super::session::{Event, Session, Step};

/// An RTMP connection that is being set up, or live.
pub struct Publisher {
    conn: Conn,
    session: Session,
}

impl Publisher {
    /// Up to where the origin has a stream for us; the stream key has not been sent then. If it asks for a password or sends us
    /// elsewhere, that is done on connections of its own.
    pub async fn greet(conn: Conn, route: &mut Route, device: &str) -> Result<Self, PublishError> {
        let session = Session::new(conn::target(route, device, None, None))?;
        let mut publisher = Self { conn, session };
        match publisher.get_ready().await {
            Err(PublishError::Refused(refusal)) if refusal.challenge.is_some() || refusal.redirect.is_some() => {
                let (conn, session) = conn::open(route, device, None).await?;
                Ok(Self { conn, session })
            }
            ready => ready.map(|()| publisher),
        }
    }

    async fn get_ready(&mut self) -> Result<(), PublishError> {
        while self.session.step() < Step::Ready {
            self.conn.pass(&mut self.session).await?;
        }
        Ok(())
    }

    /// Up to where the origin waits for media.
    pub async fn publish(&mut self) -> Result<(), PublishError> {
        self.session.publish()?;
        self.conn.pass(&mut self.session).await
    }

    /// Listens for as long as `span`: an origin that says no, or ends the connection, is an error.
    pub async fn listen(&mut self, span: Duration) -> Result<(), PublishError> {
        let listening = async {
            loop {
                self.conn.readable(&self.session).await?;
                self.read()?;
                self.conn.write_all(&mut self.session).await?;
            }
        };
        timeout(span, listening).await.unwrap_or(Ok(()))
    }

    pub fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    fn read(&mut self) -> Result<(), PublishError> {
        let read = self.conn.read(&mut self.session);
        while let Some(event) = self.session.event() {
            if let Event::Refused(refusal) = event {
                return Err(PublishError::Refused(refusal));
            }
        }
        read
    }

    pub fn truth(&self) -> Result<SocketTruth, PublishError> {
        Ok(self.conn.truth()?)
    }

    /// One round of a load: writes for at most `limit`, and takes what the origin has said.
    pub async fn exchange(&mut self, limit: Duration) -> Result<(), PublishError> {
        timeout(limit, self.conn.write_all(&mut self.session)).await.unwrap_or(Ok(()))?;
        self.read()
    }

    /// Ends the connection without another word, above all none with the stream key in it.
    pub async fn leave(mut self, limit: Duration) {
        let _ = timeout(limit, self.conn.finish()).await;
    }

    /// Says good-bye and reads until the origin has ended its side too.
    pub async fn close(self, limit: Duration) {
        self.conn.farewell(self.session, limit).await;
    }
}
