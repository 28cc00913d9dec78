//! Constants.

#![expect(dead_code, reason = "some are for the header alone")]

/// The call succeeded.
pub const BGE_OK: i32 = 0;

/// An argument is NULL, zero or out of range where that is not allowed.
pub const BGE_ERROR_INVALID_ARGUMENT: i32 = 1;

/// A text, path or name is not UTF-8.
pub const BGE_ERROR_INVALID_UTF8: i32 = 2;

/// A text is longer than `max_tokens` and `BGE_ENCODE_REJECT_LONG` is set, or
/// too long for `max_run_bytes`.
pub const BGE_ERROR_TEXT_TOO_LONG: i32 = 3;

/// A buffer is too small. This is found before inference; the message names the
/// size that is needed.
pub const BGE_ERROR_BUFFER_TOO_SMALL: i32 = 4;

/// This library or this model does not have what the call requests.
pub const BGE_ERROR_UNSUPPORTED: i32 = 5;

/// A file of the model does not exist or cannot be read, or TensorRT's engines
/// have not been prepared.
pub const BGE_ERROR_MODEL_NOT_FOUND: i32 = 20;

/// The files were read, but do not form a usable model.
pub const BGE_ERROR_MODEL_INVALID: i32 = 21;

/// ONNX Runtime could not be found or loaded, or the device is not available.
pub const BGE_ERROR_RUNTIME_UNAVAILABLE: i32 = 22;

/// Memory ran out, in this library or in ONNX Runtime. Later calls are not
/// affected, even if this was the first `bge_open` of the process. That holds
/// for allocations of 64 KB and more, in `bge_open` and in the functions that
/// encode, but not for the vocabulary of a WordPiece tokenizer or of
/// `sentencepiece.bpe.model`, nor for words of more than 2 KB. Where there is
/// no memory even for small allocations, the process aborts.
pub const BGE_ERROR_OUT_OF_MEMORY: i32 = 23;

/// A number of a result is NaN or infinite: weights of the model are damaged,
/// or its numbers grow beyond what its `precision` can hold.
pub const BGE_ERROR_NOT_FINITE: i32 = 24;

/// The call was stopped by its `bge_cancel`.
pub const BGE_ERROR_CANCELLED: i32 = 40;

/// The call was stopped by its `timeout_ms`.
pub const BGE_ERROR_TIMEOUT: i32 = 41;

/// As many asynchronous calls as `queue_capacity` allows are unfinished; try
/// again later.
pub const BGE_ERROR_QUEUE_FULL: i32 = 42;

/// The model was closed before the call could finish.
pub const BGE_ERROR_CLOSED: i32 = 43;

/// ONNX Runtime failed while it ran the model.
pub const BGE_ERROR_INFERENCE: i32 = 60;

/// A bug in the library was caught at its boundary. Please report it.
pub const BGE_ERROR_INTERNAL: i32 = 61;

/// The `text_index` of an error that is not due to a single text.
pub const BGE_NO_TEXT: u64 = u64::MAX;

/// The index that `bge_similarity_top_k` stores where no further row was found.
pub const BGE_NO_ROW: u64 = u64::MAX;

/// The length of a dense vector of bge-m3. Other models have other lengths: see
/// the `dense_dim` of `bge_info`.
pub const BGE_M3_DIM: u32 = 1024;

/// The processor.
pub const BGE_DEVICE_CPU: u32 = 0;

/// An NVIDIA GPU, by ONNX Runtime's execution provider for CUDA. It needs the
/// build of libonnxruntime for GPUs, `libonnxruntime_providers_cuda.so` beside
/// it, the CUDA libraries that it was built for, and a driver. If one of them
/// is missing, `bge_open` names it and returns `BGE_ERROR_RUNTIME_UNAVAILABLE`.
/// The whole model runs there: no part of it falls back to the CPU.
pub const BGE_DEVICE_CUDA: u32 = 1;

/// An NVIDIA GPU, by ONNX Runtime's execution provider for TensorRT. It needs
/// what `BGE_DEVICE_CUDA` needs, and `libonnxruntime_providers_tensorrt.so`,
/// TensorRT and cuDNN.
///
/// It runs engines that `bge_prepare` or the command `bge prepare` has built on
/// this machine, which takes minutes, in the `cache_dir` of the options, which
/// is required. `bge_open` builds none: without engines it returns
/// `BGE_ERROR_MODEL_NOT_FOUND`. `compute_type` must be `BGE_COMPUTE_FP16` or
/// `BGE_COMPUTE_BF16`. Texts are padded, and the memory of the GPU holds the
/// weights once for each of up to five ranges of lengths: fewer with a smaller
/// `max_tokens`.
pub const BGE_DEVICE_TENSORRT: u32 = 2;

/// Leave the weights in their mapped file instead of packing them into memory
/// of this process, and free memory after every batch.
///
/// The model opens in a moment, and most of what it uses is page cache, which
/// other processes share and the system can reclaim. Batches are slower. An
/// ONNX export gains only as far as its tensors lie in files beside it. Weights
/// stored in fp16 or bf16 are refused: they have to be widened in memory. In
/// fp32, ONNX Runtime multiplies with this flag, so that the texts of a batch
/// change each other's vectors by rounding.
pub const BGE_OPEN_SMALL_MEMORY: u32 = 1;

