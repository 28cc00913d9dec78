/* The structs as a C compiler sees them: a change here breaks programs that
 * were compiled before. Sizes are those of 64-bit systems. */

#include "check.h"

#include <stddef.h>

#define SIZE(type, size) CHECK_EQ(sizeof(type), size)
/* `at` is moved on, so that a gap between two members shows. */
#define MEMBER(type, name) \
    (CHECK_EQ(offsetof(type, name), at), at += sizeof(((type *)0)->name))
#define END(type) CHECK_EQ(sizeof(type), at)

static void members_have_no_gaps(void) {
    size_t at = 0;
    MEMBER(bge_error, code);
    MEMBER(bge_error, runtime_code);
    MEMBER(bge_error, text_index);
    MEMBER(bge_error, message);
    END(bge_error);

    at = 0;
    MEMBER(bge_open_options, struct_size);
    MEMBER(bge_open_options, flags);
    MEMBER(bge_open_options, runtime_library);
    MEMBER(bge_open_options, device);
    MEMBER(bge_open_options, device_index);
    MEMBER(bge_open_options, threads);
    MEMBER(bge_open_options, max_tokens);
    MEMBER(bge_open_options, max_batch_tokens);
    MEMBER(bge_open_options, queue_capacity);
    MEMBER(bge_open_options, heads_dir);
    MEMBER(bge_open_options, onnx_file);
    MEMBER(bge_open_options, compute_type);
    MEMBER(bge_open_options, device_count);
    MEMBER(bge_open_options, max_run_bytes);
    MEMBER(bge_open_options, cache_dir);
    END(bge_open_options);

    at = 0;
    MEMBER(bge_encode_options, struct_size);
    MEMBER(bge_encode_options, flags);
    MEMBER(bge_encode_options, max_tokens);
    MEMBER(bge_encode_options, timeout_ms);
    MEMBER(bge_encode_options, prompt_name);
    MEMBER(bge_encode_options, cancel);
    MEMBER(bge_encode_options, truncate_dim);
    MEMBER(bge_encode_options, reserved);
    END(bge_encode_options);

    at = 0;
    MEMBER(bge_embeddings, struct_size);
    MEMBER(bge_embeddings, flags);
    MEMBER(bge_embeddings, dense);
    MEMBER(bge_embeddings, dense_capacity);
    MEMBER(bge_embeddings, dense_stride);
    MEMBER(bge_embeddings, token_counts);
    MEMBER(bge_embeddings, truncated);
    MEMBER(bge_embeddings, sparse_offsets);
    MEMBER(bge_embeddings, sparse_ids);
    MEMBER(bge_embeddings, sparse_weights);
    MEMBER(bge_embeddings, sparse_capacity);
    MEMBER(bge_embeddings, multi_offsets);
    MEMBER(bge_embeddings, multi);
    MEMBER(bge_embeddings, multi_capacity);
    MEMBER(bge_embeddings, statuses);
    MEMBER(bge_embeddings, token_offsets);
    MEMBER(bge_embeddings, token_embeddings);
    MEMBER(bge_embeddings, token_embeddings_capacity);
    END(bge_embeddings);

    at = 0;
    MEMBER(bge_encode_result, struct_size);
    MEMBER(bge_encode_result, outputs);
    MEMBER(bge_encode_result, memory);
    MEMBER(bge_encode_result, count);
    MEMBER(bge_encode_result, token_counts);
    MEMBER(bge_encode_result, truncated);
    MEMBER(bge_encode_result, statuses);
    MEMBER(bge_encode_result, errors);
    MEMBER(bge_encode_result, error_count);
    MEMBER(bge_encode_result, dense_dim);
    MEMBER(bge_encode_result, dense);
    MEMBER(bge_encode_result, sparse_offsets);
    MEMBER(bge_encode_result, sparse_ids);
    MEMBER(bge_encode_result, sparse_weights);
    MEMBER(bge_encode_result, multi_dim);
    MEMBER(bge_encode_result, multi_offsets);
    MEMBER(bge_encode_result, multi);
    MEMBER(bge_encode_result, token_dim);
    MEMBER(bge_encode_result, token_offsets);
    MEMBER(bge_encode_result, token_embeddings);
    END(bge_encode_result);

    at = 0;
    MEMBER(bge_similarity_options, struct_size);
    MEMBER(bge_similarity_options, threads);
    MEMBER(bge_similarity_options, a_stride);
    MEMBER(bge_similarity_options, b_stride);
    MEMBER(bge_similarity_options, scores_stride);
    END(bge_similarity_options);

    at = 0;
    MEMBER(bge_quantize_options, struct_size);
    MEMBER(bge_quantize_options, flags);
    MEMBER(bge_quantize_options, vectors_stride);
    MEMBER(bge_quantize_options, codes_stride);
    MEMBER(bge_quantize_options, ranges);
    END(bge_quantize_options);

    at = 0;
    MEMBER(bge_info, struct_size);
    MEMBER(bge_info, outputs);
    MEMBER(bge_info, dense_dim);
    MEMBER(bge_info, multi_dim);
    MEMBER(bge_info, vocab_size);
    MEMBER(bge_info, max_tokens);
    MEMBER(bge_info, threads);
    MEMBER(bge_info, max_batch_tokens);
    MEMBER(bge_info, pooling);
    MEMBER(bge_info, precision);
    MEMBER(bge_info, device);
    MEMBER(bge_info, runtime);
    MEMBER(bge_info, token_dim);
    MEMBER(bge_info, similarity);
    END(bge_info);

    at = 0;
    MEMBER(bge_stats, struct_size);
    MEMBER(bge_stats, queue_depth);
    MEMBER(bge_stats, calls);
    MEMBER(bge_stats, failures);
    MEMBER(bge_stats, cancellations);
    MEMBER(bge_stats, texts);
    MEMBER(bge_stats, tokens);
    MEMBER(bge_stats, batches);
    MEMBER(bge_stats, tokenize_ns);
    MEMBER(bge_stats, inference_ns);
    MEMBER(bge_stats, not_finite);
    MEMBER(bge_stats, dropped);
    END(bge_stats);
}

