//! The texts of a run through the model: laid end to end, encoded, pooled.

use crate::error::Result;
use crate::model_dir::Pooling;
use crate::pooling::pool;
use crate::runtime::{EncoderSession, PackedInputs};

/// The encoder with what has to be known to feed it and to read it.
pub(crate) struct PackedEncoder {
    pub session: EncoderSession,
    pub pooling: Pooling,
    pub hidden: usize,
    pub pad_id: u32,
}

impl PackedEncoder {
    /// The vectors of texts, end to end, not scaled.
    pub fn encode(&mut self, texts: &[&[u32]]) -> Result<Vec<f32>> {
        let (pooling, width) = (self.pooling, self.hidden);
        let inputs = pack(texts.iter().copied(), pooling, self.pad_id);
        self.session.run(&inputs, |hidden| {
            let mut vectors = vec![0.0; texts.len() * width];
            let bounds = inputs.row_offsets.windows(2);
            for (vector, bounds) in vectors.chunks_exact_mut(width).zip(bounds) {
                let rows = bounds[0] as usize * width..bounds[1] as usize * width;
                pool(pooling, &hidden[rows], vector);
            }
            vectors
        })
    }
}

/// Packs `sequences`, asking for the rows that the pooling reads.
fn pack<'a>(
    sequences: impl Iterator<Item = &'a [u32]>,
    pooling: Pooling,
    pad_id: u32,
) -> PackedInputs {
    let mut packed =
        PackedInputs { offsets: vec![0], row_offsets: vec![0], ..PackedInputs::default() };
    for ids in sequences {
        let first = packed.input_ids.len() as i32;
        packed.input_ids.extend(ids.iter().map(|&id| id as i32));
        push_positions(&mut packed.position_ids, ids, pad_id);
        let end = packed.input_ids.len() as i32;
        packed.offsets.push(end);
        match pooling {
            Pooling::Cls => packed.rows.push(first),
            Pooling::Mean => packed.rows.extend(first..end),
        }
        packed.row_offsets.push(packed.rows.len() as i32);
    }
    packed
}

/// transformers' create_position_ids_from_input_ids: counted from the id after padding, by ids and
/// not by mask, so that a literal `<pad>` in a text stands still.
fn push_positions(positions: &mut Vec<i32>, ids: &[u32], pad_id: u32) {
    let pad = pad_id as i32;
    let mut counted = 0;
    positions.extend(ids.iter().map(|&id| {
        if id == pad_id {
            pad
        } else {
            counted += 1;
            pad + counted
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_start_after_padding_in_every_sequence() {
        let sequences: [&[u32]; 2] = [&[0, 7, 2], &[0, 1, 8, 2]];
        let packed = pack(sequences.into_iter(), Pooling::Cls, 1);
        assert_eq!(packed.input_ids, [0, 7, 2, 0, 1, 8, 2]);
        assert_eq!(packed.position_ids, [2, 3, 4, 2, 1, 3, 4]);
        assert_eq!(packed.offsets, [0, 3, 7]);
        assert_eq!(packed.rows, [0, 3]);
        assert_eq!(packed.row_offsets, [0, 1, 2]);
    }

    #[test]
    fn mean_pooling_asks_for_every_row() {
        let sequences: [&[u32]; 2] = [&[0, 2], &[0, 5, 2]];
        let packed = pack(sequences.into_iter(), Pooling::Mean, 1);
        assert_eq!(packed.rows, [0, 1, 2, 3, 4]);
        assert_eq!(packed.row_offsets, packed.offsets);
    }
}
