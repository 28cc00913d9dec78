//! The texts of a run through an ONNX export: grouped by length, filled up, read back.

use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut2};

use super::pack::positions;
use crate::embeddings::{TextOutput, check_finite};
use crate::error::{Result, error};
use crate::heads;
use crate::memory;
use crate::model_dir::{Linear, Module, Numbering, Pooling};
use crate::modules;
use crate::pooling::pool;
use crate::runtime::{ExportSession, PaddedInputs, PaddedOutputs, Roles, Rows};
use crate::schedule::{BatchEncoder, Request};
use crate::stop::StillWanted;

/// Of the tokens of a group, at most one in so many is padding, but for a few.
const PADDING_SHARE: usize = 4;
const PADDING_FREE: usize = 8;

/// An export with what has to be known to feed it and to read it.
pub(crate) struct PaddedEncoder {
    pub session: ExportSession,
    /// How to make a vector of states, where the export does not.
    pub pooling: Option<Pooling>,
    /// What follows the pooling.
    pub modules: Vec<Module>,
    pub pad_id: u32,
    pub numbering: Numbering,
    /// Whether every text has to run by itself.
    pub alone: bool,
    /// For states, if the export does not do it itself.
    pub sparse: Option<Linear>,
    pub multi: Option<Linear>,
}

impl BatchEncoder for PaddedEncoder {
    fn encode(
        &self,
        _device: usize,
        texts: &[Request<'_>],
        still_wanted: &StillWanted,
    ) -> Result<Vec<Result<TextOutput>>> {
        let mut outputs = vec![Ok(TextOutput::default()); texts.len()];
        for group in self.groups(texts) {
            let inputs = self.fill(texts, &group)?;
            let Self { session, pooling, modules, sparse, multi, .. } = self;
            let reader = Reader {
                roles: session.roles(),
                length: inputs.length,
                pooling: pooling.as_ref(),
                modules,
                sparse: sparse.as_ref(),
                multi: multi.as_ref(),
            };
            let read = session.run(&inputs, still_wanted, |values| {
                let read =
                    |(place, &text): (usize, &usize)| reader.output(&texts[text], place, &values);
                group.iter().enumerate().map(read).collect::<Vec<_>>()
            })?;
            for (text, output) in group.into_iter().zip(read) {
                outputs[text] = output;
            }
        }
        Ok(outputs)
    }
}

impl PaddedEncoder {
    /// The indices of the texts that run together, the longest first.
    fn groups(&self, texts: &[Request<'_>]) -> Vec<Vec<usize>> {
        let length = |text: usize| texts[text].ids.len();
        let texts_max =
            if self.alone { 1 } else { self.session.fixed_texts().unwrap_or(usize::MAX) };
        let can_fill = self.session.takes_mask();
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|&text| std::cmp::Reverse(length(text)));
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for text in order {
            match groups.last_mut() {
                Some(group)
                    if group.len() < texts_max && {
                        let longest = length(group[0]);
                        let padding = longest - length(text);
                        let few = padding <= (longest / PADDING_SHARE).max(PADDING_FREE);
                        padding == 0 || can_fill && few
                    } =>
                {
                    group.push(text);
                }
                _ => groups.push(vec![text]),
            }
        }
        groups
    }

