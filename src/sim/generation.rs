//! The tokens of one request between the engine that makes them and the connection that sends them.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::engine::SequenceId;

/// Tokens made and tokens sent of one request.
#[derive(Debug, Default)]
struct Progress {
    sequence: Option<SequenceId>,
    produced: u64,
    taken: u64,
    finished: bool,
    abandoned: bool,
    waker: Option<Waker>,
}

impl Progress {
    /// Whether a reader that wants `interval` tokens at a time has something to take.
    fn due(&self, interval: u64) -> bool {
        self.finished || (self.taken == 0 && self.produced > 0) || self.produced - self.taken >= interval
    }
}

/// The engine's end.
#[derive(Debug)]
pub struct Producer {
    progress: Rc<RefCell<Progress>>,
    interval: u64,
}

/// The connection's end; dropping it before the last token tells the engine to stop.
#[derive(Debug)]
pub struct Consumer {
    progress: Rc<RefCell<Progress>>,
    interval: u64,
    abandon: Abandoned,
}

/// Where dropped consumers leave the sequences that nobody waits for.
pub type Abandoned = Rc<RefCell<Vec<SequenceId>>>;

/// Tokens to send now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// How many.
    pub tokens: u64,
    /// They are the last.
    pub last: bool,
}

/// Both ends of a new request, delivered `interval` tokens at a time after the first.
pub fn channel(interval: u64, abandon: &Abandoned) -> (Producer, Consumer) {
    let progress = Rc::new(RefCell::new(Progress::default()));
    let consumer = Consumer {
        progress: Rc::clone(&progress),
        interval,
        abandon: Rc::clone(abandon),
    };
    (Producer { progress, interval }, consumer)
}

impl Producer {
    /// Names the sequence that the engine gave the request.
    pub fn started(&self, sequence: SequenceId) {
        self.progress.borrow_mut().sequence = Some(sequence);
    }

    /// The other end is gone.
    pub fn is_abandoned(&self) -> bool {
        self.progress.borrow().abandoned
    }

    /// Adds tokens and wakes the reader when enough are there.
    pub fn produce(&self, tokens: u64, finished: bool) {
        let mut progress = self.progress.borrow_mut();
        progress.produced += tokens;
        progress.finished = finished;
        if progress.due(self.interval)
            && let Some(waker) = progress.waker.take()
        {
            waker.wake();
        }
    }
}

impl Consumer {
    /// The next tokens to send: the first alone, then as many as there are once there are `interval`.
    pub fn poll_take(&mut self, context: &Context<'_>) -> Poll<Delivery> {
        let mut progress = self.progress.borrow_mut();
        if !progress.due(self.interval) {
            progress.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        let left = progress.produced - progress.taken;
        let tokens = if progress.taken == 0 { left.min(1) } else { left };
        progress.taken += tokens;
        Poll::Ready(Delivery {
            tokens,
            last: progress.finished && progress.taken == progress.produced,
        })
    }

    /// Waits for the last token; returns how many there were.
    pub async fn all(mut self) -> u64 {
        std::future::poll_fn(|context| {
            loop {
                match self.poll_take(context) {
                    Poll::Ready(Delivery { last: true, .. }) => break Poll::Ready(()),
                    Poll::Ready(_) => {}
                    Poll::Pending => break Poll::Pending,
                }
            }
        })
        .await;
        self.progress.borrow().produced
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let mut progress = self.progress.borrow_mut();
        progress.abandoned = true;
        if let Some(sequence) = progress.sequence.filter(|_| !progress.finished) {
            self.abandon.borrow_mut().push(sequence);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_token_travels_alone_and_the_rest_in_strides() {
        let (producer, mut consumer) = channel(4, &Abandoned::default());
        let context = Context::from_waker(Waker::noop());
        assert_eq!(consumer.poll_take(&context), Poll::Pending);
        let ready = |tokens, last| Poll::Ready(Delivery { tokens, last });
        producer.produce(2, false);
        assert_eq!(consumer.poll_take(&context), ready(1, false));
        producer.produce(2, false);
        assert_eq!(consumer.poll_take(&context), Poll::Pending);
        producer.produce(3, false);
        assert_eq!(consumer.poll_take(&context), ready(6, false));
        producer.produce(1, true);
        assert_eq!(consumer.poll_take(&context), ready(1, true));
    }

    #[test]
    fn a_single_token_is_first_and_last() {
        let (producer, mut consumer) = channel(4, &Abandoned::default());
        producer.produce(1, true);
        let delivery = consumer.poll_take(&Context::from_waker(Waker::noop()));
        assert_eq!(
            delivery,
            Poll::Ready(Delivery {
                tokens: 1,
                last: true
            })
        );
    }
}
