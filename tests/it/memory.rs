//! What a run takes, measured where nothing else runs: in a process of its own.

use std::process::Command;

use bge::{EncodeOptions, Model, OpenOptions};

use crate::support::tiny_dir;

/// Says to the child what to do.
const CASE: &str = "BGE_TEST_MEMORY";
/// Twice what else a process allocates meanwhile, and what rounding to pages makes.
const SLACK: usize = 4 << 20;
/// In the shape of that model: the states, the activations of the wide half of a layer and what
/// they are narrowed to, and room for one more state, since blocks do not fit together exactly.
const BYTES_PER_TOKEN: usize = 4 * (5 * 32 + 32);

fn resident(field: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

fn in_a_process_of_its_own(case: &str) {
    let program = std::env::current_exe().unwrap();
    let child = ["--exact", "memory::child", "--ignored", "--nocapture"];
    let output = Command::new(program).args(child).env(CASE, case).output().unwrap();
    assert!(output.status.success(), "{case}: {}", String::from_utf8_lossy(&output.stdout));
}

#[test]
#[ignore = "run by the other tests, in processes of their own"]
fn child() {
    let Ok(case) = std::env::var(CASE) else { return };
    let options = OpenOptions {
        threads: 2,
        max_batch_tokens: 1 << 17,
        small_memory: case == "given back",
        ..OpenOptions::default()
    };
    let model = Model::open(tiny_dir("cls"), &options).unwrap();
    let text = "di ".repeat(1000);
    let texts = vec![text.as_str(); (100_000 / model.info().max_tokens).max(1)];
    let tokens = texts.len() * model.info().max_tokens;
    model.encode(&texts[..1], &EncodeOptions::default()).unwrap();
    let before = resident("RssAnon");
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let lowest = resident("VmHWM");
    model.encode(&texts, &EncodeOptions::default()).unwrap();
    assert_eq!(model.stats().batches, 2);
    let (peak, left) = (resident("VmHWM") - lowest, resident("RssAnon").saturating_sub(before));
    println!("{tokens} tokens: {} bytes a token at the peak, {left} bytes left", peak / tokens);
    assert!(peak <= tokens * BYTES_PER_TOKEN + SLACK);
    // Otherwise this measures something else.
    assert!(peak >= tokens * BYTES_PER_TOKEN / 2);
    match case.as_str() {
        "kept" => assert!(left >= tokens * BYTES_PER_TOKEN / 2),
        _ => assert!(left <= SLACK),
    }
}

#[test]
fn a_run_takes_what_it_computes_and_little_more() {
    in_a_process_of_its_own("kept");
}

#[test]
fn a_run_gives_its_memory_back_where_it_is_not_to_be_kept() {
    in_a_process_of_its_own("given back");
}
