/* What the header promises of results that the library allocates: the same
 * numbers as in buffers of the caller, NULL for the rest, and one owner. */

#include "check.h"

#include <pthread.h>

enum { DIM = 32, MULTI_DIM = 8, COUNT = 3, ROOM = 64, ALL = 15 };

static bge_model *model;

static const char *texts[COUNT] = {"di di luar di luar", "", "Orang-orang ada di luar."};

/* The second is not UTF-8, the fourth has 14 tokens. */
static const char *mixed[] = {"di di luar di luar", "a\xff", "", "Orang-orang ada di luar.", "di"};
enum { MIXED = 5 };

static const bge_encode_result empty = BGE_ENCODE_RESULT_INIT;

static int is_empty(const bge_encode_result *result) {
    return !memcmp(result, &empty, sizeof empty);
}

/* What bge_encode stores for the texts. */
static float dense[COUNT * DIM], weights[ROOM], multi[ROOM * MULTI_DIM], tokens[ROOM * DIM];
static uint64_t sparse_offsets[COUNT + 1], multi_offsets[COUNT + 1], token_offsets[COUNT + 1];
static uint32_t ids[ROOM], token_counts[COUNT];
static uint8_t truncated[COUNT];

static void encode_into_buffers(uint32_t outputs) {
    bge_embeddings out = BGE_EMBEDDINGS_INIT;
    out.token_counts = token_counts;
    out.truncated = truncated;
    if (outputs & BGE_OUTPUT_DENSE) {
        out.dense = dense;
        out.dense_capacity = COUNT * DIM;
    }
    if (outputs & BGE_OUTPUT_SPARSE) {
        out.sparse_offsets = sparse_offsets;
        out.sparse_ids = ids;
        out.sparse_weights = weights;
        out.sparse_capacity = ROOM;
    }
    if (outputs & BGE_OUTPUT_MULTI) {
        out.multi_offsets = multi_offsets;
        out.multi = multi;
        out.multi_capacity = ROOM * MULTI_DIM;
    }
    if (outputs & BGE_OUTPUT_TOKENS) {
        out.token_offsets = token_offsets;
        out.token_embeddings = tokens;
        out.token_embeddings_capacity = ROOM * DIM;
    }
    CHECK_OK(bge_encode(model, texts, NULL, COUNT, NULL, &out, &error));
}

