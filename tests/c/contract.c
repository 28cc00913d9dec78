/* What the header promises of encoding and counting: the edges of every
 * argument, old and new callers, and what is written when. */

#include "check.h"

enum { DIM = 32, MAX_TOKENS = 128, ROOM = 8 };

static bge_model *model;

static float vectors[ROOM * DIM];
static uint32_t token_counts[ROOM];
static uint8_t truncated[ROOM];
static bge_embeddings out;
static bge_encode_options options;

static const char *texts[] = {"a", "Orang-orang ada di luar.", ""};

/* As before each call: room for ROOM texts, default options. */
static void reset(void) {
    static const bge_embeddings no_room = BGE_EMBEDDINGS_INIT;
    static const bge_encode_options defaults = BGE_ENCODE_OPTIONS_INIT;
    out = no_room;
    out.dense = vectors;
    out.dense_capacity = ROOM * DIM;
    out.token_counts = token_counts;
    out.truncated = truncated;
    options = defaults;
    memset(vectors, 0x5a, sizeof vectors);
    memset(token_counts, 0x5a, sizeof token_counts);
    memset(truncated, 0x5a, sizeof truncated);
}

static int outputs_untouched(void) {
    return check_untouched(vectors, sizeof vectors) &&
           check_untouched(token_counts, sizeof token_counts) &&
           check_untouched(truncated, sizeof truncated);
}

static bge_status encode(const char *const *some, size_t count) {
    return bge_encode(model, some, NULL, count, &options, &out, &error);
}

static void never(void *user_data, bge_status status, const bge_error *e) {
    (void)user_data, (void)status, (void)e;
    check_fail(__FILE__, __LINE__, "a callback", "ran though its call failed");
}

static bge_status encode_async(const char *const *some, size_t count) {
    return bge_encode_async(model, some, NULL, count, &options, &out, never, NULL, &error);
}

/* Both forms of encode refuse, and neither writes. */
#define ENCODE_FAILS(status, some, count, words) \
    do { \
        CHECK_FAILS(status, encode(some, count), words); \
        CHECK_FAILS(status, encode_async(some, count), words); \
        CHECK(outputs_untouched()); \
    } while (0)

