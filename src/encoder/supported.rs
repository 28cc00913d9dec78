//! What can be opened: the one table of stored weights, device, compute type and options.

use crate::device::ComputeType::{self, Bf16, Fp16, Fp32, Int8, Tf32};
use crate::device::Device::{Cpu, Cuda, TensorRt};
use crate::error::{Result, error};
use crate::kernels::linear::int8_is_worth_it;
use crate::model_dir::{Network, Weights};
use crate::options::OpenOptions;

/// How a model is stored.
enum Stored<'a> {
    /// As an ONNX export.
    Export,
    /// As weights in floating point.
    Floats(&'a Weights),
    /// As weights in integers of 8 bits.
    Integers(&'a Weights),
}

/// Refuses a model that these options cannot open.
///
/// # Errors
/// `Unsupported`, with the option and its value, the reason, and what to open instead.
pub(crate) fn check(network: &Network, options: &OpenOptions) -> Result<()> {
    use Stored::{Export, Floats, Integers};
    let (stored, path) = match network {
        Network::Export(export) => (Export, export.file.display().to_string()),
        Network::Weights { weights, .. } if weights.quantized => {
            (Integers(weights), weights.folder.to_string())
        }
        Network::Weights { weights, .. } => (Floats(weights), weights.folder.to_string()),
    };
    let &OpenOptions { device, small_memory, max_run_bytes, .. } = options;
    let compute_type = options.compute_type.name();
    let reason = match (&stored, device, options.compute_type) {
        (Export, Cuda(_) | TensorRt(_), _) => format!(
            "{path}: device is {device}, but an ONNX export runs on the CPU; open the weights that \
             it was made of"
        ),
        (Export, Cpu, Int8 | Fp16 | Tf32 | Bf16) => format!(
            "{path}: compute_type is {compute_type}, but an ONNX export computes in what its author \
             chose; leave it at the default, or open the weights that it was made of"
        ),
        (Export, Cpu, Fp32) if max_run_bytes > 0 => format!(
            "{path}: max_run_bytes is {max_run_bytes}, but what a run of an ONNX export takes is not \
             known beforehand; leave it at 0 and set max_batch_tokens and max_tokens, or open the \
             weights that it was made of"
        ),
        (Export, Cpu, Fp32) => return Ok(()),

        // Integers are multiplied as integers, whatever the compute type is.
        (Integers(_), Cuda(_) | TensorRt(_), _) => format!(
            "{path}: the weights are integers of 8 bits, which the CPU multiplies and {device} does \
             not; open the weights that they were made of"
        ),
        (Floats(_), Cpu, Fp16 | Tf32 | Bf16) => format!(
            "compute_type is {compute_type}, which a GPU has and the CPU has not; set device, or \
             take fp32 or int8"
        ),
        (Floats(_), Cpu, Int8) if !int8_is_worth_it() => {
            "compute_type is int8, but this processor has neither AVX-512 VNNI nor AVX2, so it would \
             be slower than fp32, the default"
                .into()
        }
        (Floats(weights) | Integers(weights), Cpu, _) if small_memory => {
            match weights.of_16_bits() {
                None => return Ok(()),
                Some(tensor) => format!(
                    "{path}: small_memory leaves weights in their file, but {tensor} is stored in 16 \
                     bits and computed in 32, so all of it would be in memory again; open without \
                     small_memory, or store the model in fp32"
                ),
            }
        }
        (Floats(_) | Integers(_), Cpu, _) => return Ok(()),

        (Floats(_), Cuda(_), Int8) => format!(
            "compute_type is int8, which the CPU has and {device} has not; take fp16, tf32 or fp32"
        ),
        (Floats(_), Cuda(_), Bf16) => {
            "compute_type is bf16, in which ONNX Runtime has no attention over packed rows; take \
             fp16, tf32 or fp32, or the device tensorrt"
                .into()
        }
        (Floats(_), TensorRt(_), Int8 | Fp32 | Tf32) => format!(
            "compute_type is {compute_type}, but engines for {device} are built in fp16 or bf16; set \
             compute_type, or take the device cuda"
        ),
        (Floats(_), Cuda(_) | TensorRt(_), _) if small_memory => format!(
            "small_memory leaves weights in their file, but {device} needs them in its own memory; \
             open without it"
        ),
        (Floats(_), TensorRt(_), Fp16 | Bf16) if max_run_bytes > 0 => format!(
            "max_run_bytes is {max_run_bytes}, but an engine of TensorRT takes what it was built for; \
             leave it at 0, and prepare engines with another max_batch_tokens or max_tokens"
        ),
        (Floats(_), Cuda(_), Fp32 | Fp16 | Tf32) | (Floats(_), TensorRt(_), Fp16 | Bf16) => {
            return Ok(());
        }
    };
    Err(error!(Unsupported, "{reason}"))
}

/// The compute type of weights. Integers are multiplied as integers, whatever is requested.
pub(crate) fn compute_type(weights: &Weights, requested: ComputeType) -> ComputeType {
    if weights.quantized { Int8 } else { requested }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::device::Device;
    use crate::error::ErrorKind;
    use crate::model_dir::ModelDir;

    fn network(folder: &str) -> Network {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tiny").join(folder);
        ModelDir::read(&folder, None, None, false).unwrap().network
    }

    /// The devices and compute types that can be opened with the other options as they are.
    fn opened(network: &Network, options: &OpenOptions) -> Vec<(Device, ComputeType)> {
        let mut opened = Vec::new();
        for device in [Cpu, Cuda(0), TensorRt(0)] {
            for compute_type in [Fp32, Int8, Fp16, Tf32, Bf16] {
                let options = OpenOptions { device, compute_type, ..options.clone() };
                match check(network, &options) {
                    Ok(()) => opened.push((device, compute_type)),
                    Err(e) => assert_eq!(e.kind(), ErrorKind::Unsupported, "{e}"),
                }
            }
        }
        // Depends on the processor.
        opened.retain(|&pair| pair != (Cpu, Int8));
        opened
    }

    #[test]
    fn these_combinations_and_no_others_can_be_opened() {
        let plain = OpenOptions::default();
        let small = OpenOptions { small_memory: true, ..plain.clone() };
        let limited = OpenOptions { max_run_bytes: 1, ..plain.clone() };
        let cuda = [(Cuda(0), Fp32), (Cuda(0), Fp16), (Cuda(0), Tf32)];
        let tensorrt = [(TensorRt(0), Fp16), (TensorRt(0), Bf16)];
        let weights = network("cls");
        assert_eq!(opened(&weights, &plain), [&[(Cpu, Fp32)], &cuda[..], &tensorrt].concat());
        assert_eq!(opened(&weights, &small), [(Cpu, Fp32)]);
        assert_eq!(opened(&weights, &limited), [&[(Cpu, Fp32)], &cuda[..]].concat());
        // On the CPU, integers are multiplied as integers with any compute type.
        let integers = network("int8");
        let on_cpu = [Fp32, Fp16, Tf32, Bf16].map(|compute_type| (Cpu, compute_type));
        for options in [&plain, &small, &limited] {
            assert_eq!(opened(&integers, options), on_cpu);
        }
        let export = network("exports/aapot");
        assert_eq!(opened(&export, &plain), [(Cpu, Fp32)]);
        assert_eq!(opened(&export, &small), [(Cpu, Fp32)]);
        assert_eq!(opened(&export, &limited), []);
    }
}
