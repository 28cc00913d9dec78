//! The texts of a run through the model: laid end to end, encoded, pooled.

use crate::device::{ComputeType, Device};
use crate::embeddings::{TextOutput, check_finite, multi_rows};
use crate::error::{Error, ErrorKind, Result};
use crate::heads;
use crate::memory;
use crate::model_dir::{Linear, Module, Numbering, Pooling};
use crate::modules;
use crate::pooling::{self, Span, pool};
use crate::runtime::{EncoderSession, PackedInputs, PackedOutputs};
use crate::schedule::{BatchEncoder, Request};
use crate::stop::StillWanted;

/// The encoder with what has to be known to feed it and to read it.
pub(crate) struct PackedEncoder {
    /// One for each device.
    pub sessions: Vec<(Device, EncoderSession)>,
    pub pooling: Pooling,
    /// What follows the pooling.
    pub modules: Vec<Module>,
    pub hidden: usize,
    pub compute_type: ComputeType,
    pub numbering: Numbering,
    /// Present if sparse weights are ever asked for.
    pub sparse: Option<Linear>,
    /// The length of a row of a multi-vector; zero if none is ever asked for.
    pub multi_dim: usize,
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
                let positions = text.positions(pooling);
                let rows = positions.len() * *hidden;
                let multi_rows = text.multi_rows() * *multi_dim;
                let (of_text, multi_of_text);
                (of_text, states) = states.split_at(rows);
                (multi_of_text, multi) = multi.split_at(multi_rows);
                let mut output = TextOutput::default();
                if text.outputs.dense {
                    let pooled = pool(pooling, text.span(), &positions, of_text, *hidden);
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

/// Says of a number that is not finite what may be done about it.
fn explained(e: Error, compute_type: ComputeType) -> Error {
    match (e.kind(), compute_type) {
        (ErrorKind::NotFinite, ComputeType::Fp16) => e.and(
            ", and fp16 ends at 65504; open the model in fp32 or tf32, or with TensorRT in bf16",
        ),
        _ => e,
    }
}

impl Request<'_> {
    pub(super) fn span(&self) -> Span {
        Span { tokens: self.ids.len(), left_out: self.prompt_tokens }
    }

    /// Which of the text's final states are wanted: those that the pooling reads, unless something
    /// needs all.
    fn positions(&self, pooling: &Pooling) -> Vec<usize> {
        if self.outputs.read_every_row() {
            (0..self.ids.len()).collect()
        } else {
            pooling::positions(pooling, self.span())
        }
    }

    fn multi_rows(&self) -> usize {
        if self.outputs.multi { multi_rows(self.ids.len()) } else { 0 }
    }
}

/// Packs `texts`, asking for the rows that are read.
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
        packed.position_ids.extend(positions(text.ids, numbering));
        packed.offsets.push(packed.input_ids.len() as i32);
        packed.rows.extend(text.positions(pooling).iter().map(|&at| first + at as i32));
        let end = packed.rows.len() as i32;
        packed.multi_rows.extend(end - text.multi_rows() as i32..end);
        packed.row_offsets.push(end);
    }
    Ok(packed)
}

/// Which rows of the position table the tokens of a text get.
pub(super) fn positions(ids: &[u32], numbering: Numbering) -> impl Iterator<Item = i32> {
    let mut counted = 0;
    ids.iter().enumerate().map(move |(place, &id)| match numbering {
        Numbering::FromZero => place as i32,
        // transformers' create_position_ids_from_input_ids: counted from the id after padding, by
        // ids and not by mask, so that a literal `<pad>` in a text stands still.
        Numbering::AfterPadding(pad) if id == pad => pad as i32,
        Numbering::AfterPadding(pad) => {
            counted += 1;
            pad as i32 + counted
        }
    })
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
    fn a_number_that_fp16_cannot_hold_is_explained() {
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
    fn mean_pooling_asks_for_every_row() {
        let texts = requests(&[(&[0, 2], false, false), (&[0, 5, 2], false, false)]);
        let packed = pack(&texts, &pooling(PoolingMode::Mean), Numbering::FromZero).unwrap();
        assert_eq!(packed.rows, [0, 1, 2, 3, 4]);
        assert_eq!(packed.row_offsets, packed.offsets);
    }

    #[test]
    fn every_row_is_asked_for_where_a_head_reads_it_and_nowhere_else() {
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
