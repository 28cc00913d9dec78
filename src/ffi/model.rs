//! `bge_open`, the descriptions of an open model, and `bge_close`.

use std::ffi::{CString, c_char, c_void};

use once_cell::sync::OnceCell;

use super::boundary::{
    CallerRows, Grid, UserData, check_writable, guard, guard_or, handle, into_handle,
    progress_back, read_options, store, string, take_handle, texts, write_sized,
};
use super::constants::*;
use super::enums::compute_type_from;
use super::types::*;
use crate::error::{Result, error};
use crate::{Device, Model, OpenOptions, prepare};

/// A loaded model with its tokenizer and its threads. Created by `bge_open`,
/// released by `bge_close`. Any number of threads may use it at once;
/// `bge_close` needs it alone, as its comment says.
pub struct bge_model {
    pub(super) model: Model,
    pooling: CString,
    precision: CString,
    device: CString,
    runtime: CString,
    fingerprint: OnceCell<CString>,
}

/// Opens the model in the directory `path` and stores its handle in `*model`.
///
/// The directory is one that sentence-transformers saved, as its author
/// published it: `config.json`, `modules.json`, `1_Pooling/config.json`,
/// `tokenizer.json`, and `model.safetensors` or its shards, else
/// `pytorch_model.bin` or its shards, of which no code is ever run. Weights in
/// fp16 and bf16 are widened to fp32. Any number of Dense, LayerNorm, Normalize
/// and Dropout modules may follow the pooling. Sparse weights need
/// `sparse_linear.pt` beside them, multi-vectors `colbert_linear.pt`, or either
/// of them as `.safetensors`; each holds a `weight` and a `bias`. Without them
/// the model opens, too, and lacks those outputs. The files must not change
/// while the model is open: they stay mapped.
///
/// A directory without weights may hold an ONNX export instead, with the files
/// of its tensors beside it. Outputs are recognized by the names that exporters
/// of bge-m3 use, else by their shape; ambiguous outputs are refused. An export
/// that outputs vectors needs no `modules.json`. It runs as it is: padded, at
/// its author's precision, and with the memory that it needs.
///
/// Open once and share the handle: this takes up to seconds, and 256 KB of the
/// stack. On failure `*model` is NULL.
///
/// The first call in a process loads ONNX Runtime, and sets
/// `ORT_DISABLE_TELEMETRY` to 1 in the environment if it is not set: otherwise
/// some builds would send usage data. Set it yourself if other threads of yours
/// read the environment at that time.
///
/// Returns `BGE_OK`, or:
/// - `BGE_ERROR_INVALID_ARGUMENT`: `path` or `model` is NULL, or an option is
///   out of range.
/// - `BGE_ERROR_INVALID_UTF8`: `path` or a string of the options is not UTF-8.
/// - `BGE_ERROR_UNSUPPORTED`: the library does not have this kind of model, or
///   does not combine these options.
/// - `BGE_ERROR_MODEL_NOT_FOUND`: a file of the model or a TensorRT engine does
///   not exist or cannot be read.
/// - `BGE_ERROR_MODEL_INVALID`: a file is damaged, or the files contradict each
///   other.
/// - `BGE_ERROR_RUNTIME_UNAVAILABLE`: ONNX Runtime or the device is not
///   available.
/// - `BGE_ERROR_INFERENCE`: ONNX Runtime failed to prepare the model.
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn bge_open(
    path: *const c_char,
    options: *const bge_open_options,
    model: *mut *mut bge_model,
    error: *mut bge_error,
) -> bge_status {
    guard(error, || {
        store(model, std::ptr::null_mut(), "model")?;
        let path = string(path, "path")?.ok_or_else(|| error!(InvalidArgument, "path is NULL"))?;
        let options = open_options(read_options(options)?)?;
        let opened = Model::open(path, &options)?;
        let info = opened.info();
        let text = |text: &str| CString::new(text).unwrap_or_default();
        let handle = bge_model {
            pooling: text(&info.pooling),
            precision: text(info.precision),
            device: text(&info.device),
            runtime: text(&info.runtime),
            fingerprint: OnceCell::new(),
            model: opened,
        };
        store(model, into_handle(handle), "model")
    })
}

