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

/// Encodes `count` texts into the memory that `embeddings` points at.
///
/// `lengths` gives the bytes of each text; NULL means that every text ends in
/// NUL. A text of no bytes is allowed, and then its pointer may be NULL;
/// `count` may be 0. Give texts in any order and number: texts of all threads
/// share runs of the model, without padding, and what a text shares a run with
/// changes its vector by no more than rounding, and on a processor with AVX2 not
/// by a bit, but for ONNX exports and `BGE_OPEN_SMALL_MEMORY`. Calls that wait take turns, and
/// one of at most 128 tokens in all does not wait for the end of a long run: so
/// calls may end in another order than they began in. Such a call runs on the
/// calling thread if nothing else waits or runs, and takes 128 KB of its stack.
///
/// What is computed is what memory is given for: dense vectors, sparse weights,
/// multi-vectors, token embeddings, or any of them together, which costs little
/// more than one.
///
/// Texts, options and capacities are checked before any inference. The output
/// buffers must not overlap; if the call fails, they hold nothing of use. With
/// `statuses` among them, what is wrong with one text does not fail the call.
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
        // A clone, so that the model outlives this call if another thread closes it meanwhile.
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
/// If this returns `BGE_OK`, `callback` runs exactly once, possibly before
/// this returns, and until it has returned you must not touch the texts, the
/// options, the embeddings or the memory they point at; the switch in the
/// options may be triggered and released. If this returns anything else,
/// `callback` never runs.
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
                // The whole struct, and not only the pointer in it, which could not be sent.
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

/// Encodes `count` texts into memory that the library allocates, for results
/// whose size you do not know: sparse weights, multi-vectors and token
/// embeddings have as many rows as the texts have tokens.
///
/// `texts`, `lengths`, `count` and `options` mean what they mean for
/// `bge_encode`, and the numbers are the same. `outputs` are the `BGE_OUTPUT_`
/// bits of what to compute, at least one unless `count` is 0.
///
/// If this returns `BGE_OK`, read the results in `*result`, then release them
/// with `bge_encode_result_free`. If it returns anything else, `*result` holds
/// nothing to release. A `*result` that still holds the results of another call
/// is refused with `BGE_ERROR_INVALID_ARGUMENT`.
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
/// returns; until it has returned you must not touch the texts, the options or
/// `*result`, but the switch in the options may be triggered and released. If
/// the callback gets `BGE_OK`, the results are in `*result`, and you release
/// them with `bge_encode_result_free`: in the callback or after it. Otherwise
/// `*result` holds nothing to release. If this function returns anything but
/// `BGE_OK`, `callback` never runs.
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
            // The whole structs, and not only the pointers in them, which could not be sent.
            let (result, user_data) = (&mut result, &user_data);
            let outcome = results
                .and_then(|results| encode_result::describe(results, &described))
                .and_then(|filled| result.write(filled));
            call_back(callback, user_data, outcome.as_ref().err());
        })
    })
}

/// Releases the results of `bge_encode_alloc`, and sets `*result` to its
/// starting value. NULL is allowed, and so is a result that holds nothing.
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

/// Makes a switch that is off. NULL if that failed.
#[unsafe(no_mangle)]
pub extern "C" fn bge_cancel_new() -> *mut bge_cancel {
    guard_or(std::ptr::null_mut(), || into_handle(bge_cancel { switch: Cancel::new() }))
}

/// Turns the switch on for good: calls that were given it soon end with
/// `BGE_ERROR_CANCELLED`, and calls given it later do not start. NULL is
/// allowed.
#[unsafe(no_mangle)]
pub extern "C" fn bge_cancel_trigger(cancel: *const bge_cancel) {
    guard_or((), || {
        if let Ok(cancel) = handle(cancel, "cancel") {
            cancel.switch.trigger();
        }
    });
}

/// Releases the switch. NULL is allowed. A call that was given it goes on, and
/// can no longer be stopped by it. No thread may be about to trigger it, or to
/// start a call with it: an asynchronous call has started when
/// `bge_encode_async` returns, a blocking one you only know to have started
/// when `bge_encode` returns.
#[unsafe(no_mangle)]
pub extern "C" fn bge_cancel_free(cancel: *mut bge_cancel) {
    guard_or((), || drop(take_handle(cancel)));
}
