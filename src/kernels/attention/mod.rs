//! Attention over packed sequences of different lengths, without padding and without a mask.
//!
//! Every query row of a sequence attends to all key rows of the same sequence. The score matrix is
//! never in memory: keys are visited in blocks and the softmax is corrected as larger scores turn
//! up (online softmax), so the memory of a thread does not depend on the length of a sequence. A
//! row of the result depends on its own sequence only: neither the other sequences of a batch nor
//! the number of threads change a bit of it.

mod blocked;
mod by_row;
mod head;
mod plan;
mod shared_output;

#[cfg(test)]
mod tests;

use pulp::{Simd, WithSimd};

use super::parts::{ParallelFor, run_each};
use super::simd::{Scratch, vectorize};
use head::Head;
use plan::Tile;
use shared_output::SharedOutput;

pub use plan::{Plan, Shape};

/// Writes softmax(Q Kᵀ / √head_dim) V of every sequence and head to `out`.
///
/// `q` and `out` hold one row of `heads * head_dim` elements for every query, `k` and `v` one for
/// every key. `parallel_for` runs the independent parts of the work.
///
/// # Errors
/// When the offsets or lengths do not fit together, or `parallel_for` did not run each part.
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
    /// When a slice does not have the length that the shape asks for, or `parallel_for` did not run
    /// each part.
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
        // Each item once: the regions of the output that items write are disjoint only then.
        run_each("attention", self.items.iter().cloned(), parallel_for, |item| {
            Scratch::with(|scratch| {
                vectorize(Item {
                    tiles: &self.tiles[item],
                    heads: self.heads,
                    head_dim: self.head_dim,
                    q,
                    k,
                    v,
                    out: &out,
                    scratch,
                });
            })
        })
    }
}

/// Tiles that one thread runs one after another.
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
            // one item, and `run_each` hands out no item twice.
            let mut out = unsafe {
                self.out.rows(
                    tile.first_query() * stride + column,
                    stride,
                    self.head_dim,
                    tile.query_count(),
                )
            };
            if tile.by_row {
                by_row::attend(simd, &head, self.scratch, &mut out);
            } else {
                blocked::attend(simd, &head, self.scratch, &mut out);
            }
        }
    }
}