/// Builds the TensorRT engines that `bge_open` loads, for the model in the
/// directory `path`: one for each range of lengths, for this GPU, this TensorRT
/// and these weights; with several GPUs, for each kind of them. Pass the same
/// options to both functions; engines are stored in their `cache_dir`.
///
/// It takes minutes, and cannot be stopped. If all engines exist already, it
/// returns at once. `progress` may be NULL. Any number of threads and processes
/// may do this with one folder; an engine appears in it when it is complete.
///
/// Returns `BGE_OK`, or:
/// - `BGE_ERROR_UNSUPPORTED`: the device is not `BGE_DEVICE_TENSORRT`, so that
///   there is nothing to build; or a status of `bge_open`.
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn bge_prepare(
    path: *const c_char,
    options: *const bge_open_options,
    progress: bge_prepare_callback,
    user_data: *mut c_void,
    error: *mut bge_error,
) -> bge_status {
    guard(error, || {
        let path = string(path, "path")?.ok_or_else(|| error!(InvalidArgument, "path is NULL"))?;
        let options = open_options(read_options(options)?)?;
        let user_data = UserData(user_data);
        prepare(path, &options, &mut |done, total| {
            progress_back(progress, &user_data, done, total);
        })
        .map(|_| ())
    })
}

fn open_options(options: Option<bge_open_options>) -> Result<OpenOptions> {
    let Some(options) = options else { return Ok(OpenOptions::default()) };
    let known = BGE_OPEN_SMALL_MEMORY | BGE_OPEN_RAW_TOKENIZER;
    if options.flags & !known != 0 {
        return Err(error!(
            Unsupported,
            "bge_open_options.flags is {:#x}; the known bits are {known:#x}", options.flags
        ));
    }
    Ok(OpenOptions {
        device: Device::from_code(options.device, options.device_index)?,
        device_count: options.device_count as usize,
        runtime_library: string(options.runtime_library, "runtime_library")?.map(Into::into),
        threads: options.threads as usize,
        max_tokens: options.max_tokens as usize,
        max_batch_tokens: options.max_batch_tokens as usize,
        queue_capacity: options.queue_capacity as usize,
        max_run_bytes: options.max_run_bytes,
        heads_dir: string(options.heads_dir, "heads_dir")?.map(Into::into),
        onnx_file: string(options.onnx_file, "onnx_file")?.map(Into::into),
        compute_type: compute_type_from(options.compute_type)?,
        small_memory: options.flags & BGE_OPEN_SMALL_MEMORY != 0,
        raw_tokenizer: options.flags & BGE_OPEN_RAW_TOKENIZER != 0,
        cache_dir: string(options.cache_dir, "cache_dir")?.map(Into::into),
    })
}

/// Describes an open model in `*info`. Returns `BGE_OK`, or
/// `BGE_ERROR_INVALID_ARGUMENT` if `model` or `info` is NULL.
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn bge_get_info(
    model: *const bge_model,
    info: *mut bge_info,
    error: *mut bge_error,
) -> bge_status {
    guard(error, || {
        let handle = handle(model, "model")?;
        let described = handle.model.info();
        write_sized(
            info,
            bge_info {
                struct_size: 0,
                outputs: described.outputs.bits(),
                dense_dim: described.dense_dim as u32,
                multi_dim: described.multi_dim as u32,
                vocab_size: described.vocab_size as u32,
                max_tokens: described.max_tokens as u32,
                threads: described.threads as u32,
                max_batch_tokens: described.max_batch_tokens as u32,
                pooling: handle.pooling.as_ptr(),
                precision: handle.precision.as_ptr(),
                device: handle.device.as_ptr(),
                runtime: handle.runtime.as_ptr(),
                token_dim: described.token_dim as u32,
                similarity: described.similarity.code(),
            },
        )
    })
}

