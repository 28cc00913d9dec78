//! Unigram in little memory, with the tokens of the crate `tokenizers`.
//!
//! The crate keeps a tree of hash maps, two more copies of every piece, and a cache of the first
//! 10,000 words: 250 MB for 250,002 pieces. Here the pieces lie end to end, and a [`Trie`] finds
//! them: 15 MB.
//!
//! The order of additions decides between two segmentations with equal scores. So sums are formed
//! as in the crate: from left to right, and a later segmentation wins only if its sum is greater.

#[cfg(test)]
mod tests;
mod trie;

use std::borrow::Cow;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{Error, SeqAccess};
use tokenizers::Token;

use super::string_table::StringTable;
use trie::Trie;

/// The text of errors for lack of memory, by which they are recognized: the crate's errors have no
/// kinds.
pub(super) const NO_MEMORY: &str = "out of memory";
/// The score of a character without a piece is that of the worst piece, less this.
const UNKNOWN_PENALTY: f64 = 10.0;

pub(super) struct Unigram {
    pieces: StringTable,
    scores: Vec<f64>,
    ids: Trie,
    unknown_id: Option<u32>,
    unknown_score: f64,
    /// Whether unknown text becomes the tokens of its bytes, if the vocabulary has them.
    byte_fallback: bool,
}

/// Pieces with their scores, by their ids.
#[derive(Default)]
pub(super) struct Vocab {
    pieces: StringTable,
    scores: Vec<f64>,
}

impl Vocab {
    pub fn push(&mut self, piece: &str, score: f64) -> Result<(), String> {
        let too_long = || format!("the pieces are longer than 4 GiB, or {NO_MEMORY}");
        self.pieces.push(piece).ok_or_else(too_long)?;
        self.scores.try_reserve(1).map_err(|_| NO_MEMORY)?;
        self.scores.push(score);
        Ok(())
    }

    /// Reads a list of pairs of a piece and its score.
    pub fn from_list<'de, A: SeqAccess<'de>>(mut list: A) -> Result<Self, A::Error> {
        #[derive(Deserialize)]
        struct Piece<'a>(#[serde(borrow)] Cow<'a, str>, f64);
        let mut vocab = Self::default();
        while let Some(Piece(text, score)) = list.next_element()? {
            vocab.push(&text, score).map_err(A::Error::custom)?;
        }
        Ok(vocab)
    }
}

impl Unigram {
    pub fn new(vocab: Vocab, unk_id: Option<usize>, byte_fallback: bool) -> Result<Self, String> {
        let Vocab { pieces, scores } = vocab;
        if let Some(id) = unk_id
            && id >= pieces.len()
        {
            return Err(format!("unk_id is {id}, but the vocabulary has {} pieces", pieces.len()));
        }
        let worst = scores.iter().copied().fold(f64::INFINITY, f64::min);
        Ok(Self {
            ids: Trie::new(&pieces).map_err(|_| NO_MEMORY)?,
            pieces,
            scores,
            unknown_id: unk_id.map(|id| id as u32),
            unknown_score: worst - UNKNOWN_PENALTY,
            byte_fallback,
        })
    }
}

/// The last part of the best segmentation up to a position.
#[derive(Clone, Copy)]
struct Step {
    begin: usize,
    id: u32,
    /// The score of the whole segmentation.
    sum: f64,
}

impl Step {
    const NONE: Self = Self { begin: usize::MAX, id: 0, sum: 0.0 };

    fn is_worse_than(&self, sum: f64) -> bool {
        self.begin == Self::NONE.begin || sum > self.sum
    }
}

impl Unigram {
    pub fn tokenize(&self, text: &str) -> tokenizers::Result<Vec<Token>> {
        let mut tokens = Vec::new();
        for (place, id) in self.best_path(text)? {
            let value = &text[place.clone()];
            let offsets = (place.start, place.end);
            // Consecutive unknown characters may form a piece together.
            if let Some(id) = id.or_else(|| self.ids.get(value)) {
                tokens.push(Token::new(id, value.into(), offsets));
            } else if let Some(bytes) = self.byte_tokens(value, offsets) {
                tokens.extend(bytes);
            } else {
                tokens.push(Token::new(self.unknown()?, value.into(), offsets));
            }
        }
        Ok(tokens)
    }

    /// The best segmentation, with the id of each part. Consecutive unknown characters are one part
    /// without an id.
    fn best_path(&self, text: &str) -> tokenizers::Result<Vec<(Range<usize>, Option<u32>)>> {
        let mut steps = Vec::new();
        steps.try_reserve_exact(text.len() + 1).map_err(|_| NO_MEMORY)?;
        steps.resize(text.len() + 1, Step::NONE);
        for (begin, c) in text.char_indices() {
            let before = steps[begin].sum;
            let mut is_piece = false;
            for (length, id) in self.ids.prefixes_of(&text.as_bytes()[begin..]) {
                is_piece |= length == c.len_utf8();
                let sum = before + self.scores[id as usize];
                if steps[begin + length].is_worse_than(sum) {
                    steps[begin + length] = Step { begin, id, sum };
                }
            }
            let end = begin + c.len_utf8();
            let sum = before + self.unknown_score;
            if !is_piece && steps[end].is_worse_than(sum) {
                steps[end] = Step { begin, id: self.unknown()?, sum };
            }
        }
        let mut path: Vec<(Range<usize>, Option<u32>)> = Vec::new();
        let mut end = text.len();
        while end > 0 {
            let Step { begin, id, .. } = steps[end];
            match path.last_mut() {
                Some((after, None)) if Some(id) == self.unknown_id => after.start = begin,
                _ => path.push((begin..end, Some(id).filter(|_| Some(id) != self.unknown_id))),
            }
            end = begin;
        }
        path.reverse();
        Ok(path)
    }

    fn byte_tokens(&self, text: &str, offsets: (usize, usize)) -> Option<Vec<Token>> {
        let token = |byte| {
            let value = format!("<0x{byte:02X}>");
            Some(Token::new(self.ids.get(&value)?, value, offsets))
        };
        self.byte_fallback.then(|| text.bytes().map(token).collect())?
    }

    fn unknown(&self) -> tokenizers::Result<u32> {
        self.unknown_id.ok_or_else(|| "a character is no piece, and there is no unk_id".into())
    }

    /// The same pieces and scores with another unknown token, and without tokens for bytes.
    pub fn with_unknown(self, id: u32) -> Result<Self, String> {
        if id as usize >= self.pieces.len() {
            return Err(format!("the vocabulary has {} pieces only", self.pieces.len()));
        }
        Ok(Self { unknown_id: Some(id), byte_fallback: false, ..self })
    }

    pub fn id(&self, piece: &str) -> Option<u32> {
        self.ids.get(piece)
    }

    /// The pieces by their ids. Of equal pieces only the last one becomes a token.
    pub fn pieces(&self) -> &StringTable {
        &self.pieces
    }
}
