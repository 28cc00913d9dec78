//! BERT and XLM-RoBERTa on packed rows: no padding, no mask, and in the last layer only the rows
//! that are read.

use super::names::{ATTENTION_OPERATOR, CUDA_ATTENTION_OPERATOR, MICROSOFT_DOMAIN, OWN_DOMAIN};
use super::onnx::AttributeProto;
use super::target::Target;
use super::writer::{EncoderGraph, GraphWriter};
use crate::device::Device;
use crate::error::Result;
use crate::model_dir::EncoderParts;

/// Writes the graph.
///
/// The sequences of a batch lie end to end. Inputs, all int32:
///
/// * `input_ids`, `position_ids` `[tokens]`;
/// * `offsets` `[sequences + 1]`: where each sequence begins, and where the last one ends;
/// * `rows` `[rows]`: the rows whose final states are outputs, in ascending order;
/// * on the CPU `row_offsets` `[sequences + 1]`: where each sequence's part of `rows` begins; on a
///   GPU instead `token_offset` `[sequences, longest]`: the index that each token would have if
///   sequences were padded to the longest, followed by all indices of padding;
/// * `multi_rows` `[multi_rows]`: which of `rows`, counted within it, go through the head for
///   multi-vectors; not used without that head.
///
/// For TensorRT, sequences are padded to one length: `input_ids`, `position_ids` and
/// `attention_mask`, 1 for tokens and 0 for padding, are `[texts, length]`; `rows` are indices
/// into all of them, and `multi_rows` exists only with the head.
///
/// Outputs, in 32 bits: `hidden` `[rows, hidden]`, and with a head `multi` `[multi_rows, the head's
/// rows]`.
pub(crate) fn encoder_graph(parts: EncoderParts<'_>, target: Target) -> Result<EncoderGraph> {
    let EncoderParts { config, weights, multi } = parts;
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
        let querying = if target.device == Device::Cpu { &queried } else { &hidden };
        let [query, key, value] =
            ["query", "key", "value"].map(|part| name(&format!("attention.self.{part}")));
        let [query, key, value] = if *querying == hidden {
            graph.linears(&hidden, [&query, &key, &value])?
        } else {
            let [key, value] = graph.linears(&hidden, [&key, &value])?;
            [graph.linear(querying, &query)?, key, value]
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