/// Stores in `*fingerprint` a string that differs whenever the same text could
/// have a different vector: a hash of the weights, the tokenizer and the
/// settings. Keep it beside your vectors, and compare it before you search in
/// them.
///
/// The first call reads all weights, about a second for bge-m3; later ones
/// return at once. The string belongs to the model and lives until `bge_close`.
/// If the call fails, `*fingerprint` is unchanged.
///
/// Returns `BGE_OK`, or:
/// - `BGE_ERROR_MODEL_NOT_FOUND`: a file of the weights cannot be read any
///   more.
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn bge_get_fingerprint(
    model: *const bge_model,
    fingerprint: *mut *const c_char,
    error: *mut bge_error,
) -> bge_status {
    guard(error, || {
        let handle = handle(model, "model")?;
        check_writable(fingerprint, "fingerprint")?;
        let text = handle.fingerprint.get_or_try_init(|| {
            handle.model.fingerprint().map(|text| CString::new(text).unwrap_or_default())
        })?;
        store(fingerprint, text.as_ptr(), "fingerprint")
    })
}

/// Stores the counters of an open model in `*stats`. Cheap enough to call every
/// second. Returns `BGE_OK`, or `BGE_ERROR_INVALID_ARGUMENT` if `model` or
/// `stats` is NULL.
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn bge_get_stats(
    model: *const bge_model,
    stats: *mut bge_stats,
    error: *mut bge_error,
) -> bge_status {
    guard(error, || {
        let counted = handle(model, "model")?.model.stats();
        write_sized(
            stats,
            bge_stats {
                struct_size: 0,
                queue_depth: counted.queue_depth as u32,
                calls: counted.calls,
                failures: counted.failures,
                cancellations: counted.cancellations,
                texts: counted.texts,
                tokens: counted.tokens,
                batches: counted.batches,
                tokenize_ns: counted.tokenize_time.as_nanos() as u64,
                inference_ns: counted.inference_time.as_nanos() as u64,
                not_finite: counted.not_finite,
                dropped: counted.dropped,
            },
        )
    })
}

/// Stores in `counts`, an array of `count` numbers, the number of tokens of
/// each text: special tokens included, before any cutting and without any
/// prompt. It tokenizes all of each text, but does not run the model. `texts`
/// and `lengths` are arrays as in `bge_encode`. If the call fails, `counts` is
/// unchanged. More than 256 KiB without any white space are counted in parts,
/// which may be a token off at each joint.
///
/// Returns `BGE_OK`, or:
/// - `BGE_ERROR_INVALID_UTF8`: a text is not UTF-8.
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn bge_count_tokens(
    model: *const bge_model,
    texts: *const *const c_char,
    lengths: *const usize,
    count: usize,
    counts: *mut u32,
    error: *mut bge_error,
) -> bge_status {
    guard(error, || {
        let model = &handle(model, "model")?.model;
        // Written last: `counts` may overlap a text, and no &str may change while it is read.
        let mut written = CallerRows::new(counts, Grid::line(count), "counts")?;
        let texts = self::texts(texts, lengths, count)?.into_iter().collect::<Result<Vec<_>>>()?;
        let count_of = |(index, text): (usize, &&str)| {
            let tokens = model.count_tokens(text).map_err(|e| e.at_text(index))?;
            Ok(u32::try_from(tokens).unwrap_or(u32::MAX))
        };
        let counted = texts.iter().enumerate().map(count_of).collect::<Result<Vec<u32>>>()?;
        written.row(0).copy_from_slice(&counted);
        Ok(())
    })
}

/// Returns the text of a token as the vocabulary has it, where U+2581 stands
/// for a space; or NULL if the model has no such token. The string belongs to
/// the model and lives until `bge_close`.
#[unsafe(no_mangle)]
pub extern "C" fn bge_token_text(model: *const bge_model, token_id: u32) -> *const c_char {
    guard_or(std::ptr::null(), || {
        let Ok(handle) = handle(model, "model") else { return std::ptr::null() };
        handle.model.token_text(token_id).map_or(std::ptr::null(), |text| text.as_ptr())
    })
}

/// Closes the model. NULL is allowed.
///
/// Calls of `bge_encode` and `bge_encode_alloc` that wait on other threads, and
/// asynchronous calls that have not finished, end with `BGE_ERROR_CLOSED`, or
/// with `BGE_OK` if they have just finished. No other call may be under way
/// with this model or about to begin: the handle is gone. When this returns,
/// every callback has returned, and the memory is released except for what
/// blocking calls need to end.
///
/// Must not be called from a callback.
#[unsafe(no_mangle)]
pub extern "C" fn bge_close(model: *mut bge_model) {
    guard_or((), || {
        if let Some(handle) = take_handle(model) {
            handle.model.close();
        }
    });
}
