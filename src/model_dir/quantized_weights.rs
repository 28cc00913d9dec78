//! Weights of 8-bit integers as `bge quantize` writes them: their names, types and limits.

use std::path::Path;

use ::safetensors::tensor::Dtype;

use super::files::is_present;
use super::formats::{NumberType, Tensors, safetensors};
use super::tensor_names::WORD_EMBEDDINGS;
use crate::error::{Result, error};

/// A name that no other program takes for weights of floating point.
pub(crate) const FILE: &str = "model.int8.safetensors";
/// The key of the file's metadata that holds the version of its format.
pub(crate) const VERSION_KEY: &str = "libbge_int8";
pub(crate) const VERSION: &str = "1";

/// Whether a tensor of the encoder is stored in integers: the weights of the linear layers, and the
/// word embeddings.
pub(crate) fn is_quantized(name: &str, shape: &[usize]) -> bool {
    let linear = name.starts_with("encoder.") && name.ends_with(".weight") && shape.len() == 2;
    linear || name == WORD_EMBEDDINGS
}

/// The name of the tensor with the scale of each row.
pub(crate) fn scale_of(name: &str) -> String {
    format!("{name}_scale")
}

/// The name of the tensor with a factor for each column of a linear layer. Inputs are multiplied by
/// the factors before they are quantized, and the weights were divided by them.
pub(crate) fn factor_of(name: &str) -> Option<String> {
    let layer = name.strip_suffix(".weight").filter(|_| name != WORD_EMBEDDINGS)?;
    Some(format!("{layer}.input_factor"))
}

/// The tensors of a file with quantized weights, from those of the encoder.
pub(super) fn expected_tensors(tensors: Vec<(String, Vec<usize>)>) -> Vec<(String, Vec<usize>)> {
    let mut expected = Vec::new();
    for (name, shape) in tensors {
        if is_quantized(&name, &shape) {
            expected.push((scale_of(&name), vec![shape[0]]));
            expected.extend(factor_of(&name).map(|factor| (factor, vec![shape[1]])));
        }
        expected.push((name, shape));
    }
    expected
}

pub(super) fn number_type(
    file: &Path,
    name: &str,
    shape: &[usize],
    dtype: Dtype,
) -> Result<NumberType> {
    let (expected, number_type) = match is_quantized(name, shape) {
        true => (Dtype::I8, NumberType::I8),
        false => (Dtype::F32, NumberType::F32),
    };
    if dtype != expected {
        return Err(error!(
            ModelInvalid,
            "{}: the tensor {name:?} has the type {dtype:?}, where `bge quantize` writes \
             {expected:?}; write the directory anew with it",
            file.display()
        ));
    }
    Ok(number_type)
}

/// Reads which tensors a file holds, after checking the version of its format.
pub(super) fn read_header(path: &Path, location: &str) -> Result<Tensors> {
    let (tensors, words) = safetensors::read_all(path, location)?;
    match words.get(VERSION_KEY).map(String::as_str) {
        Some(VERSION) => Ok(tensors),
        Some(other) => Err(error!(
            Unsupported,
            "{}: {VERSION_KEY} is {other:?}, and this version of libbge reads {VERSION:?}; write the \
             directory anew with its own `bge quantize`",
            path.display()
        )),
        None => Err(error!(
            ModelInvalid,
            "{}: its metadata have no {VERSION_KEY}, so `bge quantize` did not write it; name weights \
             of floating point model.safetensors",
            path.display()
        )),
    }
}

/// Refuses a directory with weights of two kinds, since it is not clear which are meant.
pub(super) fn check_alone<'a>(dir: &Path, mut others: impl Iterator<Item = &'a str>) -> Result<()> {
    match others.find(|other| is_present(&dir.join(other))) {
        None => Ok(()),
        Some(other) => Err(error!(
            ModelInvalid,
            "{} has both {FILE} and {other}; keep one of them, in a directory of its own",
            dir.display()
        )),
    }
}
