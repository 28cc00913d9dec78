//! Typedefs and structs.

use std::ffi::{c_char, c_void};

use crate::Cancel;

/// A switch that stops calls. Released by `bge_cancel_free`.
pub struct bge_cancel {
    pub(super) switch: Cancel,
}

/// The outcome of a call: `BGE_OK`, or a `BGE_ERROR_` code.
///
/// Codes never change their meaning. They are grouped by who can act on them,
/// so that a code from a later release can be treated as its group: 1 to 19 is
/// a mistake in the call, 20 to 39 something missing or broken around it, 40
/// to 59 a call that was stopped, 60 and above a fault of the library.
pub type bge_status = i32;

/// Where inference runs: a `BGE_DEVICE_` constant.
pub type bge_device = u32;

/// How two vectors are compared: a `BGE_METRIC_` constant. A greater score
/// always means more alike.
pub type bge_metric = u32;

/// What weights are multiplied in: a `BGE_COMPUTE_` constant.
pub type bge_compute_type = u32;

/// What becomes of a dimension: a `BGE_PRECISION_` constant.
pub type bge_precision = u32;

/// How much to log: a `BGE_LOG_` constant. Each includes those before it; what
/// is greater than all means all.
pub type bge_log_level = u32;

/// What went wrong, in words. Declare one on the stack and pass its address.
///
/// Written only when the call fails, and then completely. Its layout never
/// changes, so it needs no starting value.
#[repr(C)]
pub struct bge_error {
    /// The code that the function returned.
    pub code: bge_status,
    /// ONNX Runtime's own code, or zero.
    pub runtime_code: i32,
    /// Which of the call's texts is at fault, or `BGE_NO_TEXT`.
    pub text_index: u64,
    /// UTF-8 ending in NUL, never empty, cut between characters if too long.
    pub message: [c_char; 1008],
}

/// How to load a model. Start from `BGE_OPEN_OPTIONS_INIT`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct bge_open_options {
    pub struct_size: u32,
    /// `BGE_OPEN_` bits. An unknown bit is refused.
    pub flags: u32,
    /// The path of libonnxruntime, version 1.23 or later. Default: the
    /// environment variable `BGE_ORT_LIBRARY`, else a libonnxruntime in the
    /// folder of this library or in `bge` below it, else the system's loader.
    /// A process loads one, at its first `bge_open`. A program that runs with
    /// more rights than its caller, as a setuid program, does not read the
    /// variable.
    pub runtime_library: *const c_char,
    /// If it is not available, `bge_open` fails; it never falls back to another.
    pub device: bge_device,
    /// Which device of that kind, or the first of several. Default: the first.
    pub device_index: u32,
    /// Threads that a run of the model uses. Default: the physical cores that
    /// the affinity and the cgroup quota of the process allow. At most 1024.
    pub threads: u32,
    /// Longest text in tokens, at least 2. Default, and limit: the model's,
    /// 8192 for bge-m3.
    pub max_tokens: u32,
    /// Most tokens in one run of the model, unless a single text has more.
    /// Default: 2048, on a GPU 16384. At most 1048576; more needs more memory and
    /// gains little. On the CPU there may be a second run beside one with 512 or
    /// more tokens of one call, of 128 at most, for short calls.
    pub max_batch_tokens: u32,
    /// Most asynchronous calls that may be unfinished: those whose callback has
    /// not begun, so that a callback can start the next. Default: 1024. At most
    /// 1048576.
    pub queue_capacity: u32,
    /// A folder that holds `sparse_linear` or `colbert_linear`, or both, each
    /// as `.pt` or `.safetensors`, to be used in place of the model's own: e.g.
    /// that of BAAI/bge-m3, for a fine-tune that has none. Such heads were not
    /// trained with that encoder: how good what they make is, only a
    /// measurement can tell. Default: the model's own.
    pub heads_dir: *const c_char,
    /// An ONNX export to run as it is, by its path from the model's directory.
    /// Default: `model.safetensors` or `pytorch_model.bin`; without these
    /// `onnx/model.onnx`, else `model.onnx`, else the only ONNX file there.
    pub onnx_file: *const c_char,
    /// What the weights are multiplied in. `bge_open` quantizes them as it reads
    /// them, into memory; no other file is needed, and none is written. An ONNX
    /// export computes in what its author chose: only the default is allowed. A
    /// directory that `bge quantize` wrote is computed in 8-bit integers, whatever
    /// stands here.
    pub compute_type: bge_compute_type,
    /// GPUs that share the work, from `device_index` on. Each holds the weights
    /// and does one run at a time: the texts of one large call are spread over
    /// all, and a single text goes to one that is free. A GPU that fails takes
    /// down the texts it was given, and the message names it. Default: one. At
    /// most 64; on the CPU one.
    pub device_count: u32,
    /// Most bytes that the runs under way may take beside the opened model, in
    /// their states and in all that is needed to compute them. Runs of several
    /// texts are made small enough, as the `max_batch_tokens` of `bge_info`
    /// tells. A text that does not even fit alone is refused with
    /// `BGE_ERROR_TEXT_TOO_LONG` before any inference, and the message says how
    /// many bytes it needs. Not counted are results, which are held until the
    /// call returns and are as large as your buffers, or twice that. With CUDA
    /// this is memory of the GPU, and what a text needs is not known beforehand:
    /// a run that does not fit is done in parts, and a text that does not even
    /// fit alone fails with `BGE_ERROR_OUT_OF_MEMORY`; what CUDA's own libraries
    /// take is not counted, and each of several GPUs may take as much. With an
    /// ONNX export or TensorRT it is refused. Default: no ceiling.
    pub max_run_bytes: u64,
    /// A folder to keep weights in as they are multiplied with, made if it is
    /// not there: processes share them then, and with 8-bit integers a model
    /// opens in a moment. A file there is as large as the weights of the linear
    /// layers, in 32 bits or in 8. Not used with `BGE_OPEN_SMALL_MEMORY`, which
    /// shares the author's file, and for an ONNX export. Anyone who may write
    /// there may change what a model computes. Files in it are never changed,
    /// only replaced, and one that is damaged or of other weights is not used.
    /// What cannot be written is told in the log and harms nothing. TensorRT
    /// needs it: `bge_prepare` writes its engines there, and `bge_open` takes
    /// them from there. Default: none.
    pub cache_dir: *const c_char,
}

