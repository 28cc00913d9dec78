//! BERT and XLM-RoBERTa on packed rows: no padding, no mask, and the last layer only where it is wanted.

use prost::Message;

use super::onnx::{
    AttributeProto, BFLOAT16, Dimension, EXTERNAL, FLOAT, FLOAT16, GraphProto, INT8, INT32, INT64,
    ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorProto, value_info,
};
use crate::error::{Result, error};
use crate::model_dir::{EncoderConfig, Linear, NumberType, Weights, scale_of};

/// The domain of this library's own operators.
pub(crate) const OWN_DOMAIN: &str = "bge";
/// Inputs: query rows, key rows, value rows, where each sequence's query rows begin, and where its
/// key rows begin. Attribute: `num_heads`.
pub(crate) const ATTENTION_OPERATOR: &str = "PackedAttention";
/// Inputs and attribute as ONNX Runtime's operator of this name has them, which takes five times as
/// long: rows, rows to add, gain, shift, and a bias to add. Attribute: `epsilon`.
pub(crate) const NORM_OPERATOR: &str = "SkipLayerNormalization";

/// Inputs: rows, and a bias. Takes the memory of the rows for its output, so nothing else may read them.
pub(crate) const GELU_OPERATOR: &str = "BiasGelu";

/// Inputs: rows, and a bias. Attributes: `matrix`, which of the session's quantised matrices the rows
/// are multiplied with, and `gelu`, whether that function follows.
pub(crate) const INT8_OPERATOR: &str = "Int8Linear";

/// What the weights are multiplied in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ComputeType {
    /// Floating point of 32 bits.
    #[default]
    Fp32,
    /// Integers of 8 bits, with a scale for each row of a weight and for each token. Everything else
    /// stays in 32 bits.
    Int8,
}

impl ComputeType {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Int8 => "int8",
        }
    }
}

