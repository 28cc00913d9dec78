//! From the final states of a text's tokens to its one vector, by sentence-transformers' rules.

use crate::model_dir::{Pooling, PoolingMode};
use crate::schedule::Request;

/// The number of tokens of a text, and of those of its prompt, whose rows pooling does not read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub tokens: usize,
    pub prompt_tokens: usize,
}

impl Span {
    pub fn new(text: &Request<'_>) -> Self {
        Self { tokens: text.ids.len(), prompt_tokens: text.prompt_tokens }
    }

    /// The row of `cls`: version 6 of sentence-transformers takes the first after the prompt, and
    /// the first of all if the prompt is all of the text. Earlier versions always take the first of
    /// all.
    fn first(self) -> usize {
        if self.prompt_tokens < self.tokens { self.prompt_tokens } else { 0 }
    }
}

/// The positions of the rows that pooling reads, ascending. At least one, so that every text has a
/// row in its batch, unless it has no token.
pub(crate) fn positions(pooling: &Pooling, span: Span) -> Vec<usize> {
    let one = |mode: &PoolingMode| matches!(mode, PoolingMode::Cls | PoolingMode::LastToken);
    let mut positions: Vec<usize> = if !pooling.modes.iter().all(one) {
        (span.first()..span.tokens).collect()
    } else {
        let last = span.tokens.saturating_sub(1);
        let position = |mode: &PoolingMode| match mode {
            PoolingMode::Cls => span.first(),
            _ => last,
        };
        pooling.modes.iter().map(position).collect()
    };
    positions.sort_unstable();
    positions.dedup();
    positions.retain(|position| *position < span.tokens);
    positions
}

/// The vector of a text. `rows` has rows of the length `hidden` end to end, and `positions` their
/// positions in the text: at least those that the function [`positions`] returns.
pub(crate) fn pool(
    pooling: &Pooling,
    span: Span,
    positions: &[usize],
    rows: &[f32],
    hidden: usize,
) -> Vec<f32> {
    let mut vector = vec![0.0; pooling.modes.len() * hidden];
    let all = || positions.iter().copied().zip(rows.chunks_exact(hidden));
    let kept = || all().filter(|&(position, _)| position >= span.prompt_tokens);
    for (mode, part) in pooling.modes.iter().zip(vector.chunks_exact_mut(hidden)) {
        // If the prompt is all of the text, the vector is zero, except for `cls` and `max`, as in
        // torch.
        match mode {
            PoolingMode::Cls => {
                let first = all().find(|&(position, _)| position == span.first());
                first.into_iter().for_each(|(_, row)| part.copy_from_slice(row));
            }
            PoolingMode::LastToken => {
                kept().next_back().into_iter().for_each(|(_, row)| part.copy_from_slice(row));
            }
            PoolingMode::Max => {
                part.fill(f32::NEG_INFINITY);
                for (_, row) in kept() {
                    for (max, &x) in part.iter_mut().zip(row) {
                        // Not f32::max, which would ignore a NaN.
                        if x > *max || x.is_nan() {
                            *max = x;
                        }
                    }
                }
            }
            PoolingMode::Mean => average(part, kept(), |_| 1.0, |count| count),
            PoolingMode::MeanSqrtLen => average(part, kept(), |_| 1.0, f64::sqrt),
            // Positions count from the beginning of the whole text.
            PoolingMode::WeightedMean => {
                average(part, kept(), |position| (position + 1) as f64, |sum| sum);
            }
        }
    }
    vector
}

