//! The threads of ONNX Runtime's pool, started before it asks for them.
//!
//! If the system refuses it a thread, as a limit of a container may, ONNX Runtime hangs: the
//! constructor of its pool throws an exception, and joins the threads that it has without having
//! told them to end. So all threads exist before a session is created, or no session is created.

use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use ort::environment::ThreadManager;
use parking_lot::Mutex;

use crate::error::{Result, error};

type Work = Box<dyn FnOnce() + Send>;

/// Threads that wait for their work. They end if this is dropped before they have any.
pub(super) struct Pool(Mutex<Vec<Waiting>>);

struct Waiting {
    work: Sender<Work>,
    thread: JoinHandle<()>,
}

impl Pool {
    /// The threads of a session whose batches use `threads`, the one that runs the batch among
    /// them.
    pub fn start(threads: usize) -> Result<Self> {
        let start = |_| {
            let (work, given) = channel::<Work>();
            let wait = move || {
                if let Ok(work) = given.recv() {
                    work();
                }
            };
            let builder = std::thread::Builder::new().name("bge-pool".into());
            let thread = builder.spawn(wait).map_err(|e| {
                error!(
                    OutOfMemory,
                    "a run needs {threads} threads, and one of them could not be started: {e}; ask \
                     for fewer with the option threads, or raise the limit of this process or its \
                     container (ulimit -u, pids.max)"
                )
            })?;
            Ok(Waiting { work, thread })
        };
        (1..threads).map(start).collect::<Result<_>>().map(|waiting| Self(Mutex::new(waiting)))
    }
}

impl ThreadManager for Pool {
    type Thread = JoinHandle<()>;

    fn create(&self, work: impl FnOnce() + Send + 'static) -> ort::Result<Self::Thread> {
        let Some(waiting) = self.0.lock().pop() else {
            return Err(ort::Error::new("ONNX Runtime asks for more threads than it was told"));
        };
        let ended = |_| ort::Error::new("a thread that waited for work has ended");
        waiting.work.send(Box::new(work)).map_err(ended)?;
        Ok(waiting.thread)
    }

    fn join(thread: Self::Thread) -> ort::Result<()> {
        thread.join().map_err(|_| ort::Error::new("a thread of the pool panicked"))
    }
}
