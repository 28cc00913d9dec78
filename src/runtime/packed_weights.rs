//! The packed weights of a session: from the author's file, or from a file in `cache_dir` that
//! processes share.

use parking_lot::Mutex;

use super::options::SessionOptions;
use crate::device::ComputeType;
use crate::error::{Error, Result, error};
use crate::kernels::linear::{Format, Numbers, PackedFile, PackedMatrix, Region, Source};
use crate::log::{self, LogLevel};
use crate::model_dir::{NumberType, Weights, factor_of, scale_of};
use crate::parallel;

/// Takes matrices from the file in `cache_dir`, or else packs them and writes the file.
pub(super) fn packed_weights(
    weights: &Weights,
    names: &[String],
    compute_type: ComputeType,
    options: &SessionOptions,
) -> Result<Vec<PackedMatrix>> {
    let sources =
        || names.iter().map(|name| source(weights, name, compute_type)).collect::<Result<Vec<_>>>();
    let Some(folder) = options.cache_dir.as_deref().filter(|_| !names.is_empty()) else {
        return packed(weights, &sources()?, options.threads);
    };
    let failed = |e| {
        log::line(LogLevel::Warn, || {
            format!("cache_dir is {}, where packed weights cannot be kept: {e}", folder.display())
        });
    };
    let file = match PackedFile::of(folder, &weights.files, sources()?) {
        Ok(file) => file,
        Err(e) => {
            failed(e);
            return packed(weights, &sources()?, options.threads);
        }
    };
    if let Some(matrices) = file.read() {
        log::line(LogLevel::Info, || format!("took {}", file.path().display()));
        return Ok(matrices);
    }
    let matrices = packed(weights, file.sources(), options.threads)?;
    match file.write(&matrices) {
        // Mapped from the file, so that the first process shares them, too.
        Ok(()) => Ok(file.read().unwrap_or(matrices)),
        Err(e) => {
            failed(e);
            Ok(matrices)
        }
    }
}

fn source(weights: &Weights, name: &str, compute_type: ComputeType) -> Result<Source> {
    let weight = weights.get(name)?;
    let &[rows, columns] = weight.place.shape.as_slice() else {
        return Err(error!(Internal, "{name} is no matrix"));
    };
    let format = match (weight.number_type, compute_type) {
        (NumberType::I8, _) => Format::StoredInt8,
        (_, ComputeType::Int8) => Format::Int8,
        _ => Format::Fp32,
    };
    Ok(Source { name: name.into(), rows, columns, format })
}

/// Reads and packs matrices, one at a time on each thread.
fn packed(weights: &Weights, sources: &[Source], threads: usize) -> Result<Vec<PackedMatrix>> {
    let mut region = Region::of(sources.iter().map(Source::panels_len))?;
    let slots: Vec<Mutex<Option<Result<PackedMatrix>>>> =
        sources.iter().map(|_| Mutex::default()).collect();
    let items = sources.iter().zip(region.pieces()).zip(&slots);
    parallel::for_each(threads, items, |((source, panels), slot)| {
        let numbers = numbers(weights, source);
        *slot.lock() =
            Some(numbers.and_then(|numbers| PackedMatrix::pack(source, &numbers, panels)));
    });
    let left_out = || Err(error!(Internal, "a matrix was left out"));
    let matrices: Result<_, Error> =
        slots.into_iter().map(|slot| slot.into_inner().unwrap_or_else(left_out)).collect();
    PackedMatrix::attach(matrices?, region)
}

fn numbers(weights: &Weights, source: &Source) -> Result<Numbers> {
    let name = source.name.as_str();
    if source.format != Format::StoredInt8 {
        return Ok(Numbers::Floats(weights.read(name)?.0));
    }
    let factors =
        factor_of(name).ok_or_else(|| error!(Internal, "{name} is no weight of a linear layer"))?;
    Ok(Numbers::Integers {
        numbers: weights.read_integers(name)?,
        scales: weights.read(&scale_of(name))?.0,
        factors: weights.read(&factors)?.0,
    })
}
