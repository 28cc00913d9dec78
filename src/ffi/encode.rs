//! `bge_encode`, its asynchronous form, and the switch that stops both.

use std::ffi::{c_char, c_void};
use std::time::Duration;

use super::boundary::{
    CallerRows, Grid, Span, UserData, call_back, guard, guard_or, handle, into_handle,
    read_options, read_sized, string, take_handle, texts,
};
use super::model::bge_model;
use super::types::*;
use crate::error::{Result, error};
use crate::{Cancel, Embeddings, EncodeOptions, Model};

/// A switch that stops calls. Released by `bge_cancel_free`.
pub struct bge_cancel {
    switch: Cancel,
}

/// Encodes `count` texts into the memory that `embeddings` points at.
///
/// `lengths` gives the bytes of each text; NULL means that every text ends in
/// NUL. A text of no bytes is allowed, and then its pointer may be NULL;
/// `count` may be 0. Give texts in any order and number: texts of all threads
/// share runs of the model, without padding, and what a text shares a run with
/// changes its vector by no more than rounding.
///
/// Texts, options and capacities are checked before any inference. The output
/// buffers must not overlap; if the call fails, they hold nothing of use.
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
        let mut room = Room::of(&model, embeddings, count)?;
        room.fill(&model.encode(&texts, &options)?);
        Ok(())
    })
}

/// Starts `bge_encode` and returns when the texts are tokenised.
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
        let mut room = Room::of(&model, embeddings, count)?;
        let user_data = UserData(user_data);
        model.encode_async(&texts, &options, move |result| {
            // The whole struct, and not only the pointer in it, which could not be sent.
            let user_data = &user_data;
            match result {
                Ok(vectors) => {
                    room.fill(&vectors);
                    call_back(callback, user_data, None);
                }
                Err(e) => call_back(callback, user_data, Some(&e)),
            }
        })
    })
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
    let cancel = match options.cancel.is_null() {
        true => None,
        false => Some(handle(options.cancel, "cancel")?.switch.clone()),
    };
    Ok(EncodeOptions {
        max_tokens: options.max_tokens as usize,
        reject_long: options.flags & BGE_ENCODE_REJECT_LONG != 0,
        normalize: options.flags & BGE_ENCODE_NORMALIZE != 0,
        strip: options.flags & BGE_ENCODE_STRIP != 0,
        prompt: string(options.prompt_name, "prompt_name")?.map(Into::into),
        timeout: (options.timeout_ms != 0)
            .then(|| Duration::from_millis(options.timeout_ms.into())),
        cancel,
    })
}

/// The caller's memory for results, checked to be large enough.
struct Room {
    dense: CallerRows<f32>,
    token_counts: Option<CallerRows<u32>>,
    truncated: Option<CallerRows<u8>>,
}

impl Room {
    fn of(model: &Model, embeddings: *mut bge_embeddings, count: usize) -> Result<Self> {
        let given = read_sized(embeddings)?;
        if given.flags != 0 {
            return Err(error!(
                Unsupported,
                "bge_embeddings.flags is {:#x}; no flag is known", given.flags
            ));
        }
        let sparse = [given.sparse_ids.is_null(), given.sparse_weights.is_null()];
        if sparse.contains(&false) || !given.sparse_offsets.is_null() || given.sparse_capacity != 0
        {
            return Err(error!(Unsupported, "sparse embeddings are not in this version"));
        }
        if !given.multi.is_null() || !given.multi_offsets.is_null() || given.multi_capacity != 0 {
            return Err(error!(Unsupported, "multi-vector embeddings are not in this version"));
        }
        let dim = model.info().dense_dim;
        let stride = if given.dense_stride == 0 { dim } else { given.dense_stride };
        if stride < dim {
            return Err(error!(
                InvalidArgument,
                "dense_stride is {stride}, less than the {dim} floats of a vector"
            ));
        }
        let grid = Grid { rows: count, width: dim, stride };
        // Nothing has to follow the last row.
        let needed = grid.extent("dense")?;
        if count > 0 && given.dense.is_null() {
            return Err(error!(InvalidArgument, "embeddings.dense is NULL: nothing is asked for"));
        }
        if given.dense_capacity < needed {
            return Err(error!(
                BufferTooSmall,
                "dense_capacity is {}, but {count} texts need {needed} floats",
                given.dense_capacity
            ));
        }
        let dense = Span::new(given.dense, needed, "dense");
        let token_counts = Span::new(given.token_counts, count, "token_counts");
        let truncated = Span::new(given.truncated, count, "truncated");
        dense.check_apart(token_counts)?;
        dense.check_apart(truncated)?;
        token_counts.check_apart(truncated)?;
        Ok(Self {
            dense: CallerRows::new(given.dense, grid, "dense")?,
            token_counts: one_per_text(given.token_counts, count, "token_counts")?,
            truncated: one_per_text(given.truncated, count, "truncated")?,
        })
    }

    fn fill(&mut self, vectors: &Embeddings) {
        for (index, vector) in vectors.dense.chunks_exact(vectors.dim).enumerate() {
            self.dense.row(index).copy_from_slice(vector);
        }
        if let Some(counts) = &mut self.token_counts {
            for (count, usage) in counts.row(0).iter_mut().zip(&vectors.usage) {
                *count = usage.tokens as u32;
            }
        }
        if let Some(truncated) = &mut self.truncated {
            for (truncated, usage) in truncated.row(0).iter_mut().zip(&vectors.usage) {
                *truncated = usage.truncated.into();
            }
        }
    }
}

fn one_per_text<T>(pointer: *mut T, count: usize, name: &str) -> Result<Option<CallerRows<T>>> {
    if pointer.is_null() {
        return Ok(None);
    }
    CallerRows::new(pointer, Grid::line(count), name).map(Some)
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
