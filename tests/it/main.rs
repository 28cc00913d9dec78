//! The tests of the library from outside, in one program: ONNX Runtime is linked once.

mod golden;
mod header;
mod schedule;
