//! Padding of packed texts to the one length of an engine, and packing of its outputs.

use std::ops::Range;

use ort::session::SessionInputValue;
use ort::value::TensorRef;

use super::profile::{Group, Profile};
use crate::error::{Result, error};
use crate::runtime::errors::run_error;
use crate::runtime::packed_rows::PackedInputs;

/// The inputs of an engine.
pub(super) struct Filled {
    texts: usize,
    length: usize,
    ids: Vec<i32>,
    positions: Vec<i32>,
    mask: Vec<i32>,
    rows: Vec<i32>,
    multi_rows: Vec<i32>,
    /// The ranges of the packed `rows` that the rows belong to, and of the packed `multi_rows`.
    places: Vec<Range<usize>>,
    multi_places: Vec<Range<usize>>,
}

impl Filled {
    pub fn of(inputs: &PackedInputs, group: &Group) -> Self {
        let tokens = |text: usize| inputs.offsets[text] as usize..inputs.offsets[text + 1] as usize;
        let length = group.texts.iter().map(|&text| tokens(text).len()).max().unwrap_or(0);
        let texts = group.texts.len();
        let mut filled = Self {
            texts,
            length,
            ids: Vec::with_capacity(texts * length),
            positions: Vec::with_capacity(texts * length),
            mask: Vec::with_capacity(texts * length),
            rows: Vec::new(),
            multi_rows: Vec::new(),
            places: Vec::new(),
            multi_places: Vec::new(),
        };
        for (place, &text) in group.texts.iter().enumerate() {
            let (own, end) = (tokens(text), (place + 1) * length);
            filled.ids.extend(&inputs.input_ids[own.clone()]);
            filled.positions.extend(&inputs.position_ids[own.clone()]);
            filled.mask.resize(place * length + own.len(), 1);
            // Nothing attends to padding, so its ids do not matter.
            for values in [&mut filled.ids, &mut filled.positions, &mut filled.mask] {
                values.resize(end, 0);
            }
            let rows = inputs.row_offsets[text] as usize..inputs.row_offsets[text + 1] as usize;
            let before = |row: usize| inputs.multi_rows.partition_point(|&it| (it as usize) < row);
            let multi = before(rows.start)..before(rows.end);
            let first = filled.rows.len() as i32 - rows.start as i32;
            filled.multi_rows.extend(inputs.multi_rows[multi.clone()].iter().map(|&it| it + first));
            let moved = (place * length) as i32 - own.start as i32;
            filled.rows.extend(inputs.rows[rows.clone()].iter().map(|&row| row + moved));
            filled.places.push(rows);
            filled.multi_places.push(multi);
        }
        // An engine takes no empty input. The output for this row is ignored.
        for rows in [&mut filled.rows, &mut filled.multi_rows] {
            if rows.is_empty() {
                rows.push(0);
            }
        }
        filled
    }

    /// The values of the inputs with these names, in their order.
    pub fn values<'a>(
        &'a self,
        names: impl Iterator<Item = &'a str>,
    ) -> Result<Vec<SessionInputValue<'a>>> {
        let padded = vec![self.texts, self.length];
        let line = |rows: &[i32]| vec![rows.len()];
        names
            .map(|name| {
                let (shape, data) = match name {
                    "input_ids" => (padded.clone(), &self.ids),
                    "position_ids" => (padded.clone(), &self.positions),
                    "attention_mask" => (padded.clone(), &self.mask),
                    "rows" => (line(&self.rows), &self.rows),
                    "multi_rows" => (line(&self.multi_rows), &self.multi_rows),
                    _ => return Err(error!(Internal, "an engine has an input {name:?}")),
                };
                let tensor = TensorRef::from_array_view((shape, data.as_slice()));
                Ok(tensor.map_err(run_error)?.into())
            })
            .collect()
    }

    pub fn take_hidden(&self, given: &[f32], width: usize, hidden: &mut [f32]) {
        take(&self.places, given, width, hidden);
    }

    pub fn take_multi(&self, given: &[f32], width: usize, multi: &mut [f32]) {
        take(&self.multi_places, given, width, multi);
    }
}

/// Copies rows, text after text, to their ranges in the packed rows.
fn take(places: &[Range<usize>], mut given: &[f32], width: usize, all: &mut [f32]) {
    for place in places {
        let own;
        (own, given) = given.split_at(place.len() * width);
        all[place.start * width..place.end * width].copy_from_slice(own);
    }
}

impl PackedInputs {
    /// As many texts as an engine takes, all of its greatest length, with all of their rows.
    pub(super) fn of_equal_texts(profile: Profile) -> Self {
        let Profile { length, texts } = profile;
        let tokens = texts * length;
        let ends: Vec<i32> = (0..=tokens).step_by(length).map(|end| end as i32).collect();
        let all: Vec<i32> = (0..tokens as i32).collect();
        Self {
            input_ids: vec![0; tokens],
            position_ids: vec![0; tokens],
            offsets: ends.clone(),
            rows: all.clone(),
            row_offsets: ends,
            multi_rows: all,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three texts, two of which have rows for the head.
    fn inputs() -> PackedInputs {
        PackedInputs {
            input_ids: vec![10, 11, 12, 20, 21, 30, 31, 32],
            position_ids: vec![2, 3, 4, 2, 3, 2, 3, 4],
            offsets: vec![0, 3, 5, 8],
            rows: vec![0, 3, 4, 5, 6, 7],
            row_offsets: vec![0, 1, 3, 6],
            multi_rows: vec![2, 4, 5],
        }
    }

    #[test]
    fn texts_are_filled_up_and_rows_are_counted_anew() {
        let filled = Filled::of(&inputs(), &Group { engine: 0, texts: vec![1, 2] });
        assert_eq!((filled.texts, filled.length), (2, 3));
        assert_eq!(filled.ids, [20, 21, 0, 30, 31, 32]);
        assert_eq!(filled.positions, [2, 3, 0, 2, 3, 4]);
        assert_eq!(filled.mask, [1, 1, 0, 1, 1, 1]);
        assert_eq!(filled.rows, [0, 1, 3, 4, 5]);
        assert_eq!(filled.multi_rows, [1, 3, 4]);
        let given: Vec<f32> = (0..5).map(|row| row as f32).collect();
        let mut hidden = vec![-1.0; 6];
        filled.take_hidden(&given, 1, &mut hidden);
        assert_eq!(hidden, [-1.0, 0.0, 1.0, 2.0, 3.0, 4.0]);
        let mut multi = vec![-1.0; 6];
        filled.take_multi(&[1.0, 1.5, 3.0, 3.5, 4.0, 4.5], 2, &mut multi);
        assert_eq!(multi, [1.0, 1.5, 3.0, 3.5, 4.0, 4.5]);
    }

    #[test]
    fn an_input_is_never_empty() {
        let filled = Filled::of(&inputs(), &Group { engine: 0, texts: vec![0] });
        assert_eq!(filled.multi_rows, [0]);
        let mut multi = vec![7.0; 3];
        filled.take_multi(&[1.0], 1, &mut multi);
        assert_eq!(multi, [7.0; 3]);
    }

    #[test]
    fn equal_texts_are_as_many_as_fit() {
        let all = PackedInputs::of_equal_texts(Profile { length: 3, texts: 2 });
        assert_eq!(all.offsets, [0, 3, 6]);
        assert_eq!(all.rows, [0, 1, 2, 3, 4, 5]);
        assert_eq!(all.multi_rows, all.rows);
    }
}
