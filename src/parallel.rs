//! Work that is divided among threads for the time of one call.

use parking_lot::Mutex;

/// Runs `work` for every item, on at most `threads` threads, one of which is the calling thread.
pub(crate) fn for_each<I>(threads: usize, items: I, work: impl Fn(I::Item) + Sync)
where
    I: Iterator + Send,
{
    fold(threads, items, || (), |(), item| work(item));
}

/// Runs `work` for every item, on at most `threads` threads. Each thread starts with a state from
/// `start`, takes the items in their order, and ends with a state, which is returned.
pub(crate) fn fold<I, T>(
    threads: usize,
    items: I,
    start: impl Fn() -> T + Sync,
    work: impl Fn(&mut T, I::Item) + Sync,
) -> Vec<T>
where
    I: Iterator + Send,
    T: Send,
{
    let (items, made) = (Mutex::new(items), Mutex::new(Vec::new()));
    let work = || {
        let mut of_thread = start();
        loop {
            let Some(item) = items.lock().next() else { break };
            work(&mut of_thread, item);
        }
        made.lock().push(of_thread);
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            // If the system allows no more threads, the others do the rest.
            if std::thread::Builder::new().spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
    made.into_inner()
}
