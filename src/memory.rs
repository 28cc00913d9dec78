//! Memory whose size a file, a text or a caller decides. Running out of it is an error, not a
//! crash.

use std::io::{self, Read};

use crate::error::{Result, error};

/// The memory that a run of the model takes of this process, at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunMemory {
    pub bytes_per_token: usize,
    /// The part that does not depend on the number of tokens.
    pub fixed_bytes: usize,
}

impl RunMemory {
    /// The bytes of a run with this many tokens.
    pub fn bytes(self, tokens: usize) -> usize {
        tokens.saturating_mul(self.bytes_per_token).saturating_add(self.fixed_bytes)
    }

    /// The most tokens of a run within this many bytes.
    pub fn tokens(self, bytes: usize) -> usize {
        bytes.saturating_sub(self.fixed_bytes) / self.bytes_per_token
    }
}

/// The message of a panic where no error can be returned.
pub(crate) const SHORTAGE: &str = "out of memory";

/// A list of `count` default values, which are zeros for numbers.
pub(crate) fn zeros<T: Clone + Default>(count: usize) -> Result<Vec<T>> {
    let mut zeros = with_room(count)?;
    zeros.resize(count, T::default());
    Ok(zeros)
}

/// An empty list with capacity for `count` items.
pub(crate) fn with_room<T>(count: usize) -> Result<Vec<T>> {
    let mut list = Vec::new();
    reserve(&mut list, count)?;
    Ok(list)
}

/// Reserves capacity for `more` further items.
pub(crate) fn reserve<T>(list: &mut Vec<T>, more: usize) -> Result<()> {
    list.try_reserve_exact(more).map_err(|_| {
        let bytes = more.saturating_mul(size_of::<T>());
        error!(OutOfMemory, "there is no memory for {bytes} more bytes")
    })
}

/// Collects items into a list. `count` is their expected number.
pub(crate) fn collected<T>(items: impl Iterator<Item = T>, count: usize) -> Result<Vec<T>> {
    let mut list = with_room(count)?;
    for item in items {
        if list.len() == list.capacity() {
            let more = list.len();
            reserve(&mut list, more.max(1))?;
        }
        list.push(item);
    }
    Ok(list)
}

/// Reads exactly `count` bytes, into memory that is not cleared first.
pub(crate) fn read(from: impl Read, count: u64) -> Result<io::Result<Vec<u8>>> {
    let mut bytes = with_room(usize::try_from(count).unwrap_or(usize::MAX))?;
    Ok(from.take(count).read_to_end(&mut bytes).and_then(|read| match read as u64 == count {
        true => Ok(bytes),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }))
}

/// Copies items into a new list.
pub(crate) fn copy<T: Copy>(items: &[T]) -> Result<Vec<T>> {
    let mut copy = with_room(items.len())?;
    copy.extend_from_slice(items);
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_as_many_as_fit() {
        let memory = RunMemory { bytes_per_token: 700, fixed_bytes: 1000 };
        for bytes in [0, 999, 1000, 1699, 1700, 123_456] {
            let tokens = memory.tokens(bytes);
            assert!(tokens == 0 || memory.bytes(tokens) <= bytes);
            assert!(memory.bytes(tokens + 1) > bytes);
        }
        assert_eq!(memory.bytes(usize::MAX), usize::MAX);
    }
}
