//! What went wrong: a kind that a program can act on, and a sentence for a person.

use std::ffi::CStr;
use std::fmt;

/// The outcome of everything here that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The kinds of failure, one for each `BGE_ERROR_` code of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument is out of range, or a needed one is missing.
    InvalidArgument,
    /// A text or a path is not UTF-8.
    InvalidUtf8,
    /// A text is longer than the limit, and cutting it was forbidden.
    TextTooLong,
    /// A buffer is too small for the results.
    BufferTooSmall,
    /// This library or this model cannot do what was asked.
    Unsupported,
    /// A file of the model does not exist or cannot be read.
    ModelNotFound,
    /// The files of the model were read but do not make a usable model.
    ModelInvalid,
    /// ONNX Runtime or the device that was asked for is not available.
    RuntimeUnavailable,
    /// Memory ran out.
    OutOfMemory,
    /// A number of a result is NaN or infinite.
    NotFinite,
    /// The call was stopped by its [`Cancel`](crate::Cancel).
    Cancelled,
    /// The call was stopped by its timeout.
    Timeout,
    /// The queue of asynchronous calls is full.
    QueueFull,
    /// The model was closed before the call could finish.
    Closed,
    /// ONNX Runtime failed while it ran the model.
    Inference,
    /// A bug in this library.
    Internal,
}

impl ErrorKind {
    pub(crate) const ALL: [Self; 16] = [
        Self::InvalidArgument,
        Self::InvalidUtf8,
        Self::TextTooLong,
        Self::BufferTooSmall,
        Self::Unsupported,
        Self::ModelNotFound,
        Self::ModelInvalid,
        Self::RuntimeUnavailable,
        Self::OutOfMemory,
        Self::NotFinite,
        Self::Cancelled,
        Self::Timeout,
        Self::QueueFull,
        Self::Closed,
        Self::Inference,
        Self::Internal,
    ];

    /// Its name in the header, as `BGE_ERROR_TIMEOUT`.
    pub fn name(self) -> &'static str {
        self.c_name().to_str().unwrap_or_default()
    }

    pub(crate) fn c_name(self) -> &'static CStr {
        match self {
            Self::InvalidArgument => c"BGE_ERROR_INVALID_ARGUMENT",
            Self::InvalidUtf8 => c"BGE_ERROR_INVALID_UTF8",
            Self::TextTooLong => c"BGE_ERROR_TEXT_TOO_LONG",
            Self::BufferTooSmall => c"BGE_ERROR_BUFFER_TOO_SMALL",
            Self::Unsupported => c"BGE_ERROR_UNSUPPORTED",
            Self::ModelNotFound => c"BGE_ERROR_MODEL_NOT_FOUND",
            Self::ModelInvalid => c"BGE_ERROR_MODEL_INVALID",
            Self::RuntimeUnavailable => c"BGE_ERROR_RUNTIME_UNAVAILABLE",
            Self::OutOfMemory => c"BGE_ERROR_OUT_OF_MEMORY",
            Self::NotFinite => c"BGE_ERROR_NOT_FINITE",
            Self::Cancelled => c"BGE_ERROR_CANCELLED",
            Self::Timeout => c"BGE_ERROR_TIMEOUT",
            Self::QueueFull => c"BGE_ERROR_QUEUE_FULL",
            Self::Closed => c"BGE_ERROR_CLOSED",
            Self::Inference => c"BGE_ERROR_INFERENCE",
            Self::Internal => c"BGE_ERROR_INTERNAL",
        }
    }
}

/// A failure: its kind, a sentence, and which text of the call is to blame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    text_index: Option<usize>,
    runtime_code: i32,
}

impl Error {
    /// An error of the caller's own, in the terms of this library, as a binding has them.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), text_index: None, runtime_code: 0 }
    }

    /// The same, with the index of the text that is to blame.
    pub fn at_text(mut self, index: usize) -> Self {
        self.text_index = Some(index);
        self
    }

    pub(crate) fn with_runtime_code(mut self, code: i32) -> Self {
        self.runtime_code = code;
        self
    }

    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The index of the text that is to blame, if a single one is.
    pub fn text_index(&self) -> Option<usize> {
        self.text_index
    }

    /// ONNX Runtime's own error code, or zero.
    pub fn runtime_code(&self) -> i32 {
        self.runtime_code
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// `error!(ModelInvalid, "{file}: ...")`: an [`Error`] with a formatted message.
macro_rules! error {
    ($kind:ident, $($message:tt)+) => {
        $crate::error::Error::new($crate::error::ErrorKind::$kind, format!($($message)+))
    };
}
pub(crate) use error;
