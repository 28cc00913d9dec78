//! Whether a shared library is whole: the system's loader maps one that was downloaded by half
//! without a look at its length, and the process dies of SIGBUS.

use std::fs::File;
use std::path::Path;

use object::Endianness;
use object::elf::{FileHeader64, PT_LOAD};
use object::read::ReadCache;
use object::read::elf::{FileHeader, ProgramHeader};

/// Whether the file is a library whose end is missing. What is no 64-bit ELF file at all is left to
/// the loader, which says so.
pub(super) fn is_cut_short(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    let Ok(length) = file.metadata().map(|metadata| metadata.len()) else { return false };
    let data = ReadCache::new(file);
    let Ok(header) = FileHeader64::<Endianness>::parse(&data) else { return false };
    let Ok(endian) = header.endian() else { return false };
    let Ok(segments) = header.program_headers(endian, &data) else { return true };
    segments
        .iter()
        .filter(|segment| segment.p_type(endian) == PT_LOAD)
        .any(|segment| segment.p_offset(endian).saturating_add(segment.p_filesz(endian)) > length)
}
