//! The results of a call, and the choice of outputs.

use crate::error::{Error, Result, error};
use crate::memory;

/// Which outputs to compute. All of them come from one pass of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outputs {
    /// A vector for each text.
    pub dense: bool,
    /// A weight for each token that a text contains, as lexical search needs them.
    pub sparse: bool,
    /// A vector for each token of a text but the first, as late interaction needs them.
    pub multi: bool,
    /// The final state of each token of a text, as sentence-transformers' `token_embeddings`.
    pub tokens: bool,
}

impl Default for Outputs {
    fn default() -> Self {
        Self { dense: true, sparse: false, multi: false, tokens: false }
    }
}

impl Outputs {
    /// The bits of the members in `include/bge.h`, in their order.
    const BITS: [u32; 4] = [1, 2, 4, 8];

    /// The bits of the outputs that are set, as `BGE_OUTPUT_` in `include/bge.h`.
    pub fn bits(self) -> u32 {
        let Self { dense, sparse, multi, tokens } = self;
        let bits = [dense, sparse, multi, tokens].into_iter().zip(Self::BITS);
        bits.filter_map(|(is_set, bit)| is_set.then_some(bit)).sum()
    }

    /// The outputs of these bits, or an error if there is another bit among them.
    pub fn from_bits(bits: u32) -> Result<Self> {
        let known = Self::BITS.into_iter().sum::<u32>();
        if bits & !known != 0 {
            return Err(error!(Unsupported, "outputs is {bits:#x}; the known bits are {known:#x}"));
        }
        let [dense, sparse, multi, tokens] = Self::BITS.map(|bit| bits & bit != 0);
        Ok(Self { dense, sparse, multi, tokens })
    }

    /// Whether an output needs the final states of all tokens, in addition to those that pooling
    /// reads.
    pub(crate) fn read_every_row(self) -> bool {
        self.sparse || self.multi || self.tokens
    }
}

/// The results of a call, in the order of its texts.
///
/// If a text is among the `errors`, its dense vector and all of its rows are NaN, and it has no
/// sparse weights. If it failed before inference, it has no rows and no tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Embeddings {
    /// The length of a dense vector.
    pub dim: usize,
    /// A row of `dim` numbers for each text. Empty if it was not requested.
    pub dense: Vec<f32>,
    /// The sparse weights of each text. `None` if they were not requested.
    pub sparse: Option<SparseWeights>,
    /// For each token but the first a vector of length 1. `None` if they were not requested.
    pub multi: Option<TokenVectors>,
    /// For each token its final state, not scaled. `None` if they were not requested.
    pub tokens: Option<TokenVectors>,
    /// The tokens of each text that were encoded.
    pub usage: Vec<TokenUsage>,
    /// The errors of single texts, in the order of their [`text_index`](Error::text_index). Empty
    /// unless `per_text_errors` is set.
    pub errors: Vec<Error>,
}

impl Embeddings {
    /// The error of one text, if it failed.
    pub fn error_of(&self, text: usize) -> Option<&Error> {
        let at = self.errors.binary_search_by_key(&Some(text), Error::text_index).ok()?;
        Some(&self.errors[at])
    }
}

/// How many tokens of a text were encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenUsage {
    /// Tokens encoded, after truncation, special tokens included.
    pub tokens: usize,
    /// Whether the text was truncated.
    pub truncated: bool,
}

/// The weights of the tokens that texts contain. `<s>`, `<pad>`, `</s>` and `<unk>` have none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SparseWeights {
    /// Where the entries of each text begin, and after the last text where they end.
    pub offsets: Vec<usize>,
    /// Token ids, ascending within a text and each at most once.
    pub ids: Vec<u32>,
    /// The weights of these tokens, each greater than zero.
    pub weights: Vec<f32>,
}

