//! Weights of 8-bit integers, as `bge quantize` writes them: names, types, and what may be in them.

use std::path::Path;

use ::safetensors::tensor::Dtype;

use super::files::is_present;
use super::formats::{NumberType, Tensors, safetensors};
use super::tensor_names::WORD_EMBEDDINGS;
use crate::error::{Result, error};

/// Of a name that no other program takes for weights of floating point.
pub(crate) const FILE: &str = "model.int8.safetensors";
/// The key in the file's own words that says what its tensors mean.
pub(crate) const VERSION_KEY: &str = "libbge_int8";
pub(crate) const VERSION: &str = "1";

/// Whether a tensor of the encoder is stored in integers: the weights of the linear layers and the
/// table of words.
pub(crate) fn is_quantized(name: &str, shape: &[usize]) -> bool {
    let linear = name.starts_with("encoder.") && name.ends_with(".weight") && shape.len() == 2;
    linear || name == WORD_EMBEDDINGS
}

/// Of each row of a tensor, what its integers are multiplied with.
pub(crate) fn scale_of(name: &str) -> String {
    format!("{name}_scale")
}

/// Of each column of a linear layer, what its input is multiplied with before it is quantized. The
/// weights were divided by it.
pub(crate) fn factor_of(name: &str) -> Option<String> {
    let layer = name.strip_suffix(".weight").filter(|_| name != WORD_EMBEDDINGS)?;
    Some(format!("{layer}.input_factor"))
}

/// What the tensors of an encoder become.
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

/// Reads where the tensors of a file lie that says which version of this form it has.
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

/// Refuses weights of two kinds: which of them are meant?
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
