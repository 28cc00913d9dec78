//! From the final states of a text's tokens to its sparse weights and its multi-vector, by
//! FlagEmbedding's rules for bge-m3.

use std::collections::HashSet;
use std::ffi::CStr;
use std::path::Path;

use crate::embeddings::{Outputs, check_finite};
use crate::error::{Result, error};
use crate::kernels::normalize::normalize;
use crate::memory;
use crate::model_dir::{Head, Heads, Linear};
use crate::runtime::{Roles, Rows};
use crate::tokenize::Tokenizer;

/// Why a model does not produce an output, if it does not.
pub(crate) struct Missing {
    sparse: Option<String>,
    multi: Option<String>,
    tokens: Option<String>,
}

impl Missing {
    pub fn of(heads: &Heads) -> Self {
        let reason = |head: &Head| match head {
            Head::Read { .. } => None,
            Head::Missing(reason) => Some(reason.clone()),
        };
        Self { sparse: reason(&heads.sparse), multi: reason(&heads.multi), tokens: None }
    }

    /// Of an export, which may have heads of its own, and can use others only on states.
    pub fn of_export(file: &Path, roles: &Roles, heads: &Heads) -> Self {
        let no_states = Some(format!(
            "{} gives no states of tokens, and has no output for this either",
            file.display()
        ));
        let reason = |own: Option<Rows>, head: &Head| match (own, roles.hidden, head) {
            (Some(_), ..) | (None, Some(_), Head::Read { .. }) => None,
            (None, Some(_), Head::Missing(reason)) => Some(reason.clone()),
            (None, None, _) => no_states.clone(),
        };
        Self {
            sparse: reason(roles.sparse, &heads.sparse),
            multi: reason(roles.multi, &heads.multi),
            tokens: no_states.clone().filter(|_| roles.hidden.is_none()),
        }
    }

    /// What the model does produce.
    pub fn others(&self) -> Outputs {
        Outputs {
            dense: true,
            sparse: self.sparse.is_none(),
            multi: self.multi.is_none(),
            tokens: self.tokens.is_none(),
        }
    }

    /// Refuses what the model does not produce.
    pub fn check(&self, asked: Outputs) -> Result<()> {
        let outputs = [
            (asked.sparse, &self.sparse),
            (asked.multi, &self.multi),
            (asked.tokens, &self.tokens),
        ];
        for (asked, missing) in outputs {
            if let (true, Some(reason)) = (asked, missing) {
                return Err(error!(Unsupported, "{reason}"));
            }
        }
        Ok(())
    }
}

/// Tokens that have no sparse weight, with their ids, wherever in a text they stand.
const WEIGHTLESS: [&CStr; 4] = [c"<s>", c"<pad>", c"</s>", c"<unk>"];

/// Refuses a tokenizer that numbers the tokens without weight otherwise than XLM-RoBERTa does.
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

/// How many entries the sparse weights of a text can have.
pub(crate) fn sparse_bound(ids: &[u32]) -> usize {
    ids.iter().filter(|&&id| has_weight(id)).collect::<HashSet<_>>().len()
}

/// The sparse weights of a text, whose tokens' final states lie end to end in `rows`.
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
    // Before those that are not greater than zero go, and NaN with them.
    check_finite("sparse weights", &weights)?;
    let found = ids.into_iter().zip(weights).filter(|&(_, weight)| weight > 0.0);
    let mut entries = memory::collected(found, expected)?;
    // The greatest first, since the first of an id is the one that stays.
    entries.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)));
    entries.dedup_by_key(|&mut (id, _)| id);
    Ok(entries)
}

fn weight(head: &Linear, row: &[f32]) -> f32 {
    let products = row.iter().zip(&head.weight).map(|(&x, &w)| f64::from(x) * f64::from(w));
    (products.sum::<f64>() + f64::from(head.bias[0])) as f32
}

/// Scales each of the rows that the head made of a text's tokens to length 1.
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
    fn weights_of_zero_and_less_or_of_special_tokens_are_left_out() {
        let ids = [0, 5, 6, 1, 2, 3, 2];
        let rows = [1.0, 0.0, -0.5, 0.0, -7.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0];
        assert_eq!(sparse(&head(), &ids, &rows).unwrap(), []);
        assert_eq!(sparse_bound(&ids), 2);
    }

    #[test]
    fn a_weight_that_is_not_finite_is_found_wherever_it_stands() {
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let rows = [1.0, 0.0, bad, 0.0, 3.0, 0.0];
            let e = sparse(&head(), &[5, 5, 5], &rows).unwrap_err();
            assert_eq!(e.kind(), ErrorKind::NotFinite);
            // What a token without weight would get is no result.
            assert_eq!(sparse(&head(), &[5, 2, 6], &rows).unwrap(), [(5, 1.5), (6, 3.5)]);
        }
        // Finite as a sum, but not in the 32 bits of a weight.
        let large = Linear { weight: vec![3e38, 3e38], ..head() };
        sparse(&large, &[5], &[1.0, 1.0]).unwrap_err();
    }

    #[test]
    fn rows_are_scaled_each_for_itself_and_zeros_stay() {
        assert_eq!(
            multi(&[3.0, 4.0, 0.0, 0.0, 0.0, -2.0], 2).unwrap(),
            [0.6, 0.8, 0.0, 0.0, 0.0, -1.0]
        );
    }
}
