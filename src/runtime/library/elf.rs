//! ELF headers of a shared library before it is loaded: whether the file is complete, and which
//! libraries it needs. The system's loader does not check the length of a partly downloaded
//! library, and the process dies of SIGBUS.

use std::fs::File;
use std::path::Path;

use object::Endianness;
use object::elf::{DT_NEEDED, FileHeader64, PT_LOAD};
use object::read::ReadCache;
use object::read::elf::{Dyn, FileHeader, ProgramHeader};

/// Whether the file is a library whose end is missing. A file that is no 64-bit ELF file at all is
/// left to the loader, which reports it.
pub(in crate::runtime) fn is_cut_short(path: &Path) -> bool {
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

/// The names of the libraries that a library cannot be loaded without. None if it is no 64-bit ELF
/// file.
pub(in crate::runtime) fn needed(path: &Path) -> Vec<String> {
    let names = || -> Option<Vec<String>> {
        let data = ReadCache::new(File::open(path).ok()?);
        let header = FileHeader64::<Endianness>::parse(&data).ok()?;
        let endian = header.endian().ok()?;
        let sections = header.sections(endian, &data).ok()?;
        let (entries, strings) = sections.dynamic(endian, &data).ok()??;
        let strings = sections.strings(endian, &data, strings).ok()?;
        let needed = entries.iter().filter(|entry| entry.d_tag(endian) == DT_NEEDED);
        let names = needed.filter_map(|entry| entry.string(endian, strings).ok());
        Some(names.map(|name| String::from_utf8_lossy(name).into_owned()).collect())
    };
    names().unwrap_or_default()
}
