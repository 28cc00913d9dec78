//! Typedefs and structs.

use std::ffi::{c_char, c_void};

use crate::Cancel;

/// A switch that stops calls. Created by `bge_cancel_new`, released by
/// `bge_cancel_free`. Any number of threads may trigger it and start calls with
/// it at once; its release needs it alone, as `bge_cancel_free` says.
pub struct bge_cancel {
    pub(super) switch: Cancel,
}

/// The outcome of a call: `BGE_OK`, or a `BGE_ERROR_` code.
///
/// Codes never change their meaning. They are grouped by who can act on them,
/// so that a code from a later release can be treated as its group: 1 to 19 is
/// a mistake in the call, 20 to 39 something missing or broken in its
/// environment, 40 to 59 a call that was stopped, 60 and above a fault of the
/// library.
pub type bge_status = i32;

/// Where inference runs: a `BGE_DEVICE_` constant.
pub type bge_device = u32;

/// How two vectors are compared: a `BGE_METRIC_` constant. A greater score
/// always means more alike.
pub type bge_metric = u32;

/// The numbers that weights are multiplied in: a `BGE_COMPUTE_` constant.
pub type bge_compute_type = u32;

/// The element type of the codes that `bge_quantize` writes: a `BGE_PRECISION_`
/// constant.
pub type bge_precision = u32;

/// How much to log: a `BGE_LOG_` constant. Each level includes those before it;
/// a greater number than `BGE_LOG_DEBUG` is `BGE_LOG_DEBUG`.
pub type bge_log_level = u32;

/// A description of a failure. Declare one on the stack and pass its address.
///
/// A call writes it only when it fails, and then completely. Its layout never
/// changes, so it needs no starting value. It is yours: the library keeps no
/// pointer to it after the call.
#[repr(C)]
pub struct bge_error {
    /// The code that the function returned.
    pub code: bge_status,
    /// ONNX Runtime's own code, or zero.
    pub runtime_code: i32,
    /// The index of the text that is at fault, or `BGE_NO_TEXT`.
    pub text_index: u64,
    /// A sentence in UTF-8 that ends in NUL, never empty, cut between
    /// characters if it is too long.
    pub message: [c_char; 1008],
}

