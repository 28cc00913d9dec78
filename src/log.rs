//! The log of the process: one sink for all lines, and none by default.

use std::sync::Once;

use parking_lot::RwLock;

use crate::numbered::numbered;

numbered! {
    /// The level of a line. A sink that takes one level takes all levels before it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub enum LogLevel: u32 {
        /// Something failed.
        Error = 1,
        /// Something works, but worse than it could.
        Warn = 2,
        /// A rare and notable event, such as the opening of a model.
        Info = 3,
        /// Details that help to find a bug in this library.
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

/// Sends log lines up to `max_level` to `sink`, which replaces the sink before.
///
/// When this returns, the previous sink is not running and never will be. A sink may run on any
/// thread, on several at once, and must not call this library.
pub fn set_log_sink(max_level: LogLevel, sink: impl Fn(LogLevel, &str) + Send + Sync + 'static) {
    *SINK.write() = Some((max_level, Box::new(sink)));
}

/// Removes the sink, so that log lines are dropped.
pub fn clear_log_sink() {
    *SINK.write() = None;
}

/// Sends the messages of panics to the log, from now on. Rust would print them to the standard
/// error before a panic can be caught, but in a host of another language that stream is not the
/// library's.
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
