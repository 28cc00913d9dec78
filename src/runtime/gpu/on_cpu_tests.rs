//! The graphs for a GPU, run on the CPU: the CPU has all operators of the graph for TensorRT, and
//! all of the graph for CUDA except attention, which is replaced by an operator of the same name.

use std::path::Path;
use std::sync::Arc;

use half::f16;
use ort::operator::{
    ComputeContext, KernelContext, Operator, OperatorDomain, OperatorInput, OperatorOutput,
};
use ort::session::builder::SessionBuilder;
use ort::session::{RunOptions, Session};
use ort::value::{TensorElementType, ValueRef};

use crate::device::{ComputeType, Device};
use crate::graph::{CUDA_ATTENTION_OPERATOR, MICROSOFT_DOMAIN, Target, encoder_graph};
use crate::kernels::attention::{self, Shape};
use crate::model_dir::{EncoderConfig, EncoderParts, Linear, ModelDir, Network, Weights};
use crate::runtime::concurrent_session::ConcurrentSession;
use crate::runtime::library::environment;
use crate::runtime::operators::{Shared, SharedKernel, input, output, parallel_for};
use crate::runtime::options::{CREATING, SessionOptions};
use crate::runtime::packed_rows::PackedInputs;
use crate::runtime::session::EncoderSession;

/// Attention as the schema of the CUDA operator defines it, computed by the kernels of this
/// library.
struct StandIn {
    half: bool,
}

impl Operator for StandIn {
    type Kernel<'attr> = Shared<StandInKernel>;

    fn name(&self) -> &str {
        CUDA_ATTENTION_OPERATOR
    }

    fn versions(&self) -> std::ops::RangeInclusive<u32> {
        1..=1
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        let states = self.states();
        [
            OperatorInput::required(states),
            OperatorInput::required(states),
            OperatorInput::required(states),
            OperatorInput::optional(states),
            OperatorInput::required(TensorElementType::Int32),
            OperatorInput::required(TensorElementType::Int32),
        ]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(self.states())]
    }

    fn create_kernel<'attr>(
        &self,
        context: &KernelContext<'attr>,
    ) -> ort::Result<Shared<StandInKernel>> {
        let heads: i64 = context.get("num_heads").expect("the attribute num_heads");
        Ok(Shared(StandInKernel { heads: heads as usize, half: self.half }))
    }
}

impl StandIn {
    fn states(&self) -> TensorElementType {
        if self.half { TensorElementType::Float16 } else { TensorElementType::Float32 }
    }
}

struct StandInKernel {
    heads: usize,
    half: bool,
}

impl StandInKernel {
    fn numbers(&self, value: &ValueRef<'_>) -> ort::Result<Vec<f32>> {
        if self.half {
            let (_, numbers) = value.try_extract_tensor::<f16>()?;
            return Ok(numbers.iter().map(|x| x.to_f32()).collect());
        }
        Ok(value.try_extract_tensor::<f32>()?.1.to_vec())
    }
}

impl SharedKernel for StandInKernel {
    fn run(&self, context: &ComputeContext) -> ort::Result<()> {
        let rows = input(context, 0)?;
        let shape = rows.shape().clone();
        let (token_offset, offsets) = (input(context, 4)?, input(context, 5)?);
        let (_, offsets) = offsets.try_extract_tensor::<i32>()?;
        check_token_offset(&token_offset, offsets)?;
        let query = self.numbers(&rows)?;
        let (key, value) = (input(context, 1)?, input(context, 2)?);
        let (key, value) = (self.numbers(&key)?, self.numbers(&value)?);
        let head_dim = shape[1] as usize / self.heads;
        let packed = Shape { heads: self.heads, head_dim, q_offsets: offsets, k_offsets: offsets };
        let mut attended = vec![0.0; query.len()];
        let parallel_for = parallel_for(context);
        attention::run(&packed, &query, &key, &value, &mut attended, &parallel_for)
            .map_err(ort::Error::new)?;
        let mut result = output(context, &shape)?;
        if self.half {
            let (_, result) = result.try_extract_tensor_mut::<f16>()?;
            result.iter_mut().zip(attended).for_each(|(y, x)| *y = f16::from_f32(x));
        } else {
            result.try_extract_tensor_mut::<f32>()?.1.copy_from_slice(&attended);
        }
        Ok(())
    }
}

/// Checks what the CUDA operator requires of the values: each index once, below sequences times
/// longest.
fn check_token_offset(places: &ValueRef<'_>, offsets: &[i32]) -> ort::Result<()> {
    let (shape, places) = places.try_extract_tensor::<i32>()?;
    let longest = offsets.windows(2).map(|ends| ends[1] - ends[0]).max().unwrap_or(0);
    let mut sorted = places.to_vec();
    sorted.sort_unstable();
    let complete = sorted.iter().copied().eq(0..places.len() as i32);
    let fits = shape[..] == [offsets.len() as i64 - 1, i64::from(longest)];
    if complete && fits { Ok(()) } else { Err(ort::Error::new("token_offset is wrong")) }
}