/// How to open a model. Start from `BGE_OPEN_OPTIONS_INIT`. Used until the call
/// returns.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct bge_open_options {
    pub struct_size: u32,
    /// `BGE_OPEN_` bits. An unknown bit is refused.
    pub flags: u32,
    /// The path of libonnxruntime, version 1.23 or later. Default: the
    /// environment variable `BGE_ORT_LIBRARY`, else a libonnxruntime in the
    /// folder of this library or in its subfolder `bge`, else the system's
    /// loader. A process loads one libonnxruntime, at its first `bge_open`. A
    /// program that runs with more rights than its caller, such as a setuid
    /// program, does not read the variable.
    pub runtime_library: *const c_char,
    /// Where the model runs. If the device is not available, `bge_open` fails;
    /// it never falls back to another. Default: `BGE_DEVICE_CPU`.
    pub device: bge_device,
    /// The number of the device among those of its kind, or of the first of
    /// several. Default: 0.
    pub device_index: u32,
    /// Threads that compute a batch. Default: the physical cores that the
    /// affinity and the cgroup quota of the process allow. At most 1024.
    pub threads: u32,
    /// The longest text in tokens, at least 2. Default, and limit: the model's,
    /// 8192 for bge-m3.
    pub max_tokens: u32,
    /// The most tokens of a batch, unless a single text has more. Default:
    /// 2048, on a GPU 16384. At most 1048576; more than the default needs more
    /// memory and gains little. On the CPU, while a batch holds 512 or more
    /// tokens of one call, a second batch of at most 128 tokens may run beside
    /// it for short calls.
    pub max_batch_tokens: u32,
    /// The most asynchronous calls whose callback has not begun: a callback can
    /// therefore start the next call. Default: 1024. At most 1048576.
    pub queue_capacity: u32,
    /// A folder that holds `sparse_linear` or `colbert_linear`, or both, each
    /// as `.pt` or `.safetensors`, to use in place of the model's own: e.g. the
    /// folder of BAAI/bge-m3, for a fine-tune that has none. These heads were
    /// not trained with that encoder: only a measurement can tell the quality
    /// of their outputs. Default: the model's own.
    pub heads_dir: *const c_char,
    /// An ONNX export to run as it is, by its path relative to the model's
    /// directory. Default: `model.safetensors` or `pytorch_model.bin`; without
    /// these `onnx/model.onnx`, else `model.onnx`, else the only ONNX file in
    /// the directory.
    pub onnx_file: *const c_char,
    /// The numbers that weights are multiplied in. `bge_open` quantizes the
    /// weights as it reads them, into memory; no other file is needed, and none
    /// is written. An ONNX export computes in what its author chose, and only
    /// the default is allowed for it. A directory that `bge quantize` wrote is
    /// computed in 8-bit integers, whatever this says. Default:
    /// `BGE_COMPUTE_FP32`.
    pub compute_type: bge_compute_type,
    /// The number of GPUs that share the work, from `device_index` on. Each
    /// holds the weights and computes one batch at a time: the texts of one
    /// large call are spread over all, and a single text goes to a free one. If
    /// a GPU fails, the texts of its batch fail, and the message names the GPU.
    /// Default: 1. At most 64; on the CPU 1.
    pub device_count: u32,
    /// The most bytes that the batches under way may take, for their states and
    /// everything else that computes them; the opened model and results are not
    /// counted. Batches of several texts are made small enough, and the
    /// `max_batch_tokens` of `bge_info` reports the size. A text that does not
    /// fit even alone is refused with `BGE_ERROR_TEXT_TOO_LONG` before
    /// inference, and the message names the bytes that it needs. The results,
    /// which are held until the call returns, are as large as your buffers, or
    /// twice that.
    ///
    /// With CUDA this limits memory of the GPU, and what a text needs is not
    /// known beforehand: a batch that does not fit is computed in parts, and a
    /// text that does not fit even alone fails with `BGE_ERROR_OUT_OF_MEMORY`.
    /// What CUDA's own libraries take is not counted, and each of several GPUs
    /// may take as much. With an ONNX export or TensorRT this member is
    /// refused. Default: no limit.
    pub max_run_bytes: u64,
    /// A folder to keep packed weights in, created if it does not exist:
    /// processes then share them, and with 8-bit integers a model opens in a
    /// moment. A file in it is as large as the weights of the linear layers, in
    /// 32 bits or in 8. Not used with `BGE_OPEN_SMALL_MEMORY`, which shares the
    /// author's file, nor for an ONNX export. Anyone who may write to the
    /// folder may change what a model computes. Files in it are never changed,
    /// only replaced, and a file that is damaged or of other weights is not
    /// used. If a file cannot be written, a line in the log says so, and the
    /// model opens without it. TensorRT requires the folder: `bge_prepare`
    /// writes its engines there, and `bge_open` reads them from there. Default:
    /// none.
    pub cache_dir: *const c_char,
}

/// How to encode. Start from `BGE_ENCODE_OPTIONS_INIT`. Used until the call
/// returns, or until the callback of an asynchronous call has returned.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct bge_encode_options {
    pub struct_size: u32,
    /// `BGE_ENCODE_` bits. An unknown bit is refused.
    pub flags: u32,
    /// Cut texts at this many tokens, at least 2. Default, and limit: the
    /// `max_tokens` of `bge_info`.
    pub max_tokens: u32,
    /// Fail with `BGE_ERROR_TIMEOUT` after this many milliseconds, waiting
    /// included. Batches are made small enough for the deadlines of their
    /// calls, by the rate of the last batches; a call that could not end in
    /// time is dropped before its batch, and the message says so. Default: no
    /// limit.
    pub timeout_ms: u32,
    /// The name of a prompt in the model's `config_sentence_transformers.json`,
    /// which is put in front of each text. Default: the model's default prompt,
    /// if it has one. An empty name: no prompt. A name that the model does not
    /// have is refused. To encode as `encode_query` and `encode_document` of
    /// sentence-transformers do, name `query` or `document`, or pass an empty
    /// name where the model lacks that prompt.
    pub prompt_name: *const c_char,
    /// A switch that stops the call when it is triggered. Default: none.
    pub cancel: *const bge_cancel,
    /// Truncate dense vectors to this many dimensions (Matryoshka). The result
    /// does not have length 1 unless `BGE_ENCODE_NORMALIZE` is set. Default:
    /// the `dense_dim` of `bge_info`. At most the output dimension of the
    /// model's last module.
    pub truncate_dim: u32,
    /// Must be zero.
    pub reserved: u32,
}

