//! Similarity by sparse weights: sums over the tokens that two texts have in common, as
//! FlagEmbedding defines it.
//!
//! The shorter list of texts is turned into an index from tokens to weights, a block at a time. The
//! texts of the longer list are read once for each block. One bit says whether any indexed text has
//! a token, so that the bits to look up stay in the first cache level.

use ndarray::{ArrayViewMut2, Axis};
use pulp::{Simd, WithSimd};

use super::shape::check_shape;
use crate::error::{Result, error};
use crate::kernels::simd::{ARCH, vectorize};
use crate::parallel;

/// Texts that are indexed together.
const BLOCK: usize = 256;
/// Texts that a thread takes at a time.
const PART: usize = 64;
/// Words of bits, which are 32 KB, and enough for a vocabulary of 262,144 tokens.
const WORDS: usize = 1 << 12;
const BITS: u32 = 64 * WORDS as u32;
/// Entries whose bits are looked up before their weights.
const CHUNK: usize = 256;
/// Entries whose reading takes as long as starting a thread.
const THREAD_ENTRIES_MIN: usize = 1 << 16;

/// The sparse weights of one text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SparseText<'a> {
    /// Token ids, ascending and each at most once.
    pub ids: &'a [u32],
    /// The weight of each of those tokens.
    pub weights: &'a [f32],
}

/// For each text of `a` and each of `b`, the sum over the tokens that both have of the product of
/// their weights. Uses at most `threads` threads.
pub fn similarity_sparse(
    a: &[SparseText<'_>],
    b: &[SparseText<'_>],
    threads: usize,
    scores: ArrayViewMut2<'_, f32>,
) -> Result<()> {
    check_shape((a.len(), b.len()), &scores)?;
    for (name, texts) in [("a", a), ("b", b)] {
        if let Some(index) = unordered(texts) {
            return Err(error!(
                InvalidArgument,
                "the ids of text {index} of {name} do not ascend, or are not as many as its \
                 weights"
            ));
        }
    }
    score(a, b, threads, scores);
    Ok(())
}

fn score(
    a: &[SparseText<'_>],
    b: &[SparseText<'_>],
    threads: usize,
    mut scores: ArrayViewMut2<'_, f32>,
) {
    let (indexed, read) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    if a.len() > b.len() {
        scores = scores.reversed_axes();
    }
    let entries: usize = read.iter().map(|text| text.ids.len()).sum();
    let threads = threads.clamp(1, 1 + entries / THREAD_ENTRIES_MIN);
    for (block, mut scores) in
        indexed.chunks(BLOCK).zip(scores.axis_chunks_iter_mut(Axis(0), BLOCK))
    {
        let index = Index::of(block);
        let parts = read.chunks(PART).zip(scores.axis_chunks_iter_mut(Axis(1), PART));
        parallel::for_each(threads, parts, |(texts, scores)| {
            vectorize(Part { index: &index, indexed: block.len(), texts, scores });
        });
    }
}

/// Texts that are read, and their scores with the indexed ones, a column each.
struct Part<'a> {
    index: &'a Index,
    indexed: usize,
    texts: &'a [SparseText<'a>],
    scores: ArrayViewMut2<'a, f32>,
}

impl WithSimd for Part<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, _: S) {
        let mut sums = vec![0.0; self.indexed];
        for (text, mut scores) in self.texts.iter().zip(self.scores.columns_mut()) {
            self.index.add_up(*text, &mut sums);
            for (score, sum) in scores.iter_mut().zip(&mut sums) {
                *score = std::mem::take(sum) as f32;
            }
        }
    }
}

/// The first text whose ids do not ascend, or whose ids and weights differ in number.
fn unordered(texts: &[SparseText<'_>]) -> Option<usize> {
    let ascend = |ids: &[u32]| {
        let after = ids.get(1..).unwrap_or_default();
        // Without an early exit, so that vector instructions can do it.
        ids.iter().zip(after).fold(true, |so_far, (id, next)| so_far & (id < next))
    };
    let unordered =
        |text: &SparseText<'_>| text.ids.len() != text.weights.len() || !ascend(text.ids);
    ARCH.dispatch(
        #[inline(always)]
        || texts.iter().position(unordered),
    )
}

/// The weights of each token, by the indexed texts that have it.
struct Index {
    /// A bit for each token: whether an indexed text has it, or another token whose id differs by a
    /// multiple of `BITS`.
    bits: Box<[u64; WORDS]>,
    /// The index in `ids` of the first token of each word of `bits`, and the end of the last.
    starts: Box<[u32; WORDS + 1]>,
    /// The different ids, in the order of their bits.
    ids: Vec<u32>,
    /// The index in `weights` of the first weight of each id, and the end of the last.
    offsets: Vec<usize>,
    /// The index of a text in its block, and its weight.
    weights: Vec<(usize, f64)>,
}

impl Index {
    fn of(texts: &[SparseText<'_>]) -> Self {
        let mut entries: Vec<(u32, usize, f32)> = Vec::new();
        for (place, text) in texts.iter().enumerate() {
            entries.extend(text.ids.iter().zip(text.weights).map(|(&id, &w)| (id, place, w)));
        }
        entries.sort_unstable_by_key(|&(id, place, _)| (id % BITS, id, place));
        let (mut bits, mut starts) = (Box::new([0; WORDS]), Box::new([0; WORDS + 1]));
        let (mut ids, mut offsets, mut weights) = (Vec::new(), Vec::new(), Vec::new());
        for (id, place, weight) in entries {
            if ids.last() != Some(&id) {
                ids.push(id);
                offsets.push(weights.len());
                let (word, bit) = place_of(id);
                bits[word] |= bit;
                starts[word + 1] = ids.len() as u32;
            }
            weights.push((place, f64::from(weight)));
        }
        offsets.push(weights.len());
        for word in 0..WORDS {
            starts[word + 1] = starts[word + 1].max(starts[word]);
        }
        Self { bits, starts, ids, offsets, weights }
    }

    /// Adds to the score of each indexed text the products of the tokens that both texts have.
    #[inline(always)]
    fn add_up(&self, text: SparseText<'_>, sums: &mut [f64]) {
        for (ids, weights) in text.ids.chunks(CHUNK).zip(text.weights.chunks(CHUNK)) {
            // A first pass finds the entries that count without a branch, which would be hard to
            // predict.
            let (mut hits, mut count) = ([0u8; CHUNK], 0);
            for (entry, &id) in ids.iter().enumerate() {
                let (word, bit) = place_of(id);
                hits[count % CHUNK] = entry as u8;
                count += usize::from(self.bits[word] & bit != 0);
            }
            for &entry in &hits[..count] {
                let (id, weight) = (ids[usize::from(entry)], weights[usize::from(entry)]);
                for &(place, other) in self.weights_of(id) {
                    sums[place] += f64::from(weight) * other;
                }
            }
        }
    }

    /// The weights of a token whose bit is set.
    #[inline(always)]
    fn weights_of(&self, id: u32) -> &[(usize, f64)] {
        let (word, bit) = place_of(id);
        // The first token of the word that can have this bit. It is a later one only if ids share
        // the bit.
        let first = self.starts[word] + (self.bits[word] & (bit - 1)).count_ones();
        for token in first as usize..self.starts[word + 1] as usize {
            if self.ids[token] == id {
                return &self.weights[self.offsets[token]..self.offsets[token + 1]];
            }
        }
        &[]
    }
}

/// The word and the bit of a token.
#[inline(always)]
fn place_of(id: u32) -> (usize, u64) {
    (id as usize / 64 % WORDS, 1 << (id % 64))
}
