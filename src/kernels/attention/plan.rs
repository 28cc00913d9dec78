//! The division of attention into items of work that run independently.

use std::ops::Range;

use super::blocked::{QUERY_UNIT, max_queries};

/// The layout of packed queries, keys and values.
#[derive(Clone, Copy, Debug)]
pub struct Shape<'a> {
    /// The heads whose elements share a row.
    pub heads: usize,
    /// The elements of a row that belong to one head.
    pub head_dim: usize,
    /// The first query row of every sequence, and behind them the number of query rows.
    pub q_offsets: &'a [i32],
    /// The first key row of every sequence, and behind them the number of key rows.
    pub k_offsets: &'a [i32],
}

/// Sequences with at most this many query rows are computed row by row, because arranging keys
/// and values for the blocked kernel would cost more than it saves.
const MAX_ROWS_BY_ROW: usize = 3;

/// Multiply-adds of an item: a few tens of microseconds, which pay for waking another thread.
const ITEM_COST: usize = 1 << 20;

/// Work on one head of consecutive query rows of a sequence.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tile {
    pub(super) head: u32,
    pub(super) by_row: bool,
    queries: Range<u32>,
    keys: Range<u32>,
}

impl Tile {
    pub(super) fn first_query(&self) -> usize {
        self.queries.start as usize
    }

    pub(super) fn query_count(&self) -> usize {
        self.queries.len()
    }

    pub(super) fn first_key(&self) -> usize {
        self.keys.start as usize
    }

    pub(super) fn key_count(&self) -> usize {
        self.keys.len()
    }

    fn cost(&self, head_dim: usize) -> usize {
        let (queries, keys) = (self.query_count(), self.key_count());
        // Rearranging a row for the kernel costs as much as about 16 keys or queries.
        2 * head_dim * (queries * keys + 16 * (queries + keys))
    }
}

/// How the work on a shape is divided. It can be computed any number of times.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(super) heads: usize,
    pub(super) head_dim: usize,
    pub(super) query_len: usize,
    pub(super) key_len: usize,
    pub(super) tiles: Vec<Tile>,
    pub(super) items: Vec<Range<usize>>,
}

impl Plan {
    /// Divides the work on `shape`.
    ///
    /// # Errors
    /// When the offsets are not those of packed sequences, or a sequence has queries but no keys.
    pub fn new(shape: &Shape<'_>) -> Result<Self, String> {
        let Shape { heads, head_dim, q_offsets, k_offsets } = *shape;
        if heads == 0 || head_dim == 0 || u32::try_from(heads).is_err() {
            return Err(format!("attention: no layout has {heads} heads of {head_dim} elements"));
        }
        if q_offsets.len() != k_offsets.len() {
            return Err("attention: queries and keys differ in the number of sequences".into());
        }
        let width = heads.checked_mul(head_dim).ok_or("attention: a row is too long")?;
        let query_len = packed_len("query", q_offsets, width)?;
        let key_len = packed_len("key", k_offsets, width)?;
        let mut tiles = Vec::new();
        for (index, (queries, keys)) in q_offsets.windows(2).zip(k_offsets.windows(2)).enumerate() {
            if queries[0] < queries[1] && keys[0] == keys[1] {
                return Err(format!("attention: sequence {index} has queries but no keys"));
            }
            let queries = queries[0] as u32..queries[1] as u32;
            let keys = keys[0] as u32..keys[1] as u32;
            push_tiles(&mut tiles, heads, head_dim, queries, keys);
        }
        let items = group(&tiles, head_dim);
        Ok(Self { heads, head_dim, query_len, key_len, tiles, items })
    }
}

/// The number of elements that packed rows with these offsets have.
fn packed_len(name: &str, offsets: &[i32], width: usize) -> Result<usize, String> {
    let (Some(&first), Some(&last)) = (offsets.first(), offsets.last()) else {
        return Err(format!("attention: there are no {name} offsets"));
    };
    if first != 0 || offsets.windows(2).any(|pair| pair[0] > pair[1]) {
        return Err(format!("attention: {name} offsets do not ascend from 0"));
    }
    (last as usize).checked_mul(width).ok_or_else(|| format!("attention: too many {name} rows"))
}

fn push_tiles(
    tiles: &mut Vec<Tile>,
    heads: usize,
    head_dim: usize,
    queries: Range<u32>,
    keys: Range<u32>,
) {
    let count = queries.len();
    if count == 0 {
        return;
    }
    let by_row = count <= MAX_ROWS_BY_ROW;
    let limit = max_queries(head_dim);
    // Chunks of about the same size, because every chunk arranges all keys anew.
    let chunk = count.div_ceil(count.div_ceil(limit)).next_multiple_of(QUERY_UNIT);
    // Chunks of one head follow each other while its keys are in the cache.
    for head in 0..heads as u32 {
        for start in queries.clone().step_by(chunk) {
            let end = start.saturating_add(chunk as u32).min(queries.end);
            tiles.push(Tile { head, by_row, queries: start..end, keys: keys.clone() });
        }
    }
}

/// Joins neighboring tiles into items.
fn group(tiles: &[Tile], head_dim: usize) -> Vec<Range<usize>> {
    let mut items = Vec::new();
    let (mut start, mut cost) = (0, 0_usize);
    for (index, tile) in tiles.iter().enumerate() {
        cost = cost.saturating_add(tile.cost(head_dim));
        if cost >= ITEM_COST {
            items.push(start..index + 1);
            (start, cost) = (index + 1, 0);
        }
    }
    if start < tiles.len() {
        items.push(start..tiles.len());
    }
    items
}
