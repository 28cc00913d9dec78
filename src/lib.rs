//! Text embeddings of BAAI/bge-m3 and its fine-tunes, in process.
mod error;
pub use error::{Error, ErrorKind, Result};
