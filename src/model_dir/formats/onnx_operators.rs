//! The operators that an ONNX export may have: those that encoders consist of.
//!
//! A graph is a program. A loop, or functions that call each other twice over, can run for ever
//! however small the file is, and every further operator is more code that a stranger can call.

use std::collections::{BTreeMap, BTreeSet};

/// Operators of ONNX itself that the exporters of torch (both), optimum, Xenova's and ONNX
/// Runtime's own tools write for encoders, or that quantizing them adds.
const ONNX: &[&str] = &[
    "Abs",
    "Add",
    "And",
    "ArgMax",
    "ArgMin",
    "Attention",
    "BatchNormalization",
    "Cast",
    "CastLike",
    "Ceil",
    "Celu",
    "Clip",
    "Compress",
    "Concat",
    "Constant",
    "ConstantOfShape",
    "Cos",
    "CumSum",
    "DequantizeLinear",
    "Div",
    "Dropout",
    "DynamicQuantizeLinear",
    "Einsum",
    "Elu",
    "Equal",
    "Erf",
    "Exp",
    "Expand",
    "EyeLike",
    "Flatten",
    "Floor",
    "Gather",
    "GatherElements",
    "GatherND",
    "Gelu",
    "Gemm",
    "Greater",
    "GreaterOrEqual",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "If",
    "IsInf",
    "IsNaN",
    "LayerNormalization",
    "LeakyRelu",
    "Less",
    "LessOrEqual",
    "Log",
    "LogSoftmax",
    "LpNormalization",
    "MatMul",
    "MatMulInteger",
    "Max",
    "Mean",
    "Min",
    "Mish",
    "Mod",
    "Mul",
    "Neg",
    "NonZero",
    "Not",
    "Or",
    "PRelu",
    "Pad",
    "Pow",
    "QLinearMatMul",
    "QuantizeLinear",
    "RMSNormalization",
    "Range",
    "Reciprocal",
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
    "Relu",
    "Reshape",
    "RotaryEmbedding",
    "Round",
    "ScatterElements",
    "ScatterND",
    "Selu",
    "Shape",
    "Sigmoid",
    "Sign",
    "SimplifiedLayerNormalization",
    "Sin",
    "Size",
    "Slice",
    "Softmax",
    "Softplus",
    "Softsign",
    "Split",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Sum",
    "Swish",
    "Tanh",
    "ThresholdedRelu",
    "Tile",
    "TopK",
    "Transpose",
    "Trilu",
    "Unsqueeze",
    "Where",
    "Xor",
];
/// Operators of `com.microsoft` that ONNX Runtime's optimizer fuses or quantizes.
const MICROSOFT: &[&str] = &[
    "Attention",
    "BiasAdd",
    "BiasGelu",
    "BiasSoftmax",
    "DequantizeLinear",
    "DynamicQuantizeMatMul",
    "EmbedLayerNormalization",
    "FastGelu",
    "FusedGemm",
    "FusedMatMul",
    "FusedMatMulActivation",
    "GatherBlockQuantized",
    "Gelu",
    "GroupQueryAttention",
    "MatMulBnb4",
    "MatMulInteger16",
    "MatMulIntegerToFloat",
    "MatMulNBits",
    "MultiHeadAttention",
    "PackedAttention",
    "PackedMultiHeadAttention",
    "QAttention",
    "QEmbedLayerNormalization",
    "QGemm",
    "QLinearAdd",
    "QLinearConcat",
    "QLinearLeakyRelu",
    "QLinearMul",
    "QLinearReduceMean",
    "QLinearSigmoid",
    "QLinearSoftmax",
    "QLinearWhere",
    "QuantizeLinear",
    "QuickGelu",
    "RemovePadding",
    "RestorePadding",
    "RotaryEmbedding",
    "SimplifiedLayerNormalization",
    "SkipLayerNormalization",
    "SkipSimplifiedLayerNormalization",
    "TransposeMatMul",
];
/// The most nodes of a graph after its functions are inlined. bge-m3's has 2,500.
const NODES_MAX: u64 = 1 << 18;
/// The deepest nesting of functions. Exporters nest three.
const DEPTH_MAX: usize = 30;

/// An operator, or a function that the file defines: its domain and its name.
pub(crate) type Operator = (String, String);

/// The operators of a graph or a function, with the number of their nodes.
pub(crate) type Body = BTreeMap<Operator, u64>;