static void sizes_are_those_of_the_first_release(void) {
    SIZE(bge_status, 4);
    SIZE(bge_device, 4);
    SIZE(bge_metric, 4);
    SIZE(bge_compute_type, 4);
    SIZE(bge_precision, 4);
    SIZE(bge_log_level, 4);
    SIZE(bge_error, 1024);
    SIZE(bge_open_options, 80);
    SIZE(bge_encode_options, 40);
    SIZE(bge_embeddings, 136);
    SIZE(bge_encode_result, 152);
    SIZE(bge_similarity_options, 32);
    SIZE(bge_quantize_options, 32);
    SIZE(bge_info, 72);
    SIZE(bge_stats, 88);
}

/* An _INIT value is the size, then zeros: zero is the default of everything. */
#define STARTS_AT_ZERO(type, init) \
    do { \
        static const type zero; \
        type value = init; \
        CHECK_EQ(value.struct_size, sizeof(type)); \
        value.struct_size = 0; \
        CHECK(memcmp(&value, &zero, sizeof zero) == 0); \
    } while (0)

static void starting_values_are_complete(void) {
    STARTS_AT_ZERO(bge_open_options, BGE_OPEN_OPTIONS_INIT);
    STARTS_AT_ZERO(bge_encode_options, BGE_ENCODE_OPTIONS_INIT);
    STARTS_AT_ZERO(bge_embeddings, BGE_EMBEDDINGS_INIT);
    STARTS_AT_ZERO(bge_encode_result, BGE_ENCODE_RESULT_INIT);
    STARTS_AT_ZERO(bge_similarity_options, BGE_SIMILARITY_OPTIONS_INIT);
    STARTS_AT_ZERO(bge_quantize_options, BGE_QUANTIZE_OPTIONS_INIT);
    STARTS_AT_ZERO(bge_info, BGE_INFO_INIT);
    STARTS_AT_ZERO(bge_stats, BGE_STATS_INIT);
}

