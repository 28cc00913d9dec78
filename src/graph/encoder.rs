//! BERT and XLM-RoBERTa on packed rows: no padding, no mask, and the last layer only where it is wanted.

use super::onnx::AttributeProto;
use super::target::Target;
use super::writer::GraphWriter;
use crate::device::Device;
use crate::error::Result;
use crate::model_dir::{EncoderConfig, Linear, Weights};

/// The domain of this library's own operators, which run on the CPU.
pub(crate) const OWN_DOMAIN: &str = "bge";
/// The domain of those operators of ONNX Runtime that ONNX has not, which a GPU gets.
pub(crate) const MICROSOFT_DOMAIN: &str = "com.microsoft";
/// Inputs: query rows, key rows, value rows, where each sequence's query rows begin, and where its
/// key rows begin. Attribute: `num_heads`.
pub(crate) const ATTENTION_OPERATOR: &str = "PackedAttention";
/// ONNX Runtime's for CUDA. Inputs: query, key and value rows, no bias, `token_offset`, and where each
/// sequence begins. Attribute: `num_heads`.
pub(crate) const CUDA_ATTENTION_OPERATOR: &str = "PackedMultiHeadAttention";
/// Inputs and attribute as ONNX Runtime's operator of this name has them, which takes five times as
/// long: rows, rows to add, gain, shift, and a bias to add. Attribute: `epsilon`.
pub(crate) const NORM_OPERATOR: &str = "SkipLayerNormalization";

/// Inputs: rows, and a bias. Takes the memory of the rows for its output, so nothing else may read them.
pub(crate) const GELU_OPERATOR: &str = "BiasGelu";

/// Inputs: rows, and a bias for each output. Attributes: `matrices`, which of the session's packed
/// matrices the rows are multiplied with for each output, and `gelu`, whether that function follows.
pub(crate) const LINEAR_OPERATOR: &str = "Linear";

/// A graph, and what it needs beside the weights that it points to.
pub(crate) struct EncoderGraph {
    /// The bytes of an ONNX model.
    pub bytes: Vec<u8>,
    /// The weights that [`LINEAR_OPERATOR`] multiplies with, by its `matrices`.
    pub packed: Vec<String>,
    /// The weights whose inputs are observed: an output of the name that [`observed_output`] makes
    /// of it has the largest magnitude of each column.
    pub observed: Vec<String>,
}

/// The output that tells of the input of a linear layer.
pub(crate) fn observed_output(weight: &str) -> String {
    format!("input of {weight}")
}

/// Writes the graph.
///
/// The sequences of a batch lie end to end. Inputs, all int32:
///
/// * `input_ids`, `position_ids` `[tokens]`;
/// * `offsets` `[sequences + 1]`: where each sequence begins, and where the last one ends;
/// * `rows` `[rows]`: the rows whose final state is wanted, in ascending order;
/// * `row_offsets` `[sequences + 1]`: where each sequence's part of `rows` begins; in its place on a
///   GPU `token_offset` `[sequences, longest]`: where each token would be if sequences were padded
///   to the longest, and then all places of padding;
/// * `multi_rows` `[multi_rows]`: which of `rows`, counted within it, go through the head for
///   multi-vectors; not used without that head.
///
/// For TensorRT, sequences are padded to one length: `input_ids`, `position_ids` and
/// `attention_mask`, 1 for tokens and 0 for padding, are `[texts, length]`; `rows` are counted
/// through all of them, and `multi_rows` is there only with the head.
///
/// Outputs, in 32 bits: `hidden` `[rows, hidden]`, and with a head `multi` `[multi_rows, the head's
/// rows]`.
pub(crate) fn encoder_graph(
    config: &EncoderConfig,
    weights: &Weights,
    multi: Option<&Linear>,
    target: Target,
) -> Result<EncoderGraph> {
    let mut graph = GraphWriter::new(weights, target);
    let eps = config.layer_norm_eps;

    let words = graph.embedding("embeddings.word_embeddings.weight", "input_ids")?;
    let positions = graph.embedding("embeddings.position_embeddings.weight", "position_ids")?;
    // Every token has type 0, so that row of the type table is a bias.
    let token_type =
        graph.bias_of_norm("embeddings.token_type_embeddings.weight", &[config.hidden])?;
    let mut hidden =
        graph.add_and_norm(words, positions, token_type, "embeddings.LayerNorm", eps)?;
    let padding = match target.device {
        Device::Cpu | Device::Cuda(_) => None,
        Device::TensorRt(_) => Some(graph.padding(config)),
    };
    if let Some(padding) = &padding {
        hidden = graph.as_rows(&hidden, padding);
    }

    for layer in 0..config.layers {
        let name = |part: &str| format!("encoder.layer.{layer}.{part}");
        let last = layer + 1 == config.layers;
        // In the last layer the other rows are needed as keys and values only.
        let queried = match last {
            true => graph.node("Gather", "", &[&hidden, "rows"], vec![]),
            false => hidden.clone(),
        };
        // On a GPU, attention has as many queries as keys.
        let asking = if target.device == Device::Cpu { &queried } else { &hidden };
        let [query, key, value] =
            ["query", "key", "value"].map(|of| name(&format!("attention.self.{of}")));
        let [query, key, value] = if *asking == hidden {
            graph.linears(&hidden, [&query, &key, &value])?
        } else {
            let [key, value] = graph.linears(&hidden, [&key, &value])?;
            [graph.linear(asking, &query)?, key, value]
        };
        let heads = vec![AttributeProto::int("num_heads", config.heads as i64)];
        let mut attended = match (target.device, &padding) {
            (_, Some(padding)) => graph.padded_attention(&query, &key, &value, padding),
            (Device::Cpu, None) => {
                let query_offsets = if last { "row_offsets" } else { "offsets" };
                let inputs = [&query, &key, &value, query_offsets, "offsets"];
                graph.node(ATTENTION_OPERATOR, OWN_DOMAIN, &inputs, heads)
            }
            (_, None) => {
                let inputs = [&query, &key, &value, "", "token_offset", "offsets"];
                graph.node(CUDA_ATTENTION_OPERATOR, MICROSOFT_DOMAIN, &inputs, heads)
            }
        };
        if last && target.device != Device::Cpu {
            attended = graph.node("Gather", "", &[&attended, "rows"], vec![]);
        }
        let (projected, bias) = graph.product(&attended, &name("attention.output.dense"))?;
        let attended = graph.add_and_norm(
            projected,
            queried,
            bias,
            &name("attention.output.LayerNorm"),
            eps,
        )?;
        let activated = graph.linear_gelu(&attended, &name("intermediate.dense"))?;
        let (narrowed, bias) = graph.product(&activated, &name("output.dense"))?;
        hidden = graph.add_and_norm(narrowed, attended, bias, &name("output.LayerNorm"), eps)?;
    }
    graph.widened_states(&hidden);
    graph.name_last("hidden", config.hidden, "rows");
    if let Some(head) = multi {
        graph.multi_vectors(head);
    }
    graph.finish()
}
