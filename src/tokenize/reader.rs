//! Reads as much of a text as its wanted tokens need, with the same ids as tokenising all of it.
//!
//! The text goes through the pipeline in pieces. Ids are taken from a piece only where nothing that
//! follows can change them, for one of two reasons.
//!
//! **Between words.** The pipeline tokenises words, which white space divides, each by itself.
//! Normalisation looks no further than a grapheme, and tokens that are looked for in the text
//! itself, such as `<mask>`, contain no white space. So a piece may end before white space, if the
//! pipeline divided words there, and the next one goes on from there. It begins with the last
//! characters of the one before, whose tokens are dropped, so that it is not taken for the
//! beginning of a text.
//!
//! **Within a word** that is longer than a piece, as in Chinese. A word is never divided, since its
//! best segmentation is a sum over all of it, whose rounding may decide between two of equal worth.
//! But the first tokens of a long word are settled once every way to go on agrees on them. No token
//! is longer than the longest of the vocabulary, so among the last that many places of a beginning
//! of the word, the segmentation of the whole word passes through one; what the best
//! segmentations up to all of them have in common is settled.

use tokenizers::{Encoding, Model, Token};

use super::Tokenizer;
use crate::error::Result;

/// A token of XLM-RoBERTa is four to five bytes of most languages.
const BYTES_A_TOKEN: usize = 6;
/// Smaller pieces would cost more in calls than they save.
const PIECE_BYTES_MIN: usize = 1 << 10;
/// Larger ones would be read in vain behind the last wanted token.
const PIECE_BYTES_MAX: usize = 1 << 14;
/// What is kept of a piece as the beginning of the next: more than any grapheme that the
/// normalisation of XLM-RoBERTa treats as a whole.
const CONTEXT_BYTES: usize = 32;
/// What is kept at both ends of a stretch that has no tokens.
const STRETCH_END_BYTES: usize = 256;
/// Tokenising takes up to 400 times as much memory as the text. These are more bytes than the 8192
/// tokens of bge-m3 take, even where every one of them has the 16 letters of the longest.
pub(super) const WORD_BYTES_MAX: usize = 1 << 18;

/// The part of the text that goes through the pipeline next.
struct Piece<'a> {
    text: String,
    /// Bytes at the beginning whose tokens are taken already.
    context: usize,
    rest: &'a str,
}

impl Piece<'_> {
    /// Appends of the rest, so that at least `bytes` follow the context.
    fn fill(&mut self, bytes: usize) {
        let missing = (self.context + bytes).saturating_sub(self.text.len());
        let (head, rest) = self.rest.split_at(ceil_char_boundary(self.rest, missing));
        self.text.push_str(head);
        self.rest = rest;
    }

    /// Removes what lies before `end`, but for the context.
    fn advance(&mut self, end: usize) {
        let begin = ceil_char_boundary(&self.text, end.saturating_sub(CONTEXT_BYTES));
        self.text.drain(..begin);
        self.context = end - begin;
    }
}

impl Tokenizer {
    /// Hands at least `wanted` ids of a text to `take`, without special tokens, or all that it has.
    pub(super) fn read(
        &self,
        text: &str,
        wanted: usize,
        stopped: &dyn Fn() -> bool,
        take: &mut dyn FnMut(&[u32]),
    ) -> Result<()> {
        let piece_bytes =
            wanted.saturating_mul(BYTES_A_TOKEN).clamp(PIECE_BYTES_MIN, PIECE_BYTES_MAX);
        if text.len() <= 2 * piece_bytes {
            let encoding = self.pipeline.encode_fast(text, false).map_err(|e| self.fault(e))?;
            take(encoding.get_ids());
            return Ok(());
        }
        let mut piece = Piece { text: String::new(), context: 0, rest: text };
        let mut bytes = piece_bytes;
        let mut missing = wanted;
        while missing > 0 && !stopped() {
            piece.fill(bytes);
            let encoding = self.encode_piece(&piece.text)?;
            let ids = encoding.get_ids();
            let first = encoding.get_offsets().partition_point(|&(begin, _)| begin < piece.context);
            if piece.rest.is_empty() {
                take(&ids[first..]);
                break;
            }
            if let Some((end, tokens)) = self.last_gap(&encoding, &piece, first) {
                take(&ids[first..tokens]);
                missing = missing.saturating_sub(tokens - first);
                piece.advance(end);
                bytes = piece_bytes;
                continue;
            }
            let needed = first.saturating_add(missing);
            let settled = self.settled_tokens(&encoding, piece.text.len(), needed)?;
            if settled >= needed {
                take(&ids[first..settled]);
                break;
            }
            if bytes > 2 * piece_bytes && self.shorten(&mut piece, &encoding)? {
                continue;
            }
            bytes *= 2;
            if bytes > WORD_BYTES_MAX {
                let tokens = whole_tokens(&encoding, piece.text.len()).max(first + 1);
                take(&ids[first..tokens]);
                missing = missing.saturating_sub(tokens - first);
                piece.advance(encoding.get_offsets()[tokens - 1].1);
                bytes = piece_bytes;
            }
        }
        Ok(())
    }

    fn encode_piece(&self, text: &str) -> Result<Encoding> {
        self.pipeline.encode(text, false).map_err(|e| self.fault(e))
    }

