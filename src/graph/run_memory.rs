//! How many bytes a run of the graph takes.

use crate::device::ComputeType;
use crate::kernels::linear::INT8_WORKING_BYTES;
use crate::memory::RunMemory;
use crate::model_dir::{EncoderConfig, Weights};

/// The first region of the arena, and allocations of small pieces.
const SMALL_BYTES: usize = 16 << 20;
/// The working memory of a thread, and its stack.
const THREAD_BYTES: usize = 1 << 20;
/// The inputs of a token, and lists with an entry for each token, with spare capacity.
const INPUT_BYTES: usize = 64;
/// For each token and head, the plan of the attention of the shortest texts.
const PLAN_BYTES: usize = 48;

/// What a run holds at most, for each of its tokens.
///
/// In a layer that is either the states, their queries, keys and values, and the output of
/// attention; or the states at the beginning of the feed-forward part, its activations, and its
/// output. With multi-vectors, the rows that they are computed from exist twice.
pub(crate) fn bytes_per_token(config: &EncoderConfig, multi_dim: usize) -> usize {
    let EncoderConfig { hidden, intermediate, .. } = *config;
    let numbers = (5 * hidden).max(2 * hidden + intermediate).max(2 * hidden + multi_dim);
    numbers * size_of::<f32>()
}

/// What weights take in the memory of a GPU.
pub(crate) fn weight_bytes(weights: &Weights, compute_type: ComputeType) -> u64 {
    let width = match compute_type {
        ComputeType::Fp16 | ComputeType::Bf16 => 2,
        ComputeType::Fp32 | ComputeType::Tf32 | ComputeType::Int8 => 4,
    };
    let numbers = weights.all().map(|(_, weight)| weight.place.shape.iter().product::<usize>());
    numbers.map(|numbers| numbers as u64 * width).sum()
}

/// The memory of a run on the CPU.
pub(crate) fn run_memory(
    config: &EncoderConfig,
    multi_dim: usize,
    compute_type: ComputeType,
    threads: usize,
) -> RunMemory {
    // The blocks of the arena do not fit together exactly, which costs one more state of each
    // token.
    let states = bytes_per_token(config, multi_dim) + config.hidden * size_of::<f32>();
    let quantized = match compute_type {
        ComputeType::Int8 => INT8_WORKING_BYTES,
        _ => 0,
    };
    RunMemory {
        bytes_per_token: states + INPUT_BYTES + config.heads * PLAN_BYTES,
        fixed_bytes: SMALL_BYTES + threads * THREAD_BYTES + quantized,
    }
}
