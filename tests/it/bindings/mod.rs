//! The header and the bindings, each by the tools of its language.

pub mod c;
pub mod cpp;
pub mod go;
pub mod header;
pub mod java;