static void check_results(const bge_encode_result *result, uint32_t outputs) {
    CHECK_EQ(result->struct_size, sizeof *result);
    CHECK_EQ(result->outputs, outputs);
    CHECK(result->memory != NULL);
    CHECK_EQ(result->count, COUNT);
    CHECK(!memcmp(result->token_counts, token_counts, sizeof token_counts));
    CHECK(!memcmp(result->truncated, truncated, sizeof truncated));
    CHECK(result->statuses == NULL && result->errors == NULL);
    CHECK_EQ(result->error_count, 0);
    if (outputs & BGE_OUTPUT_DENSE) {
        CHECK_EQ(result->dense_dim, DIM);
        CHECK(!memcmp(result->dense, dense, sizeof dense));
    } else {
        CHECK_EQ(result->dense_dim, 0);
        CHECK(result->dense == NULL);
    }
    if (outputs & BGE_OUTPUT_SPARSE) {
        size_t entries = sparse_offsets[COUNT];
        CHECK(!memcmp(result->sparse_offsets, sparse_offsets, sizeof sparse_offsets));
        CHECK(!memcmp(result->sparse_ids, ids, entries * sizeof *ids));
        CHECK(!memcmp(result->sparse_weights, weights, entries * sizeof *weights));
    } else {
        CHECK(result->sparse_offsets == NULL && result->sparse_ids == NULL);
        CHECK(result->sparse_weights == NULL);
    }
    if (outputs & BGE_OUTPUT_MULTI) {
        size_t rows = multi_offsets[COUNT];
        CHECK_EQ(result->multi_dim, MULTI_DIM);
        CHECK(!memcmp(result->multi_offsets, multi_offsets, sizeof multi_offsets));
        CHECK(!memcmp(result->multi, multi, rows * MULTI_DIM * sizeof *multi));
    } else {
        CHECK_EQ(result->multi_dim, 0);
        CHECK(result->multi_offsets == NULL && result->multi == NULL);
    }
    if (outputs & BGE_OUTPUT_TOKENS) {
        size_t rows = token_offsets[COUNT];
        CHECK_EQ(result->token_dim, DIM);
        CHECK(!memcmp(result->token_offsets, token_offsets, sizeof token_offsets));
        CHECK(!memcmp(result->token_embeddings, tokens, rows * DIM * sizeof *tokens));
    } else {
        CHECK_EQ(result->token_dim, 0);
        CHECK(result->token_offsets == NULL && result->token_embeddings == NULL);
    }
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int ended;

static void done(void *user_data, bge_status status, const bge_error *e) {
    pthread_mutex_lock(&lock);
    *(bge_status *)user_data = e ? e->code : status;
    ended = 1;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
}

static void never(void *user_data, bge_status status, const bge_error *e) {
    (void)user_data, (void)status, (void)e;
    check_fail(__FILE__, __LINE__, "a callback", "ran though its call failed");
}

/* Starts a call and waits for its callback. */
static bge_status encode_async(const char **given, size_t count, uint32_t outputs,
                               const bge_encode_options *options, bge_encode_result *result) {
    bge_status status = -1;
    ended = 0;
    CHECK_OK(bge_encode_alloc_async(model, given, NULL, count, outputs, options, result, done,
                                    &status, &error));
    pthread_mutex_lock(&lock);
    while (!ended) pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    return status;
}

static void the_numbers_are_those_of_bge_encode(void) {
    uint32_t outputs;
    for (outputs = 1; outputs <= ALL; outputs++) {
        bge_encode_result result = BGE_ENCODE_RESULT_INIT;
        encode_into_buffers(outputs);
        CHECK_OK(bge_encode_alloc(model, texts, NULL, COUNT, outputs, NULL, &result, &error));
        check_results(&result, outputs);
        bge_encode_result_free(&result);
        CHECK(is_empty(&result));
        CHECK_EQ(encode_async(texts, COUNT, outputs, NULL, &result), BGE_OK);
        check_results(&result, outputs);
        bge_encode_result_free(&result);
        CHECK(is_empty(&result));
    }
}

static void options_hold_as_for_bge_encode(void) {
    bge_encode_result result = BGE_ENCODE_RESULT_INIT;
    bge_encode_options options = BGE_ENCODE_OPTIONS_INIT;
    options.max_tokens = 5;
    options.truncate_dim = 7;
    CHECK_OK(bge_encode_alloc(model, texts, NULL, COUNT, ALL, &options, &result, &error));
    CHECK_EQ(result.dense_dim, 7);
    CHECK_EQ(result.truncated[0], 1);
    CHECK_EQ(result.truncated[1], 0);
    CHECK_EQ(result.token_counts[0], 5);
    CHECK_EQ(result.token_offsets[1], 5);
    CHECK_EQ(result.multi_offsets[1], 4);
    bge_encode_result_free(&result);
}

/* Nothing to compute leaves the offsets, which hold a single 0. */
static void no_texts_have_no_results(void) {
    bge_encode_result result = BGE_ENCODE_RESULT_INIT;
    CHECK_OK(bge_encode_alloc(model, NULL, NULL, 0, ALL, NULL, &result, &error));
    CHECK_EQ(result.count, 0);
    CHECK_EQ(result.sparse_offsets[0], 0);
    CHECK_EQ(result.multi_offsets[0], 0);
    CHECK_EQ(result.token_offsets[0], 0);
    CHECK(result.dense == NULL && result.sparse_ids == NULL && result.multi == NULL);
    CHECK(result.token_counts == NULL && result.truncated == NULL);
    bge_encode_result_free(&result);
    CHECK_OK(bge_encode_alloc(model, NULL, NULL, 0, 0, NULL, &result, &error));
    CHECK_EQ(result.outputs, 0);
    CHECK(result.sparse_offsets == NULL);
    bge_encode_result_free(&result);
    /* A text of special tokens alone has rows, but no weights. */
    CHECK_OK(bge_encode_alloc(model, texts + 1, NULL, 1, BGE_OUTPUT_SPARSE, NULL, &result, &error));
    CHECK_EQ(result.sparse_offsets[1], 0);
    CHECK(result.sparse_ids == NULL && result.sparse_weights == NULL);
    bge_encode_result_free(&result);
}

static void check_mixed(const bge_encode_result *result) {
    static const bge_status expected[MIXED] = {BGE_OK, BGE_ERROR_INVALID_UTF8, BGE_OK,
                                               BGE_ERROR_TEXT_TOO_LONG, BGE_OK};
    CHECK_EQ(result->count, MIXED);
    CHECK(!memcmp(result->statuses, expected, sizeof expected));
    CHECK_EQ(result->error_count, 2);
    CHECK_EQ(result->errors[0].code, BGE_ERROR_INVALID_UTF8);
    CHECK_EQ(result->errors[0].text_index, 1);
    CHECK_HAS(result->errors[0].message, "texts[1] is not UTF-8: the byte at offset 1");
    CHECK_EQ(result->errors[1].code, BGE_ERROR_TEXT_TOO_LONG);
    CHECK_EQ(result->errors[1].text_index, 3);
    CHECK_HAS(result->errors[1].message, "the text has more than 12 tokens");
    CHECK_EQ(result->token_counts[1], 0);
    CHECK(isnan(result->dense[DIM]) && !isnan(result->dense[0]));
    CHECK_EQ(result->multi_offsets[1], result->multi_offsets[2]);
}

static void errors_of_single_texts_are_reported(void) {
    const uint32_t outputs = BGE_OUTPUT_DENSE | BGE_OUTPUT_MULTI;
    bge_encode_result result = BGE_ENCODE_RESULT_INIT;
    bge_encode_options options = BGE_ENCODE_OPTIONS_INIT;
    options.max_tokens = 12;
    options.flags = BGE_ENCODE_REJECT_LONG | BGE_ENCODE_PER_TEXT_ERRORS;
    CHECK_OK(bge_encode_alloc(model, mixed, NULL, MIXED, outputs, &options, &result, &error));
    check_mixed(&result);
    bge_encode_result_free(&result);
    CHECK_EQ(encode_async(mixed, MIXED, outputs, &options, &result), BGE_OK);
    check_mixed(&result);
    bge_encode_result_free(&result);
    CHECK_OK(bge_encode_alloc(model, texts, NULL, 1, outputs, &options, &result, &error));
    CHECK_EQ(result.statuses[0], BGE_OK);
    CHECK(result.errors == NULL);
    CHECK_EQ(result.error_count, 0);
    bge_encode_result_free(&result);
    /* Without the flag the first one fails the call. */
    options.flags = BGE_ENCODE_REJECT_LONG;
    CHECK_FAILS(BGE_ERROR_INVALID_UTF8,
                bge_encode_alloc(model, mixed, NULL, MIXED, outputs, &options, &result, &error),
                "texts[1]");
    CHECK(is_empty(&result));
}

/* In bge_encode they need a place. */
static void the_flag_needs_statuses_in_bge_encode(void) {
    bge_encode_options options = BGE_ENCODE_OPTIONS_INIT;
    bge_embeddings out = BGE_EMBEDDINGS_INIT;
    bge_status statuses[1];
    float vector[DIM];
    options.flags = BGE_ENCODE_PER_TEXT_ERRORS;
    out.dense = vector;
    out.dense_capacity = DIM;
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT,
                bge_encode(model, texts, NULL, 1, &options, &out, &error),
                "BGE_ENCODE_PER_TEXT_ERRORS is set, but embeddings.statuses is NULL");
    out.statuses = statuses;
    CHECK_OK(bge_encode(model, texts, NULL, 1, &options, &out, &error));
    CHECK_EQ(statuses[0], BGE_OK);
}

