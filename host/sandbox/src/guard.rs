//! Containment of panics, in one step of work or in a thread that the node depends on.

use std::any::Any;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::Builder;
use std::time::Duration;
use tracing::error;

/// Pause before a thread that panicked starts its work again, so that repeated panics do not keep a core busy.
const PAUSE: Duration = Duration::from_secs(1);

/// Panic of a step of work, with its message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Panicked(String);

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Panicked {}

/// Runs `work`, and returns the message of a panic. What `work` had changed before the panic stays changed.
///
/// # Errors
/// If `work` panics.
pub(crate) fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| Panicked(text(&*panic)))
}

/// Starts a thread that runs until the node ends. A panic is logged, and the work starts again after a pause.
///
/// # Errors
/// If the system refuses to start a thread.
pub(crate) fn spawn(name: &'static str, work: impl Fn() + Send + 'static) -> io::Result<()> {
    let again = move || {
        while let Err(panic) = guarded(&work) {
            error!("the thread {name} panicked, restarting in {PAUSE:?}: {panic}");
            std::thread::sleep(PAUSE);
        }
    };
    Builder::new().name(name.into()).spawn(again).map(drop)
}

fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without a message".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc::channel;

    #[test]
    fn a_panic_becomes_its_text() {
        let number = 7;
        assert_eq!(guarded(|| number), Ok(7));
        assert_eq!(
            guarded(|| if number == 7 {
                panic!("seven")
            }),
            Err(Panicked("seven".into()))
        );
        assert_eq!(
            guarded(|| if number == 7 {
                panic!("number {number}")
            }),
            Err(Panicked("number 7".into()))
        );
    }

    #[test]
    fn the_work_of_a_thread_that_panicked_starts_again() {
        let (sender, receiver) = channel();
        let tries = AtomicU32::new(0);
        let work = move || {
            let tried = tries.fetch_add(1, Ordering::SeqCst);
            assert!(tried > 0, "the first try fails");
            sender.send(tried).unwrap();
        };
        spawn("test", work).unwrap();
        assert_eq!(receiver.recv().unwrap(), 1);
        assert!(receiver.recv().is_err(), "it ended well, and is not repeated");
    }
}
