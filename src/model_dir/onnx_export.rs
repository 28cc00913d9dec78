//! An ONNX export in a model directory: the file to use, and the files of its tensors.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Number;

use super::config::Numbering;
use super::files::{
    LFS_START, common_folder, file_length, is_present, lfs_pointer, not_utf8, open_file, read_file,
    real_path, relative_location, stays_inside,
};
use super::formats::{onnx_external_data, onnx_operators};
use super::hints;
use super::json::read_json_if_present;
use crate::error::{Result, error};

/// The limit of a protobuf message.
const FILE_BYTES_MAX: u64 = 2 << 30;
/// Ten times the size of the largest encoders.
const TOTAL_BYTES_MAX: u64 = 256 << 30;
/// The outputs by which an export is that of an encoder, whatever task config.json names.
const EMBEDDINGS: [&str; 4] =
    ["last_hidden_state", "token_embeddings", "sentence_embedding", "dense_vecs"];
/// Operators that exports with 8-bit numbers contain.
const INT8_OPERATORS: [&str; 4] =
    ["DynamicQuantizeLinear", "MatMulInteger", "QLinearMatMul", "DynamicQuantizeMatMul"];
/// Those of the operators that quantize a whole batch by its range, so that a text's vector depends
/// on its batch-mates.
const RANGE_OF_ALL: [&str; 2] = ["DynamicQuantizeLinear", "DynamicQuantizeMatMul"];

/// A file that ONNX Runtime runs as it is.
#[derive(Debug)]
pub(crate) struct Export {
    /// The path under which it was found, for messages.
    pub file: PathBuf,
    /// The export itself, and the files that hold its tensors.
    pub files: Vec<PathBuf>,
    pub config: ExportConfig,
    /// `fp32`, `fp16` or `int8`.
    pub precision: &'static str,
    /// Whether a text's vector would depend on its batch-mates, so that it has to run alone.
    pub alone: bool,
    /// The size of all files.
    pub bytes: u64,
    /// The files by the names that the export has for them, if they are symbolic links, which ONNX
    /// Runtime refuses.
    linked: Option<BTreeMap<String, PathBuf>>,
}

/// The form in which an export is passed to ONNX Runtime.
pub(crate) enum Graph {
    File(PathBuf),
    /// The bytes of the graph, and the folder from which its files of tensors are named.
    Memory {
        bytes: Vec<u8>,
        folder: String,
    },
}

/// `config.json` of an export. It may be missing.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct ExportConfig {
    model_type: Option<String>,
    pad_token_id: Option<Number>,
    max_position_embeddings: Option<Number>,
    vocab_size: Option<Number>,
    hidden_size: Option<Number>,
}