/* Both forms refuse, and leave nothing to release. */
#define ALLOC_FAILS(status, words, m, t, n, bits, o) \
    do { \
        bge_encode_result failed = BGE_ENCODE_RESULT_INIT; \
        failed.count = 77; \
        CHECK_FAILS(status, bge_encode_alloc(m, t, NULL, n, bits, o, &failed, &error), words); \
        CHECK(is_empty(&failed)); \
        failed.count = 77; \
        CHECK_FAILS(status, \
                    bge_encode_alloc_async(m, t, NULL, n, bits, o, &failed, never, NULL, &error), \
                    words); \
        CHECK(is_empty(&failed)); \
    } while (0)

static void a_call_that_fails_leaves_nothing(void) {
    bge_encode_options options = BGE_ENCODE_OPTIONS_INIT;
    bge_encode_result result = BGE_ENCODE_RESULT_INIT;
    bge_model *heads = model, *cls;
    bge_cancel *cancel = bge_cancel_new();
    const char *null = NULL;
    ALLOC_FAILS(BGE_ERROR_INVALID_ARGUMENT, "model is NULL", NULL, texts, COUNT, ALL, NULL);
    ALLOC_FAILS(BGE_ERROR_INVALID_ARGUMENT, "texts is NULL", heads, NULL, COUNT, ALL, NULL);
    ALLOC_FAILS(BGE_ERROR_INVALID_ARGUMENT, "texts[0] is NULL", heads, &null, 1, ALL, NULL);
    ALLOC_FAILS(BGE_ERROR_INVALID_ARGUMENT, "outputs is 0", heads, texts, COUNT, 0, NULL);
    ALLOC_FAILS(BGE_ERROR_UNSUPPORTED, "outputs is 0x11; the known bits are 0xf", heads, texts,
                COUNT, 17, NULL);
    options.flags = 16;
    ALLOC_FAILS(BGE_ERROR_UNSUPPORTED, "flags", heads, texts, COUNT, ALL, &options);
    options.flags = 0;
    options.truncate_dim = DIM + 1;
    ALLOC_FAILS(BGE_ERROR_INVALID_ARGUMENT, "truncate_dim", heads, texts, COUNT, ALL, &options);
    options.truncate_dim = 0;
    CHECK_OK(bge_open(check_model("cls"), NULL, &cls, &error));
    ALLOC_FAILS(BGE_ERROR_UNSUPPORTED, "neither sparse_linear.pt nor", cls, texts, COUNT,
                BGE_OUTPUT_SPARSE, NULL);
    bge_close(cls);
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT,
                bge_encode_alloc_async(model, texts, NULL, COUNT, ALL, NULL, &result, NULL, NULL,
                                       &error),
                "callback is NULL");
    /* One that fails after it has begun. */
    bge_cancel_trigger(cancel);
    options.cancel = cancel;
    CHECK_FAILS(BGE_ERROR_CANCELLED,
                bge_encode_alloc(model, texts, NULL, COUNT, ALL, &options, &result, &error), "");
    CHECK(is_empty(&result));
    CHECK_EQ(encode_async(texts, COUNT, ALL, &options, &result), BGE_ERROR_CANCELLED);
    CHECK(is_empty(&result));
    bge_cancel_free(cancel);
}

