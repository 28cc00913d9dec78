//! The graphs for a GPU as ONNX's own checker and shape inference see them.

#[path = "../../tests/it/support/python.rs"]
mod python;

use std::path::Path;
use std::process::Command;

use super::encoder::encoder_graph;
use super::target::Target;
use crate::device::{ComputeType, Device};
use crate::model_dir::{EncoderConfig, EncoderParts, Linear, ModelDir, Network, Weights};

fn tiny() -> (EncoderConfig, Weights) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tiny/cls");
    match ModelDir::read(&folder, None, None, false).unwrap().network {
        Network::Weights { config, weights } => (config, weights),
        Network::Export(_) => panic!("cls is an export"),
    }
}

#[test]
fn graphs_for_a_gpu_pass_the_checker_with_their_declared_types() {
    let Some(python) = python::python_with("venv-onnx", "tests/onnx/requirements.txt") else {
        return;
    };
    let (config, weights) = tiny();
    let head = Linear {
        weight: vec![0.5; 4 * config.hidden],
        bias: vec![0.5; 4],
        rows: 4,
        columns: config.hidden,
    };
    let folder = tempfile::tempdir().unwrap();
    for file in &weights.files {
        std::fs::copy(file, folder.path().join(file.file_name().unwrap())).unwrap();
    }
    for (device, compute_type, multi) in [
        (Device::Cuda(0), ComputeType::Fp32, None),
        (Device::Cuda(0), ComputeType::Fp16, Some(&head)),
        (Device::TensorRt(0), ComputeType::Fp32, Some(&head)),
        (Device::TensorRt(0), ComputeType::Fp16, None),
        (Device::TensorRt(0), ComputeType::Fp16, Some(&head)),
        (Device::TensorRt(0), ComputeType::Bf16, Some(&head)),
    ] {
        let target = Target { device, compute_type, ..Target::default() };
        let graph =
            encoder_graph(EncoderParts { config: &config, weights: &weights, multi }, target)
                .unwrap();
        let file = folder.path().join("graph.onnx");
        std::fs::write(&file, &graph.bytes).unwrap();
        let case = format!("{device} {} {}", compute_type.name(), multi.is_some());
        let checked = Command::new(&python)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/onnx/check.py"))
            .args([&file.display().to_string(), &device.to_string(), compute_type.name()])
            .output()
            .unwrap();
        let said =
            String::from_utf8_lossy(&checked.stdout) + String::from_utf8_lossy(&checked.stderr);
        assert!(checked.status.success(), "{case}: {said}");
        println!("{case}: {said}");
    }
}
