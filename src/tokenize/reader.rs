//! Reads no more of a text than its first tokens need, with the same ids as tokenizing all of it.
//!
//! The text goes through the pipeline in pieces. Ids are taken from a piece only where no text
//! after it can change them, for one of two reasons.
//!
//! **Between words.** The pipeline tokenizes words, which white space divides, each by itself.
//! Normalization looks no further than a grapheme, and tokens that are matched in the text itself,
//! such as `<mask>`, contain no white space. So a piece may end before white space, and the next
//! one begins there. It is preceded by the last characters of the piece before, so that the
//! pipeline does not take it for the beginning of a text; their tokens are dropped. Each time it is
//! checked that the division leaves the tokens on both sides the same: some characters turn into
//! white space only when they are normalized.
//!
//! **Within a word** that is longer than a piece, as in Chinese. A word is never divided, since its
//! best segmentation maximizes a sum over all of it, and rounding may decide between two equal
//! sums. But the first tokens of a long word are settled once every continuation agrees on them.
//! Let n be the length of the longest token. The segmentation of the whole word has a boundary at
//! one of the last n positions of each of its prefixes. So the tokens are settled that the best
//! segmentations up to all of these positions have in common.
//!
//! With WordPiece, BERT's model, no token of a word is settled before its end, since a word that is
//! too long becomes one unknown token. But its words are short, and not only white space divides
//! them: a Chinese character is a word of its own, and so is a punctuation mark.

use tokenizers::{
    Encoding, Model, NormalizedString, Normalizer, OffsetReferential, OffsetType,
    PreTokenizedString, PreTokenizer, Token,
};

use super::{Segmentation, Tokenizer};
use crate::error::Result;

/// The bytes of a piece. Smaller pieces would cost more in calls than they save. For larger ones
/// the crate would allocate 64 KB at once, and end the process if there is no memory for that.
const PIECE_BYTES: usize = 1 << 10;
/// The bytes of a piece that are kept as the context of the next: more than any grapheme that the
/// normalization of XLM-RoBERTa treats as a whole.
const CONTEXT_BYTES: usize = 32;
/// The most positions at the end of a piece that are tried as its end.
const GAPS_TRIED: usize = 64;
/// The bytes that are kept at both ends of a stretch without tokens.
const STRETCH_END_BYTES: usize = 256;
/// The most bytes of a word, since tokenizing takes up to 400 times the memory of its text. The
/// 8192 tokens of bge-m3 have fewer bytes, even if each has the 16 letters of the longest.
pub(super) const WORD_BYTES_MAX: usize = 1 << 18;

/// The part of the text that goes through the pipeline next.
struct Piece<'a> {
    text: String,
    /// Bytes at the beginning whose tokens have been taken already.
    context: usize,
    rest: &'a str,
}

impl Piece<'_> {
    /// Appends text from the rest until at least `bytes` follow the context.
    fn fill(&mut self, bytes: usize) {
        let missing = (self.context + bytes).saturating_sub(self.text.len());
        let (head, rest) = self.rest.split_at(ceil_char_boundary(self.rest, missing));
        self.text.push_str(head);
        self.rest = rest;
    }

    /// Removes the text before `end`, except for the context.
    fn advance(&mut self, end: usize) {
        let begin = context_begin(&self.text, end);
        self.text.drain(..begin);
        self.context = end - begin;
    }
}

