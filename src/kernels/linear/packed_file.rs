//! Packed matrices in a file that processes share, instead of in the memory of each.
//!
//! The file is written once and never changed: a process that has packed the matrices writes a new
//! file beside it, and renames that. So several processes may do so at the same time, and a mapped
//! file stays as it is. A file is used only if its key matches the weights and this processor, and
//! if the hash of its contents is the one that it was written with.

use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use blake3::{Hash, Hasher};
use memmap2::Mmap;

use super::packed_matrix::{Format, PackedMatrix, Source};
use super::packed_memory::Panels;
use super::{fp32, int8};
use crate::kernels::simd::CACHE_LINE;
use crate::part;

/// The version of the layout of the file, and of how matrices are quantized and packed.
const VERSION: &str = "libbge packed weights 2";
/// The key, and the hash of the bytes after the header.
const HEADER: usize = 64;

/// The file for some matrices of a model.
pub(crate) struct PackedFile {
    folder: PathBuf,
    path: PathBuf,
    key: Hash,
    sources: Vec<Source>,
}

impl PackedFile {
    /// The file in a folder for matrices that are packed from `files`.
    ///
    /// # Errors
    /// When the folder cannot be created, or one of the files does not exist.
    pub fn of(folder: &Path, files: &[PathBuf], sources: Vec<Source>) -> std::io::Result<Self> {
        fs::create_dir_all(folder)?;
        part::remove_dead(folder);
        let mut hasher = Hasher::new();
        hasher.update(format!("{VERSION}\n").as_bytes());
        let ([width, depth], kernel) = (fp32::packing(), int8::Kernel::of_this_processor());
        hasher.update(format!("([{width}, {depth}], {})\n", kernel.packing()).as_bytes());
        for Source { name, rows, columns, format } in &sources {
            let format = match format {
                Format::Fp32 => "Fp32",
                Format::Int8 => "Int8",
                Format::StoredInt8 => "StoredInt8",
            };
            hasher.update(format!("{name} {rows} {columns} {format}\n").as_bytes());
        }
        for file in files {
            let metadata = file.metadata()?;
            let (device, inode, length) = (metadata.dev(), metadata.ino(), metadata.len());
            let (seconds, nanoseconds) = (metadata.mtime(), metadata.mtime_nsec());
            let identity = format!("{device} {inode} {length} {seconds} {nanoseconds}\n");
            hasher.update(file.as_os_str().as_encoded_bytes()).update(b"\0");
            hasher.update(identity.as_bytes());
        }
        let key = hasher.finalize();
        let path = folder.join(format!("{}.bge-packed", &key.to_hex()[..32]));
        Ok(Self { folder: folder.to_path_buf(), path, key, sources })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// The matrices, if the file exists and is valid.
    pub fn read(&self) -> Option<Vec<PackedMatrix>> {
        let file = self.open()?;
        // SAFETY: this library replaces files of this name and never writes to them. Another
        // program may truncate the file while it is mapped, which is the risk of mapping any file,
        // the weights included.
        let map = unsafe { Mmap::map(&file) }.ok()?;
        let (key, rest) = map.split_at_checked(HEADER / 2)?;
        let (hash, body) = rest.split_at_checked(HEADER / 2)?;
        if key != self.key.as_bytes() || hash != blake3::hash(body).as_bytes() {
            return None;
        }
        let map = Arc::new(map);
        let mut start = HEADER;
        let mut matrices = Vec::with_capacity(self.sources.len());
        for source in &self.sources {
            let layout = Layout::of(source, start)?;
            matrices.push(layout.matrix(source, &map)?);
            start = layout.end;
        }
        (start == map.len()).then_some(matrices)
    }

    /// Opens the file if it is a regular file of the right length: opening another kind of file
    /// could wait for ever, and hashing a longer one take any time.
    fn open(&self) -> Option<File> {
        let end = self
            .sources
            .iter()
            .try_fold(HEADER, |start, source| Layout::of(source, start).map(|layout| layout.end))?;
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&self.path);
        let file = file.ok()?;
        let metadata = file.metadata().ok()?;
        (metadata.is_file() && metadata.len() == end as u64).then_some(file)
    }

