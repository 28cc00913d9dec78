//! The caller's memory for results: which outputs it requests, and whether it is large enough.

use super::boundary::{CallerRows, Grid, Span, read_sized};
use super::constants::*;
use super::layout::stride;
use super::types::*;
use crate::embeddings::Sizes;
use crate::error::{Result, error};
use crate::log::{self, LogLevel};
use crate::{Embeddings, EncodeOptions, Model, Outputs, TokenVectors};

/// The `bge_embeddings` of a call, checked as far as is possible before the texts are tokenized.
pub(super) struct RequestedBuffers {
    given: bge_embeddings,
    count: usize,
    outputs: Outputs,
    dense_grid: Grid,
    /// The arrays whose size does not depend on the tokens.
    fixed: [Span<'static>; 4],
}

/// The caller's memory for results, checked to be large enough.
pub(super) struct OutputBuffers {
    dense: Option<CallerRows<f32>>,
    token_counts: Option<CallerRows<u32>>,
    truncated: Option<CallerRows<u8>>,
    statuses: Option<CallerRows<bge_status>>,
    sparse: Option<SparseBuffers>,
    multi: Option<TokenVectorBuffers>,
    tokens: Option<TokenVectorBuffers>,
}

struct SparseBuffers {
    offsets: CallerRows<u64>,
    ids: CallerRows<u32>,
    weights: CallerRows<f32>,
}

/// Memory for a vector of each token.
struct TokenVectorBuffers {
    offsets: CallerRows<u64>,
    rows: CallerRows<f32>,
}

/// The members of `bge_embeddings` for a vector of each token.
#[derive(Clone, Copy)]
struct RequestedTokenVectors {
    offsets: *mut u64,
    rows: *mut f32,
    capacity: usize,
    /// The names of `offsets` and `rows`; that of `capacity` follows from the second.
    names: [&'static str; 2],
}

impl RequestedTokenVectors {
    fn multi(given: &bge_embeddings) -> Self {
        Self {
            offsets: given.multi_offsets,
            rows: given.multi,
            capacity: given.multi_capacity,
            names: ["multi_offsets", "multi"],
        }
    }

    fn tokens(given: &bge_embeddings) -> Self {
        Self {
            offsets: given.token_offsets,
            rows: given.token_embeddings,
            capacity: given.token_embeddings_capacity,
            names: ["token_offsets", "token_embeddings"],
        }
    }

    fn are_requested(&self) -> bool {
        !self.offsets.is_null() || !self.rows.is_null() || self.capacity != 0
    }

