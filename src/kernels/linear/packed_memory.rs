//! The memory of packed matrices: that of this process, or a file that several processes map.

use std::ops::Range;
use std::sync::Arc;

use memmap2::{Mmap, MmapMut};
use pulp::bytemuck;

use crate::error::{Result, error};
use crate::kernels::simd::CACHE_LINE;

/// The panels of one matrix.
#[derive(Default)]
pub(super) struct Panels {
    /// `None`: there are no panels.
    map: Option<Arc<Mmap>>,
    range: Range<usize>,
}

impl Panels {
    /// The panels in a range of a map, or `None` if the map is too short.
    pub fn of(map: &Arc<Mmap>, range: Range<usize>) -> Option<Self> {
        map.get(range.clone())?;
        Some(Self { map: Some(Arc::clone(map)), range })
    }

    pub fn bytes(&self) -> &[u8] {
        self.map.as_ref().map_or(&[], |map| &map[self.range.clone()])
    }

    pub fn floats(&self) -> &[f32] {
        bytemuck::cast_slice(self.bytes())
    }
}

/// Memory for the panels of several matrices in one piece, so that small matrices share huge pages,
/// if the system has some. Reading all weights for a short text takes a fifth less time with them.
pub(crate) struct Region {
    map: MmapMut,
    ranges: Vec<Range<usize>>,
}

impl Region {
    /// Reserves memory for panels of these lengths in bytes.
    pub fn of(lengths: impl IntoIterator<Item = usize>) -> Result<Self> {
        let mut end = 0_usize;
        let ranges = lengths
            .into_iter()
            .map(|length| {
                let start = end;
                end = start
                    .saturating_add(length)
                    .checked_next_multiple_of(CACHE_LINE)
                    .unwrap_or(start);
                start..start.saturating_add(length)
            })
            .collect();
        let map = MmapMut::map_anon(end.max(1)).map_err(|e| {
            error!(OutOfMemory, "there is no memory for {end} bytes of packed weights: {e}")
        })?;
        // If there are no huge pages, memory is only slower.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        Ok(Self { map, ranges })
    }

    /// The memory for each matrix, filled with zeros.
    pub fn pieces(&mut self) -> Vec<&mut [u8]> {
        let mut rest = &mut self.map[..];
        let mut behind = 0;
        let piece = |range: &Range<usize>| {
            let (_, from) = std::mem::take(&mut rest).split_at_mut(range.start - behind);
            let (piece, after) = from.split_at_mut(range.len());
            (rest, behind) = (after, range.end);
            piece
        };
        self.ranges.iter().map(piece).collect()
    }

    /// The panels, which cannot be changed any more.
    pub(super) fn panels(self) -> Result<impl Iterator<Item = Panels>> {
        let map = self.map.make_read_only().map_err(|e| {
            error!(Internal, "the memory of packed weights cannot be made read-only: {e}")
        })?;
        let map = Arc::new(map);
        Ok(self.ranges.into_iter().map(move |range| Panels { map: Some(Arc::clone(&map)), range }))
    }
}
