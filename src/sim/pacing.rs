//! Virtual time on the wall: the mapping, and a timer fine enough for steps of less than a millisecond.

use std::io;
use std::time::{Duration, Instant};

/// Maps virtual time to wall time at a constant scale.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: Instant,
    scale: f64,
}

impl Clock {
    /// Virtual time zero is now; `scale` virtual seconds pass in a wall second.
    pub fn start(scale: f64) -> Self {
        Self {
            origin: Instant::now(),
            scale,
        }
    }

    /// Virtual time that has passed.
    pub fn now(&self) -> Duration {
        self.origin.elapsed().mul_f64(self.scale)
    }

    /// The wall instant of a virtual time.
    pub fn wall(&self, virtual_time: Duration) -> Instant {
        self.origin + virtual_time.div_f64(self.scale)
    }
}

/// How far behind the scaled clock the server was when it handed out tokens, in wall time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lateness {
    /// The worst step.
    pub max: Duration,
    /// All steps together.
    pub total: Duration,
    /// Steps.
    pub steps: u64,
}

impl Lateness {
    /// Counts a step that was due at `due` and handed out at `now`.
    pub fn count(&mut self, due: Instant, now: Instant) {
        let late = now.saturating_duration_since(due);
        self.max = self.max.max(late);
        self.total += late;
        self.steps += 1;
    }
}

/// Wakes at wall instants. Tokio's own timer rounds up to milliseconds; at a time scale of 25 that is a whole step.
#[cfg(target_os = "linux")]
#[derive(Debug)]
pub struct Timer {
    fd: tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>,
}

#[cfg(target_os = "linux")]
impl Timer {
    /// A timer of the current runtime.
    ///
    /// # Errors
    /// When the system has no file descriptor left.
    pub fn new() -> io::Result<Self> {
        use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
        let fd = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )?;
        #[expect(
            deprecated,
            reason = "deprecated for types whose descriptor may change; `OwnedFd` keeps one open for its whole life"
        )]
        let fd = tokio::io::unix::AsyncFd::new(fd)?;
        Ok(Self { fd })
    }

    /// Returns at `deadline`, at once when it has passed.
    ///
    /// # Errors
    /// When the system refuses to set or read the timer.
    pub async fn sleep_until(&self, deadline: Instant) -> io::Result<()> {
        use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            let once = Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            };
            let value = Timespec {
                tv_sec: left.as_secs() as i64,
                tv_nsec: left.subsec_nanos().into(),
            };
            timerfd_settime(
                self.fd.get_ref(),
                TimerfdTimerFlags::empty(),
                &Itimerspec {
                    it_interval: once,
                    it_value: value,
                },
            )?;
            let mut ready = self.fd.readable().await?;
            let mut expirations = [0; 8];
            // Not ready after all (a stale wake-up) goes round again.
            if let Ok(read) = ready.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut expirations)?)) {
                read?;
            }
        }
    }
}

/// Wakes at wall instants, to a millisecond.
#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
pub struct Timer;

#[cfg(not(target_os = "linux"))]
impl Timer {
    /// A timer of the current runtime.
    ///
    /// # Errors
    /// Never.
    pub fn new() -> io::Result<Self> {
        Ok(Self)
    }

    /// Returns at `deadline`, at once when it has passed.
    ///
    /// # Errors
    /// Never.
    pub async fn sleep_until(&self, deadline: Instant) -> io::Result<()> {
        tokio::time::sleep_until(deadline.into()).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use super::*;

    #[test]
    fn scaled_time_maps_there_and_back() {
        let clock = Clock::start(25.0);
        let due = clock.wall(Duration::from_secs(50));
        assert_eq!(due - clock.wall(Duration::ZERO), Duration::from_secs(2));
    }

    #[test]
    fn lateness_keeps_worst_and_sum() {
        let due = Instant::now();
        let mut lateness = Lateness::default();
        lateness.count(due, due + Duration::from_micros(30));
        lateness.count(due, due + Duration::from_micros(10));
        lateness.count(due + Duration::from_secs(1), due);
        assert_eq!(lateness.max, Duration::from_micros(30));
        assert_eq!((lateness.total, lateness.steps), (Duration::from_micros(40), 3));
    }

    #[test]
    fn the_timer_never_wakes_early() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let timer = Timer::new().unwrap();
            for micros in [0, 1, 150, 900, 2500] {
                let deadline = Instant::now() + Duration::from_micros(micros);
                timer.sleep_until(deadline).await.unwrap();
                assert!(Instant::now() >= deadline);
            }
        });
    }
}
