//! The tests of the library from outside, in one program: ONNX Runtime is linked once.

mod bench;
mod bindings;
mod command;
mod directory;
mod docs;
mod encode;
mod examples;
mod packaging;
mod rules;
mod runtime;
mod similarity;
mod support;