    /// Lays a group out in rows of one length.
    fn fill(&self, texts: &[Request<'_>], group: &[usize]) -> Result<PaddedInputs> {
        let longest = texts[group[0]].ids.len();
        let length = self.session.fixed_length().unwrap_or(longest);
        if longest > length || longest < length && !self.session.takes_mask() {
            return Err(error!(
                Unsupported,
                "the ONNX file takes texts of {length} tokens only, and this one has {longest}"
            ));
        }
        let rows = self.session.fixed_texts().unwrap_or(group.len());
        let mut inputs = PaddedInputs { texts: rows, length, ..PaddedInputs::default() };
        for list in [&mut inputs.ids, &mut inputs.mask, &mut inputs.positions] {
            memory::reserve(list, rows.saturating_mul(length))?;
        }
        // If the graph wants more texts than there are, some are there twice.
        for &text in group.iter().cycle().take(rows) {
            let ids = texts[text].ids;
            let end = inputs.ids.len() + length;
            inputs.ids.extend(ids.iter().map(|&id| i64::from(id)));
            inputs.mask.extend(ids.iter().map(|_| 1));
            inputs.positions.extend(positions(ids, self.numbering).map(i64::from));
            let pad = i64::from(self.pad_id);
            inputs.ids.resize(end, pad);
            inputs.mask.resize(end, 0);
            // Whatever row of the table it is, nothing attends to it.
            inputs.positions.resize(end, 0);
        }
        Ok(inputs)
    }
}

/// Reads what an export gives for a text.
struct Reader<'a> {
    roles: Roles,
    length: usize,
    pooling: Option<&'a Pooling>,
    modules: &'a [Module],
    sparse: Option<&'a Linear>,
    multi: Option<&'a Linear>,
}

impl Reader<'_> {
    /// `place` is the text's place in the run.
    fn output(
        &self,
        text: &Request<'_>,
        place: usize,
        values: &PaddedOutputs<'_>,
    ) -> Result<TextOutput> {
        let tokens = text.ids.len();
        // The rows of the text's tokens, without those of padding.
        let rows = |rows: Rows, per_text: usize, wanted: usize| {
            &values.of(rows)[place * per_text * rows.width..][..wanted * rows.width]
        };
        let states = |of: Rows| rows(of, self.length, tokens);
        let Roles { dense, hidden, sparse, multi } = self.roles;
        let mut output = TextOutput::default();
        if text.outputs.dense {
            let pooled = match (dense, hidden, self.pooling) {
                (Some(dense), _, _) => rows(dense, 1, 1).to_vec(),
                (None, Some(hidden), Some(pooling)) => {
                    let all: Vec<usize> = (0..tokens).collect();
                    pool(pooling, text.span(), &all, states(hidden), hidden.width)
                }
                _ => Vec::new(),
            };
            output.dense = modules::apply(self.modules, pooled);
            check_finite("dense vector", &output.dense)?;
        }
        if text.outputs.sparse {
            match (sparse, hidden, self.sparse) {
                (Some(sparse), _, _) => {
                    output.sparse = heads::greatest(text.ids, states(sparse).iter().copied())?;
                }
                (None, Some(hidden), Some(head)) => {
                    output.sparse = heads::sparse(head, text.ids, states(hidden))?;
                }
                _ => {}
            }
        }
        if text.outputs.multi {
            let product;
            let (rows, width) = match (multi, hidden, self.multi) {
                (Some(multi), _, _) if multi.with_first => {
                    (&states(multi)[multi.width..], multi.width)
                }
                (Some(multi), _, _) => (rows(multi, self.length - 1, tokens - 1), multi.width),
                (None, Some(hidden), Some(head)) => {
                    product = times(&states(hidden)[hidden.width..], head);
                    (product.as_slice(), head.rows)
                }
                _ => (&[][..], 1),
            };
            check_finite("multi-vectors", rows)?;
            output.multi = heads::multi(rows, width)?;
        }
        if let Some(hidden) = hidden.filter(|_| text.outputs.tokens) {
            check_finite("token embeddings", states(hidden))?;
            output.tokens = memory::copy(states(hidden))?;
        }
        Ok(output)
    }
}

/// `x Wᵀ + b` for each row.
fn times(rows: &[f32], head: &Linear) -> Vec<f32> {
    let count = rows.len() / head.columns;
    let mut out = head.bias.repeat(count);
    let views = (
        ArrayView2::from_shape((count, head.columns), rows),
        ArrayView2::from_shape((head.rows, head.columns), &head.weight),
        ArrayViewMut2::from_shape((count, head.rows), &mut out),
    );
    // They fit: both lengths are products of these numbers.
    if let (Ok(rows), Ok(weight), Ok(mut out)) = views {
        general_mat_mul(1.0, &rows, &weight.t(), 1.0, &mut out);
    }
    out
}
