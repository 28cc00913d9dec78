//! Whether a shared library is whole: the system's loader maps one that was downloaded by half
//! without a look at its length, and the process dies of SIGBUS.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

const HEADER_BYTES: usize = 64;
const SEGMENT_BYTES: usize = 56;
/// The type of the segments that the loader maps.
const LOAD: u32 = 1;

/// Whether the file is a library whose end is missing. What is no 64-bit little-endian ELF file at
/// all is left to the loader, which says so.
pub(super) fn is_cut_short(path: &Path) -> bool {
    match segments_end(path) {
        Ok(Some((end, length))) => end > length,
        Ok(None) => false,
        Err(e) => e.kind() == io::ErrorKind::UnexpectedEof,
    }
}

/// Where the last byte that will be mapped lies, and how long the file is.
fn segments_end(path: &Path) -> io::Result<Option<(u64, u64)>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut header = [0; HEADER_BYTES];
    if length < HEADER_BYTES as u64 {
        return Ok(None);
    }
    file.read_exact(&mut header)?;
    // The magic number, 64 bits, little-endian.
    if !header.starts_with(b"\x7fELF\x02\x01") {
        return Ok(None);
    }
    let (table, entry_bytes, entries) =
        (number(&header, 32, 8), number(&header, 54, 2), number(&header, 56, 2));
    if entry_bytes != SEGMENT_BYTES as u64 {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(table))?;
    let mut segments = vec![0; SEGMENT_BYTES * entries as usize];
    file.read_exact(&mut segments)?;
    let end = segments
        .chunks_exact(SEGMENT_BYTES)
        .filter(|segment| number(segment, 0, 4) == u64::from(LOAD))
        .map(|segment| number(segment, 8, 8).saturating_add(number(segment, 32, 8)))
        .max();
    Ok(end.map(|end| (end, length)))
}

fn number(bytes: &[u8], at: usize, width: usize) -> u64 {
    bytes[at..at + width].iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}
