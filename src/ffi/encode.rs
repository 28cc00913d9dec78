//! `bge_encode`, `bge_encode_alloc`, their asynchronous forms, and the switch that stops a call.

use std::ffi::{c_char, c_void};
use std::time::Duration;

use super::boundary::{
    UserData, call_back, guard, guard_or, handle, into_handle, read_options, string, take_handle,
    texts,
};
use super::encode_result;
use super::model::bge_model;
use super::output_buffers::RequestedBuffers;
use super::types::*;
use crate::error::{Result, error};
use crate::log::{self, LogLevel};
use crate::{Cancel, Embeddings, EncodeOptions, Outputs};

/// Encodes `count` texts into the buffers of `*embeddings`.
///
/// `lengths` holds the bytes of each text; NULL means that every text ends in
/// NUL. A text of no bytes is allowed, and then its pointer may be NULL;
/// `count` may be 0. The texts may have any order and number: texts of all
/// threads share batches, without padding. The other texts of a batch change a
/// vector by no more than rounding, and not at all on a processor with AVX2,
/// except with ONNX exports and `BGE_OPEN_SMALL_MEMORY`.
///
/// Calls that wait take turns, and a call of at most 128 tokens in all does not
/// wait for the end of a long batch: calls may therefore end in another order
/// than they began in. Such a short call runs on the calling thread if no other
/// call waits or runs, and uses 128 KB of its stack.
///
/// The members that are set in `*embeddings` decide which outputs are computed.
/// Several outputs cost little more than one.
///
/// Texts, options and capacities are checked before inference. The buffers must
/// not overlap; if the call fails, their content is undefined. With `statuses`
/// among them, an error of one text does not fail the call.
///
/// Returns `BGE_OK`, or:
/// - `BGE_ERROR_INVALID_ARGUMENT`: an argument, option or buffer is NULL, out
///   of range, misaligned or overlaps another; the message names it.
/// - `BGE_ERROR_INVALID_UTF8`: a text is not UTF-8.
/// - `BGE_ERROR_TEXT_TOO_LONG`: a text has more than `max_tokens` tokens under
///   `BGE_ENCODE_REJECT_LONG`, or does not fit into `max_run_bytes`.
/// - `BGE_ERROR_BUFFER_TOO_SMALL`: a capacity is too small; the message names
///   what is needed.
/// - `BGE_ERROR_UNSUPPORTED`: the model does not have a requested output.
/// - `BGE_ERROR_MODEL_INVALID`: a text has a token that the model has no
///   embedding for.
/// - `BGE_ERROR_OUT_OF_MEMORY`: there is not enough memory.
/// - `BGE_ERROR_NOT_FINITE`: a result has a number that is NaN or infinite.
/// - `BGE_ERROR_CANCELLED`, `BGE_ERROR_TIMEOUT`, `BGE_ERROR_CLOSED`: the call
///   was stopped.
/// - `BGE_ERROR_INFERENCE`: ONNX Runtime failed.
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn bge_encode(
    model: *const bge_model,
    texts: *const *const c_char,
    lengths: *const usize,
    count: usize,
    options: *const bge_encode_options,
    embeddings: *mut bge_embeddings,
    error: *mut bge_error,
) -> bge_status {
    guard(error, || {
        // A clone keeps the model alive if another thread closes it during this call.
        let model = handle(model, "model")?.model.clone();
        let texts = self::texts(texts, lengths, count)?;
        let options = encode_options(read_options(options)?)?;
        let requested = RequestedBuffers::read(&model, &options, embeddings, count)?;
        let options = requested.options(options)?;
        let texts = usable(texts, &options)?;
        let (mut buffers, results) = model
            .encode_into(texts.into_iter(), &options, |sizes| requested.check(&model, sizes))?;
        buffers.fill(&results);
        Ok(())
    })
}

