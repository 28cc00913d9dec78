//! Weights on packed rows: the texts of a batch end to end through the model, then pooled.

use super::capabilities::{Capabilities, OutputSupport, ends_normalized, names};
use super::pooling::{self, Span, pool};
use super::position_ids::position_ids;
use super::{heads, modules, supported};
use crate::device::{ComputeType, Device};
use crate::embeddings::{TextOutput, check_finite, multi_rows};
use crate::error::{Error, ErrorKind, Result, error};
use crate::kernels::linear;
use crate::log::{self, LogLevel};
use crate::memory;
use crate::model_dir::{
    EncoderConfig, EncoderParts, Linear, ModelDir, Module, Network, Numbering, Pooling,
    SentenceModules, Weights,
};
use crate::runtime::{self, EncoderSession, PackedInputs, PackedOutputs, Prepared, SessionOptions};
use crate::schedule::{BatchEncoder, Request};
use crate::stop::StillWanted;

/// The sessions of a model, and what is needed to fill their inputs and read their outputs.
pub(super) struct PackedEncoder {
    /// One for each device.
    sessions: Vec<(Device, EncoderSession)>,
    pooling: Pooling,
    /// The modules after the pooling.
    modules: Vec<Module>,
    hidden: usize,
    compute_type: ComputeType,
    numbering: Numbering,
    /// The head for sparse weights, if the model has one.
    sparse: Option<Linear>,
    /// The length of a row of a multi-vector. Zero: the model has none.
    multi_dim: usize,
}

pub(super) fn open(
    dir: &ModelDir,
    config: &EncoderConfig,
    weights: &Weights,
    options: &SessionOptions,
    devices: usize,
) -> Result<(PackedEncoder, Capabilities)> {
    if weights.quantized && !linear::int8_is_worth_it() {
        log::line(LogLevel::Warn, || {
            format!(
                "{}: the weights are integers of 8 bits, and this processor has neither AVX-512 \
                 VNNI nor AVX2, so those that they were made of would be faster",
                weights.folder
            )
        });
    }
    let compute_type = supported::compute_type(weights, options.compute_type);
    let parts = EncoderParts { config, weights, multi: dir.heads.multi.linear() };
    let multi_dim = parts.multi_dim();
    let SentenceModules { pooling, modules, dim } =
        dir.sentence.clone().ok_or_else(|| error!(Internal, "weights without a pooling"))?;
    let capabilities = Capabilities {
        dense_dim: dim,
        token_dim: config.hidden,
        multi_dim,
        outputs: OutputSupport::of_weights(&dir.heads),
        pooling: pooling.name(),
        include_prompt: pooling.include_prompt,
        modules: names(&modules),
        normalized: ends_normalized(&modules),
        tokens_max: None,
        precision: compute_type.name(),
    };
    let session = |on: SessionOptions| {
        let session = EncoderSession::open(parts, compute_type, &on)?;
        Ok((on.device, session))
    };
    let encoder = PackedEncoder {
        sessions: on_each(options, devices).map(session).collect::<Result<_>>()?,
        pooling,
        modules,
        hidden: config.hidden,
        compute_type,
        numbering: config.numbering,
        sparse: dir.heads.sparse.linear().cloned(),
        multi_dim,
    };
    Ok((encoder, capabilities))
}

/// Builds the engines that a device loads when the model is opened. GPUs of one kind share them.
pub(crate) fn prepare(
    dir: &ModelDir,
    options: &SessionOptions,
    devices: usize,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<Prepared>> {
    let Network::Weights { config, weights } = &dir.network else {
        return Err(error!(Internal, "an ONNX export has nothing to prepare"));
    };
    let compute_type = supported::compute_type(weights, options.compute_type);
    let parts = EncoderParts { config, weights, multi: dir.heads.multi.linear() };
    on_each(options, devices)
        .map(|on| runtime::prepare(parts, compute_type, &on, progress))
        .collect()
}

/// The options of each device: the first is that of `options`, the next ones have the numbers after
/// it.
fn on_each(
    options: &SessionOptions,
    devices: usize,
) -> impl Iterator<Item = SessionOptions> + use<'_> {
    let on = |index| SessionOptions { device: options.device.after(index), ..options.clone() };
    (0..devices).map(on)
}

