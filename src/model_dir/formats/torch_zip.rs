//! The zip archive that `torch.save` writes, whose tensors are read in place.
//!
//! An archive holds one pickle, which names the tensors, and one entry for each storage, whose
//! bytes are neither compressed nor encrypted. So a tensor is a range of the file.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use rawzip::{CompressionMethod, MAX_CENTRAL_DIRECTORY_RECORD_SIZE, ZipLocator};

use super::tensor::{Stored, TensorLocation, Tensors};
use super::torch_pickle::{self, Fault};
use crate::error::{Error, Result, error};
use crate::memory;
use crate::model_dir::files::{cannot_read, file_length, lfs_pointer, open_file};

/// An encoder of a thousand layers needs 5 MB.
const PICKLE_BYTES_MAX: u64 = 16 << 20;
/// Far more tensors than an encoder has.
const ENTRIES_MAX: usize = 1 << 16;
const NAME_BYTES_MAX: usize = 1000;
const SAVE_AGAIN: &str = "load it with torch and save its state_dict() again with torch.save, or \
                          as safetensors";

/// The bytes of an entry of the archive.
#[derive(Clone, Copy)]
struct Entry {
    offset: u64,
    length: u64,
}

/// Reads which tensors a file holds.
pub(crate) fn read_header(path: &Path, location: &str) -> Result<Tensors> {
    let name = path.display();
    let mut file = open_file(path)?;
    let file_bytes = file_length(path, &file)?;
    let mut start = Vec::new();
    file.by_ref().take(8).read_to_end(&mut start).map_err(|e| cannot_read(path, &e))?;
    if start == b"version " {
        return Err(lfs_pointer(path));
    }
    // Before 1.6, torch wrote a pickle followed by the numbers.
    if start.starts_with(b"\x80") {
        return Err(error!(
            Unsupported,
            "{name} is in torch's old format, without a zip archive around it; {SAVE_AGAIN}"
        ));
    }
    if !start.starts_with(b"PK\x03\x04") {
        return Err(error!(
            ModelInvalid,
            "{name} has {file_bytes} bytes and is not what torch.save writes: a zip archive begins \
             with \"PK\"; download it again"
        ));
    }
    let (root, entries) = read_entries(path, file, file_bytes)?;
    let entry = |part: &str| entries.get(&format!("{root}/{part}")).copied();
    if entry("constants.pkl").is_some() {
        return Err(error!(
            Unsupported,
            "{name} is a TorchScript program, not a table of tensors; save the state_dict() of the \
             model that it was made from with torch.save, or as safetensors"
        ));
    }
    if let Some(order) = entry("byteorder") {
        let order = read_entry(path, order)?;
        if order != b"little" {
            return Err(error!(
                Unsupported,
                "{name}: its byteorder is {:?}; only \"little\" is supported, so {SAVE_AGAIN} on a \
                 machine with that order",
                String::from_utf8_lossy(&order)
            ));
        }
    }
    let program = entry("data.pkl").ok_or_else(|| no_pickle(path))?;
    let program = read_entry(path, program)?;
    let tensors = torch_pickle::state_dict(&program).map_err(|fault| match fault {
        Fault::Damaged(why) => {
            error!(ModelInvalid, "{name}: its data.pkl is damaged: {why}; download it again")
        }
        Fault::Refused(why) => {
            error!(Unsupported, "{name}: its data.pkl is no state dict: {why}; {SAVE_AGAIN}")
        }
    })?;
    let locate = |(key, tensor): (&str, torch_pickle::Tensor<'_>)| {
        let data = entry(&format!("data/{}", tensor.storage.key)).ok_or_else(|| {
            error!(
                ModelInvalid,
                "{name}: the tensor {key:?} lies in the entry \"data/{}\", which does not exist; \
                 download it again",
                tensor.storage.key
            )
        })?;
        let stored = place(&tensor, data, location)
            .map_err(|why| error!(ModelInvalid, "{name}: the tensor {key:?} {why}"))?;
        Ok((key.to_string(), stored))
    };
    tensors.into_iter().map(locate).collect()
}