static void constants_keep_their_numbers(void) {
    CHECK_EQ(BGE_OK, 0);
    CHECK_EQ(BGE_ERROR_INVALID_ARGUMENT, 1);
    CHECK_EQ(BGE_ERROR_INVALID_UTF8, 2);
    CHECK_EQ(BGE_ERROR_TEXT_TOO_LONG, 3);
    CHECK_EQ(BGE_ERROR_BUFFER_TOO_SMALL, 4);
    CHECK_EQ(BGE_ERROR_UNSUPPORTED, 5);
    CHECK_EQ(BGE_ERROR_MODEL_NOT_FOUND, 20);
    CHECK_EQ(BGE_ERROR_MODEL_INVALID, 21);
    CHECK_EQ(BGE_ERROR_RUNTIME_UNAVAILABLE, 22);
    CHECK_EQ(BGE_ERROR_OUT_OF_MEMORY, 23);
    CHECK_EQ(BGE_ERROR_NOT_FINITE, 24);
    CHECK_EQ(BGE_ERROR_CANCELLED, 40);
    CHECK_EQ(BGE_ERROR_TIMEOUT, 41);
    CHECK_EQ(BGE_ERROR_QUEUE_FULL, 42);
    CHECK_EQ(BGE_ERROR_CLOSED, 43);
    CHECK_EQ(BGE_ERROR_INFERENCE, 60);
    CHECK_EQ(BGE_ERROR_INTERNAL, 61);
    CHECK(BGE_NO_TEXT == UINT64_MAX);
    CHECK(BGE_NO_ROW == UINT64_MAX);
    CHECK_EQ(BGE_M3_DIM, 1024);
    CHECK_EQ(BGE_DEVICE_CPU, 0);
    CHECK_EQ(BGE_DEVICE_CUDA, 1);
    CHECK_EQ(BGE_DEVICE_TENSORRT, 2);
    CHECK_EQ(BGE_COMPUTE_FP32, 0);
    CHECK_EQ(BGE_COMPUTE_INT8, 1);
    CHECK_EQ(BGE_COMPUTE_FP16, 2);
    CHECK_EQ(BGE_COMPUTE_TF32, 3);
    CHECK_EQ(BGE_COMPUTE_BF16, 4);
    CHECK_EQ(BGE_ENCODE_NORMALIZE, 1);
    CHECK_EQ(BGE_ENCODE_REJECT_LONG, 2);
    CHECK_EQ(BGE_ENCODE_STRIP, 4);
    CHECK_EQ(BGE_ENCODE_PER_TEXT_ERRORS, 8);
    CHECK_EQ(BGE_OUTPUT_DENSE, 1);
    CHECK_EQ(BGE_OUTPUT_SPARSE, 2);
    CHECK_EQ(BGE_OUTPUT_MULTI, 4);
    CHECK_EQ(BGE_OUTPUT_TOKENS, 8);
    CHECK_EQ(BGE_METRIC_COSINE, 0);
    CHECK_EQ(BGE_METRIC_DOT, 1);
    CHECK_EQ(BGE_METRIC_EUCLIDEAN, 2);
    CHECK_EQ(BGE_METRIC_MANHATTAN, 3);
    CHECK_EQ(BGE_PRECISION_INT8, 0);
    CHECK_EQ(BGE_PRECISION_UINT8, 1);
    CHECK_EQ(BGE_PRECISION_BINARY, 2);
    CHECK_EQ(BGE_PRECISION_UBINARY, 3);
    CHECK_EQ(BGE_QUANTIZE_ST5, 1);
    CHECK_EQ(BGE_LOG_OFF, 0);
    CHECK_EQ(BGE_LOG_DEBUG, 4);
}

int main(void) {
    members_have_no_gaps();
    sizes_are_those_of_the_first_release();
    starting_values_are_complete();
    constants_keep_their_numbers();
    return check_done();
}
