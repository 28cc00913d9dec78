//! Where each weight of the encoder lies: which file, from which byte, how many.
//!
//! Only headers are read. The bytes themselves are mapped by ONNX Runtime, straight from the
//! author's file.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use ::safetensors::tensor::Dtype;
use half::{bf16, f16};
use serde::Deserialize;

use super::{EncoderConfig, cannot_read, int8, is_present, read_json, safetensors, torch};
use crate::error::{Error, Result, error};
use crate::memory;

const SHARDS_MAX: usize = 4096;
pub(super) const WORD_EMBEDDINGS: &str = "embeddings.word_embeddings.weight";

/// How the numbers of a weight are stored. Whatever it is, they are computed with as 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NumberType {
    F32,
    F16,
    BF16,
    /// Integers, to be multiplied with a scale.
    I8,
}

impl NumberType {
    /// A type that numbers can have as an author stores them.
    pub(super) fn of(dtype: Dtype) -> Option<Self> {
        match dtype {
            Dtype::F32 => Some(Self::F32),
            Dtype::F16 => Some(Self::F16),
            Dtype::BF16 => Some(Self::BF16),
            _ => None,
        }
    }

    /// Every number of 16 bits is one of 32 bits, too.
    pub fn widened(self, bytes: &[u8]) -> Result<Vec<f32>> {
        let mut numbers = memory::with_room(bytes.len() / self.width())?;
        let pairs = || bytes.as_chunks::<2>().0.iter();
        match self {
            Self::F32 => {
                let fours = bytes.as_chunks::<4>().0.iter();
                numbers.extend(fours.map(|&four| f32::from_le_bytes(four)));
            }
            Self::F16 => numbers.extend(pairs().map(|&two| f16::from_le_bytes(two).to_f32())),
            Self::BF16 => numbers.extend(pairs().map(|&two| bf16::from_le_bytes(two).to_f32())),
            Self::I8 => numbers.extend(bytes.iter().map(|&byte| f32::from(byte as i8))),
        }
        Ok(numbers)
    }

    /// The bytes of a number.
    pub fn width(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::I8 => 1,
        }
    }
}

/// A weight: its bytes, and what they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Weight {
    pub place: TensorLocation,
    pub number_type: NumberType,
}

/// The bytes of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TensorLocation {
    /// The file, relative to [`Weights::folder`].
    pub file: String,
    pub offset: u64,
    pub length: u64,
    pub shape: Vec<usize>,
}

/// A tensor as a file describes it, whether an encoder can use it or not.
pub(super) struct Stored {
    pub place: TensorLocation,
    pub dtype: Dtype,
    /// Whether its numbers lie row after row, without gaps.
    pub contiguous: bool,
}

pub(super) type Tensors = HashMap<String, Stored>;

/// Reads what a file holds. The second argument is its name relative to [`Weights::folder`].
type ReadHeader = fn(&Path, &str) -> Result<Tensors>;

/// The weights of the encoder, by their name in transformers without any prefix.
#[derive(Debug)]
pub(crate) struct Weights {
    /// The real folder of the files, with no symbolic link in its path: ONNX Runtime refuses
    /// files that a link leads to, which is how the Hugging Face cache keeps them.
    pub folder: String,
    /// The real files.
    pub files: Vec<PathBuf>,
    /// Whether `bge quantize` wrote them, as integers of 8 bits.
    pub quantized: bool,
    tensors: BTreeMap<String, Weight>,
}

impl Weights {
    /// A tensor that is not stored in 32 bits.
    pub fn of_16_bits(&self) -> Option<&str> {
        let mut tensors = self.tensors.iter();
        let (name, _) = tensors
            .find(|(_, weight)| matches!(weight.number_type, NumberType::F16 | NumberType::BF16))?;
        Some(name)
    }

