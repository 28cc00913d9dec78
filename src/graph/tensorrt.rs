//! The parts of the encoder for TensorRT, which has only ONNX's own operators: texts padded to one
//! length, and a mask.

use super::onnx::{AttributeProto, BFLOAT16, FLOAT, FLOAT16, INT64, TensorProto};
use super::writer::GraphWriter;
use crate::error::Result;
use crate::model_dir::EncoderConfig;

/// The number that is added to the attention scores of padding. Its softmax is 0, and 16 bits can
/// hold it.
const MASKED: f32 = -1e4;

/// The tensors that attention reads in every layer.
pub(super) struct Padding {
    /// `[texts, 1, 1, length]`: zero, and [`MASKED`] where there is padding.
    mask: String,
    /// The shape of states that are divided among heads: `[texts, length, heads, head_dim]`.
    heads_shape: String,
    /// The shape of states as rows.
    rows_shape: String,
    /// The factor of queries, which keeps their products with keys within 16 bits.
    scale: String,
}

impl GraphWriter<'_> {
    /// Computes from the inputs what attention reads in every layer.
    pub fn padding(&mut self, config: &EncoderConfig) -> Padding {
        let head_dim = config.hidden / config.heads;
        let numbers = self.states_type();
        let one = self.number("one", 1.0);
        let masked = self.number("masked", MASKED);
        let scale = self.number("query.scale", 1.0 / (head_dim as f32).sqrt());
        let present = self.cast("attention_mask", numbers);
        let missing = self.node("Sub", "", &[&one, &present], vec![]);
        let mask = self.node("Mul", "", &[&missing, &masked], vec![]);
        let axes = self.integers("mask.axes", &[1, 2]);
        let mask = self.node("Unsqueeze", "", &[&mask, &axes], vec![]);
        let texts_and_length = self.node("Shape", "", &["attention_mask"], vec![]);
        let heads = self.integers("heads", &[config.heads as i64, head_dim as i64]);
        let axis = vec![AttributeProto::int("axis", 0)];
        let heads_shape = self.node("Concat", "", &[&texts_and_length, &heads], axis);
        let rows_shape = self.integers("rows.shape", &[-1, config.hidden as i64]);
        Padding { mask, heads_shape, rows_shape, scale }
    }

    /// Turns `[texts, length, hidden]` into rows, text after text.
    pub fn as_rows(&mut self, states: &str, padding: &Padding) -> String {
        self.node("Reshape", "", &[states, &padding.rows_shape], vec![])
    }

    /// The attention of every row to those of its text.
    pub fn padded_attention(
        &mut self,
        query: &str,
        key: &str,
        value: &str,
        padding: &Padding,
    ) -> String {
        let query = self.node("Mul", "", &[query, &padding.scale], vec![]);
        let query = self.divided(&query, padding, [0, 2, 1, 3]);
        let key = self.divided(key, padding, [0, 2, 3, 1]);
        let value = self.divided(value, padding, [0, 2, 1, 3]);
        let scores = self.node("MatMul", "", &[&query, &key], vec![]);
        let scores = self.node("Add", "", &[&scores, &padding.mask], vec![]);
        let shares = self.node("Softmax", "", &[&scores], vec![AttributeProto::int("axis", -1)]);
        let attended = self.node("MatMul", "", &[&shares, &value], vec![]);
        let order = vec![AttributeProto::ints("perm", &[0, 2, 1, 3])];
        let attended = self.node("Transpose", "", &[&attended], order);
        self.as_rows(&attended, padding)
    }

    /// Divides rows among heads, and reorders the axes.
    fn divided(&mut self, rows: &str, padding: &Padding, order: [i64; 4]) -> String {
        let states = self.node("Reshape", "", &[rows, &padding.heads_shape], vec![]);
        self.node("Transpose", "", &[&states], vec![AttributeProto::ints("perm", &order)])
    }

    /// LayerNorm of the sum of two states and a bias, all of it in 32 bits: in 16 the squares of
    /// some models' channels are infinite.
    pub fn add_and_norm_in_32_bits(
        &mut self,
        x: &str,
        skip: &str,
        bias: &str,
        norm: &str,
        eps: f32,
    ) -> Result<String> {
        let gain = self.weight_in(&format!("{norm}.weight"), FLOAT)?;
        let shift = self.weight_in(&format!("{norm}.bias"), FLOAT)?;
        let x = self.widened(x);
        let skip = self.widened(skip);
        let sum = self.node("Add", "", &[&x, &skip], vec![]);
        let sum = self.node("Add", "", &[&sum, bias], vec![]);
        let attributes =
            vec![AttributeProto::int("axis", -1), AttributeProto::float("epsilon", eps)];
        let normed = self.node("LayerNormalization", "", &[&sum, &gain, &shift], attributes);
        Ok(match self.states_type() {
            FLOAT => normed,
            numbers => self.cast(&normed, numbers),
        })
    }

    /// GELU by the error function, without approximation.
    pub fn standard_gelu(&mut self, x: &str) -> String {
        self.node("Gelu", "", &[x], vec![])
    }

    fn widened(&mut self, states: &str) -> String {
        match self.states_type() {
            FLOAT => states.into(),
            _ => self.cast(states, FLOAT),
        }
    }

    /// A constant of the type of states.
    fn number(&mut self, name: &str, number: f32) -> String {
        let raw_data = match self.states_type() {
            FLOAT16 => half::f16::from_f32(number).to_le_bytes().to_vec(),
            BFLOAT16 => half::bf16::from_f32(number).to_le_bytes().to_vec(),
            _ => number.to_le_bytes().to_vec(),
        };
        let data_type = self.states_type();
        self.tensor(TensorProto { data_type, name: name.into(), raw_data, ..Default::default() })
    }

    fn integers(&mut self, name: &str, integers: &[i64]) -> String {
        self.tensor(TensorProto {
            dims: vec![integers.len() as i64],
            data_type: INT64,
            name: name.into(),
            raw_data: integers.iter().flat_map(|x| x.to_le_bytes()).collect(),
            ..Default::default()
        })
    }
}
