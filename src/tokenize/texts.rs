//! Many short texts in two pieces of memory.

/// Texts end to end, by their index.
#[derive(Default)]
pub(super) struct Texts {
    all: String,
    ends: Vec<u32>,
}

impl Texts {
    /// `None` once they are longer in all than an offset of 32 bits reaches.
    pub fn push(&mut self, text: &str) -> Option<()> {
        self.all.push_str(text);
        self.ends.push(u32::try_from(self.all.len()).ok()?);
        Some(())
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

    pub fn shrink_to_fit(&mut self) {
        self.all.shrink_to_fit();
        self.ends.shrink_to_fit();
    }
}