    pub fn locate(dir: &Path, encoder: &EncoderConfig) -> Result<Self> {
        let WeightFiles { files, index, read_header, quantized } = weight_files(dir)?;
        let folder = common_folder(&files);
        // ONNX Runtime is told of paths as text.
        let folder_text = folder.to_str().ok_or_else(|| not_utf8(&folder))?;
        let mut tensors = Tensors::new();
        for file in &files {
            let location = relative_location(file, &folder)?;
            for (name, tensor) in read_header(file, &location)? {
                if let Some(Stored { place: other, .. }) = tensors.get(&name) {
                    return Err(error!(
                        ModelInvalid,
                        "{} and {} both hold the tensor {name:?}; the files are of different models",
                        folder.join(&other.file).display(),
                        file.display()
                    ));
                }
                tensors.insert(name, tensor);
            }
        }
        check_no_adapter(&tensors, dir)?;
        let prefix = key_prefix(&tensors, dir)?;
        let (folder_text, none) = (folder_text.to_string(), BTreeMap::new());
        let mut weights = Self { folder: folder_text, files, quantized, tensors: none };
        let mut expected = expected_tensors(encoder);
        if quantized {
            expected = int8::expected_tensors(expected);
        }
        for (name, shape) in expected {
            let key = named(&tensors, format!("{prefix}{name}"))?;
            let Stored { place: tensor, dtype, contiguous } =
                tensors.remove(&key).ok_or_else(|| {
                    error!(
                        ModelInvalid,
                        "{}: the weights lack the tensor {key:?}, which config.json asks for",
                        dir.display()
                    )
                })?;
            let file = folder.join(&tensor.file);
            if let Some(index) = &index {
                index.agrees(&key, &file)?;
            }
            if tensor.shape != shape {
                return Err(error!(
                    ModelInvalid,
                    "{}: the tensor {key:?} has the shape {:?}, but config.json makes it {shape:?}",
                    file.display(),
                    tensor.shape
                ));
            }
            let number_type = match quantized {
                true => int8::number_type(&file, &name, &shape, dtype)?,
                false => NumberType::of(dtype).ok_or_else(|| {
                    error!(
                        Unsupported,
                        "{}: the tensor {key:?} has the type {dtype:?}; only F32, F16 and BF16 are \
                         supported, so save the model in float32",
                        file.display()
                    )
                })?,
            };
            if !contiguous {
                return Err(error!(
                    Unsupported,
                    "{}: the numbers of the tensor {key:?} do not lie row after row; call \
                     .contiguous() on it before torch.save",
                    file.display()
                ));
            }
            weights.tensors.insert(name, Weight { place: tensor, number_type });
        }
        if quantized {
            int8::check_scales(&weights)?;
        }
        Ok(weights)
    }

    /// The encoder's tensors by name, each with its file, whatever else the files hold.
    pub fn in_order(&self) -> impl Iterator<Item = (&str, PathBuf, &Weight)> {
        self.tensors.iter().map(|(name, weight)| {
            (name.as_str(), Path::new(&self.folder).join(&weight.place.file), weight)
        })
    }

    /// The numbers of a tensor that [`expected_tensors`] names, and its shape.
    pub fn read(&self, name: &str) -> Result<(Vec<f32>, &[usize])> {
        let Weight { place, number_type } = self.get(name)?;
        let file = Path::new(&self.folder).join(&place.file);
        Ok((read_numbers(&file, place, *number_type)?, &place.shape))
    }

    /// The bytes of a tensor, as a file to read them from.
    pub fn open(&self, name: &str) -> Result<impl Read> {
        let place = &self.get(name)?.place;
        let file = Path::new(&self.folder).join(&place.file);
        open_at(&file, place).map_err(|e| cannot_read(&file, &e))
    }

    /// What all tensors take.
    pub fn bytes(&self) -> u64 {
        self.tensors.values().map(|weight| weight.place.length).sum()
    }

    /// The names of all tensors, and what they are.
    pub fn all(&self) -> impl Iterator<Item = (&str, &Weight)> {
        self.tensors.iter().map(|(name, weight)| (name.as_str(), weight))
    }

