//! The padded graph for TensorRT, run on the CPU by the code that feeds an engine.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use ort::session::Session;

use super::engines::{Engine, Engines, building};
use super::profile::Profile;
use crate::device::{ComputeType, Device};
use crate::graph::{Target, encoder_graph};
use crate::model_dir::{EncoderParts, Linear, ModelDir, Network};
use crate::runtime::concurrent_session::ConcurrentSession;
use crate::runtime::gpu::on_cpu_tests::{largest_difference, on_the_cpu, options, sequences, tiny};
use crate::runtime::library::environment;
use crate::runtime::options::CREATING;
use crate::runtime::packed_rows::PackedInputs;

/// Profiles of few and short texts, so that the texts of a test make many groups.
const PROFILES: [Profile; 3] = [
    Profile { length: 4, texts: 2 },
    Profile { length: 9, texts: 3 },
    Profile { length: 32, texts: 1 },
];

fn rehearsed(name: &str, multi: Option<&Linear>, compute_type: ComputeType) -> Engines {
    let (config, weights) = tiny(name);
    let parts = EncoderParts { config: &config, weights: &weights, multi };
    let target = Target { device: Device::TensorRt(0), compute_type, ..Target::default() };
    let graph = encoder_graph(parts, target).unwrap();
    let options = options(Device::Cpu, compute_type);
    let engines = PROFILES.map(|profile| {
        let pool = options.pool().unwrap();
        let _creating = CREATING.lock();
        let session = Session::builder(environment(None).unwrap())
            .and_then(|builder| building(options.apply(builder, pool)?, &weights.folder))
            .and_then(|mut builder| builder.commit_from_memory(&graph.bytes))
            .and_then(ConcurrentSession::new)
            .unwrap();
        Engine { profile, session }
    });
    Engines::new(engines.into(), parts).unwrap()
}

/// The final states, and the outputs of the head for multi-vectors.
fn run(engines: &Engines, inputs: &PackedInputs) -> (Vec<f32>, Vec<f32>) {
    let always = Arc::new(|| true) as _;
    engines.run(inputs, &always, |it| (it.hidden.to_vec(), it.multi.to_vec())).unwrap()
}

#[test]
fn padded_texts_get_the_states_of_packed_ones() {
    let lengths = [3, 17, 2, 9, 4, 4, 9, 8, 30, 5, 2, 9, 1];
    for name in ["cls", "mean", "bert-uncased"] {
        let inputs = sequences(&lengths);
        let (expected, _) = on_the_cpu(name, None, &inputs);
        for (compute_type, allowed) in [(ComputeType::Fp32, 1e-5), (ComputeType::Fp16, 2e-2)] {
            let (states, _) = run(&rehearsed(name, None, compute_type), &inputs);
            let difference = largest_difference(&states, &expected);
            assert!(difference < allowed, "{name}, {}: {difference}", compute_type.name());
            println!("{name}, {}: {difference}", compute_type.name());
        }
    }
}

#[test]
fn the_head_for_multi_vectors_gets_its_rows() {
    let (config, _) = tiny("cls");
    let number = |index: usize| (index * 37 % 101) as f32 / 50.0 - 1.0;
    let head = Linear {
        weight: (0..3 * config.hidden).map(number).collect(),
        bias: (0..3).map(number).collect(),
        rows: 3,
        columns: config.hidden,
    };
    let engines = rehearsed("cls", Some(&head), ComputeType::Fp32);
    // Batches with rows for the head, and one without.
    for lengths in [&[3, 17, 2, 9][..], &[5]] {
        let inputs = sequences(lengths);
        let (states, multi) = on_the_cpu("cls", Some(&head), &inputs);
        let (padded_states, padded_multi) = run(&engines, &inputs);
        assert_eq!(multi.len(), inputs.multi_rows.len() * 3);
        assert!(largest_difference(&padded_states, &states) < 1e-5);
        assert!(largest_difference(&padded_multi, &multi) < 1e-4);
    }
}

#[test]
fn a_run_that_nobody_wants_ends_between_two_engines() {
    let engines = rehearsed("cls", None, ComputeType::Fp32);
    let inputs = sequences(&[2, 30, 9, 3, 3]);
    let expected = run(&engines, &inputs);
    let asked = Arc::new(AtomicUsize::new(0));
    let once = {
        let asked = Arc::clone(&asked);
        Arc::new(move || asked.fetch_add(1, Relaxed) == 0) as _
    };
    assert!(engines.run(&inputs, &once, |_| ()).is_err());
    assert!(asked.load(Relaxed) >= 2);
    assert_eq!(run(&engines, &inputs), expected);
}

#[test]
fn engines_are_tried_with_all_that_they_take() {
    rehearsed("mean", None, ComputeType::Fp32).try_out().unwrap();
}

/// The cost of rounding an author's 32-bit weights to 16 bits while a graph is loaded: `cargo test
/// --release --lib tensorrt::on_cpu_tests::opening_in_16_bits -- --ignored --nocapture`, after
/// `make model MODEL=bge-m3-shaped`.
#[test]
#[ignore = "prints a table"]
fn opening_in_16_bits() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/models/bge-m3-shaped");
    let dir = ModelDir::read(&folder, None, None, false).unwrap();
    let Network::Weights { config, weights } = dir.network else { panic!("an export") };
    let parts = EncoderParts { config: &config, weights: &weights, multi: None };
    for compute_type in [ComputeType::Fp32, ComputeType::Fp16].repeat(3) {
        let target = Target { device: Device::TensorRt(0), compute_type, ..Target::default() };
        let graph = encoder_graph(parts, target).unwrap();
        let start = Instant::now();
        let session = Session::builder(environment(None).unwrap())
            .and_then(|builder| building(builder, &weights.folder))
            .and_then(|builder| {
                // Packed matrices of 32 bits exist on the CPU only.
                Ok(builder.with_config_entry("session.disable_prepacking", "1")?)
            })
            .and_then(|mut builder| builder.commit_from_memory(&graph.bytes));
        println!("{}: {:.2} s", compute_type.name(), start.elapsed().as_secs_f64());
        session.unwrap();
    }
}
