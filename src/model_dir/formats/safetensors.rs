//! The header of a safetensors file.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;

use ::safetensors::tensor::Metadata;

use super::tensor::{Stored, TensorLocation, Tensors};
use crate::error::{Result, error};
use crate::memory;
use crate::model_dir::files::{cannot_read, file_length, lfs_pointer, open_file};
use crate::model_dir::json::parse_json;

/// An encoder of a thousand layers needs 2 MB. The format allows 100 MB, which would let a hostile
/// header take gigabytes while it is parsed.
const HEADER_BYTES_MAX: u64 = 16 << 20;

/// Reads which tensors a file holds.
pub(crate) fn read_header(path: &Path, location: &str) -> Result<Tensors> {
    Ok(read_all(path, location)?.0)
}

/// Reads which tensors a file holds, and the metadata that its author wrote.
pub(crate) fn read_all(path: &Path, location: &str) -> Result<(Tensors, HashMap<String, String>)> {
    let name = path.display();
    let mut file = open_file(path)?;
    let file_bytes = file_length(path, &file)?;
    let read_failed = |e| cannot_read(path, &e);
    let mut start = [0; 8];
    if file_bytes < 8 {
        return Err(error!(
            ModelInvalid,
            "{name} has {file_bytes} bytes and no header; download it again"
        ));
    }
    file.read_exact(&mut start).map_err(read_failed)?;
    if &start == b"version " {
        return Err(lfs_pointer(path));
    }
    let header_bytes = u64::from_le_bytes(start);
    if header_bytes > HEADER_BYTES_MAX {
        return Err(error!(
            ModelInvalid,
            "{name}: its header claims {header_bytes} bytes, where at most {HEADER_BYTES_MAX} are \
             allowed; it is not a safetensors file, or damaged"
        ));
    }
    if header_bytes > file_bytes - 8 {
        return Err(error!(
            ModelInvalid,
            "{name} has {file_bytes} bytes, but its header alone {header_bytes}; download it again"
        ));
    }
    let mut header = memory::zeros(header_bytes as usize)?;
    file.read_exact(&mut header).map_err(read_failed)?;
    let metadata: Metadata = parse_json(&header)
        .map_err(|e| error!(ModelInvalid, "{name}: its header is not valid: {e}"))?;
    let expected_bytes = (8 + header_bytes).checked_add(metadata.data_len() as u64);
    if expected_bytes != Some(file_bytes) {
        return Err(error!(
            ModelInvalid,
            "{name} has {file_bytes} bytes, but its header describes {}; download it again",
            expected_bytes.map_or("more than can be".into(), |bytes| bytes.to_string())
        ));
    }
    let words = metadata.metadata().clone().unwrap_or_default();
    let tensors = metadata
        .tensors()
        .into_iter()
        .map(|(name, info)| {
            let (begin, end) = info.data_offsets;
            let place = TensorLocation {
                file: location.to_string(),
                offset: 8 + header_bytes + begin as u64,
                length: (end - begin) as u64,
                shape: info.shape.clone(),
            };
            (name, Stored { place, dtype: info.dtype, contiguous: true })
        })
        .collect();
    Ok((tensors, words))
}
