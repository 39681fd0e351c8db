//! Bodies on their way, part by part: nothing is collected, and each side reads only as fast as the other takes.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use sha2::{Digest, Sha256};
use thiserror::Error;
use tokio::time::{Sleep, sleep};
use wardroom_model::Reason;

use super::flight::{Flight, Side};
use super::request::refused;
use super::upstream;
use crate::credential::Refusal;

/// The request is over before its time; why is in its record.
#[derive(Debug, Clone, Copy, Error)]
#[error("cut")]
pub(crate) struct Cut;

/// The body of a request, on its way to the server.
#[derive(Debug)]
pub(super) struct Out {
    pub(super) inner: Source,
    pub(super) flight: Rc<Flight>,
}

/// Where the body of a request is.
#[derive(Debug)]
pub(super) enum Source {
    /// On its way from the agent.
    Flowing(Incoming),
    /// Here, because its digest had to be known before its head could be sent.
    Collected(Option<Bytes>),
}

/// The longest body that is collected: what DynamoDB takes in one batch, the most among the APIs of AWS that are signed
/// without saying the digest.
const COLLECTED: usize = 16 * 1024 * 1024;

/// A body that cannot be collected, or carried to its end.
#[derive(Debug)]
pub(super) enum Uncollected {
    /// It is longer than [`COLLECTED`].
    TooLong,
    /// The agent's side broke off.
    Broken,
}

impl From<Uncollected> for Refusal {
    fn from(why: Uncollected) -> Self {
        match why {
            Uncollected::TooLong => refused(
                StatusCode::PAYLOAD_TOO_LARGE,
                Reason::LimitReached("16 MiB of body that is signed without x-amz-content-sha256".to_owned()),
            ),
            Uncollected::Broken => {
                refused(StatusCode::BAD_REQUEST, Reason::Malformed("the body broke off".to_owned()))
            }
        }
    }
}

impl Out {
    /// Waits for all of the body, and says its SHA-256 in hexadecimal.
    pub(super) async fn collect(&mut self) -> Result<String, Uncollected> {
        let Source::Flowing(inner) = &mut self.inner else { return Err(Uncollected::Broken) };
        let mut whole = BytesMut::new();
        while let Some(frame) = inner.frame().await {
            // Trailers are in no signature of a body that came in chunks without saying so.
            let Ok(part) = frame.map_err(|_gone| Uncollected::Broken)?.into_data() else { continue };
            if whole.len() + part.len() > COLLECTED {
                return Err(Uncollected::TooLong);
            }
            whole.extend_from_slice(&part);
        }
        let digest = Sha256::digest(&whole).iter().map(|byte| format!("{byte:02x}")).collect();
        self.inner = Source::Collected(Some(whole.freeze()).filter(|whole| !whole.is_empty()));
        Ok(digest)
    }
}

impl Body for Out {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if self.flight.is_cut(Side::Out, cx) {
            return Poll::Ready(Some(Err(Cut)));
        }
        let frame = match &mut self.inner {
            Source::Flowing(inner) => ready!(Pin::new(inner).poll_frame(cx)),
            Source::Collected(whole) => whole.take().map(|whole| Ok(Frame::data(whole))),
        };
        let Some(frame) = frame else { return Poll::Ready(None) };
        // The agent's side broke off, or the protocol: the server must not take half for the whole, nor the blame.
        let Ok(frame) = frame else {
            self.flight.refuse(Uncollected::Broken.into());
            return Poll::Ready(Some(Err(Cut)));
        };
        Poll::Ready(Some(match frame.into_data() {
            Ok(part) => self.flight.outgoing(part).map(Frame::data),
            Err(frame) => match frame.trailers_ref() {
                Some(trailers) => self.flight.outgoing_trailers(trailers).map(|()| frame),
                None => Err(Cut),
            },
        }))
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Source::Flowing(inner) => inner.is_end_stream(),
            Source::Collected(whole) => whole.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Source::Flowing(inner) => inner.size_hint(),
            Source::Collected(whole) => {
                SizeHint::with_exact(whole.as_ref().map_or(0, |w| u64::try_from(w.len()).unwrap_or(0)))
            }
        }
    }
}