/// Refuses a graph with an operator that no encoder needs, or that grows without bound when its
/// functions are inlined. The error is the second half of a sentence.
pub(crate) fn check(graph: &Body, functions: &BTreeMap<Operator, Body>) -> Result<(), String> {
    let all: BTreeSet<&Operator> = functions.values().chain([graph]).flat_map(Body::keys).collect();
    for operator @ (domain, name) in all {
        let known = match domain.as_str() {
            "" | "ai.onnx" => ONNX,
            "com.microsoft" => MICROSOFT,
            _ => &[],
        };
        if !known.contains(&name.as_str()) && !functions.contains_key(operator) {
            let of = if domain.is_empty() { "ONNX" } else { domain };
            return Err(format!(
                "has the operator {name:?} of {of}, which no encoder needs and which is not run; \
                 export the model again without it"
            ));
        }
    }
    let mut sizes = BTreeMap::new();
    match size(graph, functions, &mut sizes, 0) {
        Some(..=NODES_MAX) => Ok(()),
        Some(_) => Err(format!(
            "has functions that stand for more than {NODES_MAX} operators; export the model again, \
             with its functions inlined"
        )),
        None => Err(format!(
            "has functions that call each other more than {DEPTH_MAX} deep; export the model again, \
             with its functions inlined"
        )),
    }
}

/// The number of operators of a body after its functions are inlined. `None` if they are nested too
/// deeply.
fn size<'a>(
    body: &Body,
    functions: &'a BTreeMap<Operator, Body>,
    sizes: &mut BTreeMap<&'a Operator, u64>,
    depth: usize,
) -> Option<u64> {
    if depth > DEPTH_MAX {
        return None;
    }
    let mut sum = 0_u64;
    for (operator, times) in body {
        let each = match functions.get_key_value(operator) {
            None => 1,
            Some((name, function)) => match sizes.get(name) {
                Some(size) => *size,
                None => {
                    let size = size(function, functions, sizes, depth + 1)?;
                    sizes.insert(name, size);
                    size
                }
            },
        };
        sum = sum.saturating_add(each.saturating_mul(*times));
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operator(name: &str) -> Operator {
        match name.split_once("::") {
            Some((domain, name)) => (domain.into(), name.into()),
            None => (String::new(), name.into()),
        }
    }

    fn body(operators: &[(&str, u64)]) -> Body {
        operators.iter().map(|(name, times)| (operator(name), *times)).collect()
    }

    #[test]
    fn lists_are_sorted_so_that_a_reader_finds_a_name() {
        assert!(ONNX.is_sorted() && MICROSOFT.is_sorted());
    }

    #[test]
    fn operators_that_no_encoder_needs_are_refused_by_name() {
        let none = BTreeMap::new();
        let fine = body(&[("MatMul", 72), ("com.microsoft::Attention", 12), ("ai.onnx::Erf", 12)]);
        check(&fine, &none).unwrap();
        let refused =
            ["Loop", "Scan", "RandomNormal", "Resize", "OneHot", "StringConcat", "matmul"];
        let elsewhere = ["ai.onnx.ml::LabelEncoder", "com.microsoft::Sampling", "own::MatMul"];
        for name in refused.iter().chain(&elsewhere) {
            let why = check(&body(&[("MatMul", 1), (name, 1)]), &none).unwrap_err();
            assert!(why.contains(&format!("{:?}", operator(name).1)), "{why}");
            let functions = BTreeMap::from([(operator("f::g"), body(&[(name, 1)]))]);
            check(&body(&[("f::g", 1)]), &functions).unwrap_err();
        }
    }

    #[test]
    fn functions_that_double_each_other_are_counted_and_not_put_in_place() {
        let function =
            |index: usize, calls: &[(&str, u64)]| (operator(&format!("f::{index}")), body(calls));
        let doubling = |depth: usize| {
            let next = (1..=depth).map(|index| {
                let below = format!("f::{}", index - 1);
                function(index, &[(below.as_str(), 2)])
            });
            next.chain([function(0, &[("Add", 1)])]).collect::<BTreeMap<_, _>>()
        };
        let main = |depth: usize| body(&[(format!("f::{depth}").as_str(), 1)]);
        check(&main(17), &doubling(17)).unwrap();
        let why = check(&main(25), &doubling(25)).unwrap_err();
        assert!(why.contains("more than 262144 operators"), "{why}");
        let why = check(&main(99), &doubling(99)).unwrap_err();
        assert!(why.contains("call each other"), "{why}");
        let itself = BTreeMap::from([function(0, &[("f::0", 1)])]);
        let why = check(&main(0), &itself).unwrap_err();
        assert!(why.contains("call each other"), "{why}");
    }
}