pub(super) fn options(device: Device, compute_type: ComputeType) -> SessionOptions {
    SessionOptions {
        library: None,
        threads: 2,
        device,
        compute_type,
        keep_memory_tokens: 2048,
        keep_weights_mapped: false,
        cache_dir: None,
        max_tokens: 32,
        max_batch_tokens: 64,
        gpu_bytes_max: 0,
        observer: None,
    }
}

pub(super) fn tiny(name: &str) -> (EncoderConfig, Weights) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tiny").join(name);
    match ModelDir::read(&folder, None, None, false).unwrap().network {
        Network::Weights { config, weights } => (config, weights),
        Network::Export(_) => panic!("{name} is an export"),
    }
}

/// The final states of the graph for a GPU.
fn rehearse(name: &str, compute_type: ComputeType, inputs: &PackedInputs) -> Vec<f32> {
    let (config, weights) = tiny(name);
    let device = Device::Cuda(0);
    let target = Target { device, compute_type, ..Target::default() };
    let graph =
        encoder_graph(EncoderParts { config: &config, weights: &weights, multi: None }, target)
            .unwrap();
    let half = compute_type == ComputeType::Fp16;
    let creating = CREATING.lock();
    let with_stand_in = |builder: SessionBuilder| {
        #[expect(clippy::arc_with_non_send_sync, reason = "`with_operators` takes an Arc")]
        let domain = Arc::new(OperatorDomain::new(MICROSOFT_DOMAIN)?.add(StandIn { half })?);
        let folder = &weights.folder;
        Ok(builder
            .with_operators(domain)?
            .with_config_entry("session.model_external_initializers_file_folder_path", folder)?)
    };
    let session = Session::builder(environment(None).unwrap())
        .and_then(with_stand_in)
        .and_then(|mut builder| builder.commit_from_memory(&graph.bytes))
        .and_then(ConcurrentSession::new)
        .unwrap();
    drop(creating);
    let values = inputs.values(device).unwrap();
    let outputs = session.run(&values, &RunOptions::new().unwrap()).unwrap();
    outputs[0].try_extract_tensor::<f32>().unwrap().1.to_vec()
}

/// Sequences of unequal lengths. Some rows are requested, and of one sequence all of them, also for
/// the head for multi-vectors.
pub(super) fn sequences(lengths: &[i32]) -> PackedInputs {
    let mut packed =
        PackedInputs { offsets: vec![0], row_offsets: vec![0], ..PackedInputs::default() };
    for (index, &length) in lengths.iter().enumerate() {
        let first = packed.input_ids.len() as i32;
        packed.input_ids.extend((0..length).map(|place| (place * 7 + index as i32 * 13) % 40 + 3));
        packed.position_ids.extend(2..length + 2);
        packed.offsets.push(first + length);
        let wanted = if index == 1 { length } else { 1 };
        if index == 1 {
            let before = packed.rows.len() as i32;
            packed.multi_rows.extend(before + 1..before + wanted);
        }
        packed.rows.extend(first..first + wanted);
        packed.row_offsets.push(packed.rows.len() as i32);
    }
    packed
}

/// The final states, and the outputs of the head for multi-vectors.
pub(super) fn on_the_cpu(
    name: &str,
    multi: Option<&Linear>,
    inputs: &PackedInputs,
) -> (Vec<f32>, Vec<f32>) {
    let (config, weights) = tiny(name);
    let parts = EncoderParts { config: &config, weights: &weights, multi };
    let options = options(Device::Cpu, ComputeType::Fp32);
    let session = EncoderSession::open(parts, ComputeType::Fp32, &options).unwrap();
    let always = Arc::new(|| true) as _;
    session.run(inputs, &always, |it| (it.hidden.to_vec(), it.multi.to_vec())).unwrap()
}

pub(super) fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    assert!(a.iter().chain(b).all(|x| x.is_finite()));
    a.iter().zip(b).fold(0.0, |largest: f32, (a, b)| largest.max((a - b).abs()))
}

#[test]
fn the_graph_for_cuda_gives_the_states_of_the_cpu() {
    for name in ["cls", "mean"] {
        let inputs = sequences(&[3, 17, 2, 9]);
        let (expected, _) = on_the_cpu(name, None, &inputs);
        for (compute_type, allowed) in
            [(ComputeType::Fp32, 1e-5), (ComputeType::Tf32, 1e-5), (ComputeType::Fp16, 2e-2)]
        {
            let states = rehearse(name, compute_type, &inputs);
            let difference = largest_difference(&states, &expected);
            assert!(difference < allowed, "{name}, {}: {difference}", compute_type.name());
            println!("{name}, {}: {difference}", compute_type.name());
        }
    }
}