impl Export {
    /// The export to use if no file is named: the usual one, or the only one.
    pub fn find(dir: &Path) -> Result<Option<PathBuf>> {
        let usual = [dir.join("onnx/model.onnx"), dir.join("model.onnx")];
        if let Some(file) = usual.iter().find(|file| is_present(file)) {
            return Ok(Some(file.clone()));
        }
        let is_export = |path: &PathBuf| {
            let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase());
            // A graph that tokenizes often lies beside the encoder.
            name.is_some_and(|name| name.ends_with(".onnx") && !name.contains("tokenizer"))
        };
        let mut found: Vec<PathBuf> = [dir.join("onnx"), dir.to_path_buf()]
            .iter()
            .filter_map(|folder| folder.read_dir().ok())
            .flat_map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())))
            .filter(is_export)
            .collect();
        found.sort();
        match found.as_slice() {
            [] => Ok(None),
            [file] => Ok(Some(file.clone())),
            several => Err(error!(
                Unsupported,
                "{} has several ONNX files, {:?}, and no model.onnx; name one with the option \
                 onnx_file",
                dir.display(),
                several.iter().filter_map(|file| file.strip_prefix(dir).ok()).collect::<Vec<_>>()
            )),
        }
    }

    pub fn read(file: &Path, dir: &Path) -> Result<Self> {
        let name = file.display();
        let bytes = read_file(file, FILE_BYTES_MAX)?;
        let contents = onnx_external_data::contents(&bytes)
            .map_err(|why| error!(ModelInvalid, "{name} is not a whole ONNX file: {why}"))?;
        onnx_operators::check(&contents.graph, &contents.functions)
            .map_err(|why| error!(Unsupported, "{name} {why}"))?;
        if contents.has_sparse {
            return Err(error!(
                Unsupported,
                "{name} has sparse tensors, which no encoder needs and which could be of any size; export \
                 the model again without them"
            ));
        }
        let gives = |output: &&str| contents.outputs.contains(*output);
        if hints::is_cross_encoder(dir) && !EMBEDDINGS.iter().any(gives) {
            return Err(hints::cross_encoder(dir));
        }
        let has = |kinds: &[&str]| contents.has(kinds);
        let (locations, has_fp16) = (&contents.locations, contents.has_fp16);
        let folder = file.parent().unwrap_or(Path::new(""));
        let mut data = BTreeMap::new();
        let mut total = bytes.len() as u64;
        for (location, &numbers) in locations {
            let path = data_file(location, folder, file)?;
            let length = file_length(&path, &open_file(&path)?)?;
            // The smallest numbers have half a byte.
            if numbers / 2 > length {
                return Err(error!(
                    ModelInvalid,
                    "{name}: {location:?} has {length} bytes, but a tensor of {numbers} numbers is said to \
                     be in it; download it again"
                ));
            }
            total = total.saturating_add(length);
            data.insert(location.clone(), path);
        }
        if total > TOTAL_BYTES_MAX {
            return Err(error!(
                ModelInvalid,
                "{name}: its files have {total} bytes, but those of an encoder at most \
                 {TOTAL_BYTES_MAX}"
            ));
        }
        let real = real_path(file)?;
        let home = real.parent().unwrap_or(Path::new(""));
        let lies_there = |(location, path): (&String, &PathBuf)| home.join(location) == *path;
        let linked = !data.iter().all(lies_there);
        Ok(Self {
            file: file.to_path_buf(),
            files: std::iter::once(real).chain(data.values().cloned()).collect(),
            config: ExportConfig::read(dir, folder)?,
            precision: match (has(&INT8_OPERATORS), has_fp16) {
                (true, _) => "int8",
                (false, true) => "fp16",
                (false, false) => "fp32",
            },
            alone: has(&RANGE_OF_ALL),
            bytes: total,
            linked: linked.then_some(data),
        })
    }

    pub fn graph(&self) -> Result<Graph> {
        let Some(data) = &self.linked else { return Ok(Graph::File(self.files[0].clone())) };
        let folder = common_folder(&self.files[1..]);
        let mut names = BTreeMap::new();
        for (location, path) in data {
            names.insert(location.as_str(), relative_location(path, &folder)?);
        }
        let bytes = read_file(&self.file, FILE_BYTES_MAX)?;
        let bytes = onnx_external_data::renamed(&bytes, &|location| names.get(location).cloned())
            .map_err(|why| error!(ModelInvalid, "{}: {why}", self.file.display()))?;
        let folder = folder.to_str().ok_or_else(|| not_utf8(&folder))?.to_string();
        Ok(Graph::Memory { bytes, folder })
    }
}

/// The real path of a file that holds tensors of an export.
fn data_file(location: &str, folder: &Path, export: &Path) -> Result<PathBuf> {
    if location.is_empty() || !stays_inside(Path::new(location)) {
        return Err(error!(
            ModelInvalid,
            "{}: the file {location:?} of a tensor lies outside its folder",
            export.display()
        ));
    }
    let path = folder.join(location);
    let mut start = Vec::new();
    let read = open_file(&path)?.take(LFS_START.len() as u64).read_to_end(&mut start);
    if read.is_ok() && start == LFS_START {
        return Err(lfs_pointer(&path));
    }
    real_path(&path)
}

impl ExportConfig {
    fn read(dir: &Path, beside: &Path) -> Result<Self> {
        let file = [dir, beside].map(|folder| folder.join("config.json"));
        let file = file.iter().find(|file| is_present(file)).unwrap_or(&file[0]);
        let config: Self = read_json_if_present(file)?;
        for (key, value) in [
            ("pad_token_id", &config.pad_token_id),
            ("max_position_embeddings", &config.max_position_embeddings),
            ("vocab_size", &config.vocab_size),
            ("hidden_size", &config.hidden_size),
        ] {
            if value.as_ref().is_some_and(|value| number(value).is_none()) {
                return Err(error!(
                    ModelInvalid,
                    "{}: {key} is {value:?}, not a whole number",
                    file.display()
                ));
            }
        }
        Ok(config)
    }

    pub fn pad_id(&self) -> Option<u32> {
        number(self.pad_token_id.as_ref()?)
    }

    pub fn vocab(&self) -> Option<usize> {
        number(self.vocab_size.as_ref()?).map(|size| size as usize)
    }

    pub fn hidden(&self) -> Option<usize> {
        number(self.hidden_size.as_ref()?).map(|size| size as usize)
    }

    /// The rows of the position table and their numbering, if they are known.
    pub fn positions(&self) -> Option<(usize, Numbering)> {
        let positions = number(self.max_position_embeddings.as_ref()?)? as usize;
        Some((positions, self.numbering(self.pad_id()?)))
    }

    pub fn numbering(&self, pad_id: u32) -> Numbering {
        match self.model_type.as_deref() {
            Some("bert") => Numbering::FromZero,
            _ => Numbering::AfterPadding(pad_id),
        }
    }
}

fn number(value: &Number) -> Option<u32> {
    value.as_u64().and_then(|value| u32::try_from(value).ok())
}
