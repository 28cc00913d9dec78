//! The inputs and outputs of an encoder over packed rows.

use ort::session::SessionInputValue;
use ort::value::{Tensor, TensorRef};

use super::errors::run_error;
use crate::device::Device;
use crate::error::Result;

/// The sequences of a batch, end to end. See [`encoder_graph`] for what each input means.
#[derive(Default)]
pub(crate) struct PackedInputs {
    pub input_ids: Vec<i32>,
    pub position_ids: Vec<i32>,
    pub offsets: Vec<i32>,
    pub rows: Vec<i32>,
    pub row_offsets: Vec<i32>,
    pub multi_rows: Vec<i32>,
}

impl PackedInputs {
    /// A batch of one text as short as can be.
    pub(super) fn shortest() -> Self {
        Self {
            input_ids: vec![0, 0],
            position_ids: vec![0, 0],
            offsets: vec![0, 2],
            rows: vec![0, 1],
            row_offsets: vec![0, 2],
            multi_rows: vec![1],
        }
    }

    /// The values in the order of the inputs of the graph for a device.
    pub(super) fn values(&self, device: Device) -> Result<[SessionInputValue<'_>; 6]> {
        let fourth = match device {
            Device::Cpu => tensor(&self.row_offsets)?.into(),
            Device::Cuda(_) | Device::TensorRt(_) => {
                let (longest, offsets) = token_offset(&self.offsets);
                let shape = [self.offsets.len() - 1, longest];
                Tensor::from_array((shape, offsets)).map_err(run_error)?.into()
            }
        };
        Ok([
            tensor(&self.input_ids)?.into(),
            tensor(&self.position_ids)?.into(),
            tensor(&self.offsets)?.into(),
            tensor(&self.rows)?.into(),
            fourth,
            tensor(&self.multi_rows)?.into(),
        ])
    }
}

/// The results of a batch.
pub(crate) struct PackedOutputs<'a> {
    /// The final states of the rows that were asked for, row after row.
    pub hidden: &'a [f32],
    /// The outputs of the head for multi-vectors.
    pub multi: &'a [f32],
}

fn tensor(data: &[i32]) -> Result<TensorRef<'_, i32>> {
    TensorRef::from_array_view(([data.len()], data)).map_err(run_error)
}

/// The length of the longest sequence, and an input that only attention on a GPU needs: the index
/// of each token in `[sequences, longest]` if sequences were padded, and then the indexes of the
/// padding.
fn token_offset(offsets: &[i32]) -> (usize, Vec<i32>) {
    let lengths = || offsets.windows(2).map(|ends| ends[1] - ends[0]);
    let longest = lengths().max().unwrap_or(0);
    let indexes = |of: fn(i32, i32) -> std::ops::Range<i32>| {
        lengths()
            .zip((0..).step_by(longest.max(1) as usize))
            .flat_map(move |(length, first)| of(length, longest).map(move |place| first + place))
    };
    let tokens = indexes(|length, _| 0..length);
    let padding = indexes(|length, longest| length..longest);
    (longest as usize, tokens.chain(padding).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_first_and_padding_last() {
        let (longest, places) = token_offset(&[0, 2, 5, 6]);
        assert_eq!(longest, 3);
        assert_eq!(places, [0, 1, 3, 4, 5, 6, 2, 7, 8]);
        assert_eq!(token_offset(&[0]), (0, vec![]));
    }
}
