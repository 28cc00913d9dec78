//! The zip archives that `torch.save` writes, taken apart and put together, faults and all.

use crate::support::models::{Copy, WEIGHTS, tiny_dir};

/// The name of a file of weights that torch wrote.
pub const TORCH: &str = "pytorch_model.bin";

/// A weights file of `tests/tiny/weights`.
pub fn form(name: &str) -> Vec<u8> {
    std::fs::read(tiny_dir("weights").join(name)).unwrap()
}

/// A copy of a tiny model without weights.
pub fn bare(model: &str) -> Copy {
    let copy = Copy::of(model);
    copy.remove(WEIGHTS);
    copy
}

/// An entry of an archive as both of its headers describe it.
#[derive(Clone)]
pub struct Entry {
    pub name: String,
    pub bytes: Vec<u8>,
    pub flags: u16,
    pub method: u16,
    /// The size that the archive states, if it is not the real one.
    pub said: Option<u32>,
    /// The offset that the archive states, if it is not the real one.
    pub at: Option<u32>,
}

impl Entry {
    pub fn new(name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        let name = name.to_string();
        Self { name, bytes: bytes.into(), flags: 0, method: 0, said: None, at: None }
    }
}

/// An archive as torch writes it.
pub struct Archive(pub Vec<Entry>);

impl Archive {
    pub fn of(file: &[u8]) -> Self {
        let archive = rawzip::ZipArchive::from_slice(file).unwrap();
        let entry = |record: rawzip::ZipFileHeaderRecord<'_>| {
            let name = String::from_utf8(record.file_path().as_bytes().to_vec()).unwrap();
            Entry::new(&name, archive.get_entry(record.wayfinder()).unwrap().data())
        };
        Self(archive.entries().map(|record| entry(record.unwrap())).collect())
    }

    /// The entry whose name ends so.
    pub fn entry(&mut self, end: &str) -> &mut Entry {
        self.0.iter_mut().find(|entry| entry.name.ends_with(end)).unwrap()
    }

    pub fn pickle(&mut self) -> &mut Vec<u8> {
        &mut self.entry("/data.pkl").bytes
    }

    /// Replaces the first occurrence of some bytes in the pickle.
    pub fn patch(&mut self, from: &[u8], to: &[u8]) {
        let pickle = self.pickle();
        let at = pickle.windows(from.len()).position(|bytes| bytes == from);
        let at = at.unwrap_or_else(|| panic!("no {from:x?}"));
        pickle.splice(at..at + from.len(), to.iter().copied());
    }

    pub fn bytes(&self) -> Vec<u8> {
        let (mut file, mut directory) = (Vec::new(), Vec::new());
        for Entry { name, bytes, flags, method, said, at } in &self.0 {
            let begin = at.unwrap_or(file.len() as u32);
            let size = said.unwrap_or(bytes.len() as u32);
            let mut both = Vec::new();
            for word in [20, *flags, *method, 0, 0] {
                both.extend(u16::to_le_bytes(word));
            }
            // No checksum: torch can leave it out, and does not look at it.
            for word in [0, size, bytes.len() as u32] {
                both.extend(u32::to_le_bytes(word));
            }
            both.extend(u16::to_le_bytes(name.len() as u16));
            both.extend([0; 2]);
            file.extend([b"PK\x03\x04", both.as_slice(), name.as_bytes(), bytes].concat());
            let place = [[0; 10].as_slice(), &begin.to_le_bytes()].concat();
            directory
                .extend([b"PK\x01\x02\x14\x00", both.as_slice(), &place, name.as_bytes()].concat());
        }
        let count = (self.0.len() as u16).to_le_bytes();
        let begin = (file.len() as u32).to_le_bytes();
        let length = (directory.len() as u32).to_le_bytes();
        let end: [&[u8]; 6] = [b"PK\x05\x06\0\0\0\0", &count, &count, &length, &begin, &[0; 2]];
        file.extend(directory);
        file.extend(end.concat());
        file
    }
}