    /// Writes matrices that were packed from the sources, in their order.
    pub fn write(&self, matrices: &[PackedMatrix]) -> std::io::Result<()> {
        let mut part = part::file(&self.folder, &self.key.to_hex()[..32])?;
        let mut hasher = Hasher::new();
        for_each_piece(matrices, |piece| {
            hasher.update(piece);
            Ok(())
        })?;
        let mut buffered = BufWriter::new(&mut part);
        buffered.write_all(self.key.as_bytes())?;
        buffered.write_all(hasher.finalize().as_bytes())?;
        for_each_piece(matrices, |piece| buffered.write_all(piece))?;
        buffered.flush()?;
        drop(buffered);
        // Otherwise the name could exist after a crash, and the bytes not.
        part.as_file().sync_all()?;
        part.persist(&self.path)?;
        Ok(())
    }
}

/// Passes all bytes of the matrices to `with` in the order of the file, each part padded to a cache
/// line.
fn for_each_piece(
    matrices: &[PackedMatrix],
    mut with: impl FnMut(&[u8]) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let mut with = |part: &[u8]| {
        with(part)?;
        with(&[0; CACHE_LINE][..part.len().next_multiple_of(CACHE_LINE) - part.len()])
    };
    for matrix in matrices {
        match matrix {
            PackedMatrix::Fp32(matrix) => with(matrix.panels.bytes())?,
            PackedMatrix::Int8(matrix) => {
                let sums: Vec<u8> = matrix.sums.iter().flat_map(|sum| sum.to_le_bytes()).collect();
                let floats = |numbers: &[f32]| -> Vec<u8> {
                    numbers.iter().flat_map(|x| x.to_le_bytes()).collect()
                };
                with(&floats(&matrix.scales))?;
                with(&sums)?;
                with(&floats(&matrix.factors))?;
                with(matrix.panels.bytes())?;
            }
        }
    }
    Ok(())
}

/// The ranges of the parts of a matrix in the file. A matrix of floats has panels only.
struct Layout {
    scales: Range<usize>,
    sums: Range<usize>,
    factors: Range<usize>,
    panels: Range<usize>,
    end: usize,
}

impl Layout {
    fn of(source: &Source, start: usize) -> Option<Self> {
        let mut end = start;
        let mut part = |numbers: usize| {
            let from = end;
            let to = from.checked_add(numbers.checked_mul(size_of::<f32>())?)?;
            end = to.checked_next_multiple_of(CACHE_LINE)?;
            Some(from..to)
        };
        let (rows, factors) = match source.format {
            Format::Fp32 => (0, 0),
            Format::Int8 => (source.rows, 0),
            Format::StoredInt8 => (source.rows, source.columns),
        };
        let (scales, sums, factors) = (part(rows)?, part(rows)?, part(factors)?);
        let panels = end..end.checked_add(source.panels_len())?;
        let end = panels.end.checked_next_multiple_of(CACHE_LINE)?;
        Some(Self { scales, sums, factors, panels, end })
    }

    fn matrix(&self, source: &Source, map: &Arc<Mmap>) -> Option<PackedMatrix> {
        let words = |range: &Range<usize>| {
            map.get(range.clone()).map(|bytes| bytes.as_chunks::<4>().0.iter().copied())
        };
        let (rows, columns) = (source.rows, source.columns);
        let panels = Panels::of(map, self.panels.clone())?;
        Some(match source.format {
            Format::Fp32 => PackedMatrix::Fp32(fp32::PackedMatrix { rows, columns, panels }),
            Format::Int8 | Format::StoredInt8 => PackedMatrix::Int8(int8::PackedMatrix {
                kernel: int8::Kernel::of_this_processor(),
                rows,
                columns,
                scales: words(&self.scales)?.map(f32::from_le_bytes).collect(),
                sums: words(&self.sums)?.map(i32::from_le_bytes).collect(),
                factors: words(&self.factors)?.map(f32::from_le_bytes).collect(),
                panels,
            }),
        })
    }
}
