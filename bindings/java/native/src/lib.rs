//! The native methods of `dev.libbge.Native`, over the crate `bge`.
//!
//! Java holds models and switches by numbers, and [`handles`] holds their values, so that a closed
//! model is an error and never a dangling pointer. Every method runs within [`boundary::guard`],
//! and only [`boundary`] handles pointers.

mod boundary;
mod encode;
mod handles;
mod library;
mod model;
mod results;
mod scores;