    /// A tensor that [`expected_tensors`] names.
    pub fn get(&self, name: &str) -> Result<&Weight> {
        self.tensors
            .get(name)
            .ok_or_else(|| error!(Internal, "the graph asked for an unknown weight {name:?}"))
    }
}

/// Reads numbers that a header places somewhere, widened to 32 bits.
pub(super) fn read_numbers(
    file: &Path,
    place: &TensorLocation,
    number_type: NumberType,
) -> Result<Vec<f32>> {
    number_type.widened(&read_bytes(file, place)?)
}

pub(super) fn read_bytes(file: &Path, place: &TensorLocation) -> Result<Vec<u8>> {
    let failed = |e| cannot_read(file, &e);
    // No longer than the file, whose header was checked against its length.
    memory::read(open_at(file, place).map_err(failed)?, place.length)?.map_err(failed)
}

fn open_at(file: &Path, place: &TensorLocation) -> std::io::Result<impl Read + use<>> {
    let mut file = File::open(file)?;
    file.seek(SeekFrom::Start(place.offset))?;
    Ok(file.take(place.length))
}

/// Every tensor that the encoder reads, with its shape. Others, such as a pooler or a language
/// model's head, may lie beside them.
fn expected_tensors(c: &EncoderConfig) -> Vec<(String, Vec<usize>)> {
    let mut expected = vec![
        (WORD_EMBEDDINGS.to_string(), vec![c.vocab, c.hidden]),
        ("embeddings.position_embeddings.weight".into(), vec![c.positions, c.hidden]),
        ("embeddings.token_type_embeddings.weight".into(), vec![c.token_types, c.hidden]),
        ("embeddings.LayerNorm.weight".into(), vec![c.hidden]),
        ("embeddings.LayerNorm.bias".into(), vec![c.hidden]),
    ];
    let linears = [
        ("attention.self.query", c.hidden, c.hidden),
        ("attention.self.key", c.hidden, c.hidden),
        ("attention.self.value", c.hidden, c.hidden),
        ("attention.output.dense", c.hidden, c.hidden),
        ("intermediate.dense", c.intermediate, c.hidden),
        ("output.dense", c.hidden, c.intermediate),
    ];
    for layer in 0..c.layers {
        for (name, rows, columns) in linears {
            let name = format!("encoder.layer.{layer}.{name}");
            expected.push((format!("{name}.weight"), vec![rows, columns]));
            expected.push((format!("{name}.bias"), vec![rows]));
        }
        for norm in ["attention.output.LayerNorm", "output.LayerNorm"] {
            let name = format!("encoder.layer.{layer}.{norm}");
            expected.push((format!("{name}.weight"), vec![c.hidden]));
            expected.push((format!("{name}.bias"), vec![c.hidden]));
        }
    }
    expected
}

#[derive(Deserialize)]
struct IndexJson {
    weight_map: BTreeMap<String, String>,
}

/// Which tensor lies in which shard, by its author's word.
struct Index {
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