/// Starts `bge_encode` and returns when the texts are tokenized.
///
/// If this returns `BGE_OK`, `callback` runs exactly once, possibly before this
/// returns. Until it has returned you must not touch the texts, the options,
/// the embeddings or the memory they point at; the switch in the options may be
/// triggered and released. If this returns anything else, `callback` never
/// runs.
///
/// Returns `BGE_OK`, or a status of `bge_encode` that is known before
/// inference, or:
/// - `BGE_ERROR_INVALID_ARGUMENT`: `callback` is NULL.
/// - `BGE_ERROR_QUEUE_FULL`: `queue_capacity` asynchronous calls are
///   unfinished.
///
/// The callback receives the status that `bge_encode` would return.
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn bge_encode_async(
    model: *const bge_model,
    texts: *const *const c_char,
    lengths: *const usize,
    count: usize,
    options: *const bge_encode_options,
    embeddings: *mut bge_embeddings,
    callback: bge_encode_callback,
    user_data: *mut c_void,
    error: *mut bge_error,
) -> bge_status {
    guard(error, || {
        let model = handle(model, "model")?.model.clone();
        if callback.is_none() {
            return Err(error!(InvalidArgument, "callback is NULL"));
        }
        let texts = self::texts(texts, lengths, count)?;
        let options = encode_options(read_options(options)?)?;
        let requested = RequestedBuffers::read(&model, &options, embeddings, count)?;
        let options = requested.options(options)?;
        let texts = usable(texts, &options)?;
        let user_data = UserData(user_data);
        model.encode_async_into(texts.into_iter(), &options, |sizes| {
            let mut buffers = requested.check(&model, sizes)?;
            Ok(move |result: Result<Embeddings>| {
                // Captures the whole struct: the pointer in it alone is not `Send`.
                let user_data = &user_data;
                match result {
                    Ok(results) => {
                        buffers.fill(&results);
                        call_back(callback, user_data, None);
                    }
                    Err(e) => call_back(callback, user_data, Some(&e)),
                }
            })
        })
    })
}

/// Encodes `count` texts into memory that the library allocates. Use it for
/// outputs whose size you do not know: sparse weights, multi-vectors and token
/// embeddings have as many entries and rows as the texts have tokens.
///
/// `texts`, `lengths`, `count` and `options` are those of `bge_encode`, and the
/// numbers are the same. `outputs` are the `BGE_OUTPUT_` bits of what to
/// compute, at least one unless `count` is 0.
///
/// After `BGE_OK`, read the results in `*result`, then release them with
/// `bge_encode_result_free`. After any other status `*result` holds nothing to
/// release.
///
/// Returns `BGE_OK`, or a status of `bge_encode` other than
/// `BGE_ERROR_BUFFER_TOO_SMALL`, or:
/// - `BGE_ERROR_INVALID_ARGUMENT`: `outputs` is 0, or `*result` still holds the
///   results of an earlier call.
/// - `BGE_ERROR_UNSUPPORTED`: `outputs` has an unknown bit.
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn bge_encode_alloc(
    model: *const bge_model,
    texts: *const *const c_char,
    lengths: *const usize,
    count: usize,
    outputs: u32,
    options: *const bge_encode_options,
    result: *mut bge_encode_result,
    error: *mut bge_error,
) -> bge_status {
    guard(error, || {
        let mut result = encode_result::begin(result)?;
        let model = handle(model, "model")?.model.clone();
        let texts = self::texts(texts, lengths, count)?;
        let options = alloc_options(outputs, options, count)?;
        let results = model.encode_fallible(usable(texts, &options)?.into_iter(), &options)?;
        result.write(encode_result::describe(results, &options)?)
    })
}

/// Starts `bge_encode_alloc` and returns when the texts are tokenized.
///
/// If this returns `BGE_OK`, `callback` runs exactly once, possibly before this
/// returns. Until it has returned you must not touch the texts, the options or
/// `*result`; the switch in the options may be triggered and released. If the
/// callback receives `BGE_OK`, the results are in `*result`, and you release
/// them with `bge_encode_result_free`, in the callback or later. If it receives
/// another status, `*result` holds nothing to release. If this function returns
/// anything but `BGE_OK`, `callback` never runs.
///
/// Returns `BGE_OK`, or a status of `bge_encode_alloc` that is known before
/// inference, or:
/// - `BGE_ERROR_INVALID_ARGUMENT`: `callback` is NULL.
/// - `BGE_ERROR_QUEUE_FULL`: `queue_capacity` asynchronous calls are
///   unfinished.
///
/// The callback receives the status that `bge_encode_alloc` would return.
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn bge_encode_alloc_async(
    model: *const bge_model,
    texts: *const *const c_char,
    lengths: *const usize,
    count: usize,
    outputs: u32,
    options: *const bge_encode_options,
    result: *mut bge_encode_result,
    callback: bge_encode_callback,
    user_data: *mut c_void,
    error: *mut bge_error,
) -> bge_status {
    guard(error, || {
        let mut result = encode_result::begin(result)?;
        let model = handle(model, "model")?.model.clone();
        if callback.is_none() {
            return Err(error!(InvalidArgument, "callback is NULL"));
        }
        let texts = self::texts(texts, lengths, count)?;
        let options = alloc_options(outputs, options, count)?;
        let texts = usable(texts, &options)?;
        let user_data = UserData(user_data);
        let described = options.clone();
        model.encode_async_fallible(texts.into_iter(), &options, move |results| {
            // Captures the whole structs: the pointers in them alone are not `Send`.
            let (result, user_data) = (&mut result, &user_data);
            let outcome = results
                .and_then(|results| encode_result::describe(results, &described))
                .and_then(|filled| result.write(filled));
            call_back(callback, user_data, outcome.as_ref().err());
        })
    })
}

