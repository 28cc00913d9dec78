//! Rules that the sources keep.

pub mod imports;
pub mod sources;
