//! Writes the file of the integers, their scales, and the tensors that stay in 32 bits.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use super::smooth;
use crate::error::{Result, error};
use crate::kernels::linear::quantize_row;
use crate::model_dir::{
    INT8_FILE, VERSION, VERSION_KEY, Weight, Weights, factor_of, is_quantized, scale_of,
};

/// The bytes of the word embedding table that are read at once.
const CHUNK: usize = 16 << 20;

/// Reports progress: what is done, how much of it, and of how much. An error stops the work.
pub(super) type Step<'a> = dyn FnMut(&str, usize, usize) -> Result<()> + 'a;

/// The sources of the file.
pub(super) struct Recipe<'a> {
    pub weights: &'a Weights,
    /// For each linear layer, the largest magnitude of each column of its input.
    pub largest: &'a BTreeMap<String, Vec<f32>>,
    pub alpha: f32,
    /// The number of calibration texts.
    pub texts: usize,
    /// The quantization's parameter alpha.
    pub fingerprint: String,
}

impl Recipe<'_> {
    /// Writes the file into a folder, and returns its length.
    pub fn write(&self, folder: &Path, step: &mut Step<'_>) -> Result<u64> {
        let path = folder.join(INT8_FILE);
        let mut writer = Writer::begin(path, self.plan(), self.words())?;
        let count = self.weights.all().count();
        for (done, (name, weight)) in self.weights.all().enumerate() {
            step("writing", done, count)?;
            if !is_quantized(name, &weight.place.shape) {
                let (numbers, _) = self.weights.read(name)?;
                writer.put_floats(name, &numbers)?;
            } else if let Some(factor) = factor_of(name) {
                self.linear(name, &factor, &mut writer)?;
            } else {
                self.rows(name, weight, &mut writer)?;
            }
        }
        step("writing", count, count)?;
        writer.finish()
    }

    /// The name, type and shape of every tensor that is written.
    fn plan(&self) -> Vec<(String, Dtype, Vec<usize>)> {
        let mut plan = Vec::new();
        for (name, weight) in self.weights.all() {
            let shape = &weight.place.shape;
            let quantized = is_quantized(name, shape);
            if quantized {
                plan.push((scale_of(name), Dtype::F32, vec![shape[0]]));
                plan.extend(factor_of(name).map(|name| (name, Dtype::F32, vec![shape[1]])));
            }
            let dtype = if quantized { Dtype::I8 } else { Dtype::F32 };
            plan.push((name.to_string(), dtype, shape.clone()));
        }
        plan
    }

    fn words(&self) -> HashMap<String, String> {
        [
            (VERSION_KEY, VERSION.to_string()),
            ("alpha", self.alpha.to_string()),
            ("calibration_texts", self.texts.to_string()),
            ("source_fingerprint", self.fingerprint.clone()),
        ]
        .map(|(key, value)| (key.to_string(), value))
        .into()
    }

    fn linear(&self, name: &str, factor: &str, writer: &mut Writer) -> Result<()> {
        let (mut numbers, shape) = self.weights.read(name)?;
        let columns = shape[1];
        let largest = self.largest.get(name).filter(|largest| largest.len() == columns);
        let largest =
            largest.ok_or_else(|| error!(Internal, "the input of {name} was not observed"))?;
        let factors = smooth::factors(&numbers, largest, self.alpha);
        for row in numbers.chunks_exact_mut(columns) {
            row.iter_mut().zip(&factors).for_each(|(x, factor)| *x /= factor);
        }
        let (integers, scales) = quantized(name, &numbers, columns)?;
        writer.put(name, 0, &integers)?;
        writer.put_floats(factor, &factors)?;
        writer.put_floats(&scale_of(name), &scales)
    }

    /// Writes a table, a few rows at a time: it is the largest tensor by far.
    fn rows(&self, name: &str, weight: &Weight, writer: &mut Writer) -> Result<()> {
        let (rows, columns) = (weight.place.shape[0], weight.place.shape[1]);
        let row_bytes = columns * weight.number_type.width();
        let mut file = self.weights.open(name)?;
        let (mut scales, mut bytes) = (Vec::with_capacity(rows), Vec::new());
        while scales.len() < rows {
            let count = (CHUNK / row_bytes).max(1).min(rows - scales.len());
            bytes.resize(count * row_bytes, 0);
            file.read_exact(&mut bytes)
                .map_err(|e| error!(ModelNotFound, "{name:?} cannot be read: {e}"))?;
            let numbers = weight.number_type.widened(&bytes)?;
            let (integers, of_rows) = quantized(name, &numbers, columns)?;
            writer.put(name, scales.len() * columns, &integers)?;
            scales.extend(of_rows);
        }
        writer.put_floats(&scale_of(name), &scales)
    }
}