static void the_struct_is_checked(void) {
    union {
        uint64_t aligned;
        unsigned char bytes[sizeof(bge_encode_result) + 16];
    } grown;
    bge_encode_result *result = (bge_encode_result *)(void *)grown.bytes;
    uint32_t size = sizeof grown.bytes;
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT,
                bge_encode_alloc(model, texts, NULL, COUNT, ALL, NULL, NULL, &error),
                "bge_encode_result is NULL");
    memset(&grown, 0, sizeof grown);
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT,
                bge_encode_alloc(model, texts, NULL, COUNT, ALL, NULL, result, &error),
                "struct_size is 0, not at least 152");
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT,
                bge_encode_alloc(model, texts, NULL, COUNT, ALL, NULL,
                                 (bge_encode_result *)(void *)(grown.bytes + 4), &error),
                "not a multiple of 8");
    /* Of a newer caller, whose further members stay zero. */
    memcpy(grown.bytes, &size, sizeof size);
    CHECK_OK(bge_encode_alloc(model, texts, NULL, COUNT, ALL, NULL, result, &error));
    CHECK_EQ(result->struct_size, size);
    CHECK(!memcmp(result->dense, dense, sizeof dense));
    CHECK_EQ(grown.bytes[sizeof *result], 0);
    bge_encode_result_free(result);
    CHECK_EQ(result->struct_size, size);
    CHECK(result->memory == NULL && result->dense == NULL);
}

static void a_result_has_one_owner(void) {
    bge_encode_result result = BGE_ENCODE_RESULT_INIT;
    bge_model *other;
    CHECK_OK(bge_encode_alloc(model, texts, NULL, COUNT, ALL, NULL, &result, &error));
    /* Its memory would be lost. */
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT,
                bge_encode_alloc(model, texts, NULL, COUNT, ALL, NULL, &result, &error),
                "pass it to bge_encode_result_free first");
    check_results(&result, ALL);
    bge_encode_result_free(&result);
    bge_encode_result_free(&result);
    bge_encode_result_free(NULL);
    CHECK(is_empty(&result));
    /* It outlives its model. */
    CHECK_OK(bge_open(check_model("heads"), NULL, &other, &error));
    CHECK_OK(bge_encode_alloc(other, texts, NULL, COUNT, ALL, NULL, &result, &error));
    bge_close(other);
    check_results(&result, ALL);
    bge_encode_result_free(&result);
}

static bge_encode_result shared = BGE_ENCODE_RESULT_INIT;

static void free_in_callback(void *user_data, bge_status status, const bge_error *e) {
    if (status == BGE_OK && shared.count == COUNT) bge_encode_result_free(&shared);
    done(user_data, status, e);
}

static void a_callback_may_release_its_result(void) {
    bge_status status = -1;
    ended = 0;
    CHECK_OK(bge_encode_alloc_async(model, texts, NULL, COUNT, ALL, NULL, &shared,
                                    free_in_callback, &status, &error));
    pthread_mutex_lock(&lock);
    while (!ended) pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    CHECK_EQ(status, BGE_OK);
    CHECK(is_empty(&shared));
}

int main(int argc, char **argv) {
    if (argc > 1) check_tiny = argv[1];
    CHECK_OK(bge_open(check_model("heads"), NULL, &model, &error));
    the_numbers_are_those_of_bge_encode();
    options_hold_as_for_bge_encode();
    no_texts_have_no_results();
    errors_of_single_texts_are_reported();
    the_flag_needs_statuses_in_bge_encode();
    a_call_that_fails_leaves_nothing();
    the_struct_is_checked();
    a_result_has_one_owner();
    a_callback_may_release_its_result();
    bge_close(model);
    return check_done();
}