/// Your buffers for the results of `bge_encode`. Start from
/// `BGE_EMBEDDINGS_INIT`, then point the members at memory of yours, which
/// stays yours. Results are in the order of the texts.
///
/// Setting any member of an output requests it: dense vectors, sparse weights,
/// multi-vectors, token embeddings, or several of them, which take one pass of
/// the model. At least one is required unless there is no text. The `outputs`
/// of `bge_info` list those that the model has; another one is refused with
/// `BGE_ERROR_UNSUPPORTED`. A requested output needs its offsets, and its data
/// pointers unless its capacity is 0.
///
/// The sizes of all outputs but the dense vectors depend on the tokens. A text
/// of t tokens has t token embeddings, t - 1 multi-vector rows, and at most t -
/// 2 sparse entries: one for each distinct token that is not special. A
/// capacity that is too small is found when the texts are tokenized, before
/// inference, and the message names what is needed. `bge_count_tokens` returns
/// t before cutting and without a prompt; `max_tokens` is its upper bound. If
/// you do not know the sizes, use `bge_encode_alloc`.
///
/// With `statuses`, an error of one text does not fail the call: a text that is
/// not UTF-8, that is too long under `BGE_ENCODE_REJECT_LONG` or for
/// `max_run_bytes`, whose inference failed or ran out of memory, or whose
/// results have a number that is not finite. The call computes the other texts
/// and returns `BGE_OK`; the messages go to the log. A text that failed has no
/// sparse entries, and NaN in its dense row and its other rows. If it failed
/// before inference, it has no other rows and a token count of 0. An error that
/// is not due to a single text still fails the call.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct bge_embeddings {
    pub struct_size: u32,
    /// Must be zero.
    pub flags: u32,
    /// A row of `dense_dim` floats for each text, or of `truncate_dim` if the
    /// call sets that. NULL: not requested.
    pub dense: *mut f32,
    /// The capacity of `dense`, in floats. It may end with the last row.
    pub dense_capacity: usize,
    /// Floats from one row of `dense` to the next, at least the length of a
    /// vector, which is the default. The gap between rows is never touched.
    pub dense_stride: usize,
    /// For each text how many of its tokens were encoded: after cutting, the
    /// special tokens included. May be NULL.
    pub token_counts: *mut u32,
    /// For each text 1 if it was cut, otherwise 0. May be NULL.
    pub truncated: *mut u8,
    /// Where the sparse entries of each text begin, and where those of the last
    /// text end: one number more than there are texts.
    pub sparse_offsets: *mut u64,
    /// Token ids, ascending within a text and each at most once. Never the
    /// special tokens 0 to 3: `<s>`, `<pad>`, `</s>`, `<unk>`.
    pub sparse_ids: *mut u32,
    /// The weight of each of those tokens, greater than zero.
    pub sparse_weights: *mut f32,
    /// The capacity of `sparse_ids` and of `sparse_weights`, in entries. It
    /// must be enough for every token, though some tokens may have no weight.
    /// What lies after the last entry is not changed.
    pub sparse_capacity: usize,
    /// Where the multi-vector rows of each text begin, in rows, and where those
    /// of the last text end: one number more than there are texts.
    pub multi_offsets: *mut u64,
    /// A row of `multi_dim` floats, a vector of length 1, for each token but
    /// the first, which is special: the last row is that of the last special
    /// token.
    pub multi: *mut f32,
    /// The capacity of `multi`, in floats.
    pub multi_capacity: usize,
    /// For each text `BGE_OK` or the code of its error. NULL: the first error
    /// of a text fails the call.
    pub statuses: *mut bge_status,
    /// Where the token embeddings of each text begin, in rows, and where those
    /// of the last text end: one number more than there are texts.
    pub token_offsets: *mut u64,
    /// A row of `token_dim` floats for each token, the special tokens included:
    /// its final state in the encoder, never scaled.
    pub token_embeddings: *mut f32,
    /// The capacity of `token_embeddings`, in floats.
    pub token_embeddings_capacity: usize,
}

