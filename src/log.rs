//! One place that log lines go to, for the whole process; nowhere until somebody asks.

use std::sync::Once;

use parking_lot::RwLock;

use crate::numbered::numbered;

numbered! {
    /// How urgent a line is; a sink that takes one level takes all before it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub enum LogLevel: u32 {
        /// Something failed.
        Error = 1,
        /// Something works, but not as it should.
        Warn = 2,
        /// What is rare and worth knowing, such as a model that was opened.
        Info = 3,
        /// What helps to find a fault in this library.
        Debug = 4,
    }
}

impl LogLevel {
    /// The most verbose level whose number is at most `max_code`, or `None` if the log is off.
    pub fn up_to(max_code: u32) -> Option<Self> {
        Self::ALL.into_iter().rev().find(|level| level.code() <= max_code)
    }
}

type Sink = Box<dyn Fn(LogLevel, &str) + Send + Sync>;

static SINK: RwLock<Option<(LogLevel, Sink)>> = RwLock::new(None);

/// Sends log lines up to `max_level` to `sink`, in place of the one before.
///
/// When this returns, the previous sink is not running and never will be. A sink may run on any
/// thread, on several at once, and must not call this library.
pub fn set_log_sink(max_level: LogLevel, sink: impl Fn(LogLevel, &str) + Send + Sync + 'static) {
    *SINK.write() = Some((max_level, Box::new(sink)));
}

/// Sends log lines nowhere again.
pub fn clear_log_sink() {
    *SINK.write() = None;
}

/// Sends what panics say to the log, once and for all: Rust prints it before a panic can be caught,
/// but in a host of another language the standard streams are not the library's.
pub fn log_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|panic| line(LogLevel::Error, || panic.to_string())));
    });
}

pub(crate) fn line(level: LogLevel, text: impl FnOnce() -> String) {
    if let Some((max_level, sink)) = &*SINK.read_recursive()
        && level <= *max_level
    {
        sink(level, &text());
    }
}
