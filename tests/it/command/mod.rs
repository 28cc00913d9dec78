//! The command `bge`.

pub mod evaluate;
#[cfg(feature = "cli")]
pub mod interrupted;
#[cfg(feature = "cli")]
pub mod lines;
pub mod quantize_model;
#[cfg(feature = "cli")]
pub mod scores;
#[cfg(feature = "cli")]
pub mod selftest;
#[cfg(feature = "cli")]
pub mod streams;