static void encoding(void) {
    static const char with_nul[] = "a\0b";
    const char *pair[] = {with_nul, with_nul};
    const char *null_text[] = {"a", NULL};
    const size_t lengths[] = {3, 1}, lengths_0[] = {0, 0};
    float first[DIM];
    size_t i;

    reset();
    CHECK_OK(encode(texts, 3));
    CHECK_EQ(token_counts[0], 3);
    CHECK_EQ(token_counts[1], 14);
    CHECK_EQ(token_counts[2], 2);
    CHECK_EQ(truncated[0] + truncated[1] + truncated[2], 0);
    /* From golden.json: what sentence-transformers computes. */
    CHECK_NEAR(vectors[0], -0.230958983, 1e-5);
    CHECK_NEAR(vectors[DIM], -0.0776768029, 1e-5);
    CHECK_NEAR(vectors[2 * DIM], -0.423255712, 1e-5);
    CHECK(check_untouched(vectors + 3 * DIM, 5 * DIM * sizeof(float)));
    CHECK(check_untouched(token_counts + 3, 5 * sizeof(uint32_t)));
    CHECK(check_untouched(truncated + 3, 5));

    /* All that is optional left out, and capacity to the float. */
    memcpy(first, vectors, sizeof first);
    reset();
    out.token_counts = NULL;
    out.truncated = NULL;
    out.dense_capacity = DIM;
    CHECK_OK(bge_encode(model, texts, NULL, 1, NULL, &out, &error));
    CHECK_EQ(bge_encode(model, texts, NULL, 1, NULL, &out, NULL), BGE_OK);
    for (i = 0; i < DIM; i++) CHECK_NEAR(vectors[i], first[i], 2e-6);
    CHECK(check_untouched(token_counts, sizeof token_counts));

    /* A length counts, not a NUL. */
    reset();
    CHECK_OK(bge_encode(model, pair, lengths, 2, &options, &out, &error));
    CHECK(token_counts[0] > token_counts[1]);
    for (i = 0; i < DIM; i++) CHECK_NEAR(vectors[DIM + i], first[i], 2e-6);
    /* A text of no bytes needs no address. */
    reset();
    CHECK_OK(bge_encode(model, null_text, lengths_0, 2, &options, &out, &error));
    CHECK_EQ(token_counts[1], 2);
    reset();
    ENCODE_FAILS(BGE_ERROR_INVALID_ARGUMENT, null_text, 2, "texts[1]");
    CHECK_EQ(error.text_index, 1);

    /* No texts: nothing is needed and nothing is written. */
    reset();
    CHECK_OK(encode(NULL, 0));
    out.dense = NULL;
    out.dense_capacity = 0;
    CHECK_OK(encode(NULL, 0));
    CHECK(outputs_untouched());

    reset();
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT,
                bge_encode(NULL, texts, NULL, 1, &options, &out, &error), "model is NULL");
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT,
                bge_encode(model, texts, NULL, 1, &options, NULL, &error), "bge_embeddings");
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT,
                bge_encode_async(model, texts, NULL, 1, &options, &out, NULL, NULL, &error),
                "callback is NULL");
    ENCODE_FAILS(BGE_ERROR_INVALID_ARGUMENT, NULL, 1, "texts is NULL");
    ENCODE_FAILS(BGE_ERROR_INVALID_ARGUMENT, texts, SIZE_MAX, "texts");
    ENCODE_FAILS(BGE_ERROR_INVALID_ARGUMENT, (const char *const *)((const char *)texts + 1), 1,
                 "multiple of");
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT,
                bge_encode(model, texts, (const size_t *)((const char *)lengths + 1), 1, &options,
                           &out, &error),
                "multiple of");
    out.dense = NULL;
    ENCODE_FAILS(BGE_ERROR_INVALID_ARGUMENT, texts, 1, "dense is NULL");
    out.dense_capacity = 0;
    ENCODE_FAILS(BGE_ERROR_INVALID_ARGUMENT, texts, 1, "nothing is asked for");
}

static void malformed_texts(void) {
    /* A stray byte, an overlong form, a surrogate, one cut short, beyond U+10FFFF. */
    const char *bad[] = {"\x80", "\xc0\xaf", "\xed\xa0\x80", "a\xe2\x82", "\xf4\x90\x80\x80"};
    const char *mixed[] = {"a", "b", NULL, "c"};
    uint32_t counts[4];
    size_t i;
    for (i = 0; i < sizeof bad / sizeof *bad; i++) {
        mixed[2] = bad[i];
        reset();
        ENCODE_FAILS(BGE_ERROR_INVALID_UTF8, mixed, 4, "texts[2]");
        CHECK_EQ(error.text_index, 2);
        memset(counts, 0x5a, sizeof counts);
        CHECK_FAILS(BGE_ERROR_INVALID_UTF8,
                    bge_count_tokens(model, mixed, NULL, 4, counts, &error), "texts[2]");
        CHECK_EQ(error.text_index, 2);
        CHECK(check_untouched(counts, sizeof counts));
    }
    reset();
    options.prompt_name = "\xff";
    ENCODE_FAILS(BGE_ERROR_INVALID_UTF8, texts, 1, "prompt_name");
    CHECK(error.text_index == BGE_NO_TEXT);
}

