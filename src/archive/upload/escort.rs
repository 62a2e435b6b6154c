//! What goes with a body on its way out: it is signed with the hash that is known already, and leaves in small pieces that are
//! let through one by one. Two hooks of the library; no request is made here.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use aws_runtime::auth::PayloadSigningOverride;
use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::primitives::SdkBody;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::gate::Gate;
use super::pace::PIECE;
use super::plan::{Prints, hex};
use super::trouble::Trouble;

/// A connection that takes no piece for so long is dead.
const STALL: Duration = Duration::from_secs(30);

/// For the answer after the last piece.
const ANSWER: Duration = Duration::from_secs(60);

/// Where the pieces are put.
pub type Pieces = mpsc::Sender<Bytes>;

#[derive(Debug)]
pub struct Escort {
    sha256: String,
    body: Mutex<Option<Pieced>>,
}

impl Escort {
    /// For a body with these hashes; the other half takes its pieces.
    pub fn of(prints: &Prints) -> (Self, Pieces) {
        let (pieces, inbox) = mpsc::channel(2);
        let body = Pieced { inbox, left: prints.bytes };
        (Self { sha256: hex(&prints.sha256), body: Mutex::new(Some(body)) }, pieces)
    }
}

impl Intercept for Escort {
    fn name(&self) -> &'static str {
        "Escort"
    }

    fn modify_before_signing(
        &self,
        _context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        settings: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        settings.interceptor_state().store_put(PayloadSigningOverride::Precomputed(self.sha256.clone()));
        Ok(())
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _settings: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(body) = self.body.lock().unwrap_or_else(PoisonError::into_inner).take() {
            *context.request_mut().body_mut() = SdkBody::from_body_1_x(body);
        }
        Ok(())
    }
}

/// Puts all of it through the gate, then waits for the answer. Only ends in trouble: whoever awaits it awaits the answer too.
pub async fn feed(gate: &Gate, place: &str, mut bytes: Bytes, pieces: Pieces) -> Trouble {
    while !bytes.is_empty() {
        let piece = bytes.split_to(bytes.len().min(PIECE));
        if let Err(trouble) = gate.pass(piece.len()).await {
            return trouble;
        }
        match timeout(STALL, pieces.send(piece)).await {
            Ok(Ok(())) => {}
            // The request is over; its answer says why.
            Ok(Err(_)) => break,
            Err(_) => return Trouble::Weather(format!("{place} takes nothing any more")),
        }
    }
    drop(pieces);
    sleep(ANSWER).await;
    Trouble::Weather(format!("{place} does not answer"))
}

/// A body that comes in pieces.
#[derive(Debug)]
struct Pieced {
    inbox: mpsc::Receiver<Bytes>,
    left: u64,
}

impl http_body::Body for Pieced {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = std::task::ready!(self.inbox.poll_recv(context));
        self.left -= piece.as_ref().map_or(0, |piece| piece.len() as u64);
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
