//! The vectors of texts, from one caller and from many.

pub mod golden;
pub mod int8;
pub mod many_callers;
pub mod memory;
pub mod per_text_errors;
pub mod short_calls;
pub mod sparse_and_multi;