/// The results of `bge_encode_alloc`, in memory that the library allocated.
/// Start from `BGE_ENCODE_RESULT_INIT`. Released by `bge_encode_result_free`.
///
/// Read the arrays, but change neither them nor these members. They live until
/// the result is released, even if the model is closed before. Any thread may
/// read a result or release it. Results are in the order of the texts.
///
/// An output that was not requested has a dimension of 0 and NULL pointers. An
/// array without an element is NULL, too. Offsets always have an element: for
/// no texts, a single 0. After a call that failed, all members but
/// `struct_size` are zero.
///
/// With `BGE_ENCODE_PER_TEXT_ERRORS`, a text that failed has no sparse entries,
/// and NaN in its dense row and its other rows. If it failed before inference,
/// it has no other rows and a token count of 0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct bge_encode_result {
    pub struct_size: u32,
    /// `BGE_OUTPUT_` bits: what the call requested.
    pub outputs: u32,
    /// Belongs to the library. NULL if there is nothing to release.
    pub memory: *mut c_void,
    /// The number of texts.
    pub count: usize,
    /// For each text how many of its tokens were encoded: after cutting, the
    /// special tokens included.
    pub token_counts: *const u32,
    /// For each text 1 if it was cut, otherwise 0.
    pub truncated: *const u8,
    /// For each text `BGE_OK` or the code of its error. NULL without
    /// `BGE_ENCODE_PER_TEXT_ERRORS`.
    pub statuses: *const bge_status,
    /// The errors of the texts that failed, `error_count` of them, by ascending
    /// `text_index`. NULL without `BGE_ENCODE_PER_TEXT_ERRORS`.
    pub errors: *const bge_error,
    pub error_count: usize,
    /// Floats in a row of `dense`.
    pub dense_dim: usize,
    /// A row for each text, without a gap between rows.
    pub dense: *const f32,
    /// Entries from `sparse_offsets[i]` to `sparse_offsets[i + 1]` are those of
    /// text i: `count + 1` numbers.
    pub sparse_offsets: *const u64,
    /// Token ids, ascending within a text and each at most once. Never the
    /// special tokens 0 to 3: `<s>`, `<pad>`, `</s>`, `<unk>`.
    pub sparse_ids: *const u32,
    /// The weight of each of those tokens, greater than zero.
    pub sparse_weights: *const f32,
    /// Floats in a row of `multi`.
    pub multi_dim: usize,
    /// Rows from `multi_offsets[i]` to `multi_offsets[i + 1]` are those of text
    /// i: `count + 1` numbers.
    pub multi_offsets: *const u64,
    /// A vector of length 1 for each token but the first.
    pub multi: *const f32,
    /// Floats in a row of `token_embeddings`.
    pub token_dim: usize,
    /// Rows from `token_offsets[i]` to `token_offsets[i + 1]` are those of text
    /// i: `count + 1` numbers.
    pub token_offsets: *const u64,
    /// The final state of each token, the special tokens included, never
    /// scaled.
    pub token_embeddings: *const f32,
}

/// Called once when an asynchronous call has ended, with its status. `error` is
/// NULL after `BGE_OK`; otherwise it lives until the callback returns.
///
/// It runs on a thread of the library, one for each model, so that the
/// callbacks of a model run one after another. It may start further
/// asynchronous calls; it must not block for long, call `bge_close`, throw, or
/// end its thread.
// "C-unwind" for all callbacks: one that throws against this rule ends the process, which is bad,
// but not undefined.
pub type bge_encode_callback = Option<
    unsafe extern "C-unwind" fn(
        user_data: *mut c_void,
        status: bge_status,
        error: *const bge_error,
    ),
>;

/// Called by `bge_prepare` when `done` engines of `total` are built. It runs on
/// the thread that called `bge_prepare`, between two engines. It must not
/// throw, or end its thread.
pub type bge_prepare_callback =
    Option<unsafe extern "C-unwind" fn(user_data: *mut c_void, done: usize, total: usize)>;

/// How to compare. Start from `BGE_SIMILARITY_OPTIONS_INIT`. Used until the
/// call returns.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct bge_similarity_options {
    pub struct_size: u32,
    /// The most threads to use, up to 1024. Default: 1.
    pub threads: u32,
    /// Floats from one row of `a` to the next. Default: `dim`.
    pub a_stride: usize,
    /// Floats from one row of `b` to the next. Default: `dim`.
    pub b_stride: usize,
    /// Floats from one row of `scores` to the next. Default: the scores of a
    /// row.
    pub scores_stride: usize,
}

