//! Bodies on their way, part by part: nothing is collected, and each side reads only as fast as the other takes.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use thiserror::Error;

use super::flight::{Flight, Side};
use super::upstream;

/// The request is over before its time; why is in its record.
#[derive(Debug, Clone, Copy, Error)]
#[error("cut")]
pub(crate) struct Cut;

/// The body of a request, on its way to the server.
#[derive(Debug)]
pub(super) struct Out {
    pub(super) inner: Incoming,
    pub(super) flight: Rc<Flight>,
}

impl Body for Out {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if self.flight.is_cut(Side::Out, cx) {
            return Poll::Ready(Some(Err(Cut)));
        }
        let Some(frame) = ready!(Pin::new(&mut self.inner).poll_frame(cx)) else { return Poll::Ready(None) };
        // The agent's side broke off: nothing to say to it, and the server must not take half for the whole.
        let Ok(frame) = frame else { return Poll::Ready(Some(Err(Cut))) };
        Poll::Ready(Some(match frame.into_data() {
            Ok(part) => self.flight.outgoing(part).map(Frame::data),
            Err(trailers) => Ok(trailers),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
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
}

impl Answer {
    pub(super) fn own(words: Bytes) -> Self {
        Self::Own(Some(words))
    }

    pub(super) fn carried(inner: Incoming, flight: Rc<Flight>, sized: bool) -> Self {
        Self::Carried(Carried { inner, flight, sized, stage: Stage::Untouched, trailers: None })
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
            let part = match ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
                None => self.finish(Bytes::new()),
                Some(Err(error)) => {
                    self.flight.fail(upstream::broken(&error));
                    return Poll::Ready(Some(Err(Cut)));
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(part) => {
                        self.stage = Stage::Begun;
                        let part = self.flight.incoming(part);
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

    /// The last part, with what was held back of those before.
    fn finish(&mut self, part: Bytes) -> Bytes {
        self.stage = Stage::Finished;
        let held = self.flight.finish();
        match (part.is_empty(), held.is_empty()) {
            (_, true) => part,
            (true, false) => held,
            (false, false) => [part, held].concat().into(),
        }
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        if self.is_over() {
            self.flight.completed();
        }
    }
}
