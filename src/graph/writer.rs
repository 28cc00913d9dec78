//! Writes the nodes of the encoder, and refers to its weights in their files.

use prost::Message;

use super::inputs::inputs;
use super::names::{
    GELU_OPERATOR, LINEAR_OPERATOR, MICROSOFT_DOMAIN, NORM_OPERATOR, OWN_DOMAIN, observed_output,
};
use super::onnx::{
    AttributeProto, BFLOAT16, Dimension, EXTERNAL, FLOAT, FLOAT16, GraphProto, INT8, INT64,
    ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorProto, value_info,
};
use super::target::Target;
use crate::device::{ComputeType, Device};
use crate::error::{Result, error};
use crate::memory;
use crate::model_dir::{Linear, NumberType, Weights, scale_of};

/// A graph, and the lists that a session needs beside it.
pub(crate) struct EncoderGraph {
    /// The bytes of an ONNX model.
    pub bytes: Vec<u8>,
    /// The weights of [`LINEAR_OPERATOR`], by the indices in its `matrices`.
    pub packed: Vec<String>,
    /// The weights whose inputs are observed. For each of them, the output [`observed_output`] has
    /// the largest magnitude of each column.
    pub observed: Vec<String>,
}

/// Collects nodes and initializers, for a device and a compute type.
pub(super) struct GraphWriter<'a> {
    weights: &'a Weights,
    target: Target,
    /// The weights that are packed, if any are.
    packed: Option<Vec<String>>,
    /// The weights whose inputs are observed, if any are.
    observed: Option<Vec<String>>,
    graph: GraphProto,
}

impl<'a> GraphWriter<'a> {
    pub fn new(weights: &'a Weights, target: Target) -> Self {
        Self {
            weights,
            target,
            packed: target.own_products.then(Vec::new),
            observed: target.observe.then(Vec::new),
            graph: GraphProto::default(),
        }
    }