impl SparseWeights {
    /// The entries of one text.
    pub fn of(&self, text: usize) -> impl Iterator<Item = (u32, f32)> + '_ {
        let entries = self.offsets[text]..self.offsets[text + 1];
        self.ids[entries.clone()].iter().copied().zip(self.weights[entries].iter().copied())
    }

    pub(crate) fn from_texts(texts: Vec<Vec<(u32, f32)>>) -> Result<Self> {
        let entries = texts.iter().map(Vec::len).sum();
        let mut all = Self {
            offsets: memory::with_room(texts.len() + 1)?,
            ids: memory::with_room(entries)?,
            weights: memory::with_room(entries)?,
        };
        all.offsets.push(0);
        for entries in texts {
            all.ids.extend(entries.iter().map(|&(id, _)| id));
            all.weights.extend(entries.iter().map(|&(_, weight)| weight));
            all.offsets.push(all.ids.len());
        }
        Ok(all)
    }
}

/// A vector for each token of the texts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenVectors {
    /// The length of a row.
    pub dim: usize,
    /// Where the rows of each text begin, and after the last text where they end.
    pub offsets: Vec<usize>,
    /// The rows, of `dim` numbers each.
    pub rows: Vec<f32>,
}

impl TokenVectors {
    /// The rows of one text, end to end.
    pub fn of(&self, text: usize) -> &[f32] {
        &self.rows[self.place(text)]
    }

    pub(crate) fn of_mut(&mut self, text: usize) -> &mut [f32] {
        let place = self.place(text);
        &mut self.rows[place]
    }

    fn place(&self, text: usize) -> std::ops::Range<usize> {
        self.offsets[text] * self.dim..self.offsets[text + 1] * self.dim
    }
}

/// The sizes of the outputs that depend on the tokens of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// An upper bound: before inference it is not known which weights are greater than zero.
    pub sparse_entries: usize,
    pub multi_rows: usize,
    pub token_rows: usize,
}

/// The results of one text in a batch. An output that its call did not request is empty.
#[derive(Clone, Debug, Default)]
pub(crate) struct TextOutput {
    /// The vector after the last module.
    pub dense: Vec<f32>,
    /// Pairs of a token id and its weight, by ascending id.
    pub sparse: Vec<(u32, f32)>,
    pub multi: Vec<f32>,
    pub tokens: Vec<f32>,
}

/// The number of rows of the multi-vector of a text: one for each token but the first, which is
/// special.
pub(crate) fn multi_rows(tokens: usize) -> usize {
    tokens.saturating_sub(1)
}

/// Refuses numbers that are NaN or infinite. Scaling a vector to length 1 neither hides nor creates
/// one.
pub(crate) fn check_finite(what: &str, numbers: &[f32]) -> Result<()> {
    // A whole part at a time, so that the compiler uses vector instructions.
    let is_finite = |part: &[f32]| part.iter().fold(true, |all, x| all & x.is_finite());
    match numbers.chunks(256).find(|part| !is_finite(part)) {
        None => Ok(()),
        Some(part) => Err(error!(
            NotFinite,
            "a number of the text's {what} is {}: weights of the model are damaged, or its numbers \
             grow beyond what fp32 can hold",
            part.iter().find(|x| !x.is_finite()).unwrap_or(&f32::NAN)
        )),
    }
}

#[cfg(test)]
impl TextOutput {
    pub fn dense(vector: &[f32]) -> Self {
        Self { dense: vector.to_vec(), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_number_that_is_not_finite_is_found_at_any_index() {
        let mut numbers = [f32::MAX, -f32::MAX, 1e-45, -0.0, 1.0].repeat(140);
        check_finite("vector", &[]).unwrap();
        for length in [1, 255, 256, 257, 700] {
            check_finite("vector", &numbers[..length]).unwrap();
        }
        for index in 0..700 {
            for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let finite = std::mem::replace(&mut numbers[index], bad);
                let e = check_finite("vector", &numbers).unwrap_err();
                numbers[index] = finite;
                assert_eq!(e.kind(), ErrorKind::NotFinite);
                assert!(e.to_string().contains(&format!("vector is {bad}:")), "{e}");
            }
        }
    }
}
