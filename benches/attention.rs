//! Attention over packed texts of one length, one thread: twelve heads of 32, and sixteen of 64.

// The kernels are private, so they are compiled into the benchmark with the modules that they
// import.
#[allow(dead_code, unused_imports, unused_macros, missing_docs)]
#[path = "../src/error.rs"]
mod error;
#[allow(dead_code, unused_imports)]
#[path = "../src/kernels/mod.rs"]
mod kernels;
#[allow(dead_code, unused_imports)]
#[path = "../src/memory.rs"]
mod memory;
#[allow(dead_code, unused_macros)]
#[path = "../src/numbered.rs"]
mod numbered;
#[allow(dead_code)]
#[path = "../src/part.rs"]
mod part;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use kernels::attention::{Plan, Shape};

const TOKENS: usize = 2048;

fn main() {
    divan::main();
}

#[divan::bench(args = [16, 128, 512, 2048], consts = [32, 64], max_time = 1)]
fn texts_of<const DIM: usize>(bencher: Bencher<'_, '_>, length: usize) {
    let heads = if DIM == 32 { 12 } else { 16 };
    let rows: Vec<f32> = (0..TOKENS * heads * DIM).map(|i| (i % 97) as f32 / 97.0 - 0.5).collect();
    let offsets: Vec<i32> = (0..=TOKENS).step_by(length).map(|row| row as i32).collect();
    let shape = Shape { heads, head_dim: DIM, q_offsets: &offsets, k_offsets: &offsets };
    let plan = Plan::new(&shape).unwrap();
    let mut out = vec![0.0; rows.len()];
    let in_order = |count: usize, body: &(dyn Fn(usize) + Sync)| (0..count).for_each(body);
    bencher.counter(ItemsCount::new(TOKENS)).bench_local(|| {
        plan.run(black_box(&rows), &rows, &rows, &mut out, &in_order).unwrap();
    });
}