impl Tokenizer {
    /// Passes the ids of a text to `take`, without special tokens: at least `wanted` of them, or
    /// all.
    pub(super) fn read(
        &self,
        text: &str,
        wanted: usize,
        stopped: &dyn Fn() -> bool,
        take: &mut dyn FnMut(&[u32]),
    ) -> Result<()> {
        if text.len() <= 2 * PIECE_BYTES {
            take(&self.ids(text)?);
            return Ok(());
        }
        let mut piece = Piece { text: String::new(), context: 0, rest: text };
        let mut bytes = PIECE_BYTES;
        let mut missing = wanted;
        while missing > 0 && !stopped() {
            piece.fill(bytes);
            let ids = self.ids(&piece.text)?;
            let first = self.ids(&piece.text[..piece.context])?.len().min(ids.len());
            if piece.rest.is_empty() {
                take(&ids[first..]);
                break;
            }
            if let Some((end, tokens)) = self.last_gap(&ids, &piece)?.filter(|gap| gap.1 > first) {
                take(&ids[first..tokens]);
                missing = missing.saturating_sub(tokens - first);
                piece.advance(end);
                bytes = PIECE_BYTES;
                continue;
            }
            let encoding = self.checked(self.pipeline.encode(&*piece.text, false))?;
            let needed = first.saturating_add(missing);
            let settled = self.settled_tokens(&encoding, needed, stopped)?;
            if settled >= needed {
                take(&ids[first..settled]);
                break;
            }
            if bytes > 2 * PIECE_BYTES && self.shorten(&mut piece, &encoding)? {
                continue;
            }
            bytes *= 2;
            if bytes > WORD_BYTES_MAX {
                let end = ceil_char_boundary(&piece.text, piece.text.len() - CONTEXT_BYTES);
                let ids = self.ids(&piece.text[..end])?;
                let new = ids.get(first..).unwrap_or_default();
                take(new);
                missing = missing.saturating_sub(new.len());
                piece.advance(end);
                bytes = PIECE_BYTES;
            }
        }
        Ok(())
    }

