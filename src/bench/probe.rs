//! How late the client itself is: a timer probe on its thread, and that thread's CPU time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::clock::Timer;
use super::trace::ClientLoad;

const PERIOD: Duration = Duration::from_millis(10);

/// Measures the thread it was started on until it is asked for the outcome.
pub(super) struct Probe {
    lateness_us: Arc<Mutex<Vec<u64>>>,
    started: Instant,
    cpu_at_start: Duration,
    task: tokio::task::JoinHandle<()>,
}

impl Probe {
    /// Starts on the current thread, which must run the client and nothing else.
    pub(super) fn start() -> std::io::Result<Self> {
        let timer = Timer::new()?;
        let lateness_us = Arc::new(Mutex::new(Vec::new()));
        let started = Instant::now();
        let into = Arc::clone(&lateness_us);
        let task = tokio::spawn(async move {
            let mut deadline = started + PERIOD;
            while timer.until(deadline).await.is_ok() {
                let late = deadline.elapsed().as_micros() as u64;
                into.lock().unwrap_or_else(PoisonError::into_inner).push(late);
                // Deadlines missed during a stall are each counted, with what was left of it.
                deadline += PERIOD;
            }
        });
        Ok(Self {
            lateness_us,
            started,
            cpu_at_start: thread_cpu(),
            task,
        })
    }

    pub(super) fn outcome(self, events: u64) -> ClientLoad {
        let wall = self.started.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
        let cpu = thread_cpu().saturating_sub(self.cpu_at_start).as_secs_f64();
        let mut late = std::mem::take(&mut *self.lateness_us.lock().unwrap_or_else(PoisonError::into_inner));
        late.sort_unstable();
        ClientLoad {
            lag_p50_us: nearest_rank(&late, 0.50),
            lag_p99_us: nearest_rank(&late, 0.99),
            lag_max_us: late.last().copied().unwrap_or_default(),
            cpu_share: cpu / wall,
            events,
            events_per_s: events as f64 / wall,
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn thread_cpu() -> Duration {
    let spent = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(spent.tv_sec.cast_unsigned(), spent.tv_nsec as u32)
}

/// The smallest value that at least `share` of all are not above; 0 of none.
fn nearest_rank(sorted: &[u64], share: f64) -> u64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    #[test]
    fn ranks_are_the_nearest() {
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!(
            (nearest_rank(&hundred, 0.5), nearest_rank(&hundred, 0.99)),
            (50, 99)
        );
        assert_eq!((nearest_rank(&[7], 0.99), nearest_rank(&[], 0.5)), (7, 0));
    }

    #[test]
    fn a_blocked_thread_shows_in_lag_and_cpu() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let load = runtime.block_on(async {
            let probe = Probe::start().unwrap();
            tokio::task::yield_now().await;
            let from = Instant::now();
            while from.elapsed() < Duration::from_millis(60) {
                std::hint::spin_loop();
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
            probe.outcome(6)
        });
        assert!(load.lag_max_us >= 45_000, "{load:?}");
        assert!(load.cpu_share > 0.0 && load.events == 6, "{load:?}");
    }
}
