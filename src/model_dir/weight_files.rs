//! Which files of a directory hold the weights: one, or the shards of an index.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::files::{is_present, real_path};
use super::formats::{ReadHeader, safetensors, torch_zip};
use super::json::read_json;
use super::quantized_weights;
use crate::error::{Result, error};

const SHARDS_MAX: usize = 4096;
#[derive(Deserialize)]
struct IndexJson {
    weight_map: BTreeMap<String, String>,
}

/// An index: which tensor lies in which shard.
pub(super) struct Index {
    file: PathBuf,
    weight_map: BTreeMap<String, String>,
    /// The real path of each shard.
    shards: BTreeMap<String, PathBuf>,
}

impl Index {
    fn read(file: PathBuf, dir: &Path) -> Result<Self> {
        let json: IndexJson = read_json(&file)?;
        let names: BTreeSet<String> = json.weight_map.values().cloned().collect();
        if names.is_empty() || names.len() > SHARDS_MAX {
            return Err(error!(
                ModelInvalid,
                "{}: it names {} files, not 1 to {SHARDS_MAX}",
                file.display(),
                names.len()
            ));
        }
        let plain = |name: &str| {
            let mut parts = Path::new(name).components();
            matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None))
        };
        if let Some(name) = names.iter().find(|name| !plain(name)) {
            return Err(error!(
                ModelInvalid,
                "{}: {name:?} is not the name of a file in that folder",
                file.display()
            ));
        }
        let mut shards = BTreeMap::new();
        for name in names {
            let path = real_path(&dir.join(&name))?;
            shards.insert(name, path);
        }
        Ok(Self { file, weight_map: json.weight_map, shards })
    }

    /// Checks that a tensor lies in the shard that the index names: shards of another upload may
    /// hold tensors of the same names and shapes.
    pub fn agrees(&self, key: &str, found_in: &Path) -> Result<()> {
        match self.weight_map.get(key) {
            Some(shard) if self.shards.get(shard).is_none_or(|path| path != found_in) => {
                Err(error!(
                    ModelInvalid,
                    "{}: the tensor {key:?} should be in {shard:?}, but is in {}; the index and \
                     the files are of different models",
                    self.file.display(),
                    found_in.display()
                ))
            }
            _ => Ok(()),
        }
    }
}

/// The files of the weights.
pub(super) struct WeightFiles {
    /// The real paths.
    pub files: Vec<PathBuf>,
    pub index: Option<Index>,
    pub read_header: ReadHeader,
    pub quantized: bool,
}

/// The formats in the order in which transformers looks for them: the name of a single file, the
/// name of an index, and the reader.
const FORMATS: [(&str, &str, ReadHeader); 2] = [
    ("model.safetensors", "model.safetensors.index.json", safetensors::read_header),
    ("pytorch_model.bin", "pytorch_model.bin.index.json", torch_zip::read_header),
];

/// Whether a directory has weights, usable or not.
pub(super) fn are_present(dir: &Path) -> bool {
    FORMATS
        .iter()
        .any(|(single, index, _)| is_present(&dir.join(single)) || is_present(&dir.join(index)))
        || is_present(&dir.join(quantized_weights::FILE))
}

/// The files with weights: one, or the shards that an index names.
pub(super) fn weight_files(dir: &Path) -> Result<WeightFiles> {
    let quantized = dir.join(quantized_weights::FILE);
    if is_present(&quantized) {
        quantized_weights::check_alone(
            dir,
            FORMATS.iter().flat_map(|(single, index, _)| [*single, *index]),
        )?;
        let files = vec![real_path(&quantized)?];
        let read_header = quantized_weights::read_header;
        return Ok(WeightFiles { files, index: None, read_header, quantized: true });
    }
    for (single, index, read_header) in FORMATS {
        let (single, index) = (dir.join(single), dir.join(index));
        if is_present(&single) {
            let files = vec![real_path(&single)?];
            return Ok(WeightFiles { files, index: None, read_header, quantized: false });
        }
        if is_present(&index) {
            let index = Index::read(index, dir)?;
            let files = index.shards.values().cloned().collect();
            return Ok(WeightFiles { files, index: Some(index), read_header, quantized: false });
        }
    }
    Err(error!(
        ModelNotFound,
        "{} has neither model.safetensors nor pytorch_model.bin, nor an index of their shards, nor \
         an ONNX file; the model directory is incomplete",
        dir.display()
    ))
}
