//! Several futures at the same time, within one task.

use std::future::poll_fn;
use std::task::Poll;

/// Runs futures, at most `max` of them at a time, until all have ended or one has failed.
pub(crate) async fn at_once<E>(
    max: usize,
    futures: impl IntoIterator<Item = impl Future<Output = Result<(), E>>>,
) -> Result<(), E> {
    let mut waiting = futures.into_iter().fuse();
    let mut running = Vec::new();
    poll_fn(|context| {
        loop {
            running.extend(waiting.by_ref().take(max - running.len()).map(Box::pin));
            let before = running.len();
            let mut at = 0;
            while at < running.len() {
                match running[at].as_mut().poll(context) {
                    Poll::Pending => at += 1,
                    Poll::Ready(Ok(())) => drop(running.swap_remove(at)),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                }
            }
            if before == 0 {
                return Poll::Ready(Ok(()));
            }
            if running.len() == before {
                return Poll::Pending;
            }
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    #[test]
    fn few_run_at_a_time_and_all_end() {
        let (running, most, ended) = (Cell::new(0), Cell::new(0), Cell::new(0));
        let one = |_| {
            let mut polls = 0;
            let (running, most, ended) = (&running, &most, &ended);
            poll_fn(move |_| {
                polls += 1;
                if polls == 1 {
                    running.set(running.get() + 1);
                    most.set(running.get().max(most.get()));
                    return Poll::Pending;
                }
                running.set(running.get() - 1);
                ended.set(ended.get() + 1);
                Poll::Ready(Ok::<(), ()>(()))
            })
        };
        let mut all = pin!(at_once(3, (0..10).map(one)));
        let mut context = Context::from_waker(Waker::noop());
        while all.as_mut().poll(&mut context).is_pending() {}
        assert_eq!((running.get(), most.get(), ended.get()), (0, 3, 10));
    }

    #[test]
    fn the_first_failure_ends_it() {
        let outcomes = [Ok(()), Err(7), Ok(())];
        let mut all = pin!(at_once(2, outcomes.map(|outcome| async move { outcome })));
        let polled = all.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!(polled, Poll::Ready(Err(7)));
    }
}