/// How to encode. Start from `BGE_ENCODE_OPTIONS_INIT`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct bge_encode_options {
    pub struct_size: u32,
    /// `BGE_ENCODE_` bits. An unknown bit is refused.
    pub flags: u32,
    /// Cut texts at this many tokens, at least 2. Default, and limit: the
    /// `max_tokens` of `bge_info`.
    pub max_tokens: u32,
    /// Give up after this long, waiting included. Runs are made small enough
    /// for the deadlines of their calls, by the rate of the last runs; a call
    /// that could not end in time is dropped before its run, with
    /// `BGE_ERROR_TIMEOUT` and a message that says so. Default: never.
    pub timeout_ms: u32,
    /// A prompt of the model, by its name in
    /// `config_sentence_transformers.json`, to put in front of each text.
    /// Default: the model's default prompt, if it has one. An empty name: none.
    /// A name that the model does not have is refused. To encode as
    /// `encode_query` and `encode_document` of sentence-transformers do, name
    /// `query` or `document`, or an empty name where the model lacks that.
    pub prompt_name: *const c_char,
    /// Stops this call when triggered. Default: nothing does.
    pub cancel: *const bge_cancel,
    /// Give the first so many numbers of each dense vector, which then has not
    /// length 1 unless `BGE_ENCODE_NORMALIZE` is set. Default: the `dense_dim`
    /// of `bge_info`. At most what the last module of the model makes.
    pub truncate_dim: u32,
    /// Must be zero.
    pub reserved: u32,
}

