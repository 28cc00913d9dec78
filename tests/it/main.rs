//! The tests of the library from outside, in one program: ONNX Runtime is linked once.

mod artefact;
mod built;
mod c;
mod golden;
mod header;
mod panics;
mod tidy;
