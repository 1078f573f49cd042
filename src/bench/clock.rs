//! One monotonic clock for a run, and waking at its instants more finely than the runtime's millisecond timers do.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Microseconds since the run began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    origin: Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self {
            origin: Instant::now(),
        }
    }

    pub(super) fn now_us(self) -> u64 {
        self.origin.elapsed().as_micros() as u64
    }

    pub(super) fn instant(self, us: u64) -> Instant {
        self.origin + Duration::from_micros(us)
    }
}

/// Wall-clock microseconds since 1970.
pub(super) fn unix_us() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_micros() as u64)
}

/// Wakes its task at an instant; one waiter at a time.
pub(super) struct Timer {
    fd: AsyncFd<OwnedFd>,
}

impl Timer {
    #[expect(
        deprecated,
        reason = "unsound only for a type that may give up its descriptor, which an `OwnedFd` never does; \
                  what replaces it is unsafe to call"
    )]
    pub(super) fn new() -> io::Result<Self> {
        let fd = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )?;
        Ok(Self {
            fd: AsyncFd::with_interest(fd, Interest::READABLE)?,
        })
    }

    /// Returns at `deadline`, or at once when it has passed. Dropping the wait loses nothing.
    pub(super) async fn until(&self, deadline: Instant) -> io::Result<()> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            let value = Timespec {
                tv_sec: left.as_secs().min(u64::from(u32::MAX)).cast_signed(),
                tv_nsec: left.subsec_nanos().into(),
            };
            let once = Itimerspec {
                it_interval: Timespec {
                    tv_sec: 0,
                    tv_nsec: 0,
                },
                it_value: value,
            };
            timerfd_settime(self.fd.get_ref(), TimerfdTimerFlags::empty(), &once)?;
            let mut ready = self.fd.readable().await?;
            // Arming again forgets an expiry, so a stale readiness reads as "would block" and the loop waits on.
            let expiries = &mut [0; 8];
            let _ =
                ready.try_io(|fd| rustix::io::read(fd.get_ref(), &mut expiries[..]).map_err(io::Error::from));
        }
    }
}
