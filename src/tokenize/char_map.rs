//! A character map of SentencePiece, read in place.
//!
//! The crate's own keeps three copies of the map, in words of 64 bits, trusts its offsets, and ends
//! the process if there is no memory for it.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tokenizers::NormalizedString;
use unicode_segmentation::UnicodeSegmentation;

use super::limits::{self, Fault};
use crate::error::{Error, Result, error};

/// The replacements of SentencePiece: a double-array trie, each leaf of which is the offset of a
/// replacement that ends with a NUL.
pub(super) struct CharMap {
    bytes: Vec<u8>,
    /// Where the replacements begin in `bytes`, after the length of the array and the array.
    replacements: usize,
}

impl CharMap {
    /// Decodes the map. Errors name the file by `file`.
    pub fn from_base64(text: &str, file: &str) -> Result<Self> {
        let mut bytes = Vec::new();
        let bytes_max = text.len().div_ceil(4) * 3;
        bytes.try_reserve_exact(bytes_max).map_err(|_| no_memory(file))?;
        bytes.resize(bytes_max, 0);
        let length = BASE64_STANDARD
            .decode_slice(text, &mut bytes)
            .map_err(|e| error!(ModelInvalid, "{file}: precompiled_charsmap is no base64: {e}"))?;
        bytes.truncate(length);
        Self::new(bytes, file)
    }

    /// `bytes` has the length of the array, the array, and texts that each end with a zero byte.
    pub fn new(bytes: Vec<u8>, file: &str) -> Result<Self> {
        let length = bytes.first_chunk::<4>().map(|four| u32::from_le_bytes(*four) as usize);
        let replacements = length.map_or(usize::MAX, |length| length / 4 * 4 + 4);
        let texts = bytes.get(replacements..).and_then(|texts| std::str::from_utf8(texts).ok());
        let texts = texts.ok_or_else(|| {
            error!(
                ModelInvalid,
                "{file} is not a tokenizer: its precompiled_charsmap is malformed or cut short"
            )
        })?;
        let longest = texts.split('\0').map(str::len).max().unwrap_or(0);
        limits::check_replacement(longest, "precompiled_charsmap", file)?;
        Ok(Self { bytes, replacements })
    }

    fn unit(&self, index: usize) -> Option<usize> {
        let at = index.checked_mul(4)?.checked_add(4)?;
        let four = self.bytes.get(at..at.checked_add(4)?).filter(|_| at < self.replacements)?;
        Some(u32::from_le_bytes(four.try_into().ok()?) as usize)
    }

    /// The replacement of the shortest text of the map that is a prefix of `text`.
    fn replacement(&self, text: &str) -> Option<&str> {
        let offset = |unit: usize| (unit >> 10) << ((unit & 1 << 9) >> 6);
        let mut node = offset(self.unit(0)?);
        for &byte in text.as_bytes().iter().take_while(|&&byte| byte != 0) {
            node ^= usize::from(byte);
            let unit = self.unit(node)?;
            if unit & (1 << 31 | 0xff) != usize::from(byte) {
                return None;
            }
            node ^= offset(unit);
            if unit >> 8 & 1 == 1 {
                let begin = self.unit(node)? & ((1 << 31) - 1);
                let from = self.bytes.get(self.replacements.checked_add(begin)?..)?;
                let end = from.iter().position(|&byte| byte == 0).unwrap_or(from.len());
                return std::str::from_utf8(&from[..end]).ok();
            }
        }
        None
    }

    /// Replaces as SentencePiece does: a short grapheme as a whole if the map has it, or else each
    /// of its characters.
    pub fn normalize(&self, text: &mut NormalizedString) -> Result<(), Fault> {
        let mut changes = Vec::new();
        changes.try_reserve_exact(text.get().len()).map_err(|_| Fault::NoMemory)?;
        let mut modified = false;
        for grapheme in text.get().graphemes(true) {
            if grapheme.len() < 6
                && let Some(new) = self.replacement(grapheme)
            {
                modified = true;
                replace(&mut changes, grapheme, new)?;
                continue;
            }
            for (at, c) in grapheme.char_indices() {
                let part = &grapheme[at..at + c.len_utf8()];
                match self.replacement(part) {
                    Some(new) => {
                        modified = true;
                        replace(&mut changes, part, new)?;
                    }
                    None => replace(&mut changes, part, part)?,
                }
            }
        }
        if modified {
            text.transform(changes, 0);
        }
        Ok(())
    }
}

/// Adds the characters of a replacement to `changes`, each with the change in their number, in the
/// form of the crate's own normalizers.
fn replace(changes: &mut Vec<(char, isize)>, old: &str, new: &str) -> Result<(), Fault> {
    changes.try_reserve(new.len()).map_err(|_| Fault::NoMemory)?;
    let before = changes.len();
    changes.extend(new.chars().map(|c| (c, 0)));
    let (old, new) = (old.chars().count(), changes.len() - before);
    if new > old {
        changes.iter_mut().rev().take(new - old).for_each(|(_, change)| *change = 1);
    } else if let Some((_, change)) = changes.last_mut() {
        *change -= (old - new) as isize;
    }
    Ok(())
}

fn no_memory(file: &str) -> Error {
    error!(OutOfMemory, "there is no memory for the precompiled_charsmap of {file}")
}