/// Releases the results of `bge_encode_alloc` or `bge_encode_alloc_async`, and
/// sets `*result` to its starting value. NULL is allowed, and so is a result
/// that holds nothing. No other thread may read the result meanwhile.
#[unsafe(no_mangle)]
pub extern "C" fn bge_encode_result_free(result: *mut bge_encode_result) {
    guard_or((), || {
        if !result.is_null()
            && let Err(e) = encode_result::free(result)
        {
            log::line(LogLevel::Error, || format!("bge_encode_result_free: {e}"));
        }
    });
}

fn alloc_options(
    outputs: u32,
    options: *const bge_encode_options,
    count: usize,
) -> Result<EncodeOptions> {
    if outputs == 0 && count > 0 {
        return Err(error!(
            InvalidArgument,
            "outputs is 0: nothing is asked for; set one of the BGE_OUTPUT_ bits"
        ));
    }
    let outputs = Outputs::from_bits(outputs)?;
    Ok(EncodeOptions { outputs, ..encode_options(read_options(options)?)? })
}

/// Fails on the first invalid text, unless errors are reported per text.
fn usable<'a>(
    texts: Vec<Result<&'a str>>,
    options: &EncodeOptions,
) -> Result<Vec<Result<&'a str>>> {
    match texts.iter().find_map(|text| text.as_ref().err()) {
        Some(e) if !options.per_text_errors => Err(e.clone()),
        _ => Ok(texts),
    }
}

fn encode_options(options: Option<bge_encode_options>) -> Result<EncodeOptions> {
    let Some(options) = options else { return Ok(EncodeOptions::default()) };
    if options.reserved != 0 {
        return Err(error!(
            Unsupported,
            "bge_encode_options.reserved is {}; it must be zero", options.reserved
        ));
    }
    let cancel = match options.cancel.is_null() {
        true => None,
        false => Some(handle(options.cancel, "cancel")?.switch.clone()),
    };
    Ok(EncodeOptions {
        max_tokens: options.max_tokens as usize,
        truncate_dim: options.truncate_dim as usize,
        prompt: string(options.prompt_name, "prompt_name")?.map(Into::into),
        timeout: (options.timeout_ms != 0)
            .then(|| Duration::from_millis(options.timeout_ms.into())),
        cancel,
        ..EncodeOptions::default().with_flags(options.flags)?
    })
}

/// Creates a switch that is off. Returns NULL if there is no memory. Release it
/// with `bge_cancel_free`.
#[unsafe(no_mangle)]
pub extern "C" fn bge_cancel_new() -> *mut bge_cancel {
    guard_or(std::ptr::null_mut(), || into_handle(bge_cancel { switch: Cancel::new() }))
}

/// Turns the switch on for good: calls that use it end soon with
/// `BGE_ERROR_CANCELLED`, and later calls with it do not start. NULL is
/// allowed. Any thread may call this, more than once.
#[unsafe(no_mangle)]
pub extern "C" fn bge_cancel_trigger(cancel: *const bge_cancel) {
    guard_or((), || {
        if let Ok(cancel) = handle(cancel, "cancel") {
            cancel.switch.trigger();
        }
    });
}

/// Releases the switch. NULL is allowed. A call that uses it continues, and can
/// no longer be stopped by it. No thread may be about to trigger it, or to
/// start a call with it: an asynchronous call has started when
/// `bge_encode_async` or `bge_encode_alloc_async` returns; that a blocking call
/// has started you only know when it returns.
#[unsafe(no_mangle)]
pub extern "C" fn bge_cancel_free(cancel: *mut bge_cancel) {
    guard_or((), || drop(take_handle(cancel)));
}
