//! Arithmetic on vectors: multiply-add and the powers of two for the softmax.

use std::any::TypeId;

use pulp::{Scalar128b, Simd};

/// 2ˣ to within 2 units in the last place for x ≤ 0, and 0 where it is below the normal numbers.
#[inline(always)]
pub(crate) fn exp2<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    // Adding 1.5 * 2^23 rounds to an integer in the low bits; the 127 on top makes them the
    // biased exponent.
    const SHIFTER: f32 = 12_582_912.0 + 127.0;
    // Minimax polynomial of 2^f for |f| <= 1/2.
    const COEFFICIENTS: [f32; 6] =
        [1.339_887_4e-3, 9.618_437e-3, 5.550_332_5e-2, 2.402_264_8e-1, 6.931_472e-1, 1.0];
    let shifter = simd.splat_f32s(SHIFTER);
    let shifted = simd.add_f32s(x, shifter);
    let fraction = simd.sub_f32s(x, simd.sub_f32s(shifted, shifter));
    let mut power = simd.splat_f32s(1.535_336_2e-4);
    for coefficient in COEFFICIENTS {
        power = mul_add(simd, power, fraction, simd.splat_f32s(coefficient));
    }
    let exponent =
        simd.wrapping_dyn_shl_u32s(simd.transmute_u32s_f32s(shifted), simd.splat_u32s(23));
    let result = simd.mul_f32s(power, simd.transmute_f32s_u32s(exponent));
    // A comparison that is false for NaN, so that NaN stays NaN.
    let vanishes = simd.less_than_f32s(x, simd.splat_f32s(-126.0));
    simd.select_f32s(vanishes, simd.splat_f32s(0.0), result)
}

/// a * b + c, rounded once where the processor can do that.
#[inline(always)]
pub(crate) fn mul_add<S: Simd>(simd: S, a: S::f32s, b: S::f32s, c: S::f32s) -> S::f32s {
    // Without such an instruction rounding once takes a library call, 100 times the work.
    if TypeId::of::<S>() == TypeId::of::<Scalar128b>() {
        simd.add_f32s(simd.mul_f32s(a, b), c)
    } else {
        simd.mul_add_e_f32s(a, b, c)
    }
}