    /// Refuses buffers that are too small for `rows` rows, and adds the buffers to `spans`.
    fn check(
        self,
        count: usize,
        rows: usize,
        dim: usize,
        spans: &mut Vec<Span<'static>>,
    ) -> Result<TokenVectorBuffers> {
        let [offsets, name] = self.names;
        let boundaries = count.saturating_add(1);
        let needed = Grid { rows, width: dim, stride: dim }.extent(name)?;
        if self.capacity < needed {
            return Err(error!(
                BufferTooSmall,
                "{name}_capacity is {}, but {count} texts of these tokens need {needed} floats: \
                 {rows} rows of {dim}",
                self.capacity
            ));
        }
        spans.extend([
            Span::new(self.offsets, boundaries, offsets),
            Span::new(self.rows, needed, name),
        ]);
        Ok(TokenVectorBuffers {
            offsets: line(self.offsets, boundaries, offsets)?,
            rows: line(self.rows, needed, name)?,
        })
    }
}

impl TokenVectorBuffers {
    fn fill(&mut self, results: &TokenVectors) {
        store_offsets(&mut self.offsets, &results.offsets);
        self.rows.row(0).copy_from_slice(&results.rows);
    }
}

impl RequestedBuffers {
    pub fn read(
        model: &Model,
        options: &EncodeOptions,
        embeddings: *mut bge_embeddings,
        count: usize,
    ) -> Result<Self> {
        let given = read_sized(embeddings)?;
        if given.flags != 0 {
            return Err(error!(
                Unsupported,
                "bge_embeddings.flags is {:#x}; no flag is known", given.flags
            ));
        }
        let outputs = Outputs {
            dense: !given.dense.is_null(),
            sparse: !given.sparse_offsets.is_null()
                || !given.sparse_ids.is_null()
                || !given.sparse_weights.is_null()
                || given.sparse_capacity != 0,
            multi: RequestedTokenVectors::multi(&given).are_requested(),
            tokens: RequestedTokenVectors::tokens(&given).are_requested(),
        };
        // Checked before the buffers: no other buffer would help.
        model.check_outputs(outputs)?;
        let dense_grid = dense_grid(model.dense_dim(options)?, &given, count)?;
        let dense_needed = if outputs.dense { dense_grid.extent("dense")? } else { 0 };
        if count > 0 && !outputs.dense {
            if !(outputs.sparse || outputs.multi || outputs.tokens) {
                return Err(error!(
                    InvalidArgument,
                    "embeddings.dense is NULL, and so are the others: nothing is asked for"
                ));
            }
            if given.dense_capacity != 0 {
                return Err(error!(
                    InvalidArgument,
                    "dense is NULL, but dense_capacity is {}; set both or none",
                    given.dense_capacity
                ));
            }
        }
        if given.dense_capacity < dense_needed {
            return Err(error!(
                BufferTooSmall,
                "dense_capacity is {}, but {count} texts need {dense_needed} floats",
                given.dense_capacity
            ));
        }
        let fixed = [
            Span::new(given.dense, dense_needed, "dense"),
            Span::new(given.token_counts, count, "token_counts"),
            Span::new(given.truncated, count, "truncated"),
            Span::new(given.statuses, count, "statuses"),
        ];
        check_apart(&fixed)?;
        let requested = Self { given, count, outputs, dense_grid, fixed };
        // Misaligned arrays are refused before the texts are tokenized, too.
        requested.of_fixed_size()?;
        Ok(requested)
    }

    /// The options of the call, with the outputs that the buffers request.
    pub fn options(&self, options: EncodeOptions) -> Result<EncodeOptions> {
        let per_text_errors = !self.given.statuses.is_null();
        if options.per_text_errors && !per_text_errors && self.count > 0 {
            return Err(error!(
                InvalidArgument,
                "BGE_ENCODE_PER_TEXT_ERRORS is set, but embeddings.statuses is NULL"
            ));
        }
        Ok(EncodeOptions { outputs: self.outputs, per_text_errors, ..options })
    }

    fn of_fixed_size(&self) -> Result<OutputBuffers> {
        let Self { given, count, outputs, dense_grid, .. } = self;
        let dense = outputs.dense.then(|| CallerRows::new(given.dense, *dense_grid, "dense"));
        Ok(OutputBuffers {
            dense: dense.transpose()?,
            token_counts: one_per_text(given.token_counts, *count, "token_counts")?,
            truncated: one_per_text(given.truncated, *count, "truncated")?,
            statuses: one_per_text(given.statuses, *count, "statuses")?,
            sparse: None,
            multi: None,
            tokens: None,
        })
    }