impl BatchEncoder for PackedEncoder {
    fn encode(
        &self,
        device: usize,
        texts: &[Request<'_>],
        still_wanted: &StillWanted,
    ) -> Result<Vec<Result<TextOutput>>> {
        let inputs = pack(texts, &self.pooling, self.numbering)?;
        let Self { sessions, pooling, modules, hidden, sparse, multi_dim, .. } = self;
        let (device, session) = &sessions[device];
        let outputs = session.run(&inputs, still_wanted, |outputs| {
            let PackedOutputs { hidden: mut states, mut multi } = outputs;
            let mut output_of = |text: &Request<'_>| {
                let positions = rows_read(text, pooling);
                let rows = positions.len() * *hidden;
                let multi_rows = multi_rows_of(text) * *multi_dim;
                let (of_text, multi_of_text);
                (of_text, states) = states.split_at(rows);
                (multi_of_text, multi) = multi.split_at(multi_rows);
                let mut output = TextOutput::default();
                if text.outputs.dense {
                    let pooled = pool(pooling, Span::new(text), &positions, of_text, *hidden);
                    output.dense = modules::apply(modules, pooled);
                    check_finite("dense vector", &output.dense)?;
                }
                if let Some(head) = sparse.as_ref().filter(|_| text.outputs.sparse) {
                    output.sparse = heads::sparse(head, text.ids, of_text)?;
                }
                if text.outputs.multi {
                    check_finite("multi-vectors", multi_of_text)?;
                    output.multi = heads::multi(multi_of_text, *multi_dim)?;
                }
                if text.outputs.tokens {
                    check_finite("token embeddings", of_text)?;
                    output.tokens = memory::copy(of_text)?;
                }
                Ok(output)
            };
            texts
                .iter()
                .map(|text| output_of(text).map_err(|e| explained(e, self.compute_type)))
                .collect()
        });
        outputs.map_err(|e| match device {
            Device::Cpu => e,
            device => e.and(&format!(", on {device}")),
        })
    }
}

/// Adds the remedy to the error of a number that is not finite.
fn explained(e: Error, compute_type: ComputeType) -> Error {
    match (e.kind(), compute_type) {
        (ErrorKind::NotFinite, ComputeType::Fp16) => e.and(
            ", and fp16 ends at 65504; open the model in fp32 or tf32, or with TensorRT in bf16",
        ),
        _ => e,
    }
}

/// The positions of the final states that are read: those that the pooling reads, unless an output
/// needs all.
fn rows_read(text: &Request<'_>, pooling: &Pooling) -> Vec<usize> {
    if text.outputs.read_every_row() {
        (0..text.ids.len()).collect()
    } else {
        pooling::positions(pooling, Span::new(text))
    }
}

fn multi_rows_of(text: &Request<'_>) -> usize {
    if text.outputs.multi { multi_rows(text.ids.len()) } else { 0 }
}