/// The weighted sum of rows, divided by a function of the sum of the weights.
fn average<'a>(
    vector: &mut [f32],
    rows: impl Iterator<Item = (usize, &'a [f32])>,
    weight: impl Fn(usize) -> f64,
    divisor: impl Fn(f64) -> f64,
) {
    let mut sums = vec![0.0f64; vector.len()];
    let mut weights = 0.0;
    for (position, row) in rows {
        let weight = weight(position);
        weights += weight;
        for (sum, &x) in sums.iter_mut().zip(row) {
            *sum += weight * f64::from(x);
        }
    }
    if weights > 0.0 {
        let divisor = divisor(weights);
        for (x, sum) in vector.iter_mut().zip(sums) {
            *x = (sum / divisor) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use PoolingMode::*;

    const ROWS: [f32; 8] = [1.0, 8.0, 2.0, -3.0, 6.0, 1.0, 0.5, 2.0];

    fn pooling(modes: &[PoolingMode]) -> Pooling {
        Pooling { modes: modes.to_vec(), include_prompt: true }
    }

    /// Pools four rows of two numbers, given all of them, and given only those that are read.
    fn pooled(modes: &[PoolingMode], prompt_tokens: usize) -> Vec<f32> {
        let (pooling, span) = (pooling(modes), Span { tokens: 4, prompt_tokens });
        let of_all = pool(&pooling, span, &[0, 1, 2, 3], &ROWS, 2);
        let read = positions(&pooling, span);
        let rows: Vec<f32> = read.iter().flat_map(|&at| ROWS[2 * at..][..2].to_vec()).collect();
        assert_eq!(pool(&pooling, span, &read, &rows, 2), of_all, "{modes:?} {prompt_tokens}");
        of_all
    }

    #[test]
    fn each_mode_is_what_its_name_says() {
        assert_eq!(pooled(&[Cls], 0), [1.0, 8.0]);
        assert_eq!(pooled(&[Max], 0), [6.0, 8.0]);
        assert_eq!(pooled(&[Mean], 0), [9.5 / 4.0, 2.0]);
        assert_eq!(pooled(&[MeanSqrtLen], 0), [4.75, 4.0]);
        assert_eq!(pooled(&[WeightedMean], 0), [2.5, 1.3]);
        assert_eq!(pooled(&[LastToken], 0), [0.5, 2.0]);
        assert_eq!(pooled(&[LastToken, Cls, Cls], 0), [0.5, 2.0, 1.0, 8.0, 1.0, 8.0]);
    }

    #[test]
    fn rows_of_a_prompt_are_not_read() {
        assert_eq!(pooled(&[Cls, LastToken], 2), [6.0, 1.0, 0.5, 2.0]);
        assert_eq!(pooled(&[Max], 2), [6.0, 2.0]);
        assert_eq!(pooled(&[Mean], 2), [3.25, 1.5]);
        assert_eq!(pooled(&[WeightedMean], 2), [20.0 / 7.0, 11.0 / 7.0]);
        for prompt_tokens in [4, 9] {
            let none = [0.0; 2];
            for mode in [Mean, MeanSqrtLen, WeightedMean, LastToken] {
                assert_eq!(pooled(&[mode], prompt_tokens), none, "{mode:?}");
            }
            assert_eq!(pooled(&[Cls], prompt_tokens), [1.0, 8.0]);
            assert_eq!(pooled(&[Max], prompt_tokens), [f32::NEG_INFINITY; 2]);
        }
    }

    #[test]
    fn only_rows_that_are_read_are_asked_for() {
        let asked = |modes: &[PoolingMode], tokens, prompt_tokens| {
            positions(&pooling(modes), Span { tokens, prompt_tokens })
        };
        assert_eq!(asked(&[Cls], 5, 0), [0]);
        assert_eq!(asked(&[Cls], 5, 3), [3]);
        assert_eq!(asked(&[LastToken], 5, 3), [4]);
        assert_eq!(asked(&[LastToken, Cls], 5, 0), [0, 4]);
        assert_eq!(asked(&[LastToken, Cls], 1, 0), [0]);
        assert_eq!(asked(&[Cls, Mean], 3, 0), [0, 1, 2]);
        assert_eq!(asked(&[Max], 5, 3), [3, 4]);
        assert_eq!(asked(&[Mean], 2, 7), [0, 1]);
        assert!(asked(&[Mean, Cls], 0, 0).is_empty() && asked(&[LastToken], 0, 0).is_empty());
    }

    #[test]
    fn a_nan_is_not_ignored() {
        let rows = [f32::NAN, 1.0, 2.0, f32::NAN];
        let vector =
            pool(&pooling(&[Max]), Span { tokens: 2, prompt_tokens: 0 }, &[0, 1], &rows, 2);
        assert!(vector.iter().all(|x| x.is_nan()));
    }
}
