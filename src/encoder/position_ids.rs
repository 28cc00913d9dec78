//! Which rows of the position table the tokens of a text get.

use crate::model_dir::Numbering;

pub(super) fn position_ids(ids: &[u32], numbering: Numbering) -> impl Iterator<Item = i32> {
    let mut counted = 0;
    ids.iter().enumerate().map(move |(index, &id)| match numbering {
        Numbering::FromZero => index as i32,
        // As transformers' create_position_ids_from_input_ids: counted from the id after padding,
        // by ids and not by mask, so that a literal `<pad>` in a text does not count.
        Numbering::AfterPadding(pad) if id == pad => pad as i32,
        Numbering::AfterPadding(pad) => {
            counted += 1;
            pad as i32 + counted
        }
    })
}
