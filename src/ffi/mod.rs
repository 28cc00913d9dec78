//! The C ABI. `include/bge.h` is generated from here, so comments on what is public are written
//! for a reader of C, and the modules stand in the order of the header.
//!
//! Every function takes its arguments through [`boundary`], calls one safe function and hands
//! back. All that handles a raw pointer of the caller is in [`boundary`].

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