/// Lays the texts end to end, and lists the rows that are read.
fn pack(texts: &[Request<'_>], pooling: &Pooling, numbering: Numbering) -> Result<PackedInputs> {
    let tokens = texts.iter().map(|text| text.ids.len()).sum();
    let mut packed = PackedInputs {
        input_ids: memory::with_room(tokens)?,
        position_ids: memory::with_room(tokens)?,
        offsets: memory::with_room(texts.len() + 1)?,
        rows: memory::with_room(tokens)?,
        row_offsets: memory::with_room(texts.len() + 1)?,
        multi_rows: memory::with_room(if texts.iter().any(|text| text.outputs.multi) {
            tokens
        } else {
            0
        })?,
    };
    packed.offsets.push(0);
    packed.row_offsets.push(0);
    for text in texts {
        let first = packed.input_ids.len() as i32;
        packed.input_ids.extend(text.ids.iter().map(|&id| id as i32));
        packed.position_ids.extend(position_ids(text.ids, numbering));
        packed.offsets.push(packed.input_ids.len() as i32);
        packed.rows.extend(rows_read(text, pooling).iter().map(|&row| first + row as i32));
        let end = packed.rows.len() as i32;
        packed.multi_rows.extend(end - multi_rows_of(text) as i32..end);
        packed.row_offsets.push(end);
    }
    Ok(packed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embeddings::Outputs;
    use crate::model_dir::PoolingMode;

    fn pooling(mode: PoolingMode) -> Pooling {
        Pooling { modes: vec![mode], include_prompt: true }
    }

    fn requests<'a>(texts: &[(&'a [u32], bool, bool)]) -> Vec<Request<'a>> {
        let request = |&(ids, sparse, multi)| Request {
            ids,
            prompt_tokens: 0,
            outputs: Outputs { dense: true, sparse, multi, tokens: false },
        };
        texts.iter().map(request).collect()
    }

    #[test]
    fn a_number_that_fp16_cannot_hold_has_a_remedy() {
        let explained = |compute_type| {
            let e = check_finite("dense vector", &[f32::INFINITY]).unwrap_err();
            explained(e, compute_type).to_string()
        };
        assert!(explained(ComputeType::Fp16).ends_with("or with TensorRT in bf16"));
        assert!(explained(ComputeType::Fp32).ends_with("what fp32 can hold"));
    }

    #[test]
    fn positions_start_after_padding_in_every_sequence() {
        let texts = requests(&[(&[0, 7, 2], false, false), (&[0, 1, 8, 2], false, false)]);
        let packed = pack(&texts, &pooling(PoolingMode::Cls), Numbering::AfterPadding(1)).unwrap();
        assert_eq!(packed.input_ids, [0, 7, 2, 0, 1, 8, 2]);
        assert_eq!(packed.position_ids, [2, 3, 4, 2, 1, 3, 4]);
        assert_eq!(packed.offsets, [0, 3, 7]);
        assert_eq!(packed.rows, [0, 3]);
        assert_eq!(packed.row_offsets, [0, 1, 2]);
        assert!(packed.multi_rows.is_empty());
    }

    #[test]
    fn positions_of_bert_start_at_zero_and_count_padding_too() {
        let texts = requests(&[(&[101, 7, 102], false, false), (&[101, 0, 8, 102], false, false)]);
        let packed = pack(&texts, &pooling(PoolingMode::Cls), Numbering::FromZero).unwrap();
        assert_eq!(packed.position_ids, [0, 1, 2, 0, 1, 2, 3]);
    }

    #[test]
    fn mean_pooling_reads_every_row() {
        let texts = requests(&[(&[0, 2], false, false), (&[0, 5, 2], false, false)]);
        let packed = pack(&texts, &pooling(PoolingMode::Mean), Numbering::FromZero).unwrap();
        assert_eq!(packed.rows, [0, 1, 2, 3, 4]);
        assert_eq!(packed.row_offsets, packed.offsets);
    }

    #[test]
    fn every_row_is_read_for_a_text_whose_heads_need_it_and_for_no_other() {
        let texts = requests(&[
            (&[0, 5, 2], false, false),
            (&[0, 6, 2], true, false),
            (&[0, 7, 2], false, false),
            (&[0, 8, 8, 2], false, true),
        ]);
        let packed = pack(&texts, &pooling(PoolingMode::Cls), Numbering::AfterPadding(1)).unwrap();
        assert_eq!(packed.rows, [0, 3, 4, 5, 6, 9, 10, 11, 12]);
        assert_eq!(packed.row_offsets, [0, 1, 4, 5, 9]);
        assert_eq!(packed.multi_rows, [6, 7, 8]);
    }
}