/// Where results go. Start from `BGE_EMBEDDINGS_INIT`, then point the members
/// at memory of your own. Results are in the order of the texts.
///
/// What you give memory for is computed: dense, sparse, multi-vector, token
/// embeddings, or any of them together in one pass. One of them has to be asked
/// for, unless there is no text. The `outputs` of `bge_info` tell what the
/// model has; asking for another answers `BGE_ERROR_UNSUPPORTED`.
///
/// How much room all but dense vectors need depends on the tokens. A text of t
/// tokens has t token embeddings, t - 1 multi-vector rows, and at most t - 2
/// sparse entries: one for each different token, the special ones apart.
/// `bge_count_tokens` tells t; but t is at most `max_tokens`, which also bounds
/// it if you do not count, and a prompt has tokens of its own. Too little room
/// is found once the texts are tokenized, before any inference, and the message
/// says what is needed.
///
/// With `statuses`, a fault of one text is its own: a text that is not UTF-8, that is too long
/// under `BGE_ENCODE_REJECT_LONG` or for `max_run_bytes`, whose inference failed or ran out of
/// memory, or whose results have a number that is not finite. The call goes on with the others and
/// returns `BGE_OK`; what was wrong in words goes to the log. Such a text has no sparse entries,
/// and NaN in its dense row and its other rows. If it failed before inference, it has no other rows
/// and a token count of 0. What is no single text's fault fails the call as ever.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct bge_embeddings {
    pub struct_size: u32,
    /// Must be zero.
    pub flags: u32,
    /// Dense: a row of `dense_dim` floats for each text, or of `truncate_dim`
    /// if the call sets that. NULL: not wanted.
    pub dense: *mut f32,
    /// Room in `dense`, in floats. Nothing is needed after the last row.
    pub dense_capacity: usize,
    /// Floats from one row to the next, at least the length of a vector, which
    /// is the default. What lies between rows is never touched.
    pub dense_stride: usize,
    /// The tokens of each text that were encoded: after cutting, the special
    /// tokens included. May be NULL.
    pub token_counts: *mut u32,
    /// 1 for each text that was cut, otherwise 0. May be NULL.
    pub truncated: *mut u8,
    /// Sparse: where the entries of each text begin, and after the last text
    /// where they end: one number more than there are texts. Sparse weights are
    /// wanted if one of these four members is set; then all must be, but
    /// without capacity the other two may be NULL.
    pub sparse_offsets: *mut u64,
    /// Token ids, ascending within a text and each at most once. Never the
    /// special tokens 0 to 3: `<s>`, `<pad>`, `</s>`, `<unk>`.
    pub sparse_ids: *mut u32,
    /// The weight of each of those tokens, greater than zero.
    pub sparse_weights: *mut f32,
    /// Room in `sparse_ids` and in `sparse_weights`, in entries. It has to be
    /// enough for every token, though some may turn out to have no weight. What
    /// lies after the last entry is not changed.
    pub sparse_capacity: usize,
    /// Multi-vector: where the rows of each text begin, in rows, and after the
    /// last text where they end: one number more than there are texts. Wanted
    /// if one of these three members is set; then all must be, but without
    /// capacity `multi` may be NULL.
    pub multi_offsets: *mut u64,
    /// A row of `multi_dim` floats, a vector of length 1, for each token but
    /// the first, which is special: the last row is that of the last special
    /// token.
    pub multi: *mut f32,
    /// Room in `multi`, in floats.
    pub multi_capacity: usize,
    /// How each text ended: `BGE_OK`, or what is wrong with it alone. NULL: the
    /// first fault of a text fails the call.
    pub statuses: *mut bge_status,
    /// Token embeddings: where the rows of each text begin, in rows, and after
    /// the last text where they end: one number more than there are texts.
    /// Wanted if one of these three members is set; then all must be, but
    /// without capacity `token_embeddings` may be NULL.
    pub token_offsets: *mut u64,
    /// A row of `token_dim` floats for each token, the special ones included:
    /// its final state in the encoder, never scaled.
    pub token_embeddings: *mut f32,
    /// Room in `token_embeddings`, in floats.
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
/// array with no element is NULL, too: with no text only the offsets are not,
/// which then hold a single 0. After a call that failed, all members but
/// `struct_size` are zero.
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
    /// The final state of each token, the special tokens included, never scaled.
    pub token_embeddings: *const f32,
}

/// Told once how an asynchronous call ended. `error` is NULL after success and
/// otherwise lives until the callback returns.
///
/// Runs on a thread of the library, one for each model, so that the callbacks
/// of a model come one after another. It may start further asynchronous calls;
/// it must not block for long, call `bge_close`, throw, or end its thread.
// "C-unwind" here and below: a callback that throws all the same ends the process, which is bad,
// but not undefined.
pub type bge_encode_callback = Option<
    unsafe extern "C-unwind" fn(
        user_data: *mut c_void,
        status: bge_status,
        error: *const bge_error,
    ),
>;

/// Told how far `bge_prepare` has come: `done` engines of `total` are built. It
/// runs on the thread that called, between two engines. It must not throw, or
/// end its thread.
pub type bge_prepare_callback =
    Option<unsafe extern "C-unwind" fn(user_data: *mut c_void, done: usize, total: usize)>;

