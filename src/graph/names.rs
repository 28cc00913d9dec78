//! The operators that a graph uses beyond ONNX's own, and the names of its observed outputs.

/// The domain of this library's own operators, which run on the CPU.
pub(crate) const OWN_DOMAIN: &str = "bge";

/// The domain of ONNX Runtime's operators that are not part of ONNX. The graph for CUDA uses them.
pub(crate) const MICROSOFT_DOMAIN: &str = "com.microsoft";

/// Attention over packed rows. Inputs: query rows, key rows, value rows, where each sequence's
/// query rows begin, and where its key rows begin. Attribute: `num_heads`.
pub(crate) const ATTENTION_OPERATOR: &str = "PackedAttention";

/// ONNX Runtime's attention over packed rows, for CUDA. Inputs: query, key and value rows, no bias,
/// `token_offset`, and where each sequence begins. Attribute: `num_heads`.
pub(crate) const CUDA_ATTENTION_OPERATOR: &str = "PackedMultiHeadAttention";

/// LayerNorm of a sum. Inputs: rows, rows to add, gain, shift, and a bias to add. Attribute:
/// `epsilon`. ONNX Runtime's operator of this name has the same inputs, but takes five times as
/// long on the CPU.
pub(crate) const NORM_OPERATOR: &str = "SkipLayerNormalization";

/// GELU. Inputs: rows, and a bias. The output takes the memory of the rows, so no other node may
/// read them.
pub(crate) const GELU_OPERATOR: &str = "BiasGelu";

/// Linear layers. Inputs: rows, and a bias for each output. Attributes: `matrices`, the index of
/// the session's packed matrix for each output, and `gelu`, whether GELU follows.
pub(crate) const LINEAR_OPERATOR: &str = "Linear";

/// The output with the largest magnitudes of the input of a linear layer.
pub(crate) fn observed_output(weight: &str) -> String {
    format!("input of {weight}")
}
