//! What a kernel computes: the queries of a tile, and the keys and values that they attend to.

/// One head of the queries of a tile, with the keys and values they attend to. Row `i` of each
/// starts at `i * stride`.
pub(super) struct Head<'a> {
    pub(super) queries: usize,
    pub(super) keys: usize,
    pub(super) dim: usize,
    pub(super) stride: usize,
    pub(super) q: &'a [f32],
    pub(super) k: &'a [f32],
    pub(super) v: &'a [f32],
}

impl Head<'_> {
    #[inline(always)]
    pub(super) fn query(&self, index: usize) -> &[f32] {
        &self.q[index * self.stride..][..self.dim]
    }

    #[inline(always)]
    pub(super) fn key(&self, index: usize) -> &[f32] {
        &self.k[index * self.stride..][..self.dim]
    }

    #[inline(always)]
    pub(super) fn value(&self, index: usize) -> &[f32] {
        &self.v[index * self.stride..][..self.dim]
    }

    /// The factor of the queries: the usual one, times log2(e), so that the softmax can use powers
    /// of two.
    #[inline(always)]
    pub(super) fn scale(&self) -> f32 {
        (std::f64::consts::LOG2_E / (self.dim as f64).sqrt()) as f32
    }
}

/// Where running maxima start: finite, so that a block of scores that are all −∞ does not turn
/// the blocks after it into NaN.
pub(super) const LOWEST: f32 = f32::MIN;
