//! Rules that the sources keep.

pub mod imports;
pub mod numbers;
pub mod sources;