/// How to compare. Start from `BGE_SIMILARITY_OPTIONS_INIT`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct bge_similarity_options {
    pub struct_size: u32,
    /// Threads to use at most, up to 1024. Default: 1.
    pub threads: u32,
    /// Floats from one row of `a` to the next. Default: `dim`.
    pub a_stride: usize,
    /// Floats from one row of `b` to the next. Default: `dim`.
    pub b_stride: usize,
    /// Floats from one row of `scores` to the next. Default: `b_rows`, or `k`.
    pub scores_stride: usize,
}

/// How to quantize. Start from `BGE_QUANTIZE_OPTIONS_INIT`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct bge_quantize_options {
    pub struct_size: u32,
    /// `BGE_QUANTIZE_` bits. An unknown bit is refused.
    pub flags: u32,
    /// Floats from one row of `vectors` to the next. Default: `dim`.
    pub vectors_stride: usize,
    /// Bytes from one row of `codes` to the next. Default: those of a row.
    pub codes_stride: usize,
    /// The least number of each of the `dim` dimensions, then the greatest of
    /// each. Default: those of the vectors of the call.
    pub ranges: *const f32,
}

/// What a model is. Start from `BGE_INFO_INIT`. Strings live until `bge_close`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct bge_info {
    pub struct_size: u32,
    /// `BGE_OUTPUT_` bits: what the model can produce.
    pub outputs: u32,
    /// Floats of a dense vector, if a call has no `truncate_dim` of its own.
    pub dense_dim: u32,
    /// Zero: the model has no multi-vectors.
    pub multi_dim: u32,
    pub vocab_size: u32,
    /// Longest text in tokens, the special tokens included.
    pub max_tokens: u32,
    pub threads: u32,
    pub max_batch_tokens: u32,
    /// The modes `cls`, `max`, `mean`, `mean_sqrt_len_tokens`, `weightedmean`
    /// and `lasttoken`; several joined by `+`, in the order in which what they
    /// make lies in a vector. `onnx`: an ONNX export gives vectors.
    pub pooling: *const c_char,
    /// What is computed in, whatever the weights are stored in, by the
    /// `compute_type`: `fp32`, `int8`, `fp16`, `tf32` or `bf16`. Of an ONNX
    /// export what its author chose: `fp32`, `fp16` or `int8`.
    pub precision: *const c_char,
    /// Where inference runs, all of it: `cpu`, or as `cuda:0` or `tensorrt:0`;
    /// on several GPUs as `cuda:0-3`.
    pub device: *const c_char,
    /// The inference runtime, e.g. `onnxruntime 1.31.1`.
    pub runtime: *const c_char,
    /// The length of a token embedding: the width of the encoder. Zero: the model
    /// gives none.
    pub token_dim: u32,
    /// How the model's author compares dense vectors, by
    /// `config_sentence_transformers.json`: the metric to give to
    /// `bge_similarity`. Cosine if that file says nothing.
    pub similarity: bge_metric,
}

/// Totals since `bge_open`, of the calls whose texts and buffers were found to
/// be in order before the texts were tokenized. Start from `BGE_STATS_INIT`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct bge_stats {
    pub struct_size: u32,
    /// Asynchronous calls whose callback has not begun.
    pub queue_depth: u32,
    /// Calls to encode, however they ended.
    pub calls: u64,
    /// Calls that failed, those that were stopped included.
    pub failures: u64,
    /// Calls that were stopped by `bge_cancel` or `timeout_ms`.
    pub cancellations: u64,
    /// Texts and tokens that went through the model.
    pub texts: u64,
    pub tokens: u64,
    /// Runs of the model. Texts of several calls share a run.
    pub batches: u64,
    /// Nanoseconds spent tokenizing, over all threads.
    pub tokenize_ns: u64,
    /// Nanoseconds that runs took; two side by side count both.
    pub inference_ns: u64,
    /// Texts that failed with `BGE_ERROR_NOT_FINITE`. In 16 bits a model may
    /// meet such texts: watch this.
    pub not_finite: u64,
    /// Calls that were dropped before a run that would have ended after their
    /// `timeout_ms`, by the rate of the last runs. They count as stopped, too.
    pub dropped: u64,
}

/// Gets one line of log, UTF-8 ending in NUL, which lives until the callback
/// returns. Lines never contain the texts being encoded.
///
/// May run on any thread, on several at once. It must not call the library,
/// or throw.
pub type bge_log_callback = Option<
    unsafe extern "C-unwind" fn(user_data: *mut c_void, level: bge_log_level, line: *const c_char),
>;