/// A graph, and what it needs beside the weights that it points to.
pub(crate) struct EncoderGraph {
    /// The bytes of an ONNX model.
    pub bytes: Vec<u8>,
    /// The weights that [`INT8_OPERATOR`] multiplies with, by its `matrix`.
    pub int8: Vec<String>,
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
/// * `row_offsets` `[sequences + 1]`: where each sequence's part of `rows` begins;
/// * `multi_rows` `[multi_rows]`: which of `rows`, counted within it, go through the head for
///   multi-vectors; not used without that head.
///
/// Outputs: `hidden` `[rows, hidden]`, and with a head `multi` `[multi_rows, the head's rows]`. If
/// `observe` is set, what goes into linear layers of floats is told, too.
pub(crate) fn encoder_graph(
    config: &EncoderConfig,
    weights: &Weights,
    multi: Option<&Linear>,
    compute_type: ComputeType,
    observe: bool,
) -> Result<EncoderGraph> {
    let int8 = (compute_type == ComputeType::Int8).then(Vec::new);
    let observed = observe.then(Vec::new);
    let mut graph = GraphWriter { weights, int8, observed, graph: GraphProto::default() };
    let eps = config.layer_norm_eps;

    let words = graph.embedding("embeddings.word_embeddings.weight", "input_ids")?;
    let positions = graph.embedding("embeddings.position_embeddings.weight", "position_ids")?;
    // Every token has type 0, so that row of the type table is a bias.
    let token_type =
        graph.weight_of_shape("embeddings.token_type_embeddings.weight", &[config.hidden])?;
    let mut hidden =
        graph.add_and_norm(words, positions, token_type, "embeddings.LayerNorm", eps)?;

    for layer in 0..config.layers {
        let name = |part: &str| format!("encoder.layer.{layer}.{part}");
        let last = layer + 1 == config.layers;
        // In the last layer the other rows are needed as keys and values only.
        let (queried, query_offsets) = if last {
            (graph.node("Gather", "", &[&hidden, "rows"], vec![]), "row_offsets")
        } else {
            (hidden.clone(), "offsets")
        };
        let query = graph.linear(&queried, &name("attention.self.query"))?;
        let key = graph.linear(&hidden, &name("attention.self.key"))?;
        let value = graph.linear(&hidden, &name("attention.self.value"))?;
        let attended = graph.node(
            ATTENTION_OPERATOR,
            OWN_DOMAIN,
            &[&query, &key, &value, query_offsets, "offsets"],
            vec![AttributeProto::int("num_heads", config.heads as i64)],
        );
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
    graph.name_last("hidden", config.hidden, "rows");
    if let Some(head) = multi {
        graph.multi_vectors(head);
    }
    Ok(graph.finish())
}

struct GraphWriter<'a> {
    weights: &'a Weights,
    /// The weights of integers, if there are any.
    int8: Option<Vec<String>>,
    /// The weights whose inputs are told, if any are.
    observed: Option<Vec<String>>,
    graph: GraphProto,
}

impl GraphWriter<'_> {
    /// Adds a node with one output, and returns the output's name.
    fn node(
        &mut self,
        op_type: &str,
        domain: &str,
        inputs: &[&str],
        attribute: Vec<AttributeProto>,
    ) -> String {
        let name = format!("{op_type}.{}", self.graph.node.len());
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|input| input.to_string()).collect(),
            output: vec![name.clone()],
            name: name.clone(),
            op_type: op_type.into(),
            attribute,
            domain: domain.into(),
        });
        name
    }

    fn weight(&mut self, name: &str) -> Result<String> {
        let shape = self.weights.get(name)?.place.shape.clone();
        self.weight_of_shape(name, &shape)
    }

    /// A tensor's first numbers, as many as the shape takes, in 32 bits. ONNX Runtime widens what
    /// is constant once, when it loads the graph.
    fn weight_of_shape(&mut self, name: &str, shape: &[usize]) -> Result<String> {
        let stored = self.initializer(name, shape)?;
        self.widened(name, stored)
    }

    /// What was taken of a tensor, in 32 bits.
    fn widened(&mut self, weight: &str, taken: String) -> Result<String> {
        Ok(match self.weights.get(weight)?.number_type {
            NumberType::F32 => taken,
            NumberType::F16 | NumberType::BF16 => self.cast_to_float(&taken),
            NumberType::I8 => {
                return Err(error!(Internal, "{weight} cannot be widened without its scales"));
            }
        })
    }

    fn cast_to_float(&mut self, x: &str) -> String {
        self.node("Cast", "", &[x], vec![AttributeProto::int("to", FLOAT.into())])
    }

    /// Points an initializer at the first bytes of a tensor, as many as the shape takes.
    fn initializer(&mut self, name: &str, shape: &[usize]) -> Result<String> {
        let weight = self.weights.get(name)?;
        let tensor = &weight.place;
        let length = (shape.iter().product::<usize>() * weight.number_type.width()) as u64;
        debug_assert!(length <= tensor.length);
        let entry = |key: &str, value: String| StringStringEntryProto { key: key.into(), value };
        self.graph.initializer.push(TensorProto {
            dims: shape.iter().map(|&dim| dim as i64).collect(),
            data_type: match weight.number_type {
                NumberType::F32 => FLOAT,
                NumberType::F16 => FLOAT16,
                NumberType::BF16 => BFLOAT16,
                NumberType::I8 => INT8,
            },
            name: name.into(),
            external_data: vec![
                entry("location", tensor.file.clone()),
                entry("offset", tensor.offset.to_string()),
                entry("length", length.to_string()),
            ],
            data_location: EXTERNAL,
            ..TensorProto::default()
        });
        Ok(name.into())
    }

    /// Writes numbers into the graph itself.
    fn constant(&mut self, name: &str, shape: &[usize], numbers: &[f32]) {
        self.graph.initializer.push(TensorProto {
            dims: shape.iter().map(|&dim| dim as i64).collect(),
            data_type: FLOAT,
            name: name.into(),
            raw_data: numbers.iter().flat_map(|x| x.to_le_bytes()).collect(),
            ..TensorProto::default()
        });
    }

    /// So many zeros, which are there once.
    fn zeros(&mut self, count: usize) -> String {
        let name = format!("zeros.{count}");
        if self.graph.initializer.iter().all(|tensor| tensor.name != name) {
            self.constant(&name, &[count], &vec![0.0; count]);
        }
        name
    }

    /// The head is in the graph so that it runs on ONNX Runtime's threads, and as one product for
    /// all texts of a run.
    fn multi_vectors(&mut self, head: &Linear) {
        self.constant("multi.weight", &[head.rows, head.columns], &head.weight);
        self.constant("multi.bias", &[head.rows], &head.bias);
        let states = self.node("Gather", "", &["hidden", "multi_rows"], vec![]);
        let inputs = [states.as_str(), "multi.weight", "multi.bias"];
        self.node("Gemm", "", &inputs, vec![AttributeProto::int("transB", 1)]);
        self.name_last("multi", head.rows, "multi_rows");
    }

    fn embedding(&mut self, table: &str, ids: &str) -> Result<String> {
        let shape = self.weights.get(table)?.place.shape.clone();
        let stored = self.initializer(table, &shape)?;
        // Widened row by row, so that the table stays in its file.
        let rows = self.node("Gather", "", &[&stored, ids], vec![]);
        if self.weights.get(table)?.number_type != NumberType::I8 {
            return self.widened(table, rows);
        }
        let scales = self.initializer(&scale_of(table), &[shape[0], 1])?;
        let scales = self.node("Gather", "", &[&scales, ids], vec![]);
        let rows = self.cast_to_float(&rows);
        Ok(self.node("Mul", "", &[&rows, &scales], vec![]))
    }

    /// `x Wᵀ`, and the name of the bias, which is left to the operator that follows.
    fn product(&mut self, x: &str, name: &str) -> Result<(String, String)> {
        let bias = format!("{name}.bias");
        if self.int8.is_some() {
            let zeros = self.zeros(self.weights.get(&bias)?.place.shape[0]);
            return Ok((self.int8_linear(x, name, &zeros, false), self.weight(&bias)?));
        }
        // The weight is as PyTorch stores it.
        let weight = self.weight(&format!("{name}.weight"))?;
        self.observe(x, name);
        let transposed = vec![AttributeProto::int("transB", 1)];
        Ok((self.node("Gemm", "", &[x, &weight], transposed), self.weight(&bias)?))
    }

    /// `x Wᵀ + b`.
    fn linear(&mut self, x: &str, name: &str) -> Result<String> {
        let bias = self.weight(&format!("{name}.bias"))?;
        if self.int8.is_some() {
            return Ok(self.int8_linear(x, name, &bias, false));
        }
        let weight = self.weight(&format!("{name}.weight"))?;
        self.observe(x, name);
        Ok(self.node("Gemm", "", &[x, &weight, &bias], vec![AttributeProto::int("transB", 1)]))
    }

    /// `gelu(x Wᵀ + b)`, the exact function.
    fn linear_gelu(&mut self, x: &str, name: &str) -> Result<String> {
        if self.int8.is_some() {
            let bias = self.weight(&format!("{name}.bias"))?;
            return Ok(self.int8_linear(x, name, &bias, true));
        }
        let (product, bias) = self.product(x, name)?;
        Ok(self.node(GELU_OPERATOR, OWN_DOMAIN, &[&product, &bias], vec![]))
    }

    /// Tells the largest magnitude of each column of what a linear layer is given, if such is wanted.
    fn observe(&mut self, x: &str, name: &str) {
        let Some(observed) = &mut self.observed else { return };
        let weight = format!("{name}.weight");
        if observed.is_empty() {
            self.graph.initializer.push(TensorProto {
                dims: vec![1],
                data_type: INT64,
                name: "rows.axis".into(),
                raw_data: 0_i64.to_le_bytes().to_vec(),
                ..TensorProto::default()
            });
        }
        observed.push(weight.clone());
        let magnitudes = self.node("Abs", "", &[x], vec![]);
        let only_columns = vec![AttributeProto::int("keepdims", 0)];
        self.node("ReduceMax", "", &[&magnitudes, "rows.axis"], only_columns);
        if let Some(last) = self.graph.node.last_mut() {
            last.output = vec![observed_output(&weight)];
        }
        let columns = [Dimension::Name("columns")];
        self.graph.output.push(value_info(&observed_output(&weight), FLOAT, &columns));
    }

    fn int8_linear(&mut self, x: &str, name: &str, bias: &str, gelu: bool) -> String {
        let matrices = self.int8.get_or_insert_default();
        let matrix = matrices.len() as i64;
        matrices.push(format!("{name}.weight"));
        let attributes =
            vec![AttributeProto::int("matrix", matrix), AttributeProto::int("gelu", gelu.into())];
        self.node(INT8_OPERATOR, OWN_DOMAIN, &[x, bias], attributes)
    }

    /// LayerNorm of the sum of two rows and a bias.
    fn add_and_norm(
        &mut self,
        x: String,
        skip: String,
        bias: String,
        norm: &str,
        eps: f32,
    ) -> Result<String> {
        let gain = self.weight(&format!("{norm}.weight"))?;
        let shift = self.weight(&format!("{norm}.bias"))?;
        Ok(self.node(
            NORM_OPERATOR,
            OWN_DOMAIN,
            &[&x, &skip, &gain, &shift, &bias],
            vec![AttributeProto::float("epsilon", eps)],
        ))
    }

    /// Makes what was computed last an output, of that name.
    fn name_last(&mut self, name: &str, width: usize, rows: &'static str) {
        if let Some(last) = self.graph.node.last_mut() {
            last.output = vec![name.into()];
        }
        let shape = [Dimension::Name(rows), Dimension::Size(width)];
        self.graph.output.push(value_info(name, FLOAT, &shape));
    }

    fn finish(mut self) -> EncoderGraph {
        let row = |name| Dimension::Name(name);
        self.graph.name = "encoder".into();
        self.graph.input = vec![
            value_info("input_ids", INT32, &[row("tokens")]),
            value_info("position_ids", INT32, &[row("tokens")]),
            value_info("offsets", INT32, &[row("boundaries")]),
            value_info("rows", INT32, &[row("rows")]),
            value_info("row_offsets", INT32, &[row("boundaries")]),
            value_info("multi_rows", INT32, &[row("multi_rows")]),
        ];
        let opset = |domain: &str, version| OperatorSetIdProto { domain: domain.into(), version };
        let model = ModelProto {
            ir_version: 10,
            producer_name: "libbge".into(),
            graph: Some(self.graph),
            opset_import: vec![opset("", 20), opset(OWN_DOMAIN, 1)],
        };
        EncoderGraph {
            bytes: model.encode_to_vec(),
            int8: self.int8.unwrap_or_default(),
            observed: self.observed.unwrap_or_default(),
        }
    }
}
