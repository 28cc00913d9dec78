//! ONNX Runtime's execution provider for NVIDIA GPUs: whether it is there, how it is set up, and the
//! one input that only its attention needs.

use std::path::Path;

use ort::ep::{ArenaExtendStrategy, CUDA, ExecutionProviderDispatch};
use ort::session::builder::SessionBuilder;

use super::library::library_path;
use super::session::kind_of;
use crate::error::{Error, ErrorKind, Result, error};
use crate::graph::{ComputeType, Device};

/// What ONNX Runtime loads from its own folder.
const PROVIDER_LIBRARIES: [&str; 2] =
    ["libonnxruntime_providers_shared.so", "libonnxruntime_providers_cuda.so"];

/// Says that all nodes run on the GPU with this number, or that the session is refused.
pub(super) fn on_gpu(
    builder: SessionBuilder,
    index: u32,
    compute_type: ComputeType,
) -> Result<SessionBuilder> {
    check_provider(index, library_path().and_then(Path::parent))?;
    let unusable = |e: ort::Error| unavailable(index, &e);
    builder
        .with_execution_providers([provider(index, compute_type)])
        .map_err(|e| unusable(e.into()))?
        .with_config_entry("session.disable_cpu_ep_fallback", "1")
        .map_err(|e| unusable(e.into()))
}

fn provider(index: u32, compute_type: ComputeType) -> ExecutionProviderDispatch {
    CUDA::default()
        .with_device_id(index as i32)
        // Sums in 32 bits: in 16 they would cost digits that fp16 has.
        .with_skip_layer_norm_strict_mode(true)
        .with_tf32(compute_type == ComputeType::Tf32)
        // Every run has another length. Regions that double would keep twice the largest.
        .with_arena_extend_strategy(ArenaExtendStrategy::SameAsRequested)
        .build()
        .error_on_failure()
}

/// ONNX Runtime names a missing library, but not that this is another build of it.
fn check_provider(index: u32, folder: Option<&Path>) -> Result<()> {
    let folder = folder.unwrap_or(Path::new("."));
    match PROVIDER_LIBRARIES.iter().find(|name| !folder.join(name).is_file()) {
        None => Ok(()),
        Some(missing) => Err(error!(
            RuntimeUnavailable,
            "device is {}, but ONNX Runtime in {} is a build for the CPU: {missing} is not beside it; \
             name the libonnxruntime of a build for GPUs, such as that of onnxruntime-gpu 1.31.1 for \
             CUDA 13, in the option runtime_library or in BGE_ORT_LIBRARY",
            Device::Cuda(index),
            folder.display()
        )),
    }
}

/// The provider was not taken.
fn unavailable(index: u32, e: &ort::Error) -> Error {
    let device = Device::Cuda(index);
    let message = format!(
        "device is {device}, but ONNX Runtime cannot use it: {}; its execution provider needs a \
         driver and the CUDA libraries that it was built for, where the system's loader finds them",
        e.to_string().trim()
    );
    Error::new(ErrorKind::RuntimeUnavailable, message).with_runtime_code(e.code() as i32)
}

/// A session that was not made: what is said of CUDA itself is no fault of the model's.
pub(super) fn open_error(index: u32, folder: &str, e: &ort::Error) -> Error {
    let kind = kind_of(e, ErrorKind::ModelInvalid);
    if kind != ErrorKind::OutOfMemory
        && ["CUDA", "CUBLAS"].iter().any(|it| e.message().contains(it))
    {
        return unavailable(index, e);
    }
    let device = Device::Cuda(index);
    let message = format!("{folder}: ONNX Runtime cannot load the weights on {device}: {e}");
    Error::new(kind, message).with_runtime_code(e.code() as i32)
}

/// Where each token would be in `[sequences, longest]` if sequences were padded, and then the places
/// of padding; and how long the longest is.
pub(super) fn token_offset(offsets: &[i32]) -> (usize, Vec<i32>) {
    let lengths = || offsets.windows(2).map(|ends| ends[1] - ends[0]);
    let longest = lengths().max().unwrap_or(0);
    let places = |of: fn(i32, i32) -> std::ops::Range<i32>| {
        lengths()
            .zip((0..).step_by(longest.max(1) as usize))
            .flat_map(move |(length, first)| of(length, longest).map(move |place| first + place))
    };
    let tokens = places(|length, _| 0..length);
    let padding = places(|length, longest| length..longest);
    (longest as usize, tokens.chain(padding).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_first_and_padding_last() {
        let (longest, places) = token_offset(&[0, 2, 5, 6]);
        assert_eq!(longest, 3);
        assert_eq!(places, [0, 1, 3, 4, 5, 6, 2, 7, 8]);
        assert_eq!(token_offset(&[0]), (0, vec![]));
    }

    #[test]
    fn a_build_for_the_cpu_is_told_from_one_for_gpus() {
        let folder = tempfile::tempdir().unwrap();
        for name in PROVIDER_LIBRARIES {
            let message = check_provider(3, Some(folder.path())).unwrap_err().to_string();
            assert!(message.contains("device is cuda:3"), "{message}");
            assert!(message.contains(&format!("{name} is not beside it")), "{message}");
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        check_provider(3, Some(folder.path())).unwrap();
    }
}
