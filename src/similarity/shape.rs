//! Checks that operands and scores have shapes that fit together.

use ndarray::{ArrayView2, ArrayViewMut2};

use crate::error::{Result, error};

pub(super) fn check_widths(a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>) -> Result<()> {
    if a.ncols() == b.ncols() {
        return Ok(());
    }
    Err(error!(
        InvalidArgument,
        "rows of {} and of {} numbers cannot be compared",
        a.ncols(),
        b.ncols()
    ))
}

pub(super) fn check_shape(texts: (usize, usize), scores: &ArrayViewMut2<'_, f32>) -> Result<()> {
    if scores.dim() != texts {
        return Err(error!(
            InvalidArgument,
            "scores of {:?} for {texts:?} texts: expected as many rows and columns as texts",
            scores.dim()
        ));
    }
    Ok(())
}
