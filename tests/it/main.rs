//! The tests of the library from outside, in one program: ONNX Runtime is linked once.

#[cfg(feature = "cli")]
mod command;
mod golden;
mod header;
mod schedule;
