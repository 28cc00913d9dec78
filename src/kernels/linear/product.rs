//! One linear layer applied to rows of activations: its operands, and the memory of its result.

/// The first words of the errors of linear layers.
pub(super) const KERNEL: &str = "linear layer";

/// The activation after a linear layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Activation {
    None,
    /// x Φ(x), by the error function and not by tanh.
    Gelu,
}

/// A linear layer, and the memory for its result.
pub(crate) struct Product<'a, Matrix> {
    pub matrix: &'a Matrix,
    pub bias: &'a [f32],
    pub activation: Activation,
    pub y: &'a mut [f32],
}

/// The number of rows of activations.
///
/// # Errors
/// When the lengths of the operands do not fit together.
pub(super) fn count_rows(
    x: &[f32],
    (outputs, inputs): (usize, usize),
    bias: &[f32],
    y: &[f32],
) -> Result<usize, String> {
    let count = x.len().checked_div(inputs).unwrap_or_else(|| y.len() / outputs.max(1));
    if x.len() != count * inputs || y.len() != count * outputs || bias.len() != outputs {
        return Err(format!(
            "{KERNEL}: a weight of {outputs} x {inputs}, {} elements in, {} out, a bias of {}",
            x.len(),
            y.len(),
            bias.len()
        ));
    }
    Ok(count)
}
