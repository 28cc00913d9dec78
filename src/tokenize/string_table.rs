//! Many short texts in two allocations.

use std::collections::TryReserveError;

/// Texts by their index, stored end to end.
#[derive(Default)]
pub(super) struct StringTable {
    all: String,
    ends: Vec<u32>,
}

impl StringTable {
    /// Appends a text. `None` if the texts are longer in all than offsets of 32 bits can address,
    /// or than memory allows.
    pub fn push(&mut self, text: &str) -> Option<()> {
        u32::try_from(self.all.len() + text.len()).ok()?;
        self.try_push(text).ok()
    }

    /// Appends a text of a table that is known to stay within offsets of 32 bits.
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