/// The entries by name, and the folder that contains all of them.
fn read_entries(
    path: &Path,
    file: File,
    file_bytes: u64,
) -> Result<(String, HashMap<String, Entry>)> {
    let name = path.display();
    let damaged = |e: rawzip::Error| {
        error!(ModelInvalid, "{name}: the list of its entries is damaged: {e}; download it again")
    };
    let mut buffer = memory::zeros(MAX_CENTRAL_DIRECTORY_RECORD_SIZE)?;
    let archive = ZipLocator::new().locate_in_file(file, &mut buffer).map_err(|(_, e)| {
        error!(
            ModelInvalid,
            "{name} has {file_bytes} bytes, and the list of entries that a zip archive ends with \
             is missing ({e}); was it downloaded completely?"
        )
    })?;
    let mut entries = HashMap::new();
    let mut ranges = Vec::new();
    let mut list = archive.entries(&mut buffer);
    while let Some(record) = list.next_entry().map_err(damaged)? {
        let entry = String::from_utf8_lossy(record.file_path().as_bytes()).into_owned();
        if entries.len() >= ENTRIES_MAX || entry.len() > NAME_BYTES_MAX {
            return Err(error!(
                ModelInvalid,
                "{name} has more than {ENTRIES_MAX} entries, or one with a name of more than \
                 {NAME_BYTES_MAX} bytes; is it the right file?"
            ));
        }
        let flags = record.flags();
        if flags.is_encrypted() || flags.has_strong_encryption() || flags.is_masked() {
            return Err(error!(
                Unsupported,
                "{name}: the entry {entry:?} is encrypted; {SAVE_AGAIN}"
            ));
        }
        let stored = record.compression_method() == CompressionMethod::STORE;
        if !stored || record.compressed_size_hint() != record.uncompressed_size_hint() {
            return Err(error!(
                Unsupported,
                "{name}: the entry {entry:?} is compressed ({}), but the weights are used where \
                 they lie; {SAVE_AGAIN}",
                record.compression_method()
            ));
        }
        let (begin, end) =
            archive.get_entry(record.wayfinder()).map_err(damaged)?.compressed_data_range();
        if end > file_bytes {
            return Err(error!(
                ModelInvalid,
                "{name} has {file_bytes} bytes, but the entry {entry:?} ends at byte {end}; was it \
                 downloaded completely?"
            ));
        }
        ranges.push((record.local_header_offset(), end));
        let data = Entry { offset: begin, length: end - begin };
        if entries.insert(entry.clone(), data).is_some() {
            return Err(error!(ModelInvalid, "{name} has two entries {entry:?}"));
        }
    }
    ranges.push((archive.directory_offset(), file_bytes));
    ranges.sort_unstable();
    if let Some(pair) = ranges.windows(2).find(|pair| pair[0].1 > pair[1].0) {
        return Err(error!(
            ModelInvalid,
            "{name}: its entries overlap at byte {}; download it again", pair[1].0
        ));
    }
    let mut roots = entries.keys().filter_map(|entry| entry.strip_suffix("/data.pkl"));
    match (roots.next(), roots.next()) {
        (Some(root), None) => Ok((root.to_string(), entries)),
        (None, _) => Err(no_pickle(path)),
        _ => Err(error!(ModelInvalid, "{name} has several entries named data.pkl")),
    }
}

fn no_pickle(path: &Path) -> Error {
    error!(
        ModelInvalid,
        "{} is a zip archive without data.pkl, so not what torch.save writes; is it the right file?",
        path.display()
    )
}

/// Reads a whole entry: the pickle, or one of a few bytes.
fn read_entry(path: &Path, entry: Entry) -> Result<Vec<u8>> {
    if entry.length > PICKLE_BYTES_MAX {
        return Err(error!(
            ModelInvalid,
            "{}: its data.pkl has {} bytes; at most {PICKLE_BYTES_MAX} are allowed",
            path.display(),
            entry.length
        ));
    }
    let failed = |e| cannot_read(path, &e);
    let open = || {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(entry.offset))?;
        Ok(file)
    };
    memory::read(open().map_err(failed)?, entry.length)?.map_err(failed)
}

/// The location of a tensor's numbers in the file, or the reason why there is none.
fn place(tensor: &torch_pickle::Tensor<'_>, data: Entry, location: &str) -> Result<Stored, String> {
    let torch_pickle::Tensor { storage, offset, shape, strides } = tensor;
    let width = (storage.dtype.bitsize() / 8) as u64;
    if storage.numbers.checked_mul(width) != Some(data.length) {
        return Err(format!(
            "lies in a storage of {} numbers of {width} bytes, but the entry \"data/{}\" has {} \
             bytes; download it again",
            storage.numbers, storage.key, data.length
        ));
    }
    let overflow = || format!("of the size {shape:?} has more numbers than can be");
    let count = shape.iter().try_fold(1_u64, |count, &size| count.checked_mul(size));
    let count = count.ok_or_else(overflow)?;
    let mut last = Some(*offset);
    let mut contiguous = true;
    let mut row = 1_u64;
    for (&size, &stride) in shape.iter().zip(strides).rev() {
        contiguous &= size == 1 || stride == row;
        row = row.saturating_mul(size);
        let step = size.saturating_sub(1).checked_mul(stride);
        last = last.zip(step).and_then(|(last, step)| last.checked_add(step));
    }
    // An empty tensor has no last number.
    let end = if count == 0 { Some(*offset) } else { last.and_then(|last| last.checked_add(1)) };
    if end.is_none_or(|end| end > storage.numbers) {
        return Err(format!(
            "of the size {shape:?} with the strides {strides:?} from number {offset} lies beyond \
             its storage of {} numbers",
            storage.numbers
        ));
    }
    let place = TensorLocation {
        file: location.to_string(),
        offset: data.offset + offset * width,
        // A stride of 0 repeats numbers any number of times.
        length: count.saturating_mul(width),
        shape: shape
            .iter()
            .map(|&size| usize::try_from(size))
            .collect::<Result<_, _>>()
            .map_err(|_| overflow())?,
    };
    Ok(Stored { place, dtype: storage.dtype, contiguous: contiguous || count == 0 })
}