static void options_of_encode(void) {
    char many[1200] = "";
    const char *pair[] = {"a", many}, *spaces[] = {" \t a \n", "a"};
    bge_cancel *cancel = bge_cancel_new();
    size_t i;
    for (i = 0; i < 300; i++) strcat(many, "di ");

    reset();
    CHECK_OK(encode(pair, 2));
    CHECK_EQ(token_counts[1], MAX_TOKENS);
    CHECK_EQ(truncated[0], 0);
    CHECK_EQ(truncated[1], 1);
    options.max_tokens = 2;
    CHECK_OK(encode(pair, 2));
    CHECK_EQ(token_counts[0], 2);
    CHECK_EQ(truncated[0], 1);
    options.max_tokens = MAX_TOKENS;
    CHECK_OK(encode(pair, 2));
    reset();
    options.max_tokens = 1;
    ENCODE_FAILS(BGE_ERROR_INVALID_ARGUMENT, pair, 2, "max_tokens is 1");
    options.max_tokens = MAX_TOKENS + 1;
    ENCODE_FAILS(BGE_ERROR_INVALID_ARGUMENT, pair, 2, "129");
    options.max_tokens = 0;
    options.flags = BGE_ENCODE_REJECT_LONG;
    ENCODE_FAILS(BGE_ERROR_TEXT_TOO_LONG, pair, 2, "128");
    CHECK_EQ(error.text_index, 1);
    options.flags = BGE_ENCODE_REJECT_LONG | BGE_ENCODE_NORMALIZE | BGE_ENCODE_STRIP;
    CHECK_OK(encode(spaces, 2));
    for (i = 0; i < DIM; i++) CHECK_NEAR(vectors[i], vectors[DIM + i], 2e-6);
    for (i = 4; i < 32; i++) {
        reset();
        options.flags = 1u << i;
        ENCODE_FAILS(BGE_ERROR_UNSUPPORTED, texts, 1, "flags");
    }
    reset();
    options.prompt_name = "no such prompt";
    ENCODE_FAILS(BGE_ERROR_INVALID_ARGUMENT, texts, 1, "no such prompt");
    options.prompt_name = "";
    CHECK_OK(encode(texts, 1));
    reset();
    options.cancel = cancel;
    CHECK_OK(encode(texts, 1));
    bge_cancel_trigger(cancel);
    bge_cancel_trigger(cancel);
    CHECK_FAILS(BGE_ERROR_CANCELLED, encode(texts, 1), "stopped");
    bge_cancel_free(cancel);
    bge_cancel_free(NULL);
    bge_cancel_trigger(NULL);
}