    fn ids(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.checked(self.pipeline.encode_fast(text, false))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The last gap between two words after the context, and the number of tokens before it.
    ///
    /// The offsets of the crate's tokens would be enough to find it, but they are wrong if the
    /// pipeline deletes the first character of a text.
    fn last_gap(&self, ids: &[u32], piece: &Piece<'_>) -> Result<Option<(usize, usize)>> {
        let spaces = piece.text.rmatch_indices(self.gaps.as_slice()).map(|(at, _)| at);
        let last = piece.text.char_indices().rev().take(GAPS_TRIED);
        let marks = last.filter(|&(_, c)| self.is_own_word(c)).map(|(at, _)| at);
        for end in spaces.take(GAPS_TRIED).chain(marks) {
            if end <= piece.context || piece.text[..end].ends_with(char::is_whitespace) {
                continue;
            }
            let begin = context_begin(&piece.text, end);
            let before = self.ids(&piece.text[begin..end])?;
            let on = self.ids(&piece.text[begin..])?;
            let Some(after) = on.strip_prefix(before.as_slice()) else { continue };
            let Some(taken) = ids.strip_suffix(after) else { continue };
            if !after.is_empty() && !taken.is_empty() {
                return Ok(Some((end, taken.len())));
            }
        }
        Ok(None)
    }

    /// Whether a character other than white space is always a word of its own.
    fn is_own_word(&self, c: char) -> bool {
        self.segmentation != Segmentation::Best
            && !self.added_chars.contains(&c)
            && self.divides_words(c).unwrap_or(false)
    }

    /// The number of tokens of a piece that no text after it can change, or zero if it is less than
    /// `needed`.
    fn settled_tokens(
        &self,
        encoding: &Encoding,
        needed: usize,
        stopped: &dyn Fn() -> bool,
    ) -> Result<usize> {
        if encoding.len() < needed {
            return Ok(0);
        }
        let words = encoding.get_word_ids();
        // Half of an added token may be several words, if punctuation divides them.
        let open = match self.segmentation {
            Segmentation::Best => 0,
            Segmentation::Greedy { .. } => self.longest_added,
        };
        let words = &words[..words.len().saturating_sub(open)];
        let begin =
            words.iter().rposition(|word| Some(word) != words.last()).map_or(0, |at| at + 1);
        if begin >= needed || self.segmentation != Segmentation::Best {
            return Ok(begin);
        }
        let mut tokens = &encoding.get_tokens()[begin..];
        // The next characters may still join the last grapheme.
        let mut open = 2 * CONTEXT_BYTES as isize;
        while let Some((last, rest)) = tokens.split_last()
            && open > 0
        {
            open -= last.len() as isize;
            tokens = rest;
        }
        let word = tokens.concat();
        let needed = needed - begin;
        let settled = match self.last_barrier(tokens, &word, needed) {
            Some(settled) => settled,
            None => self.agreed_tokens(&word, needed, stopped)?,
        };
        Ok(begin + settled)
    }

    /// The number of tokens before the last barrier with `needed` tokens before it. A barrier is a
    /// position that no token of the vocabulary can span, so that every segmentation has a boundary
    /// there.
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
                    // The last token may be an unknown one, which the next characters may join.
                    return Some(count - 1);
                }
            }
            at -= tokens[count - 1].len();
        }
        None
    }

    /// The number of tokens that the best segmentations up to each of the last positions of a word
    /// have in common, or zero if it is less than `needed` or the call has `stopped`.
    fn agreed_tokens(
        &self,
        word: &str,
        needed: usize,
        stopped: &dyn Fn() -> bool,
    ) -> Result<usize> {
        let path = |end: usize| -> Result<Vec<Token>> {
            self.pipeline.get_model().tokenize(&word[..end]).map_err(|e| self.fault(e))
        };
        let mut agreed = path(word.len())?;
        for (end, _) in word.char_indices().rev().take(self.longest_token.saturating_sub(1)) {
            let equal = agreed.iter().zip(&path(end)?).take_while(|(a, b)| a == b).count();
            agreed.truncate(equal);
            // The last token may be an unknown one, which the next characters may join.
            if agreed.len() <= needed || stopped() {
                return Ok(0);
            }
        }
        Ok(agreed.len().saturating_sub(1))
    }

    /// Removes the middle of a long stretch at the end of a piece that adds no tokens: white space
    /// that the pipeline collapses, characters that it deletes, unknown ones that it joins. Returns
    /// whether there was such a stretch.
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
        if self.ids(&shorter)? != encoding.get_ids()
            || !self.goes_on_alike(&shorter, &piece.text)?
        {
            return Ok(false);
        }
        // A run of one character is skipped at the speed of memory.
        let mut tail = shorter[begin..].chars();
        if let Some(last) = tail.next_back()
            && tail.all(|c| c == last)
        {
            piece.rest = piece.rest.trim_start_matches(last);
        }
        piece.text = shorter;
        Ok(true)
    }

    /// Whether two texts with equal ids also have equal ids with any text appended to both.
    fn goes_on_alike(&self, a: &str, b: &str) -> Result<bool> {
        // The letter shows whether the next characters would join the last word.
        let words = |text: &str| self.words(&format!("{text}a"));
        let (a, b) = (words(a)?, words(b)?);
        let alike = |(a, b): (&String, &String)| match self.segmentation {
            Segmentation::Best => true,
            Segmentation::Greedy { chars_max } => {
                // A word that is too long stays too long, and unknown.
                let too_long = |word: &str| word.chars().nth(chars_max + 1).is_some();
                a == b || too_long(a) && too_long(b)
            }
        };
        Ok(a.len() == b.len() && a.iter().zip(&b).all(alike))
    }

    /// The words of a text, normalized and divided as for the model.
    fn words(&self, text: &str) -> Result<Vec<String>> {
        let mut text = NormalizedString::from(text);
        if let Some(normalizer) = self.pipeline.get_normalizer() {
            self.checked(normalizer.normalize(&mut text))?;
        }
        let mut text = PreTokenizedString::from(text);
        if let Some(divider) = self.pipeline.get_pre_tokenizer() {
            divider.pre_tokenize(&mut text).map_err(|e| self.fault(e))?;
        }
        let words = text.get_splits(OffsetReferential::Normalized, OffsetType::Byte);
        Ok(words.into_iter().map(|(word, ..)| word.to_string()).collect())
    }
}

/// Where the context of a piece begins that starts at `end`.
fn context_begin(text: &str, end: usize) -> usize {
    ceil_char_boundary(text, end.saturating_sub(CONTEXT_BYTES))
}

/// The first index at or after `at` that is a boundary of characters.
fn ceil_char_boundary(text: &str, at: usize) -> usize {
    (at..text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len())
}
