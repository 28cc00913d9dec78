//! Work divided among threads that live as long as a call.

use parking_lot::Mutex;

/// Does `work` for every item, on at most `threads` threads, the calling one among them.
pub(crate) fn for_each<I>(threads: usize, items: I, work: impl Fn(I::Item) + Sync)
where
    I: Iterator + Send,
{
    fold(threads, items, || (), |(), item| work(item));
}

/// Does `work` for every item likewise, and returns what each thread made of `start` with its
/// items, which it takes in their order.
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
            // Where the system allows no more threads, those there are do the rest.
            if std::thread::Builder::new().spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
    made.into_inner()
}
