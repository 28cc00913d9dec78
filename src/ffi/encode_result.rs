//! Results that the library allocates: the memory behind a `bge_encode_result`.

use std::ffi::c_void;
use std::ptr;

use super::boundary::{
    CallerStruct, c_error, into_handle, read_sized, take_handle, write_sized, zeroed,
};
use super::constants::*;
use super::types::*;
use crate::error::{Result, error};
use crate::{Embeddings, EncodeOptions, TokenVectors, memory};

/// The arrays that one `bge_encode_result` points at.
struct ResultMemory {
    results: Embeddings,
    token_counts: Vec<u32>,
    truncated: Vec<u8>,
    sparse_offsets: Vec<u64>,
    multi_offsets: Vec<u64>,
    token_offsets: Vec<u64>,
    statuses: Vec<bge_status>,
    errors: Vec<bge_error>,
}

/// Empties the caller's struct, or refuses one whose memory would be lost.
pub(super) fn begin(result: *mut bge_encode_result) -> Result<CallerStruct<bge_encode_result>> {
    if !read_sized(result)?.memory.is_null() {
        return Err(error!(
            InvalidArgument,
            "result.memory is set: result holds the memory of an earlier call; \
             pass it to bge_encode_result_free first"
        ));
    }
    write_sized(result, zeroed())?;
    CallerStruct::new(result)
}

/// Moves results into memory that [`free`] releases, and describes it.
pub(super) fn describe(results: Embeddings, options: &EncodeOptions) -> Result<bge_encode_result> {
    let memory = ResultMemory::new(results, options.per_text_errors)?;
    let results = &memory.results;
    let (sparse_ids, sparse_weights) = match &results.sparse {
        Some(sparse) => (first(&sparse.ids), first(&sparse.weights)),
        None => (ptr::null(), ptr::null()),
    };
    let vectors = |vectors: &Option<TokenVectors>| match vectors {
        Some(vectors) => (vectors.dim, first(&vectors.rows)),
        None => (0, ptr::null()),
    };
    let (multi_dim, multi) = vectors(&results.multi);
    let (token_dim, token_embeddings) = vectors(&results.tokens);
    Ok(bge_encode_result {
        struct_size: 0,
        outputs: options.outputs.bits(),
        count: results.usage.len(),
        token_counts: first(&memory.token_counts),
        truncated: first(&memory.truncated),
        statuses: first(&memory.statuses),
        errors: first(&memory.errors),
        error_count: memory.errors.len(),
        dense_dim: if options.outputs.dense { results.dim } else { 0 },
        dense: first(&results.dense),
        sparse_offsets: first(&memory.sparse_offsets),
        sparse_ids,
        sparse_weights,
        multi_dim,
        multi_offsets: first(&memory.multi_offsets),
        multi,
        token_dim,
        token_offsets: first(&memory.token_offsets),
        token_embeddings,
        // Moves the lists, but not what they point at.
        memory: into_handle(memory).cast::<c_void>(),
    })
}

/// Releases what [`describe`] allocated, and empties the caller's struct.
pub(super) fn free(result: *mut bge_encode_result) -> Result<()> {
    let described = read_sized(result)?;
    write_sized(result, zeroed())?;
    drop(take_handle(described.memory.cast::<ResultMemory>()));
    Ok(())
}

impl ResultMemory {
    fn new(results: Embeddings, per_text_errors: bool) -> Result<Self> {
        let count = results.usage.len();
        let mut statuses = Vec::new();
        let mut errors = Vec::new();
        if per_text_errors {
            memory::reserve(&mut statuses, count)?;
            statuses.resize(count, BGE_OK);
            memory::reserve(&mut errors, results.errors.len())?;
            for e in &results.errors {
                if let Some(status) = e.text_index().and_then(|text| statuses.get_mut(text)) {
                    *status = e.kind().code();
                }
                errors.push(c_error(e));
            }
        }
        let offsets = |offsets: Option<&Vec<usize>>| match offsets {
            Some(offsets) => {
                memory::collected(offsets.iter().map(|&offset| offset as u64), offsets.len())
            }
            None => Ok(Vec::new()),
        };
        let usage = &results.usage;
        Ok(Self {
            token_counts: memory::collected(usage.iter().map(|text| text.tokens as u32), count)?,
            truncated: memory::collected(usage.iter().map(|text| text.truncated.into()), count)?,
            sparse_offsets: offsets(results.sparse.as_ref().map(|sparse| &sparse.offsets))?,
            multi_offsets: offsets(results.multi.as_ref().map(|multi| &multi.offsets))?,
            token_offsets: offsets(results.tokens.as_ref().map(|tokens| &tokens.offsets))?,
            statuses,
            errors,
            results,
        })
    }
}

/// The address of the first item, or NULL if there is none.
fn first<T>(items: &[T]) -> *const T {
    if items.is_empty() { ptr::null() } else { items.as_ptr() }
}
