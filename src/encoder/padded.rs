//! An ONNX export on padded rows: the texts of a batch grouped by length and padded, then read
//! back.

use std::cmp::Reverse;

use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut2};

use super::capabilities::{Capabilities, OutputSupport, ends_normalized, names};
use super::pooling::{Span, pool};
use super::position_ids::position_ids;
use super::{heads, modules};
use crate::embeddings::{TextOutput, check_finite};
use crate::error::{Result, error};
use crate::memory;
use crate::model_dir::{Export, Linear, ModelDir, Module, Numbering, Pooling, SentenceModules};
use crate::runtime::{ExportSession, PaddedInputs, PaddedOutputs, Roles, Rows, SessionOptions};
use crate::schedule::{BatchEncoder, Request};
use crate::stop::StillWanted;

/// At most one in this many tokens of a group is padding.
const PADDING_SHARE: usize = 4;
/// This much padding of a text is free, however short the text is.
const PADDING_FREE: usize = 8;

/// The session of an export, and what is needed to fill its inputs and read its outputs.
pub(super) struct PaddedEncoder {
    session: ExportSession,
    /// How to make a vector from states, if the export does not.
    pooling: Option<Pooling>,
    /// The modules after the pooling.
    modules: Vec<Module>,
    pad_id: u32,
    numbering: Numbering,
    /// Whether every text has to run by itself.
    alone: bool,
    /// The heads for states, if the export has none itself.
    sparse: Option<Linear>,
    multi: Option<Linear>,
}

pub(super) fn open(
    dir: &ModelDir,
    export: &Export,
    pad_id: Option<u32>,
    options: &SessionOptions,
) -> Result<(PaddedEncoder, Capabilities)> {
    let file = export.file.display();
    let pad_id = export.config.pad_id().or(pad_id).ok_or_else(|| {
        error!(
            ModelNotFound,
            "{file}: neither config.json nor the tokenizer says which token is padding; copy \
             config.json beside it"
        )
    })?;
    let session = ExportSession::open(export, pad_id.into(), options)?;
    let Roles { dense, hidden, sparse, multi } = session.roles();
    if let (Some(states), Some(configured)) = (hidden, export.config.hidden())
        && states.width != configured
    {
        return Err(error!(
            ModelInvalid,
            "{file} gives states of {} numbers, but config.json has hidden_size {configured}; they \
             do not belong together",
            states.width
        ));
    }
    // bge-m3 with all its heads is FlagEmbedding's, whose vectors have length 1 though not every
    // export scales them.
    let scales = sparse.is_some() || multi.is_some();
    let (pooling, modules, dense_dim) = match (dense, dir.sentence.clone()) {
        // The vectors of the graph have been through all modules. The last may have been forgotten.
        (Some(dense), sentence) => {
            let normalizes = sentence.is_some_and(|sentence| ends_normalized(&sentence.modules));
            let modules = if normalizes || scales { vec![Module::Normalize] } else { Vec::new() };
            (None, modules, dense.width)
        }
        (None, Some(SentenceModules { pooling, modules, dim })) => (Some(pooling), modules, dim),
        (None, None) => {
            return Err(error!(
                Unsupported,
                "{file} gives the states of tokens only, and the pooling is not known without \
                 modules.json and the hidden_size in config.json; copy both, and 1_Pooling, from \
                 the model that it was made of"
            ));
        }
    };
    // Heads in files work on states only.
    let of_states = |head| hidden.and(head);
    let sparse_head = of_states(dir.heads.sparse.linear()).filter(|_| sparse.is_none());
    let multi_head = of_states(dir.heads.multi.linear()).filter(|_| multi.is_none());
    let capabilities = Capabilities {
        dense_dim,
        token_dim: hidden.map_or(0, |rows| rows.width),
        multi_dim: multi.map_or(multi_head.map_or(0, |head| head.rows), |rows| rows.width),
        outputs: OutputSupport::of_export(&export.file, &session.roles(), &dir.heads),
        pooling: pooling.as_ref().map_or("onnx".into(), Pooling::name),
        include_prompt: pooling.as_ref().is_none_or(|pooling| pooling.include_prompt),
        modules: names(&modules),
        normalized: ends_normalized(&modules),
        tokens_max: session.fixed_length(),
        precision: export.precision,
    };
    let encoder = PaddedEncoder {
        session,
        pooling,
        modules,
        pad_id,
        numbering: export.config.numbering(pad_id),
        alone: export.alone,
        sparse: sparse_head.cloned(),
        multi: multi_head.cloned(),
    };
    Ok((encoder, capabilities))
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
                    |(index, &text): (usize, &usize)| reader.output(&texts[text], index, &values);
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
        let can_pad = self.session.takes_mask();
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|&text| Reverse(length(text)));
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for text in order {
            match groups.last_mut() {
                Some(group)
                    if group.len() < texts_max && {
                        let longest = length(group[0]);
                        let padding = longest - length(text);
                        let few = padding <= (longest / PADDING_SHARE).max(PADDING_FREE);
                        padding == 0 || can_pad && few
                    } =>
                {
                    group.push(text);
                }
                _ => groups.push(vec![text]),
            }
        }
        groups
    }

    /// Pads the texts of a group to one length.
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
        // If the graph takes a fixed number of texts, some are repeated.
        for &text in group.iter().cycle().take(rows) {
            let ids = texts[text].ids;
            let end = inputs.ids.len() + length;
            inputs.ids.extend(ids.iter().map(|&id| i64::from(id)));
            inputs.mask.extend(ids.iter().map(|_| 1));
            inputs.positions.extend(position_ids(ids, self.numbering).map(i64::from));
            let pad = i64::from(self.pad_id);
            inputs.ids.resize(end, pad);
            inputs.mask.resize(end, 0);
            // Any row of the table will do: no token attends to padding.
            inputs.positions.resize(end, 0);
        }
        Ok(inputs)
    }
}

/// Reads the results of a text from the outputs of an export.
struct Reader<'a> {
    roles: Roles,
    length: usize,
    pooling: Option<&'a Pooling>,
    modules: &'a [Module],
    sparse: Option<&'a Linear>,
    multi: Option<&'a Linear>,
}

impl Reader<'_> {
    /// `index` is that of the text in its group.
    fn output(
        &self,
        text: &Request<'_>,
        index: usize,
        values: &PaddedOutputs<'_>,
    ) -> Result<TextOutput> {
        let tokens = text.ids.len();
        // The rows of the text's tokens, without those of padding.
        let rows = |rows: Rows, per_text: usize, count: usize| {
            &values.of(rows)[index * per_text * rows.width..][..count * rows.width]
        };
        let states = |of: Rows| rows(of, self.length, tokens);
        let Roles { dense, hidden, sparse, multi } = self.roles;
        let mut output = TextOutput::default();
        if text.outputs.dense {
            let pooled = match (dense, hidden, self.pooling) {
                (Some(dense), _, _) => rows(dense, 1, 1).to_vec(),
                (None, Some(hidden), Some(pooling)) => {
                    let all: Vec<usize> = (0..tokens).collect();
                    pool(pooling, Span::new(text), &all, states(hidden), hidden.width)
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
    // The shapes always fit: both lengths are products of these numbers.
    if let (Ok(rows), Ok(weight), Ok(mut out)) = views {
        general_mat_mul(1.0, &rows, &weight.t(), 1.0, &mut out);
    }
    out
}
