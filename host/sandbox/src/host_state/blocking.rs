//! System calls that may never return, such as a read from a mount that hangs: on separate threads, with a limit per
//! service.
//!
//! Such a call cannot be cancelled. When its run is stopped, its thread stays blocked, so its permit is held until the
//! call returns. All services share the runtime's 512 threads for such calls, which only 64 hanging services can
//! exhaust.

use std::io;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Largest number of calls of one service in flight; further ones wait.
const MAX_CALLS: usize = 8;

/// Runs the blocking calls of one service.
#[derive(Debug, Clone)]
pub(crate) struct Blocking(Arc<Semaphore>);

impl Blocking {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(MAX_CALLS)))
    }

    /// Runs a call on a thread that may block.
    ///
    /// # Errors
    /// If the call panics, or the node is stopping.
    pub(crate) async fn run<R: Send + 'static>(&self, call: impl FnOnce() -> R + Send + 'static) -> io::Result<R> {
        let taken = Arc::clone(&self.0).acquire_owned().await;
        let until_it_has_returned = move || {
            let _taken = taken;
            call()
        };
        tokio::task::spawn_blocking(until_it_has_returned).await.map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn an_abandoned_call_holds_its_permit_until_it_returns() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let blocking = Blocking::new();
            let (started, starts) = channel();
            let mut ends = Vec::new();
            for _ in 0..MAX_CALLS {
                let (end, ended) = channel::<()>();
                ends.push(end);
                let started = started.clone();
                let hangs = blocking.run(move || {
                    started.send(()).unwrap();
                    ended.recv().is_err()
                });
                let mut hangs = Box::pin(hangs);
                assert!(poll_once(hangs.as_mut()).is_none());
                drop(hangs);
            }
            starts.iter().take(MAX_CALLS).for_each(drop);
            let mut next = Box::pin(blocking.run(|| 7));
            assert!(poll_once(next.as_mut()).is_none());
            assert_eq!(blocking.0.available_permits(), 0);
            ends.pop();
            assert_eq!(next.await.unwrap(), 7);
        });
    }

    fn poll_once<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Option<T> {
        match future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
            std::task::Poll::Ready(result) => Some(result),
            std::task::Poll::Pending => None,
        }
    }
}
