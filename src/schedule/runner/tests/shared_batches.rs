//! Which calls share a batch with callers that call again.

use std::sync::OnceLock;

use super::*;

#[test]
fn after_a_shared_batch_a_call_waits_for_others() {
    let (go, held) = channel();
    let (tell, told) = channel();
    let (held, tell) = (Mutex::new(Some(held)), Mutex::new(tell));
    let stage = Stage::new(move |texts, _| {
        let first: Option<Receiver<()>> = held.lock().take();
        first.into_iter().for_each(|held| held.recv().unwrap());
        tell.lock().send(std::thread::current().id()).unwrap();
        stub(texts)
    });
    let calls = [FINE, FINE + 1, FINE + 2].map(|id| stage.submit(&[id]));
    go.send(()).unwrap();
    calls.iter().for_each(|call| _ = call.wait().unwrap());
    // The first call alone, then the two others.
    stage.until_idle();
    told.try_iter().count();
    for is_here in [false, true, true] {
        let (call, sequences) = call_of(1);
        stage.runner.submit(&call, sequences);
        call.wait().unwrap();
        let here = told.recv_timeout(GUARD).unwrap() == std::thread::current().id();
        assert_eq!(here, is_here);
        stage.until_idle();
    }
}

#[test]
fn callers_that_a_batch_has_served_share_the_next_one_with_those_that_wait() {
    let (queue, (go, held), (tell, told)) = (Arc::new(OnceLock::new()), channel(), channel());
    let (held, tell, of_stage) = (Mutex::new(held), Mutex::new(tell), Arc::clone(&queue));
    let stage = Stage::new(move |texts, _| {
        held.lock().recv().unwrap();
        let queue: &Arc<Queue> = of_stage.get().unwrap();
        // Then the linger is longer than any machine needs.
        queue.backdate_batch(GUARD * 60);
        tell.lock().send(texts.len()).unwrap();
        stub(texts)
    });
    assert!(queue.set(Arc::clone(&stage.queue)).is_ok());
    let served = stage.submit(&[FINE]);
    while !stage.queue.is_running() {
        std::thread::yield_now();
    }
    let waiting = [FINE, FINE + 1].map(|id| stage.submit(&[id]));
    go.send(()).unwrap();
    go.send(()).unwrap();
    served.wait().unwrap();
    let again = stage.submit(&[FINE + 2]);
    for call in waiting.iter().chain([&again]) {
        call.wait().unwrap();
    }
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [1, 3]);
}
