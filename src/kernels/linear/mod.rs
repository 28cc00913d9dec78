//! Linear layers: y = activation(x Wᵀ + bias), in 32-bit floats or in 8-bit integers.
//!
//! Weights are packed once, in the order in which the vectors of this processor read them. A row of
//! the result depends on its row of activations and the weight only: not on the other rows, or the
//! number of threads.

mod blocking;
mod fp32;
mod int8;
mod packed_file;
mod packed_matrix;
mod packed_memory;
mod prefetch_cursor;
mod product;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use super::parts::ParallelFor;

pub(crate) use int8::{WORKING_BYTES as INT8_WORKING_BYTES, quantize_row};
pub(crate) use packed_file::PackedFile;
pub(crate) use packed_matrix::{Format, Numbers, PackedMatrix, Source};
pub(crate) use packed_memory::Region;
pub(crate) use product::{Activation, Product};

/// Whether this processor multiplies floats faster by this module than by ONNX Runtime.
pub(crate) fn fp32_is_worth_it() -> bool {
    fp32::is_worth_it()
}

/// Whether this processor multiplies integers faster than floats.
pub(crate) fn int8_is_worth_it() -> bool {
    int8::is_worth_it()
}

/// Writes y = activation(x Wᵀ + bias) for each row of x and each of the products. Products of one
/// call share the quantized rows, and wait for threads once. `parallel_for` runs the independent
/// parts.
///
/// # Errors
/// When the lengths do not fit together, or `parallel_for` did not run each part.
pub(crate) fn linear(
    x: &[f32],
    products: Vec<Product<'_, PackedMatrix>>,
    parallel_for: &ParallelFor<'_>,
) -> Result<(), String> {
    let (mut floats, mut integers) = (Vec::new(), Vec::new());
    for Product { matrix, bias, activation, y } in products {
        match matrix {
            PackedMatrix::Fp32(matrix) => floats.push(Product { matrix, bias, activation, y }),
            PackedMatrix::Int8(matrix) => integers.push(Product { matrix, bias, activation, y }),
        }
    }
    fp32::linear(x, floats, parallel_for)?;
    int8::linear(x, integers, parallel_for)
}