static void buffers_and_strides(void) {
    float *misaligned = (float *)(void *)((char *)vectors + 2);
    size_t i;

    reset();
    out.dense_capacity = 3 * DIM - 1;
    ENCODE_FAILS(BGE_ERROR_BUFFER_TOO_SMALL, texts, 3, "3 texts need 96 floats");
    CHECK(error.text_index == BGE_NO_TEXT);
    /* Rows apart, and nothing after the last. */
    reset();
    out.dense_stride = DIM + 3;
    out.dense_capacity = 2 * (DIM + 3) + DIM;
    CHECK_OK(encode(texts, 3));
    CHECK(check_untouched(vectors + DIM, 3 * sizeof(float)));
    CHECK(check_untouched(vectors + 2 * DIM + 3, 3 * sizeof(float)));
    CHECK(check_untouched(vectors + 3 * DIM + 6, (5 * DIM - 6) * sizeof(float)));
    CHECK_NEAR(vectors[2 * (DIM + 3)], -0.423255712, 1e-5);
    reset();
    out.dense_stride = DIM + 3;
    out.dense_capacity = 2 * (DIM + 3) + DIM - 1;
    ENCODE_FAILS(BGE_ERROR_BUFFER_TOO_SMALL, texts, 3, "102");
    out.dense_stride = DIM - 1;
    ENCODE_FAILS(BGE_ERROR_INVALID_ARGUMENT, texts, 3, "dense_stride is 31");
    out.dense_stride = SIZE_MAX;
    ENCODE_FAILS(BGE_ERROR_INVALID_ARGUMENT, texts, 3, "memory");
    /* One row has no distance to another. */
    out.dense_capacity = DIM;
    CHECK_OK(encode(texts, 1));

    /* A call that cuts its vectors needs as much less. */
    reset();
    options.truncate_dim = 8;
    out.dense_capacity = 3 * 8 - 1;
    ENCODE_FAILS(BGE_ERROR_BUFFER_TOO_SMALL, texts, 3, "3 texts need 24 floats");
    out.dense_capacity++;
    CHECK_OK(encode(texts, 3));
    CHECK_NEAR(vectors[2 * 8], -0.423255712, 1e-5);
    CHECK(check_untouched(vectors + 3 * 8, 5 * DIM * sizeof(float)));
    reset();
    options.truncate_dim = 8;
    out.dense_stride = 7;
    ENCODE_FAILS(BGE_ERROR_INVALID_ARGUMENT, texts, 3, "dense_stride is 7, less than the 8");
    options.truncate_dim = DIM + 1;
    ENCODE_FAILS(BGE_ERROR_INVALID_ARGUMENT, texts, 3, "truncate_dim is 33; it may be 1 to 32");
    options.truncate_dim = UINT32_MAX;
    ENCODE_FAILS(BGE_ERROR_INVALID_ARGUMENT, texts, 3, "truncate_dim is 4294967295");
    reset();
    options.reserved = 1;
    ENCODE_FAILS(BGE_ERROR_UNSUPPORTED, texts, 3, "bge_encode_options.reserved is 1");

    reset();
    out.dense = misaligned;
    ENCODE_FAILS(BGE_ERROR_INVALID_ARGUMENT, texts, 1, "multiple of 4");
    reset();
    out.token_counts = (uint32_t *)(void *)misaligned;
    ENCODE_FAILS(BGE_ERROR_INVALID_ARGUMENT, texts, 1, "token_counts");
    reset();
    out.token_counts = (uint32_t *)(void *)(vectors + DIM - 1);
    ENCODE_FAILS(BGE_ERROR_INVALID_ARGUMENT, texts, 1, "overlap");
    reset();
    out.truncated = (uint8_t *)(vectors + 1);
    ENCODE_FAILS(BGE_ERROR_INVALID_ARGUMENT, texts, 1, "overlap");
    reset();
    out.truncated = (uint8_t *)token_counts + 11;
    ENCODE_FAILS(BGE_ERROR_INVALID_ARGUMENT, texts, 3, "overlap");

    for (i = 0; i < 7; i++) {
        reset();
        if (i == 0) out.sparse_offsets = (uint64_t *)(void *)vectors;
        if (i == 1) out.sparse_ids = token_counts;
        if (i == 2) out.sparse_weights = vectors;
        if (i == 3) out.sparse_capacity = 1;
        if (i == 4) out.multi_offsets = (uint64_t *)(void *)vectors;
        if (i == 5) out.multi = vectors;
        if (i == 6) out.multi_capacity = 1;
        ENCODE_FAILS(BGE_ERROR_UNSUPPORTED, texts, 1, i < 4 ? "sparse" : "multi");
    }
    reset();
    out.flags = 1;
    ENCODE_FAILS(BGE_ERROR_UNSUPPORTED, texts, 1, "bge_embeddings.flags");
}

/* Structs of callers that were compiled with another version of the header. */
static void old_and_new_callers(void) {
    static const uint32_t wrong[] = {0, 1, 4, 31, 4097, UINT32_MAX};
    union {
        bge_embeddings out;
        bge_encode_options options;
        bge_open_options open;
        unsigned char bytes[4096];
    } grown;
    bge_open_options open = BGE_OPEN_OPTIONS_INIT;
    bge_model *m;
    size_t i;

    for (i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        reset();
        options.struct_size = wrong[i];
        ENCODE_FAILS(BGE_ERROR_INVALID_ARGUMENT, texts, 1, "bge_encode_options.struct_size");
        reset();
        out.struct_size = wrong[i];
        ENCODE_FAILS(BGE_ERROR_INVALID_ARGUMENT, texts, 1, "bge_embeddings.struct_size");
        open.struct_size = wrong[i];
        CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT, bge_open(check_model("cls"), &open, &m, &error),
                    "bge_open_options.struct_size");
    }
    /* A newer caller that leaves what is new at zero is served, up to the limit. */
    reset();
    memset(&grown, 0, sizeof grown);
    grown.options = options;
    grown.options.struct_size = sizeof grown;
    CHECK_OK(bge_encode(model, texts, NULL, 1, &grown.options, &out, &error));
    grown.bytes[sizeof grown - 1] = 1;
    CHECK_FAILS(BGE_ERROR_UNSUPPORTED,
                bge_encode(model, texts, NULL, 1, &grown.options, &out, &error),
                "bge_encode_options has 4096 bytes");
    grown.bytes[sizeof grown - 1] = 0;
    grown.out = out;
    grown.out.struct_size = sizeof(bge_embeddings) + 8;
    CHECK_OK(bge_encode(model, texts, NULL, 1, NULL, &grown.out, &error));
    /* What lies after the struct is not looked at. */
    grown.bytes[sizeof(bge_embeddings) + 8] = 1;
    CHECK_OK(bge_encode(model, texts, NULL, 1, NULL, &grown.out, &error));
    grown.bytes[sizeof(bge_embeddings)] = 1;
    CHECK_FAILS(BGE_ERROR_UNSUPPORTED,
                bge_encode(model, texts, NULL, 1, NULL, &grown.out, &error), "bge_embeddings");
    memset(&grown, 0, sizeof grown);
    grown.open.struct_size = sizeof(bge_open_options) + 4;
    grown.bytes[sizeof(bge_open_options) + 3] = 1;
    CHECK_FAILS(BGE_ERROR_UNSUPPORTED, bge_open(check_model("cls"), &grown.open, &m, &error),
                "bge_open_options");
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT,
                bge_open(check_model("cls"), (bge_open_options *)(grown.bytes + 4), &m, &error),
                "multiple of 8");
}

