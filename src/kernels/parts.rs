//! The independent parts of a kernel's work, each run exactly once on the threads of a pool.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;

/// Calls a function once for every index below a number, on any threads and in any order, and
/// returns when all calls have returned.
pub type ParallelFor<'a> = dyn Fn(usize, &(dyn Fn(usize) + Sync)) + 'a;

/// Hands each part to `body` once, whichever indexes `parallel_for` calls and however often. `body`
/// returns `None` if there was no memory for its part. `kernel` begins the sentence of an error.
///
/// # Errors
/// When memory ran out, or `parallel_for` has not called each index.
pub(crate) fn run_each<T: Send>(
    kernel: &str,
    parts: impl IntoIterator<Item = T>,
    parallel_for: &ParallelFor<'_>,
    body: impl Fn(T) -> Option<()> + Sync,
) -> Result<(), String> {
    let parts: Vec<_> = parts.into_iter().map(|part| Mutex::new(Some(part))).collect();
    if parts.is_empty() {
        return Ok(());
    }
    let (done, out_of_memory) = (AtomicUsize::new(0), AtomicBool::new(false));
    parallel_for(parts.len(), &|index| {
        let part = parts.get(index).and_then(|part| part.lock().take());
        match part.map(&body) {
            Some(Some(())) => _ = done.fetch_add(1, Ordering::Release),
            Some(None) => out_of_memory.store(true, Ordering::Relaxed),
            None => {}
        }
    });
    match done.load(Ordering::Acquire) == parts.len() {
        true => Ok(()),
        false if out_of_memory.into_inner() => Err(format!("{kernel}: out of memory")),
        false => Err(format!("{kernel}: parts of the work were not run")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::in_order;

    fn sums(parallel_for: &ParallelFor<'_>) -> (Result<(), String>, [u32; 3]) {
        let mut sums = [0; 3];
        let parts = sums.iter_mut().zip([1, 2, 4]);
        let result = run_each("sum", parts, parallel_for, |(sum, term)| {
            *sum += term;
            Some(())
        });
        (result, sums)
    }

    #[test]
    fn each_part_runs_once_however_often_it_is_called() {
        let (result, once) = sums(&in_order);
        assert_eq!((result, once), (Ok(()), [1, 2, 4]));
        let (result, once) = sums(&|count, body| (0..3 * count).for_each(|i| body(i / 2)));
        assert_eq!((result, once), (Ok(()), [1, 2, 4]));
    }

    #[test]
    fn a_part_that_was_not_called_or_had_no_memory_is_an_error() {
        let (result, run) = sums(&|count, body| (1..count).for_each(body));
        assert_eq!(result.unwrap_err(), "sum: parts of the work were not run");
        assert_eq!(run, [0, 2, 4]);
        let result = run_each("sum", vec![1, 2], &in_order, |part| (part == 1).then_some(()));
        assert_eq!(result.unwrap_err(), "sum: out of memory");
        // No part is no work.
        let never = |_: usize, _: &(dyn Fn(usize) + Sync)| unreachable!();
        assert_eq!(run_each("sum", Vec::<u32>::new(), &never, |_| None), Ok(()));
    }
}
