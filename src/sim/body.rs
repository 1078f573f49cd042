//! Response bodies: bytes at once, or server-sent events as tokens come.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, SizeHint};

use super::generation::Consumer;
use super::openai::Answer;

/// A response body.
#[derive(Debug)]
pub enum ResponseBody {
    /// All of it; `None` once sent.
    Whole(Option<Bytes>),
    /// A stream of events.
    Events(Box<Events>),
}

impl ResponseBody {
    /// A body of these bytes.
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        Self::Whole(Some(bytes.into()))
    }
}

/// The events of one generation. Each delivery becomes one frame, which hyper writes at once.
#[derive(Debug)]
pub struct Events {
    consumer: Consumer,
    answer: Answer,
    include_usage: bool,
    sent: u64,
    ended: bool,
}

impl Events {
    /// A stream of what `consumer` gets.
    pub fn new(consumer: Consumer, answer: Answer, include_usage: bool) -> Self {
        Self {
            consumer,
            answer,
            include_usage,
            sent: 0,
            ended: false,
        }
    }

    fn poll_next(&mut self, context: &Context<'_>) -> Poll<Option<Bytes>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let Poll::Ready(delivery) = self.consumer.poll_take(context) else {
            return Poll::Pending;
        };
        let mut out = BytesMut::new();
        if delivery.tokens > 0 {
            self.answer
                .write_event(&mut out, delivery.tokens, self.sent == 0, delivery.last);
            self.sent += delivery.tokens;
        }
        if delivery.last {
            self.ended = true;
            if self.include_usage {
                self.answer.write_usage_event(&mut out, self.sent);
            }
            Answer::write_done(&mut out);
        }
        Poll::Ready(Some(out.freeze()))
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take()),
            Self::Events(events) => events.poll_next(context),
        };
        next.map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Events(events) => events.ended,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Events(_) => SizeHint::default(),
        }
    }
}