    /// Refuses buffers that are too small for results of these sizes.
    pub fn check(&self, model: &Model, sizes: Sizes) -> Result<OutputBuffers> {
        let Self { given, count, outputs, .. } = self;
        let mut buffers = self.of_fixed_size()?;
        let mut spans = self.fixed.to_vec();
        let boundaries = count.saturating_add(1);
        if outputs.sparse {
            let entries = sizes.sparse_entries;
            if given.sparse_capacity < entries {
                return Err(error!(
                    BufferTooSmall,
                    "sparse_capacity is {}, but {count} texts of these tokens need room for \
                     {entries} entries",
                    given.sparse_capacity
                ));
            }
            spans.extend([
                Span::new(given.sparse_offsets, boundaries, "sparse_offsets"),
                Span::new(given.sparse_ids, entries, "sparse_ids"),
                Span::new(given.sparse_weights, entries, "sparse_weights"),
            ]);
            buffers.sparse = Some(SparseBuffers {
                offsets: line(given.sparse_offsets, boundaries, "sparse_offsets")?,
                ids: line(given.sparse_ids, entries, "sparse_ids")?,
                weights: line(given.sparse_weights, entries, "sparse_weights")?,
            });
        }
        if outputs.multi {
            let (rows, dim) = (sizes.multi_rows, model.info().multi_dim);
            let multi = RequestedTokenVectors::multi(given);
            buffers.multi = Some(multi.check(*count, rows, dim, &mut spans)?);
        }
        if outputs.tokens {
            let (rows, dim) = (sizes.token_rows, model.info().token_dim);
            let tokens = RequestedTokenVectors::tokens(given);
            buffers.tokens = Some(tokens.check(*count, rows, dim, &mut spans)?);
        }
        check_apart(&spans)?;
        Ok(buffers)
    }
}

impl OutputBuffers {
    pub fn fill(&mut self, results: &Embeddings) {
        if let Some(dense) = &mut self.dense {
            for (index, vector) in results.dense.chunks_exact(results.dim).enumerate() {
                dense.row(index).copy_from_slice(vector);
            }
        }
        if let Some(counts) = &mut self.token_counts {
            for (count, usage) in counts.row(0).iter_mut().zip(&results.usage) {
                *count = usage.tokens as u32;
            }
        }
        if let Some(truncated) = &mut self.truncated {
            for (truncated, usage) in truncated.row(0).iter_mut().zip(&results.usage) {
                *truncated = usage.truncated.into();
            }
        }
        if let Some(statuses) = &mut self.statuses {
            statuses.row(0).fill(BGE_OK);
            for e in &results.errors {
                if let Some(text) = e.text_index() {
                    statuses.row(0)[text] = e.kind().code();
                    // A status has no message, so the message goes to the log.
                    log::line(LogLevel::Warn, || format!("text {text} of a call failed: {e}"));
                }
            }
        }
        if let (Some(buffers), Some(sparse)) = (&mut self.sparse, &results.sparse) {
            let entries = sparse.ids.len();
            store_offsets(&mut buffers.offsets, &sparse.offsets);
            buffers.ids.row(0)[..entries].copy_from_slice(&sparse.ids);
            buffers.weights.row(0)[..entries].copy_from_slice(&sparse.weights);
        }
        if let (Some(buffers), Some(multi)) = (&mut self.multi, &results.multi) {
            buffers.fill(multi);
        }
        if let (Some(buffers), Some(tokens)) = (&mut self.tokens, &results.tokens) {
            buffers.fill(tokens);
        }
    }
}

fn dense_grid(dim: usize, given: &bge_embeddings, count: usize) -> Result<Grid> {
    let stride = stride(given.dense_stride, dim, "dense_stride", "floats")?;
    Ok(Grid { rows: count, width: dim, stride })
}

fn check_apart(spans: &[Span<'_>]) -> Result<()> {
    for (index, span) in spans.iter().enumerate() {
        spans[..index].iter().try_for_each(|before| before.check_apart(*span))?;
    }
    Ok(())
}

fn line<T>(pointer: *mut T, length: usize, name: &str) -> Result<CallerRows<T>> {
    CallerRows::new(pointer, Grid::line(length), name)
}

fn one_per_text<T>(pointer: *mut T, count: usize, name: &str) -> Result<Option<CallerRows<T>>> {
    if pointer.is_null() { Ok(None) } else { line(pointer, count, name).map(Some) }
}

fn store_offsets(written: &mut CallerRows<u64>, offsets: &[usize]) {
    for (to, &from) in written.row(0).iter_mut().zip(offsets) {
        *to = from as u64;
    }
}