    /// Shards of another upload may hold tensors of the same names and shapes.
    fn agrees(&self, key: &str, found_in: &Path) -> Result<()> {
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

/// Where weights lie.
struct WeightFiles {
    /// The real paths.
    files: Vec<PathBuf>,
    index: Option<Index>,
    read_header: ReadHeader,
    quantized: bool,
}

/// In the order in which transformers looks for them: one file, the index of many, and how to read
/// them.
const FORMATS: [(&str, &str, ReadHeader); 2] = [
    ("model.safetensors", "model.safetensors.index.json", safetensors::read_header),
    ("pytorch_model.bin", "pytorch_model.bin.index.json", torch::read_header),
];

/// Whether a directory has weights, usable or not.
pub(super) fn are_present(dir: &Path) -> bool {
    FORMATS
        .iter()
        .any(|(single, index, _)| is_present(&dir.join(single)) || is_present(&dir.join(index)))
        || is_present(&dir.join(int8::FILE))
}

/// The files with weights: one, or the shards that an index names.
fn weight_files(dir: &Path) -> Result<WeightFiles> {
    let quantized = dir.join(int8::FILE);
    if is_present(&quantized) {
        int8::check_alone(dir, FORMATS.iter().flat_map(|(single, index, _)| [*single, *index]))?;
        let files = vec![real_path(&quantized)?];
        let read_header = int8::read_header;
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

pub(super) fn real_path(path: &Path) -> Result<PathBuf> {
    path.canonicalize().map_err(|e| cannot_read(path, &e))
}

pub(super) fn common_folder(files: &[PathBuf]) -> PathBuf {
    let mut common = files[0].parent().map(Path::to_path_buf).unwrap_or_default();
    for file in files {
        while !file.starts_with(&common) && common.pop() {}
    }
    common
}

pub(super) fn relative_location(file: &Path, folder: &Path) -> Result<String> {
    let relative = file.strip_prefix(folder).ok().and_then(Path::to_str);
    relative.map(str::to_string).ok_or_else(|| not_utf8(file))
}

pub(super) fn not_utf8(path: &Path) -> Error {
    error!(
        InvalidUtf8,
        "{path:?} is not UTF-8, and ONNX Runtime cannot be told of such a path; rename it"
    )
}

/// What the names of tensors have in them that change what an encoder computes: adapters, by the
/// library peft and that of AdapterHub.
const ADAPTERS: [&str; 10] = [
    "lora_",
    "base_layer.",
    "modules_to_save.",
    "hada_w",
    "lokr_w",
    "ia3_l",
    "oft_",
    "vera_lambda",
    "prompt_embeddings",
    ".adapters.",
];

/// Refuses what would be missing from every vector.
fn check_no_adapter(tensors: &Tensors, dir: &Path) -> Result<()> {
    let is_adapter = |key: &&String| ADAPTERS.iter().any(|part| key.contains(part));
    match tensors.keys().filter(is_adapter).min() {
        None => Ok(()),
        Some(key) => Err(error!(
            Unsupported,
            "{}: the weights have the tensor {key:?}, which is of an adapter and not applied here; merge \
             it into the weights with merge_and_unload() of the library peft, and save the model again",
            dir.display()
        )),
    }
}

/// The name that a tensor is stored under: BERT's first versions called the numbers of a LayerNorm
/// otherwise, and transformers takes either.
fn named(tensors: &Tensors, key: String) -> Result<String> {
    let old = match key.rsplit_once(".LayerNorm.") {
        Some((of, "weight")) => format!("{of}.LayerNorm.gamma"),
        Some((of, "bias")) => format!("{of}.LayerNorm.beta"),
        _ => return Ok(key),
    };
    match (tensors.contains_key(&key), tensors.contains_key(&old)) {
        (true, true) => Err(error!(
            ModelInvalid,
            "the weights have both {key:?} and {old:?}, which are two names for one tensor; remove one"
        )),
        (false, true) => Ok(old),
        _ => Ok(key),
    }
}

/// What stands before every name: nothing, or `roberta.` where a head was trained on top.
fn key_prefix(tensors: &Tensors, dir: &Path) -> Result<String> {
    let mut prefixes: Vec<&str> =
        tensors.keys().filter_map(|key| key.strip_suffix(WORD_EMBEDDINGS)).collect();
    prefixes.sort_unstable();
    match prefixes.as_slice() {
        [prefix] => Ok(prefix.to_string()),
        [] => Err(error!(
            ModelInvalid,
            "{}: the weights lack the tensor {WORD_EMBEDDINGS:?}",
            dir.display()
        )),
        several => Err(error!(
            ModelInvalid,
            "{}: the weights hold several encoders, under the prefixes {several:?}",
            dir.display()
        )),
    }
}
