//! Many short texts in two pieces of memory.

use std::collections::TryReserveError;

/// Texts end to end, by their index.
#[derive(Default)]
pub(super) struct Texts {
    all: String,
    ends: Vec<u32>,
}

impl Texts {
    /// `None` once they are longer in all than an offset of 32 bits reaches, or than memory.
    pub fn push(&mut self, text: &str) -> Option<()> {
        u32::try_from(self.all.len() + text.len()).ok()?;
        self.try_push(text).ok()
    }

    /// For texts that are known to be no longer than that.
    pub fn try_push(&mut self, text: &str) -> Result<(), TryReserveError> {
        self.all.try_reserve(text.len())?;
        self.ends.try_reserve(1)?;
        self.all.push_str(text);
        self.ends.push(self.all.len() as u32);
        Ok(())
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn get(&self, index: usize) -> Option<&str> {
        let end = *self.ends.get(index)? as usize;
        let begin = index.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        Some(&self.all[begin..end])
    }

    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).map_while(|index| self.get(index))
    }
}
