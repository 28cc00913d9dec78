//! ONNX Runtime's execution providers for NVIDIA GPUs: whether they are there, and how that for
//! CUDA is set up.

use std::path::{Path, PathBuf};

use ort::ep::{ArenaExtendStrategy, CUDA, ExecutionProviderDispatch};
use ort::session::builder::SessionBuilder;

use super::nvidia::{self, Gpu};
use crate::device::{ComputeType, Device};
use crate::error::{Error, ErrorKind, Result, error};
use crate::runtime::errors::kind_of;
use crate::runtime::library::library_path;
use crate::runtime::options::SessionOptions;

/// Has all nodes run on the GPU, or the session refused.
pub(in crate::runtime) fn on_gpu(
    builder: SessionBuilder,
    compute_type: ComputeType,
    options: &SessionOptions,
) -> Result<SessionBuilder> {
    with_provider(builder, options.device, provider(compute_type, options))
}

/// Gives a session one execution provider and no other to fall back to.
pub(in crate::runtime) fn with_provider(
    builder: SessionBuilder,
    device: Device,
    provider: ExecutionProviderDispatch,
) -> Result<SessionBuilder> {
    check_provider(device, &folder())?;
    let unusable = |e: ort::Error| unavailable(device, &e);
    builder
        .with_execution_providers([provider.error_on_failure()])
        .map_err(|e| unusable(e.into()))?
        .with_config_entry("session.disable_cpu_ep_fallback", "1")
        .map_err(|e| unusable(e.into()))
}

fn provider(compute_type: ComputeType, options: &SessionOptions) -> ExecutionProviderDispatch {
    let cuda = CUDA::default()
        .with_device_id(index_of(options.device) as i32)
        // Sums in 32 bits: sums in 16 bits would lose digits that fp16 has.
        .with_skip_layer_norm_strict_mode(true)
        .with_tf32(compute_type == ComputeType::Tf32)
        // Batches differ in length. Regions that double would keep twice the memory of the largest.
        .with_arena_extend_strategy(ArenaExtendStrategy::SameAsRequested);
    match options.gpu_bytes_max {
        0 => cuda.build(),
        bytes => cuda.with_memory_limit(bytes).build(),
    }
}

pub(in crate::runtime) fn index_of(device: Device) -> u32 {
    match device {
        Device::Cpu => 0,
        Device::Cuda(index) | Device::TensorRt(index) => index,
    }
}

/// The folder in which ONNX Runtime looks for its providers.
pub(in crate::runtime) fn folder() -> PathBuf {
    library_path().and_then(Path::parent).unwrap_or(Path::new(".")).to_path_buf()
}

/// The library of a device's provider.
pub(in crate::runtime) fn provider_library(device: Device) -> PathBuf {
    folder().join(provider_libraries(device)[1])
}

/// The libraries that ONNX Runtime loads from its own folder.
fn provider_libraries(device: Device) -> [&'static str; 2] {
    let own = match device {
        Device::Cpu | Device::Cuda(_) => "libonnxruntime_providers_cuda.so",
        Device::TensorRt(_) => "libonnxruntime_providers_tensorrt.so",
    };
    ["libonnxruntime_providers_shared.so", own]
}

/// Refuses a build of ONNX Runtime without the provider: ONNX Runtime names the missing library,
/// but not that it is a build for the CPU.
pub(in crate::runtime) fn check_provider(device: Device, folder: &Path) -> Result<()> {
    match provider_libraries(device).iter().find(|name| !folder.join(name).is_file()) {
        None => Ok(()),
        Some(missing) => Err(error!(
            RuntimeUnavailable,
            "device is {device}, but ONNX Runtime in {} is a build for the CPU: {missing} is not \
             beside it; name the libonnxruntime of a build for GPUs, such as that of onnxruntime-gpu \
             1.31.1 for CUDA 13, in the option runtime_library or in BGE_ORT_LIBRARY",
            folder.display()
        )),
    }
}

/// The error of a provider that was refused. ONNX Runtime names one missing library at most, and
/// for a driver that is too old it says only that.
pub(in crate::runtime) fn unavailable(device: Device, e: &ort::Error) -> Error {
    let because = nvidia::gpu(index_of(device)).map_or_else(|why| why, |gpu| {
        let Gpu { name, capability: (major, minor), driver } = gpu;
        format!(
            "ONNX Runtime cannot use {name}, of compute capability {major}.{minor}, with a driver for \
             CUDA {driver}: {}",
            e.message().trim()
        )
    });
    unavailable_because(device, &because).with_runtime_code(e.code() as i32)
}

/// The error of a provider that was refused, because of missing libraries or else for the reason
/// `because`.
pub(in crate::runtime) fn unavailable_because(device: Device, because: &str) -> Error {
    let provider = provider_library(device);
    let missing = nvidia::missing_libraries(&provider);
    if missing.is_empty() {
        return error!(RuntimeUnavailable, "device is {device}, but {because}");
    }
    error!(
        RuntimeUnavailable,
        "device is {device}, but {} needs libraries that the system's loader does not find: {}; \
         install them, or name their folders in LD_LIBRARY_PATH",
        provider.display(),
        missing.join(", ")
    )
}

/// The error of a session that could not be created. If it comes from CUDA itself, the model is not
/// at fault.
pub(in crate::runtime) fn open_error(device: Device, folder: &str, e: &ort::Error) -> Error {
    let kind = kind_of(e, ErrorKind::ModelInvalid);
    if kind != ErrorKind::OutOfMemory
        && ["CUDA", "CUBLAS"].iter().any(|it| e.message().contains(it))
    {
        return unavailable(device, e);
    }
    let message = format!("{folder}: ONNX Runtime cannot load the weights on {device}: {e}");
    Error::new(kind, message).with_runtime_code(e.code() as i32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::library::environment;

    #[test]
    fn memory_and_the_gpu_are_told_from_the_model() {
        // ONNX Runtime itself creates the error.
        environment(None).unwrap();
        for (said, kind) in [
            ("CUDA failure 2: out of memory ; GPU=0", ErrorKind::OutOfMemory),
            ("BFCArena::AllocateRawInternal Available memory of 0 is", ErrorKind::OutOfMemory),
            ("CUDA failure 209: no kernel image is available", ErrorKind::RuntimeUnavailable),
            (
                "CUBLAS failure 15: the functionality is not supported",
                ErrorKind::RuntimeUnavailable,
            ),
            ("Type Error: Type parameter (T)", ErrorKind::ModelInvalid),
        ] {
            let e = open_error(Device::Cuda(0), "model", &ort::Error::new(said));
            assert_eq!(e.kind(), kind, "{said}: {e}");
        }
    }

    #[test]
    fn a_build_for_the_cpu_is_told_from_one_for_gpus() {
        for device in [Device::Cuda(3), Device::TensorRt(3)] {
            let folder = tempfile::tempdir().unwrap();
            for name in provider_libraries(device) {
                let message = check_provider(device, folder.path()).unwrap_err().to_string();
                assert!(message.contains(&format!("device is {device}")), "{message}");
                assert!(message.contains(&format!("{name} is not beside it")), "{message}");
                std::fs::write(folder.path().join(name), "").unwrap();
            }
            check_provider(device, folder.path()).unwrap();
        }
    }
}
