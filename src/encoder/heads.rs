//! From the final states of a text's tokens to its sparse weights and its multi-vector, by
//! FlagEmbedding's rules for bge-m3.

use std::collections::HashSet;
use std::ffi::CStr;

use crate::embeddings::check_finite;
use crate::error::{Result, error};
use crate::kernels::normalize::normalize;
use crate::memory;
use crate::model_dir::Linear;
use crate::tokenize::Tokenizer;

/// The tokens that never have a sparse weight. Their ids are their indices.
const WEIGHTLESS: [&CStr; 4] = [c"<s>", c"<pad>", c"</s>", c"<unk>"];

/// Refuses a tokenizer in which the tokens without weight have other ids than in XLM-RoBERTa's.
pub(crate) fn check_weightless(tokenizer: &Tokenizer, file: &str) -> Result<()> {
    for (id, name) in (0..).zip(WEIGHTLESS) {
        let found = tokenizer.token_text(id);
        if found != Some(name) {
            return Err(error!(
                ModelInvalid,
                "{file}: the token {id} is {found:?}, but sparse weights need it to be {name:?}"
            ));
        }
    }
    Ok(())
}

fn has_weight(id: u32) -> bool {
    id as usize >= WEIGHTLESS.len()
}

/// The most entries that the sparse weights of a text can have.
pub(crate) fn sparse_bound(ids: &[u32]) -> usize {
    ids.iter().filter(|&&id| has_weight(id)).collect::<HashSet<_>>().len()
}

/// The sparse weights of a text. `rows` has the final states of its tokens end to end.
pub(crate) fn sparse(head: &Linear, ids: &[u32], rows: &[f32]) -> Result<Vec<(u32, f32)>> {
    greatest(ids, rows.chunks_exact(head.columns).map(|row| weight(head, row)))
}

/// The greatest weight of each token, if that is greater than zero, by ascending id.
pub(crate) fn greatest(ids: &[u32], weights: impl Iterator<Item = f32>) -> Result<Vec<(u32, f32)>> {
    let expected = ids.len();
    let (mut of_tokens, mut all) = (memory::with_room(expected)?, memory::with_room(expected)?);
    for (&id, weight) in ids.iter().zip(weights).filter(|&(&id, _)| has_weight(id)) {
        of_tokens.push(id);
        all.push(weight);
    }
    let (ids, weights): (Vec<u32>, Vec<f32>) = (of_tokens, all);
    // Checked before the filter, which would drop NaN with the weights that are not positive.
    check_finite("sparse weights", &weights)?;
    let found = ids.into_iter().zip(weights).filter(|&(_, weight)| weight > 0.0);
    let mut entries = memory::collected(found, expected)?;
    // The greatest first, since deduplication keeps the first of an id.
    entries.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)));
    entries.dedup_by_key(|&mut (id, _)| id);
    Ok(entries)
}

fn weight(head: &Linear, row: &[f32]) -> f32 {
    let products = row.iter().zip(&head.weight).map(|(&x, &w)| f64::from(x) * f64::from(w));
    (products.sum::<f64>() + f64::from(head.bias[0])) as f32
}

/// Scales each output row of the head to length 1.
pub(crate) fn multi(rows: &[f32], dim: usize) -> Result<Vec<f32>> {
    let mut rows = memory::copy(rows)?;
    rows.chunks_exact_mut(dim).for_each(normalize);
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn head() -> Linear {
        Linear { weight: vec![1.0, -2.0], bias: vec![0.5], rows: 1, columns: 2 }
    }

    #[test]
    fn a_token_has_the_greatest_of_its_weights_and_ids_ascend() {
        let ids = [0, 9, 4, 9, 2];
        let rows = [9.0, 0.0, 1.0, 0.0, 0.0, 0.0, 3.0, 0.5, 9.0, 0.0];
        assert_eq!(sparse(&head(), &ids, &rows).unwrap(), [(4, 0.5), (9, 2.5)]);
        assert_eq!(sparse_bound(&ids), 2);
    }

    #[test]
    fn weights_that_are_not_positive_or_of_special_tokens_are_dropped() {
        let ids = [0, 5, 6, 1, 2, 3, 2];
        let rows = [1.0, 0.0, -0.5, 0.0, -7.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0];
        assert_eq!(sparse(&head(), &ids, &rows).unwrap(), []);
        assert_eq!(sparse_bound(&ids), 2);
    }

    #[test]
    fn a_weight_that_is_not_finite_is_found_at_any_index() {
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let rows = [1.0, 0.0, bad, 0.0, 3.0, 0.0];
            let e = sparse(&head(), &[5, 5, 5], &rows).unwrap_err();
            assert_eq!(e.kind(), ErrorKind::NotFinite);
            // The weight of a special token is no result.
            assert_eq!(sparse(&head(), &[5, 2, 6], &rows).unwrap(), [(5, 1.5), (6, 3.5)]);
        }
        // Finite as a sum, but not in the 32 bits of a weight.
        let large = Linear { weight: vec![3e38, 3e38], ..head() };
        sparse(&large, &[5], &[1.0, 1.0]).unwrap_err();
    }

    #[test]
    fn each_row_is_scaled_by_itself_and_zeros_stay() {
        assert_eq!(
            multi(&[3.0, 4.0, 0.0, 0.0, 0.0, -2.0], 2).unwrap(),
            [0.6, 0.8, 0.0, 0.0, 0.0, -1.0]
        );
    }
}
