//! How the command fails: its messages and exit codes.

use bge::ErrorKind;

/// Why the command ends early, and with which exit code.
pub(crate) enum Failure {
    Usage(String),
    Input(String),
    /// Some lines were answered with an error: their number, and that of all lines.
    Texts(usize, usize),
    Model(bge::Error),
    Stream(std::io::Error),
    Selftest(String),
    OtherModel(String),
}

impl From<bge::Error> for Failure {
    fn from(e: bge::Error) -> Self {
        Self::Model(e)
    }
}

impl From<std::io::Error> for Failure {
    fn from(e: std::io::Error) -> Self {
        Self::Stream(e)
    }
}

impl Failure {
    pub fn message(&self) -> String {
        match self {
            Self::Usage(message)
            | Self::Input(message)
            | Self::Selftest(message)
            | Self::OtherModel(message) => message.clone(),
            Self::Texts(failed, lines) => {
                format!("{failed} of {lines} lines have an \"error\" for an answer")
            }
            Self::Model(e) => e.to_string(),
            Self::Stream(e) => format!("reading or writing failed: {e}"),
        }
    }

    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Input(_) | Self::Texts(..) => 1,
            Self::Stream(_) => 4,
            Self::Selftest(_) => 6,
            Self::OtherModel(_) => 7,
            Self::Model(e) => match e.kind() {
                ErrorKind::InvalidUtf8 | ErrorKind::TextTooLong => 1,
                ErrorKind::InvalidArgument => 2,
                // The model needs a feature that this version does not have.
                ErrorKind::Unsupported
                | ErrorKind::ModelNotFound
                | ErrorKind::ModelInvalid
                | ErrorKind::RuntimeUnavailable
                | ErrorKind::NotFinite => 3,
                _ => 5,
            },
        }
    }
}