    /// The last place between two words behind the context, and the number of tokens before it.
    fn last_gap(
        &self,
        encoding: &Encoding,
        piece: &Piece<'_>,
        first: usize,
    ) -> Option<(usize, usize)> {
        if self.added_has_space {
            return None;
        }
        let (offsets, words) = (encoding.get_offsets(), encoding.get_word_ids());
        let mut tokens = offsets.len();
        for (end, _) in piece.text.rmatch_indices(char::is_whitespace) {
            let (head, _) = piece.text.split_at(end);
            if end <= piece.context || head.ends_with(char::is_whitespace) {
                continue;
            }
            while tokens > first && offsets[tokens - 1].0 >= end {
                tokens -= 1;
            }
            if tokens == first {
                break;
            }
            let divided = tokens < offsets.len()
                && offsets[tokens - 1].1 <= end
                && words[tokens - 1] != words[tokens];
            if divided && !self.added.contains(&encoding.get_ids()[tokens - 1]) {
                return Some((end, tokens));
            }
        }
        None
    }

    /// How many tokens of a piece of `bytes` bytes nothing that follows can change; zero if they
    /// are not as many as are needed.
    fn settled_tokens(&self, encoding: &Encoding, bytes: usize, needed: usize) -> Result<usize> {
        if encoding.len() < needed {
            return Ok(0);
        }
        let words = encoding.get_word_ids();
        let begin =
            words.iter().rposition(|word| Some(word) != words.last()).map_or(0, |at| at + 1);
        if begin >= needed {
            return Ok(begin);
        }
        let end = whole_tokens(encoding, bytes).max(begin);
        let tokens = &encoding.get_tokens()[begin..end];
        let word = tokens.concat();
        let needed = needed - begin;
        let settled = match self.last_barrier(tokens, &word, needed) {
            Some(settled) => settled,
            None => self.agreed_tokens(&word, needed)?,
        };
        Ok(begin + settled)
    }

    /// The number of tokens before a place that no token of the vocabulary could cover, so that
    /// every segmentation of the word passes through it; the last such place with `needed` tokens
    /// before it.
    fn last_barrier(&self, tokens: &[String], word: &str, needed: usize) -> Option<usize> {
        let reach = self.longest_token.saturating_sub(1);
        let mut at = word.len();
        for count in (needed + 1..=tokens.len()).rev() {
            let right: Vec<usize> =
                word[at..].char_indices().take(reach).map(|(i, c)| at + i + c.len_utf8()).collect();
            if right.len() == reach {
                let left = word[..at].char_indices().rev().take(reach);
                let mut across = left.flat_map(|(begin, _)| right.iter().map(move |&e| (begin, e)));
                if !across.any(|(begin, end)| self.is_token(&word[begin..end])) {
                    // The last token may be an unknown one, which grows with what follows.
                    return Some(count - 1);
                }
            }
            at -= tokens[count - 1].len();
        }
        None
    }

    /// The number of tokens that the best segmentations up to each of the last places of a word
    /// have in common; zero if they are not as many as are needed.
    fn agreed_tokens(&self, word: &str, needed: usize) -> Result<usize> {
        let path = |end: usize| -> Result<Vec<Token>> {
            self.pipeline.get_model().tokenize(&word[..end]).map_err(|e| self.fault(e))
        };
        let mut agreed = path(word.len())?;
        for (end, _) in word.char_indices().rev().take(self.longest_token.saturating_sub(1)) {
            let equal = agreed.iter().zip(&path(end)?).take_while(|(a, b)| a == b).count();
            agreed.truncate(equal);
            // The last token may be an unknown one, which grows with what follows.
            if agreed.len() <= needed {
                return Ok(0);
            }
        }
        Ok(agreed.len().saturating_sub(1))
    }

    /// Removes the middle of a long stretch at the end of a piece that adds no tokens: white space
    /// that the pipeline collapses, characters that it deletes, unknown ones that it joins. Says
    /// whether there was one.
    fn shorten(&self, piece: &mut Piece<'_>, encoding: &Encoding) -> Result<bool> {
        let before = encoding.get_offsets().iter().rev().nth(1).map_or(0, |&(_, end)| end);
        let begin = before.max(piece.context) + STRETCH_END_BYTES;
        let begin = ceil_char_boundary(&piece.text, begin);
        let end = piece.text.len().saturating_sub(STRETCH_END_BYTES);
        let end = ceil_char_boundary(&piece.text, end);
        if end < begin + piece.text.len() / 2 {
            return Ok(false);
        }
        let shorter = [&piece.text[..begin], &piece.text[end..]].concat();
        if self.encode_piece(&shorter)?.get_ids() != encoding.get_ids() {
            return Ok(false);
        }
        // One character over and over is passed at the speed of memory.
        let mut tail = shorter[begin..].chars();
        if let Some(last) = tail.next_back()
            && tail.all(|c| c == last)
        {
            piece.rest = piece.rest.trim_start_matches(last);
        }
        piece.text = shorter;
        Ok(true)
    }
}

/// The tokens of a piece of `bytes` bytes whose last grapheme nothing that follows may still join.
fn whole_tokens(encoding: &Encoding, bytes: usize) -> usize {
    encoding.get_offsets().partition_point(|&(_, end)| end + CONTEXT_BYTES <= bytes)
}

/// The first place at or after `at` that is no part of a character.
fn ceil_char_boundary(text: &str, at: usize) -> usize {
    (at..text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len())
}
