//! The C ABI. `include/bge.h` is generated from these files, so comments on public items are
//! written for a reader of C. tests/it/header.rs orders the items of the header.
//!
//! Every function checks its arguments by [`boundary`], calls one safe function of the crate, and
//! writes the results by [`boundary`], which alone handles raw pointers of the caller.

#![expect(non_camel_case_types, reason = "these are the names of the C types")]

mod boundary;
mod caller;
mod constants;
mod encode;
mod encode_result;
mod enums;
mod layout;
mod library;
mod model;
mod output_buffers;
mod quantize_embeddings;
mod similarity;
mod similarity_sparse_multi;
mod types;