/// Run `tokenizer.json` as it is.
///
/// By default tokens are those of the version of transformers that the
/// directory names, in `config_sentence_transformers.json` or else in
/// `config.json`; if it names none, those of transformers 5. Before version 5,
/// sentence-transformers removes white space around a text, and transformers
/// adds the tokens of `tokenizer_config.json`, `special_tokens_map.json` and
/// `added_tokens.json` to the file. Since version 5, transformers takes only
/// the vocabulary and the character map out of the file, and builds the rest
/// anew. With this flag none of that is done: a space at the end of a text may
/// be a token.
pub const BGE_OPEN_RAW_TOKENIZER: u32 = 2;

/// Scale dense vectors to length 1 even if the model does not, after
/// `truncate_dim` has cut them.
pub const BGE_ENCODE_NORMALIZE: u32 = 1;

/// Fail with `BGE_ERROR_TEXT_TOO_LONG` instead of cutting a text.
pub const BGE_ENCODE_REJECT_LONG: u32 = 2;

/// Remove white space around each text first, as Python's `str.strip` does.
/// sentence-transformers did before version 5.4; for a model saved by such a
/// version this is done without the flag, unless it was opened with
/// `BGE_OPEN_RAW_TOKENIZER`.
pub const BGE_ENCODE_STRIP: u32 = 4;

/// Report the error of a single text for that text alone instead of failing the
/// call. `bge_encode_alloc` reports it in `bge_encode_result`. For
/// `bge_encode`, `bge_embeddings.statuses` has the same effect without this
/// flag, and is required with it.
pub const BGE_ENCODE_PER_TEXT_ERRORS: u32 = 8;

/// A vector for each text.
pub const BGE_OUTPUT_DENSE: u32 = 1;

/// A weight for each token that a text contains, as lexical search needs them.
pub const BGE_OUTPUT_SPARSE: u32 = 2;

/// A vector for each token of a text, as late interaction (ColBERT) needs them.
pub const BGE_OUTPUT_MULTI: u32 = 4;

/// The final state of each token of a text, special tokens included, as
/// sentence-transformers' `token_embeddings`. Every model has this, except ONNX
/// exports that output vectors of whole texts only.
pub const BGE_OUTPUT_TOKENS: u32 = 8;

/// The cosine of the angle, -1 to 1. A vector of length 0 scores 0.
pub const BGE_METRIC_COSINE: u32 = 0;

/// The dot product. Equals the cosine for vectors of length 1.
pub const BGE_METRIC_DOT: u32 = 1;

/// The Euclidean distance, negated: at most 0.
pub const BGE_METRIC_EUCLIDEAN: u32 = 2;

/// The Manhattan distance, negated: at most 0.
pub const BGE_METRIC_MANHATTAN: u32 = 3;

/// Floating point of 32 bits.
pub const BGE_COMPUTE_FP32: u32 = 0;

/// Integers of 8 bits, with a scale for each row of a weight and for each
/// token, and exact sums. Everything but the products with the weights of the
/// layers stays in floating point. Refused on a GPU, and on a processor with
/// neither AVX-512 VNNI nor AVX2, where it would be slower.
pub const BGE_COMPUTE_INT8: u32 = 1;

/// Floating point of 16 bits, states of tokens included. Sums within products
/// and in LayerNorm have 32 bits, and so has all that follows the last layer.
/// Refused on the CPU. A text whose numbers grow beyond 65504 fails with
/// `BGE_ERROR_NOT_FINITE`.
pub const BGE_COMPUTE_FP16: u32 = 2;

/// Floating point of 32 bits, of which products read the first 19. Refused on
/// the CPU.
pub const BGE_COMPUTE_TF32: u32 = 3;

/// Floating point of 16 bits with the range of `BGE_COMPUTE_FP32` and about
/// three decimal digits: for a model whose numbers grow beyond 65504. Otherwise
/// the same numbers have 32 bits as with `BGE_COMPUTE_FP16`. With TensorRT
/// only.
pub const BGE_COMPUTE_BF16: u32 = 4;

/// A byte for each dimension, -128 to 127: an `int8_t`.
pub const BGE_PRECISION_INT8: u32 = 0;

/// A byte for each dimension, 0 to 255.
pub const BGE_PRECISION_UINT8: u32 = 1;

/// A bit for each dimension, 1 where the number is greater than 0. Eight bits
/// make a byte, the first in its highest bit; then 128 is subtracted from each
/// byte, which makes it an `int8_t`. Bits after the last dimension are 0.
pub const BGE_PRECISION_BINARY: u32 = 2;

/// A bit for each dimension, 1 where the number is greater than 0. Eight bits
/// make a byte, the first in its highest bit: a `uint8_t`. Bits after the last
/// dimension are 0.
pub const BGE_PRECISION_UBINARY: u32 = 3;

/// Use the formulas of sentence-transformers before version 6.
pub const BGE_QUANTIZE_ST5: u32 = 1;

/// No lines.
pub const BGE_LOG_OFF: u32 = 0;

/// Failures.
pub const BGE_LOG_ERROR: u32 = 1;

/// What works, but not as it should.
pub const BGE_LOG_WARN: u32 = 2;

/// Rare events that are worth knowing, such as a model that was opened.
pub const BGE_LOG_INFO: u32 = 3;

/// Details that help to find a fault in the library.
pub const BGE_LOG_DEBUG: u32 = 4;
