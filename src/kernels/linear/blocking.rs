//! How a matrix product is divided into blocks that threads compute independently.

use std::ops::Range;

/// Loading a panel from memory takes as long as multiplying this many rows by it.
const LOADING_ROWS: usize = 8;

/// How a product is divided into parts.
pub(super) struct Blocking {
    /// MC: the most rows of a part, in whole tiles except at the end.
    pub mc: usize,
    /// MR: the rows of a tile.
    pub mr: usize,
    /// NR: the columns of a panel.
    pub nr: usize,
    /// Least multiply-adds of a part: some ten microseconds, which pay for waking another thread.
    pub min_products: usize,
    /// A large product is divided into about this many parts. More cost more than they gain by
    /// spreading the work more evenly.
    pub max_parts: usize,
    /// Least panels of a part: fewer would not pay for copying or quantizing its rows first.
    pub min_panels: usize,
}

/// A part of a product: some rows of the result, and some of their columns.
pub(super) struct Part<'y> {
    pub rows: Range<usize>,
    pub columns: Range<usize>,
    /// One slice for each row.
    pub y: Vec<&'y mut [f32]>,
}

/// Divides a product into parts.
pub(super) fn divide(
    y: &mut [f32],
    (outputs, inputs): (usize, usize),
    blocking: Blocking,
) -> Vec<Part<'_>> {
    let count = y.len() / outputs;
    // An even number of blocks, whose tiles differ in number by one at most, so that no thread
    // waits long for another.
    let tiles = count.div_ceil(blocking.mr);
    let blocks = match count.div_ceil(blocking.mc) {
        1 => 1,
        blocks => blocks.next_multiple_of(2).min(tiles),
    };
    let block_rows = count.div_ceil(blocks);
    let products = (y.len().saturating_mul(inputs) / blocking.max_parts).max(blocking.min_products);
    let panel_products = (block_rows.max(LOADING_ROWS) * inputs * blocking.nr).max(1);
    let panels = outputs.div_ceil(blocking.nr);
    let panels_of_part = (products / panel_products).max(blocking.min_panels);
    // A single block of rows is divided into an even number of parts, too: of three parts, one of
    // two threads would run two.
    let parts_of_block = match panels.div_ceil(panels_of_part) {
        parts @ 2.. if blocks == 1 => parts.next_multiple_of(4).min(panels),
        parts => parts,
    };
    let block_columns = panels.div_ceil(parts_of_block) * blocking.nr;
    let mut parts = Vec::new();
    let mut rest = y;
    for block in 0..blocks {
        let first_row = |block: usize| (block * tiles / blocks * blocking.mr).min(count);
        let rows = first_row(block)..first_row(block + 1);
        let (y, behind) = std::mem::take(&mut rest).split_at_mut(rows.len() * outputs);
        rest = behind;
        let start = parts.len();
        parts.extend((0..outputs).step_by(block_columns).map(|column| Part {
            rows: rows.clone(),
            columns: column..outputs.min(column + block_columns),
            y: Vec::with_capacity(rows.len()),
        }));
        for row in y.chunks_mut(outputs) {
            for (part, y) in parts[start..].iter_mut().zip(row.chunks_mut(block_columns)) {
                part.y.push(y);
            }
        }
    }
    parts
}
