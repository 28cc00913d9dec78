//! Attention over packed sequences of different lengths, without padding and without a mask.
//!
//! Every query row of a sequence attends to all key rows of the same sequence. The score matrix
//! is never held: keys are visited in blocks and the softmax is corrected as larger scores turn
//! up, so that the memory a worker needs does not depend on the sequence length. What is computed
//! for a row depends on its own sequence only, hence neither the other sequences of a batch nor
//! the number of threads change a bit of it.

mod exp;
mod output;
mod panel;
mod plan;
mod prefetch;
mod row;
mod scratch;

#[cfg(test)]
mod tests;

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use pulp::{Arch, Scalar128b, Simd, WithSimd};

use output::SharedOutput;
use plan::Tile;

pub(crate) use exp::{exp2, mul_add};
pub use plan::Plan;
pub(crate) use prefetch::{LINE, SOON, prefetch, prefetch_lines};
pub(crate) use scratch::Scratch;

/// The layout of packed queries, keys and values.
#[derive(Clone, Copy, Debug)]
pub struct Shape<'a> {
    /// How many heads share a row.
    pub heads: usize,
    /// How many elements of a row belong to one head.
    pub head_dim: usize,
    /// The first query row of every sequence, and behind them the number of query rows.
    pub q_offsets: &'a [i32],
    /// The first key row of every sequence, and behind them the number of key rows.
    pub k_offsets: &'a [i32],
}

/// Calls a function once for every index below a number, on any threads and in any order, and
/// returns when all calls have returned.
pub type ParallelFor<'a> = dyn Fn(usize, &(dyn Fn(usize) + Sync)) + 'a;

/// The vector instructions of this processor, asked for once.
pub(crate) static ARCH: LazyLock<Arch> = LazyLock::new(Arch::new);

/// Runs an operation with the widest vectors that this processor has.
pub(crate) fn vectorize<O: WithSimd>(operation: O) -> O::Output {
    match *ARCH {
        // Four lanes at once are what every x86-64 has without asking.
        Arch::Scalar => Scalar128b.vectorize(operation),
        arch => arch.dispatch(operation),
    }
}

/// Writes softmax(Q Kᵀ / √head_dim) V of every sequence and head to `out`.
///
/// `q` and `out` hold one row of `heads * head_dim` elements for every query, `k` and `v` one for
/// every key. `parallel_for` runs the independent parts of the work.
///
/// # Errors
/// When the offsets or lengths do not fit together, or `parallel_for` left out a part.
pub fn run(
    shape: &Shape<'_>,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    out: &mut [f32],
    parallel_for: &ParallelFor<'_>,
) -> Result<(), String> {
    Plan::new(shape)?.run(q, k, v, out, parallel_for)
}

impl Plan {
    /// Does what [`run`] does for the shape that the plan was made for.
    ///
    /// # Errors
    /// When a slice does not have the length that the shape asks for, or `parallel_for` left out
    /// a part.
    pub fn run(
        &self,
        q: &[f32],
        k: &[f32],
        v: &[f32],
        out: &mut [f32],
        parallel_for: &ParallelFor<'_>,
    ) -> Result<(), String> {
        for (name, length, expected) in [
            ("queries", q.len(), self.query_len),
            ("keys", k.len(), self.key_len),
            ("values", v.len(), self.key_len),
            ("output", out.len(), self.query_len),
        ] {
            if length != expected {
                return Err(format!("attention: {name} hold {length} elements, not {expected}"));
            }
        }
        let out = SharedOutput::new(out);
        // The output regions are disjoint only if no part runs twice, which is nothing that a
        // caller's closure can be trusted with.
        let claimed: Vec<AtomicBool> = self.items.iter().map(|_| AtomicBool::new(false)).collect();
        let (done, is_short) = (AtomicUsize::new(0), AtomicBool::new(false));
        let run_item = |index: usize| {
            let Some(claim) = claimed.get(index) else { return };
            if claim.swap(true, Ordering::Relaxed) {
                return;
            }
            let computed = Scratch::with(|scratch| {
                vectorize(Item {
                    tiles: &self.tiles[self.items[index].clone()],
                    heads: self.heads,
                    head_dim: self.head_dim,
                    q,
                    k,
                    v,
                    out: &out,
                    scratch,
                });
            });
            match computed {
                Some(()) => _ = done.fetch_add(1, Ordering::Release),
                None => is_short.store(true, Ordering::Relaxed),
            }
        };
        if !self.items.is_empty() {
            parallel_for(self.items.len(), &run_item);
        }
        if done.load(Ordering::Acquire) == self.items.len() {
            Ok(())
        } else if is_short.into_inner() {
            Err("attention: out of memory".into())
        } else {
            Err("attention: parts of the work were not run".into())
        }
    }
}

/// Tiles that one worker runs one after another.
struct Item<'a> {
    tiles: &'a [Tile],
    heads: usize,
    head_dim: usize,
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    out: &'a SharedOutput<'a>,
    scratch: &'a mut Scratch,
}

impl WithSimd for Item<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let stride = self.heads * self.head_dim;
        for tile in self.tiles {
            let column = tile.head as usize * self.head_dim;
            let head = Head {
                queries: tile.query_count(),
                keys: tile.key_count(),
                dim: self.head_dim,
                stride,
                q: &self.q[tile.first_query() * stride + column..],
                k: &self.k[tile.first_key() * stride + column..],
                v: &self.v[tile.first_key() * stride + column..],
            };
            // SAFETY: the tiles of a plan have no row and head in common, every tile belongs to
            // one item, and `Plan::run` starts no item twice.
            let mut out = unsafe {
                self.out.rows(
                    tile.first_query() * stride + column,
                    stride,
                    self.head_dim,
                    tile.query_count(),
                )
            };
            if tile.by_row {
                row::attend(simd, &head, self.scratch, &mut out);
            } else {
                panel::attend(simd, &head, self.scratch, &mut out);
            }
        }
    }
}

/// The queries of a tile with the keys and values they attend to; row `i` starts at `i * stride`.
struct Head<'a> {
    queries: usize,
    keys: usize,
    dim: usize,
    stride: usize,
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
}

impl Head<'_> {
    #[inline(always)]
    fn query(&self, index: usize) -> &[f32] {
        &self.q[index * self.stride..][..self.dim]
    }

    #[inline(always)]
    fn key(&self, index: usize) -> &[f32] {
        &self.k[index * self.stride..][..self.dim]
    }

    #[inline(always)]
    fn value(&self, index: usize) -> &[f32] {
        &self.v[index * self.stride..][..self.dim]
    }

    /// What queries are multiplied by so that the softmax can use powers of two.
    #[inline(always)]
    fn scale(&self) -> f32 {
        (std::f64::consts::LOG2_E / (self.dim as f64).sqrt()) as f32
    }
}

/// Where running maxima start: finite, so that a block of scores that are all −∞ does not turn
/// the blocks after it into NaN.
const LOWEST: f32 = f32::MIN;
