//! How many bytes a run of the graph takes.

use crate::device::ComputeType;
use crate::kernels::linear::INT8_WORKING_BYTES;
use crate::model_dir::{EncoderConfig, Weights};

/// What a run holds at most, for each of its tokens.
///
/// In a layer that is either the states, their queries, keys and values, and what attention makes
/// of these; or the states that the wide half of the layer begins with, its activations, and what
/// they are narrowed to. With multi-vectors, the rows that they are made of are there twice.
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

/// What a run takes of the memory of this process, at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunMemory {
    per_token: usize,
    /// However short it is.
    fixed: usize,
}

impl RunMemory {
    /// The first region of the arena, and what is allocated in small pieces.
    const SMALL: usize = 16 << 20;
    /// The working memory of a thread, and its stack.
    const THREAD: usize = 1 << 20;
    /// Inputs of a token and what is counted by them, with room to grow.
    const INPUTS: usize = 64;
    /// Of a head, what plans the attention of the shortest texts.
    const PLAN: usize = 48;

    pub fn of(
        config: &EncoderConfig,
        multi_dim: usize,
        compute_type: ComputeType,
        threads: usize,
    ) -> Self {
        // The blocks of the arena do not fit together exactly: one more state of each token.
        let states = bytes_per_token(config, multi_dim) + config.hidden * size_of::<f32>();
        let quantized = match compute_type {
            ComputeType::Int8 => INT8_WORKING_BYTES,
            _ => 0,
        };
        Self {
            per_token: states + Self::INPUTS + config.heads * Self::PLAN,
            fixed: Self::SMALL + threads * Self::THREAD + quantized,
        }
    }

    #[cfg(test)]
    pub fn counted(per_token: usize, fixed: usize) -> Self {
        Self { per_token, fixed }
    }

    /// The bytes of a run of so many tokens.
    pub fn bytes(self, tokens: usize) -> usize {
        tokens.saturating_mul(self.per_token).saturating_add(self.fixed)
    }

    /// The most tokens of a run of so many bytes.
    pub fn tokens(self, bytes: usize) -> usize {
        bytes.saturating_sub(self.fixed) / self.per_token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_as_many_as_fit() {
        let memory = RunMemory::counted(700, 1000);
        for bytes in [0, 999, 1000, 1699, 1700, 123_456] {
            let tokens = memory.tokens(bytes);
            assert!(tokens == 0 || memory.bytes(tokens) <= bytes);
            assert!(memory.bytes(tokens + 1) > bytes);
        }
        assert_eq!(memory.bytes(usize::MAX), usize::MAX);
    }
}
