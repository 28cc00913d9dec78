//! Work divided among threads that live as long as a call.

use parking_lot::Mutex;

/// Does `work` for every item, on at most `threads` threads, the calling one among them.
pub(crate) fn for_each<I>(threads: usize, items: I, work: impl Fn(I::Item) + Sync)
where
    I: Iterator + Send,
{
    let items = Mutex::new(items);
    let work = || {
        loop {
            let Some(item) = items.lock().next() else { break };
            work(item);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            // Where the system allows no more threads, those there are do the rest.
            if std::thread::Builder::new().spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
}