static void counting(void) {
    uint32_t counts[3] = {9, 9, 9};
    CHECK_OK(bge_count_tokens(model, texts, NULL, 3, counts, &error));
    CHECK_EQ(counts[0], 3);
    CHECK_EQ(counts[1], 14);
    CHECK_EQ(counts[2], 2);
    CHECK_OK(bge_count_tokens(model, NULL, NULL, 0, NULL, &error));
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT,
                bge_count_tokens(NULL, texts, NULL, 1, counts, &error), "model");
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT,
                bge_count_tokens(model, NULL, NULL, 1, counts, &error), "texts");
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT,
                bge_count_tokens(model, texts, NULL, 1, NULL, &error), "counts");
}

static void prompts(void) {
    const char *plain[] = {"a"}, *written_out[] = {"query: a"};
    float named[ROOM * DIM];
    bge_model *cls = model;
    size_t i;
    CHECK_OK(bge_open(check_model("prompts"), NULL, &model, &error));
    reset();
    options.prompt_name = "query";
    CHECK_OK(encode(plain, 1));
    memcpy(named, vectors, sizeof named);
    reset();
    CHECK_OK(encode(written_out, 1));
    for (i = 0; i < 16; i++) CHECK_NEAR(vectors[i], named[i], 2e-6);
    options.prompt_name = "nope";
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT, encode(plain, 1), "query");
    bge_close(model);
    model = cls;
}

static void what_is_counted(void) {
    bge_stats before = BGE_STATS_INIT, after = BGE_STATS_INIT;
    reset();
    CHECK_OK(bge_get_stats(model, &before, &error));
    CHECK_OK(encode(texts, 3));
    options.prompt_name = "nope";
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT, encode(texts, 3), "nope");
    options.prompt_name = NULL;
    /* The time of a run is counted after its results are out: before the next. */
    CHECK_OK(encode(texts, 3));
    CHECK_OK(bge_get_stats(model, &after, &error));
    CHECK_EQ(after.calls - before.calls, 3);
    CHECK_EQ(after.failures - before.failures, 1);
    CHECK_EQ(after.cancellations, before.cancellations);
    CHECK_EQ(after.texts - before.texts, 6);
    CHECK_EQ(after.tokens - before.tokens, 38);
    CHECK(after.batches > before.batches);
    CHECK(after.inference_ns > before.inference_ns);
    CHECK_EQ(after.queue_depth, 0);
}

int main(int argc, char **argv) {
    if (argc > 1) check_tiny = argv[1];
    CHECK_OK(bge_open(check_model("cls"), NULL, &model, &error));
    encoding();
    malformed_texts();
    options_of_encode();
    buffers_and_strides();
    old_and_new_callers();
    counting();
    prompts();
    what_is_counted();
    bge_close(model);
    return check_done();
}