    /// The domain of operators that are not part of ONNX.
    fn domain(&self) -> &'static str {
        match self.target.device {
            Device::Cpu => OWN_DOMAIN,
            Device::Cuda(_) => MICROSOFT_DOMAIN,
            Device::TensorRt(_) => "",
        }
    }

    /// The type of the numbers of states.
    pub fn states_type(&self) -> i32 {
        match self.target.compute_type {
            ComputeType::Fp16 => FLOAT16,
            ComputeType::Bf16 => BFLOAT16,
            ComputeType::Fp32 | ComputeType::Tf32 | ComputeType::Int8 => FLOAT,
        }
    }

    /// Adds a node with one output, and returns the output's name.
    pub fn node(
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

    /// All of a tensor, in the type of states.
    pub fn weight(&mut self, name: &str) -> Result<String> {
        self.weight_in(name, self.states_type())
    }

    /// All of a tensor, in a type of numbers. ONNX Runtime converts a constant once, when it loads
    /// the graph.
    pub fn weight_in(&mut self, name: &str, numbers: i32) -> Result<String> {
        let shape = self.weights.get(name)?.place.shape.clone();
        let stored = self.initializer(name, &shape)?;
        self.converted(name, stored, numbers)
    }

    /// A bias that LayerNorm adds: a tensor's first numbers, as many as the shape takes.
    pub fn bias_of_norm(&mut self, name: &str, shape: &[usize]) -> Result<String> {
        let stored = self.initializer(name, shape)?;
        self.converted(name, stored, self.bias_type())
    }

    /// The type of biases. TensorRT adds them in 32 bits.
    fn bias_type(&self) -> i32 {
        match self.target.device {
            Device::Cpu | Device::Cuda(_) => self.states_type(),
            Device::TensorRt(_) => FLOAT,
        }
    }

    /// Converts `part`, which is a part of a tensor as it is stored, to a type of numbers.
    fn converted(&mut self, weight: &str, part: String, numbers: i32) -> Result<String> {
        Ok(match self.weights.get(weight)?.number_type {
            NumberType::F32 if numbers == FLOAT => part,
            NumberType::F16 if numbers == FLOAT16 => part,
            NumberType::BF16 if numbers == BFLOAT16 => part,
            NumberType::F32 | NumberType::F16 | NumberType::BF16 => self.cast(&part, numbers),
            NumberType::I8 => {
                return Err(error!(Internal, "{weight} cannot be widened without its scales"));
            }
        })
    }

    /// Converts states to 32 bits, unless they have them already.
    pub fn widened_states(&mut self, states: &str) {
        if self.states_type() != FLOAT {
            self.cast(states, FLOAT);
        }
    }

    pub fn cast(&mut self, x: &str, to: i32) -> String {
        self.node("Cast", "", &[x], vec![AttributeProto::int("to", to.into())])
    }

    /// Adds an initializer that refers to the first bytes of a tensor, as many as the shape takes.
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

    /// Adds an initializer, and returns its name.
    pub fn tensor(&mut self, tensor: TensorProto) -> String {
        let name = tensor.name.clone();
        self.graph.initializer.push(tensor);
        name
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

    /// A vector of zeros, shared by all nodes that need one of this length.
    fn zeros(&mut self, count: usize) -> String {
        let name = format!("zeros.{count}");
        if self.graph.initializer.iter().all(|tensor| tensor.name != name) {
            self.constant(&name, &[count], &vec![0.0; count]);
        }
        name
    }

    /// Adds the head for multi-vectors. In the graph it runs on ONNX Runtime's threads, as one
    /// product for all texts of a batch.
    pub fn multi_vectors(&mut self, head: &Linear) {
        self.constant("multi.weight", &[head.rows, head.columns], &head.weight);
        self.constant("multi.bias", &[head.rows], &head.bias);
        let states = self.node("Gather", "", &["hidden", "multi_rows"], vec![]);
        let inputs = [states.as_str(), "multi.weight", "multi.bias"];
        self.node("Gemm", "", &inputs, vec![AttributeProto::int("transB", 1)]);
        self.name_last("multi", head.rows, "multi_rows");
    }

    pub fn embedding(&mut self, table: &str, ids: &str) -> Result<String> {
        let shape = self.weights.get(table)?.place.shape.clone();
        if self.target.device != Device::Cpu {
            // The table is in the memory of the device, in the type that takes the fewest bytes.
            let table = self.weight(table)?;
            return Ok(self.node("Gather", "", &[&table, ids], vec![]));
        }
        let stored = self.initializer(table, &shape)?;
        // Widened row by row, so that the table stays in its file.
        let rows = self.node("Gather", "", &[&stored, ids], vec![]);
        if self.weights.get(table)?.number_type != NumberType::I8 {
            return self.converted(table, rows, self.states_type());
        }
        let scales = self.initializer(&scale_of(table), &[shape[0], 1])?;
        let scales = self.node("Gather", "", &[&scales, ids], vec![]);
        let rows = self.cast(&rows, FLOAT);
        Ok(self.node("Mul", "", &[&rows, &scales], vec![]))
    }

    /// `x Wᵀ`, and the name of the bias, which the next operator adds.
    pub fn product(&mut self, x: &str, name: &str) -> Result<(String, String)> {
        let bias = format!("{name}.bias");
        self.observe(x, name);
        if self.packed.is_some() {
            let zeros = self.zeros(self.weights.get(&bias)?.place.shape[0]);
            let [product] = self.packed_linear(x, [name], [&zeros], false);
            return Ok((product, self.weight(&bias)?));
        }
        // The weight is as PyTorch stores it.
        let weight = self.weight(&format!("{name}.weight"))?;
        let transposed = vec![AttributeProto::int("transB", 1)];
        let bias = self.weight_in(&bias, self.bias_type())?;
        Ok((self.node("Gemm", "", &[x, &weight], transposed), bias))
    }

    /// `x Wᵀ + b`.
    pub fn linear(&mut self, x: &str, name: &str) -> Result<String> {
        let [y] = self.linears(x, [name])?;
        Ok(y)
    }

    /// `x Wᵀ + b` by several weights, in one node where they are packed.
    pub fn linears<const N: usize>(&mut self, x: &str, names: [&str; N]) -> Result<[String; N]> {
        let mut biases = names.map(|name| format!("{name}.bias"));
        for (bias, name) in biases.iter_mut().zip(names) {
            *bias = self.weight(bias)?;
            self.observe(x, name);
        }
        let biases = biases.each_ref().map(String::as_str);
        if self.packed.is_some() {
            return Ok(self.packed_linear(x, names, biases, false));
        }
        let mut products = names.map(|name| format!("{name}.weight"));
        for (product, bias) in products.iter_mut().zip(biases) {
            let weight = self.weight(product)?;
            let transposed = vec![AttributeProto::int("transB", 1)];
            *product = self.node("Gemm", "", &[x, &weight, bias], transposed);
        }
        Ok(products)
    }

    /// `gelu(x Wᵀ + b)`, with GELU by the error function.
    pub fn linear_gelu(&mut self, x: &str, name: &str) -> Result<String> {
        if self.packed.is_some() {
            self.observe(x, name);
            let bias = self.weight(&format!("{name}.bias"))?;
            let [activated] = self.packed_linear(x, [name], [&bias], true);
            return Ok(activated);
        }
        if let Device::TensorRt(_) = self.target.device {
            let sum = self.linear(x, name)?;
            return Ok(self.standard_gelu(&sum));
        }
        let (product, bias) = self.product(x, name)?;
        Ok(self.node(GELU_OPERATOR, self.domain(), &[&product, &bias], vec![]))
    }

    /// If inputs are observed, adds an output with the largest magnitude of each column of the
    /// input of a linear layer.
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

    fn packed_linear<const N: usize>(
        &mut self,
        x: &str,
        names: [&str; N],
        biases: [&str; N],
        gelu: bool,
    ) -> [String; N] {
        let packed = self.packed.get_or_insert_default();
        let matrices = names.map(|name| {
            packed.push(format!("{name}.weight"));
            packed.len() as i64 - 1
        });
        let attributes = vec![
            AttributeProto::ints("matrices", &matrices),
            AttributeProto::int("gelu", gelu.into()),
        ];
        let inputs: Vec<&str> = std::iter::once(x).chain(biases).collect();
        let node = self.node(LINEAR_OPERATOR, OWN_DOMAIN, &inputs, attributes);
        let outputs = std::array::from_fn(|index| format!("{node}.{index}"));
        if let Some(last) = self.graph.node.last_mut() {
            last.output = outputs.to_vec();
        }
        outputs
    }

    /// LayerNorm of the sum of two rows and a bias.
    pub fn add_and_norm(
        &mut self,
        x: String,
        skip: String,
        bias: String,
        norm: &str,
        eps: f32,
    ) -> Result<String> {
        if let Device::TensorRt(_) = self.target.device {
            return self.add_and_norm_in_32_bits(&x, &skip, &bias, norm, eps);
        }
        let gain = self.weight(&format!("{norm}.weight"))?;
        let shift = self.weight(&format!("{norm}.bias"))?;
        Ok(self.node(
            NORM_OPERATOR,
            self.domain(),
            &[&x, &skip, &gain, &shift, &bias],
            vec![AttributeProto::float("epsilon", eps)],
        ))
    }

    /// Makes the output of the last node an output of the graph, with that name.
    pub fn name_last(&mut self, name: &str, width: usize, rows: &'static str) {
        if let Some(last) = self.graph.node.last_mut() {
            last.output = vec![name.into()];
        }
        let shape = [Dimension::Name(rows), Dimension::Size(width)];
        self.graph.output.push(value_info(name, FLOAT, &shape));
    }

    pub fn finish(mut self) -> Result<EncoderGraph> {
        self.graph.name = "encoder".into();
        let has_multi = self.graph.output.iter().any(|output| output.name == "multi");
        self.graph.input = inputs(self.target.device, has_multi);
        let opset = |domain: &str, version| OperatorSetIdProto { domain: domain.into(), version };
        let mut opset_import = vec![opset("", 20)];
        if !self.domain().is_empty() {
            opset_import.push(opset(self.domain(), 1));
        }
        let model = ModelProto {
            ir_version: 10,
            producer_name: "libbge".into(),
            graph: Some(self.graph),
            opset_import,
        };
        let mut bytes = memory::with_room(model.encoded_len())?;
        model
            .encode(&mut bytes)
            .map_err(|e| error!(Internal, "the graph does not fit into its buffer: {e}"))?;
        Ok(EncoderGraph {
            bytes,
            packed: self.packed.unwrap_or_default(),
            observed: self.observed.unwrap_or_default(),
        })
    }
}
