//! The documents.

#[cfg(feature = "cli")]
pub mod code_blocks;
pub mod documents;