/// Quantizes rows. Returns the integers as bytes, and the scales.
fn quantized(name: &str, numbers: &[f32], columns: usize) -> Result<(Vec<u8>, Vec<f32>)> {
    let mut integers = vec![0; numbers.len()];
    let rows = numbers.chunks_exact(columns).zip(integers.chunks_exact_mut(columns));
    let scales: Vec<f32> = rows.map(|(row, integers)| quantize_row(row, integers)).collect();
    match scales.iter().all(|scale| scale.is_finite()) {
        true => Ok((integers.into_iter().map(|integer| integer as u8).collect(), scales)),
        false => Err(error!(
            ModelInvalid,
            "the tensor {name:?} holds NaN or infinity; the weights are damaged"
        )),
    }
}

/// A safetensors file whose tensors can be written in any order.
struct Writer {
    path: PathBuf,
    file: File,
    /// The offset and the length of each tensor in the file.
    places: HashMap<String, (u64, usize)>,
    length: u64,
}

impl Writer {
    fn begin(
        path: PathBuf,
        mut plan: Vec<(String, Dtype, Vec<usize>)>,
        words: HashMap<String, String>,
    ) -> Result<Self> {
        // Tensors with wider numbers first, so that all are aligned.
        plan.sort_by(|(a, a_type, _), (b, b_type, _)| {
            b_type.bitsize().cmp(&a_type.bitsize()).then_with(|| a.cmp(b))
        });
        let (mut end, mut infos) = (0, Vec::new());
        for (name, dtype, shape) in plan {
            let begin = end;
            end += shape.iter().product::<usize>() * dtype.bitsize() / 8;
            infos.push((name, TensorInfo { dtype, shape, data_offsets: (begin, end) }));
        }
        let internal = |e: &dyn std::fmt::Display| error!(Internal, "no header: {e}");
        let offsets: Vec<(String, (usize, usize))> =
            infos.iter().map(|(name, info)| (name.clone(), info.data_offsets)).collect();
        let metadata = Metadata::new(Some(words), infos).map_err(|e| internal(&e))?;
        let mut header = serde_json::to_vec(&metadata).map_err(|e| internal(&e))?;
        header.resize(header.len().next_multiple_of(8), b' ');
        let start = 8 + header.len() as u64;
        let places = offsets
            .into_iter()
            .map(|(name, (begin, end))| (name, (start + begin as u64, end - begin)))
            .collect();
        let length = start + end as u64;
        let begun = || {
            let mut file = File::create_new(&path)?;
            file.write_all(&(header.len() as u64).to_le_bytes())?;
            file.write_all(&header)?;
            file.set_len(length)?;
            Ok(file)
        };
        let file = begun().map_err(|e| cannot_write(&path, &e))?;
        Ok(Self { path, file, places, length })
    }

    /// Writes bytes of a tensor, at an offset within it.
    fn put(&mut self, name: &str, at: usize, bytes: &[u8]) -> Result<()> {
        let place = self.places.get(name).filter(|(_, length)| at + bytes.len() <= *length);
        let (begin, _) =
            place.ok_or_else(|| error!(Internal, "there is no room for {name:?} in the file"))?;
        self.file
            .seek(SeekFrom::Start(begin + at as u64))
            .and_then(|_| self.file.write_all(bytes))
            .map_err(|e| cannot_write(&self.path, &e))
    }

    fn put_floats(&mut self, name: &str, numbers: &[f32]) -> Result<()> {
        let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.put(name, 0, &bytes)
    }

    fn finish(self) -> Result<u64> {
        self.file.sync_all().map_err(|e| cannot_write(&self.path, &e))?;
        Ok(self.length)
    }
}

pub(super) fn cannot_write(path: &Path, e: &std::io::Error) -> crate::Error {
    error!(InvalidArgument, "{} cannot be written: {e}", path.display())
}
