//! The clock that interrupts guests: one tick per millisecond, only while there are runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{Builder, Thread};
use std::time::Duration;
use wasmtime::Engine;

const TICK: Duration = Duration::from_millis(1);

/// Ticks without a run after which the clock stops.
const IDLE_TICKS: u32 = 100;

/// The thread that increments the engine's epoch; it ends with the process.
pub(crate) struct Epoch {
    used: Arc<AtomicBool>,
    parked: Arc<AtomicBool>,
    thread: Thread,
}

impl Epoch {
    /// Starts the clock. `in_pool` counts the runs for which the clock ticks without calls of [`Self::keep_ticking`].
    ///
    /// # Errors
    /// If the system refuses to start a thread.
    pub(crate) fn start(engine: Engine, in_pool: Arc<AtomicUsize>) -> std::io::Result<Self> {
        let used = Arc::new(AtomicBool::new(false));
        let parked = Arc::new(AtomicBool::new(false));
        let ticker = Ticker { engine, in_pool, used: Arc::clone(&used), parked: Arc::clone(&parked) };
        let thread = Builder::new().name("epoch".into()).spawn(move || ticker.run())?;
        Ok(Self { used, parked, thread: thread.thread().clone() })
    }

    /// Keeps the clock ticking; must be called before a run starts.
    pub(crate) fn keep_ticking(&self) {
        self.used.store(true, Ordering::SeqCst);
        if self.parked.load(Ordering::SeqCst) {
            self.thread.unpark();
        }
    }
}

struct Ticker {
    engine: Engine,
    in_pool: Arc<AtomicUsize>,
    used: Arc<AtomicBool>,
    parked: Arc<AtomicBool>,
}

impl Ticker {
    fn run(&self) {
        let mut idle = 0;
        loop {
            std::thread::sleep(TICK);
            self.engine.increment_epoch();
            let busy = self.used.swap(false, Ordering::SeqCst) || self.in_pool.load(Ordering::SeqCst) > 0;
            idle = if busy { 0 } else { idle + 1 };
            if idle >= IDLE_TICKS {
                self.park();
                idle = 0;
            }
        }
    }

    /// Parks until a run starts. No wake-up is lost: either this thread reads `used`, or the thread that starts the run
    /// reads `parked`.
    fn park(&self) {
        self.parked.store(true, Ordering::SeqCst);
        while !self.used.load(Ordering::SeqCst) {
            std::thread::park();
        }
        self.parked.store(false, Ordering::SeqCst);
    }
}