/// The body of an answer, on its way to the agent.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The gate's own words.
    Own(Option<Bytes>),
    /// The server's.
    Carried(Carried),
}

/// How far an answer's body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Untouched,
    /// Parts went through, and some of them may be held back.
    Begun,
    /// Everything went through.
    Finished,
}

/// The body of a server's answer.
#[derive(Debug)]
pub(crate) struct Carried {
    inner: Incoming,
    flight: Rc<Flight>,
    /// Whether the head names the length.
    sized: bool,
    stage: Stage,
    trailers: Option<HeaderMap>,
    /// When what is held back goes on, though nothing came after it.
    quiet: Option<Pin<Box<Sleep>>>,
}

/// How long a server may be silent in the middle of what might be a credential's value. Longer than a packet that was lost takes
/// to come again, on any way that a person would use.
const SILENCE: Duration = Duration::from_secs(1);

impl Answer {
    pub(super) fn own(words: Bytes) -> Self {
        Self::Own(Some(words))
    }

    pub(super) fn carried(inner: Incoming, flight: Rc<Flight>, sized: bool) -> Self {
        Self::Carried(Carried { inner, flight, sized, stage: Stage::Untouched, trailers: None, quiet: None })
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match self.get_mut() {
            Self::Own(words) => Poll::Ready(words.take().map(|words| Ok(Frame::data(words)))),
            Self::Carried(carried) => carried.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(words) => words.is_none(),
            Self::Carried(carried) => carried.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(words) => {
                SizeHint::with_exact(words.as_ref().map_or(0, |w| u64::try_from(w.len()).unwrap_or(0)))
            }
            Self::Carried(carried) if carried.sized || carried.is_over() => carried.inner.size_hint(),
            Self::Carried(_) => SizeHint::default(),
        }
    }
}

impl Carried {
    fn is_over(&self) -> bool {
        match self.stage {
            Stage::Untouched => self.inner.is_end_stream(),
            Stage::Begun => false,
            Stage::Finished => self.trailers.is_none(),
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        loop {
            if self.flight.is_cut(Side::Back, cx) {
                return Poll::Ready(Some(Err(Cut)));
            }
            if self.stage == Stage::Finished {
                return Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
            }
            let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) else {
                return self.after_silence(cx).map(|held| Some(Ok(Frame::data(held))));
            };
            self.quiet = None;
            let part = match frame {
                None => self.finish(Bytes::new()),
                Some(Err(error)) => {
                    self.flight.fail(upstream::broken(&error));
                    return Poll::Ready(Some(Err(Cut)));
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(part) => {
                        self.stage = Stage::Begun;
                        let Ok(part) = self.flight.incoming(part) else {
                            return Poll::Ready(Some(Err(Cut)));
                        };
                        if self.inner.is_end_stream() { self.finish(part) } else { part }
                    }
                    Err(frame) => {
                        self.trailers = frame.into_trailers().ok().map(|mut trailers| {
                            self.flight.trailed(&mut trailers);
                            trailers
                        });
                        self.finish(Bytes::new())
                    }
                },
            };
            if !part.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(part))));
            }
        }
    }

    /// What was held back, once the server has been silent for long: it may wait for an answer to just that.
    fn after_silence(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        if !self.flight.holds() {
            return Poll::Pending;
        }
        let silence = self.quiet.get_or_insert_with(|| Box::pin(sleep(SILENCE)));
        ready!(silence.as_mut().poll(cx));
        self.quiet = None;
        Poll::Ready(self.flight.finish(Bytes::new()))
    }

    /// The last part, with what was held back of those before.
    fn finish(&mut self, part: Bytes) -> Bytes {
        self.stage = Stage::Finished;
        self.flight.finish(part)
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        if self.is_over() {
            self.flight.completed();
        }
    }
}
