//! The native methods of `dev.libbge.Native`, over the crate `bge`.
//!
//! Models and switches are numbers in Java and stay in [`handles`] here, so that a number that was
//! closed is an error and never a dangling pointer. Every method goes through
//! [`boundary::guard`], and all that handles a pointer is in [`boundary`].

mod boundary;
mod encode;
mod handles;
mod library;
mod model;
mod results;
mod scores;