/// How to quantize. Start from `BGE_QUANTIZE_OPTIONS_INIT`. Used until the call
/// returns.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct bge_quantize_options {
    pub struct_size: u32,
    /// `BGE_QUANTIZE_` bits. An unknown bit is refused.
    pub flags: u32,
    /// Floats from one row of `vectors` to the next. Default: `dim`.
    pub vectors_stride: usize,
    /// Bytes from one row of `codes` to the next. Default: the bytes of a row.
    pub codes_stride: usize,
    /// The least number of each of the `dim` dimensions, then the greatest of
    /// each, as `bge_quantize_ranges` writes them. Default: those of the
    /// vectors of the call.
    pub ranges: *const f32,
}

/// A description of a model. Start from `BGE_INFO_INIT`. Its strings belong to
/// the model and live until `bge_close`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct bge_info {
    pub struct_size: u32,
    /// `BGE_OUTPUT_` bits: the outputs that the model can compute.
    pub outputs: u32,
    /// Floats of a dense vector, unless a call sets `truncate_dim`.
    pub dense_dim: u32,
    /// Floats of a multi-vector row. Zero: the model has no multi-vectors.
    pub multi_dim: u32,
    /// The size of the vocabulary.
    pub vocab_size: u32,
    /// The longest text in tokens, the special tokens included.
    pub max_tokens: u32,
    /// Threads that compute a batch.
    pub threads: u32,
    /// The most tokens of a batch, unless a single text has more.
    pub max_batch_tokens: u32,
    /// The pooling modes `cls`, `max`, `mean`, `mean_sqrt_len_tokens`,
    /// `weightedmean` and `lasttoken`; several are joined by `+`, in the order
    /// of their parts in a vector. `onnx`: an ONNX export outputs vectors.
    pub pooling: *const c_char,
    /// The numbers that the model computes in, whatever its weights are stored
    /// in: the `compute_type` as `fp32`, `int8`, `fp16`, `tf32` or `bf16`. For
    /// an ONNX export its author's choice: `fp32`, `fp16` or `int8`.
    pub precision: *const c_char,
    /// Where all of the model runs: `cpu`, or a name like `cuda:0` or
    /// `tensorrt:0`; several GPUs have a name like `cuda:0-3`.
    pub device: *const c_char,
    /// The inference runtime, e.g. `onnxruntime 1.31.1`.
    pub runtime: *const c_char,
    /// Floats of a token embedding: the width of the encoder. Zero: the model
    /// has no token embeddings.
    pub token_dim: u32,
    /// The metric for `bge_similarity` that the model's author configured in
    /// `config_sentence_transformers.json`. Cosine if that file names none.
    pub similarity: bge_metric,
}

/// Totals since `bge_open`. A call counts if its texts and buffers passed the
/// checks that precede tokenization. Start from `BGE_STATS_INIT`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct bge_stats {
    pub struct_size: u32,
    /// Asynchronous calls whose callback has not begun.
    pub queue_depth: u32,
    /// Calls that encode, however they ended.
    pub calls: u64,
    /// Calls that failed, including those that were stopped.
    pub failures: u64,
    /// Calls that were stopped by `bge_cancel` or `timeout_ms`.
    pub cancellations: u64,
    /// Texts that went through the model.
    pub texts: u64,
    /// Tokens that went through the model.
    pub tokens: u64,
    /// Batches. Texts of several calls share a batch.
    pub batches: u64,
    /// Nanoseconds spent tokenizing, summed over all threads.
    pub tokenize_ns: u64,
    /// Nanoseconds spent in batches; two that run side by side count both.
    pub inference_ns: u64,
    /// Texts that failed with `BGE_ERROR_NOT_FINITE`. A model that computes in
    /// 16 bits may meet such texts: watch this number.
    pub not_finite: u64,
    /// Calls that were dropped before a batch that, by the rate of the last
    /// batches, would have ended after their `timeout_ms`. They count among the
    /// `failures` and the `cancellations`, too.
    pub dropped: u64,
}

/// Called with each line of the log: UTF-8 that ends in NUL and lives until the
/// callback returns. Lines never contain the texts that are encoded.
///
/// It may run on any thread, and on several at once. It must not call the
/// library, or throw.
pub type bge_log_callback = Option<
    unsafe extern "C-unwind" fn(user_data: *mut c_void, level: bge_log_level, line: *const c_char),
>;
