//! Helpers of the tests of kernels.

pub fn in_order(count: usize, body: &(dyn Fn(usize) + Sync)) {
    (0..count).for_each(body);
}

pub fn on_threads(count: usize, body: &(dyn Fn(usize) + Sync)) {
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || (0..count).rev().filter(|i| i % 4 == thread).for_each(body));
        }
    });
}

/// Numbers from -1 to 1.
pub fn random(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(count).collect()
}

pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}
