//! `bge_encode`, its asynchronous form, and the switch that stops both.

use std::ffi::{c_char, c_void};
use std::time::Duration;

use super::boundary::{
    UserData, call_back, guard, guard_or, handle, into_handle, read_options, string, take_handle,
    texts,
};
use super::constants::*;
use super::model::bge_model;
use super::output_buffers::RequestedBuffers;
use super::types::*;
use crate::error::{Result, error};
use crate::{Cancel, Embeddings, EncodeOptions};

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
        let options = requested.options(options);
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
        let options = requested.options(options);
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
    let known = BGE_ENCODE_NORMALIZE | BGE_ENCODE_REJECT_LONG | BGE_ENCODE_STRIP;
    if options.flags & !known != 0 {
        return Err(error!(
            Unsupported,
            "bge_encode_options.flags is {:#x}; the known bits are {known:#x}", options.flags
        ));
    }
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
        reject_long: options.flags & BGE_ENCODE_REJECT_LONG != 0,
        normalize: options.flags & BGE_ENCODE_NORMALIZE != 0,
        truncate_dim: options.truncate_dim as usize,
        strip: options.flags & BGE_ENCODE_STRIP != 0,
        prompt: string(options.prompt_name, "prompt_name")?.map(Into::into),
        timeout: (options.timeout_ms != 0)
            .then(|| Duration::from_millis(options.timeout_ms.into())),
        cancel,
        ..EncodeOptions::default()
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
