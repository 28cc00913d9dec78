//! The library's own arithmetic, from vector instructions up to the layers of an encoder.
//!
//! ```text
//! simd         which vector instructions there are, and what all kernels do with them
//! parts        the independent parts of a kernel's work, each run exactly once
//! normalize    a vector scaled to length 1
//! gelu         the activation between the two linear layers of a feed-forward block
//! layer_norm   LayerNorm of a sum, after each half of an encoder layer
//! linear       linear layers, with weights in 32-bit floats or in 8-bit integers
//! attention    attention over packed texts
//! ```
//!
//! Matrix products use the letters of BLIS: a micro-kernel multiplies MR rows of activations by NR
//! columns of the result, KC elements along the sum at a time, and a block has MC rows.

pub(crate) mod attention;
pub(crate) mod gelu;
pub(crate) mod layer_norm;
pub(crate) mod linear;
pub(crate) mod normalize;
mod parts;
pub(crate) mod simd;
#[cfg(test)]
mod testing;
