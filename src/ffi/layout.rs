//! The layout of the rows of a comparison in the caller's memory.

use super::boundary::{Grid, read_options};
use super::types::*;
use crate::error::{Result, error};
use crate::options::THREADS_MAX;

/// `bge_similarity_options` for vectors of `dim` floats, checked.
pub(super) struct Layout {
    pub threads: usize,
    dim: usize,
    a_stride: usize,
    b_stride: usize,
    /// As the caller set it: its limit depends on the shape of the scores.
    scores_stride: usize,
}

impl Layout {
    pub fn read(options: *const bge_similarity_options, dim: usize) -> Result<Self> {
        if dim == 0 {
            return Err(error!(InvalidArgument, "dim is 0; a vector has at least 1 float"));
        }
        let Some(options) = read_options(options)? else {
            return Ok(Self { threads: 1, dim, a_stride: dim, b_stride: dim, scores_stride: 0 });
        };
        if options.threads as usize > THREADS_MAX {
            return Err(error!(
                InvalidArgument,
                "threads is {}; it may be at most {THREADS_MAX}", options.threads
            ));
        }
        Ok(Self {
            threads: options.threads.max(1) as usize,
            dim,
            a_stride: stride(options.a_stride, dim, "a_stride", "floats")?,
            b_stride: stride(options.b_stride, dim, "b_stride", "floats")?,
            scores_stride: options.scores_stride,
        })
    }

    pub fn a(&self, rows: usize) -> Grid {
        Grid { rows, width: self.dim, stride: self.a_stride }
    }

    pub fn b(&self, rows: usize) -> Grid {
        Grid { rows, width: self.dim, stride: self.b_stride }
    }

    pub fn scores(&self, rows: usize, columns: usize) -> Result<Grid> {
        let stride = stride(self.scores_stride, columns, "scores_stride", "floats")?;
        Ok(Grid { rows, width: columns, stride })
    }
}

/// The stride that the caller set, or the width of a row.
pub(super) fn stride(set: usize, width: usize, name: &str, unit: &str) -> Result<usize> {
    match set {
        0 => Ok(width),
        set if set >= width => Ok(set),
        set => {
            Err(error!(InvalidArgument, "{name} is {set}, less than the {width} {unit} of a row"))
        }
    }
}
