/* What the header promises of all but dense vectors: where the results lie,
 * how much room they need, and which of them are computed. */

#include "check.h"

enum { DIM = 32, MULTI_DIM = 8, COUNT = 3, ENTRIES = 15, ROWS = 24, TOKENS = 27, ROOM = 64 };

static bge_model *model;

static const char *texts[COUNT] = {"di di luar di luar", "", "Orang-orang ada di luar."};

static float dense[COUNT * DIM], weights[ROOM], multi[ROOM * MULTI_DIM];
static float tokens[ROOM * DIM];
static uint64_t sparse_offsets[COUNT + 2], multi_offsets[COUNT + 2], token_offsets[COUNT + 2];
static uint32_t ids[ROOM], token_counts[COUNT];
static bge_embeddings out;

enum {
    NONE = 0,
    DENSE = BGE_OUTPUT_DENSE,
    SPARSE = BGE_OUTPUT_SPARSE,
    MULTI = BGE_OUTPUT_MULTI,
    STATES = BGE_OUTPUT_TOKENS
};

/* As before each call: exactly the room that is needed for what is asked. */
static void ask(int outputs) {
    static const bge_embeddings no_room = BGE_EMBEDDINGS_INIT;
    out = no_room;
    out.token_counts = token_counts;
    if (outputs & DENSE) {
        out.dense = dense;
        out.dense_capacity = COUNT * DIM;
    }
    if (outputs & SPARSE) {
        out.sparse_offsets = sparse_offsets;
        out.sparse_ids = ids;
        out.sparse_weights = weights;
        out.sparse_capacity = ENTRIES;
    }
    if (outputs & MULTI) {
        out.multi_offsets = multi_offsets;
        out.multi = multi;
        out.multi_capacity = ROWS * MULTI_DIM;
    }
    if (outputs & STATES) {
        out.token_offsets = token_offsets;
        out.token_embeddings = tokens;
        out.token_embeddings_capacity = TOKENS * DIM;
    }
    memset(dense, 0x5a, sizeof dense);
    memset(weights, 0x5a, sizeof weights);
    memset(multi, 0x5a, sizeof multi);
    memset(tokens, 0x5a, sizeof tokens);
    memset(token_offsets, 0x5a, sizeof token_offsets);
    memset(sparse_offsets, 0x5a, sizeof sparse_offsets);
    memset(multi_offsets, 0x5a, sizeof multi_offsets);
    memset(ids, 0x5a, sizeof ids);
    memset(token_counts, 0x5a, sizeof token_counts);
}

static int sparse_untouched(void) {
    return check_untouched(sparse_offsets, sizeof sparse_offsets) &&
           check_untouched(ids, sizeof ids) && check_untouched(weights, sizeof weights);
}

static int multi_untouched(void) {
    return check_untouched(multi_offsets, sizeof multi_offsets) &&
           check_untouched(multi, sizeof multi);
}

static int tokens_untouched(void) {
    return check_untouched(token_offsets, sizeof token_offsets) &&
           check_untouched(tokens, sizeof tokens);
}

static bge_status encode(void) {
    return bge_encode(model, texts, NULL, COUNT, NULL, &out, &error);
}

static void never(void *user_data, bge_status status, const bge_error *e) {
    (void)user_data, (void)status, (void)e;
    check_fail(__FILE__, __LINE__, "a callback", "ran though its call failed");
}

static bge_status encode_async(void) {
    return bge_encode_async(model, texts, NULL, COUNT, NULL, &out, never, NULL, &error);
}

/* Both forms of encode refuse, and neither writes. */
#define ENCODE_FAILS(status, words) \
    do { \
        CHECK_FAILS(status, encode(), words); \
        CHECK_FAILS(status, encode_async(), words); \
        CHECK(check_untouched(dense, sizeof dense)); \
        CHECK(sparse_untouched() && multi_untouched() && tokens_untouched()); \
        CHECK(check_untouched(token_counts, sizeof token_counts)); \
    } while (0)

static void check_dense(void) {
    /* From golden.json, as all that follows. */
    CHECK_NEAR(dense[2 * DIM], 0.147160798, 1e-5);
}

static void check_sparse(void) {
    size_t i, text;
    CHECK_EQ(sparse_offsets[0], 0);
    CHECK_EQ(sparse_offsets[1], 2);
    CHECK_EQ(sparse_offsets[2], 2);
    CHECK_EQ(sparse_offsets[3], 5);
    for (text = 0; text < COUNT; text++)
        for (i = sparse_offsets[text]; i < sparse_offsets[text + 1]; i++) {
            CHECK(i == sparse_offsets[text] || ids[i - 1] < ids[i]);
            CHECK(ids[i] > 3 && weights[i] > 0);
        }
    CHECK_EQ(ids[0], 6);
    CHECK_NEAR(weights[0], 0.203967944, 1e-5);
    CHECK_EQ(ids[1], 45);
    CHECK_NEAR(weights[1], 0.0275932699, 1e-5);
    CHECK_EQ(ids[2], 6);
    CHECK_NEAR(weights[2], 0.306256175, 1e-5);
    CHECK_EQ(ids[3], 180);
    CHECK_NEAR(weights[3], 0.0763921887, 1e-5);
    CHECK_EQ(ids[4], 748);
    CHECK_NEAR(weights[4], 0.398126543, 1e-5);
    CHECK(check_untouched(sparse_offsets + 4, sizeof(uint64_t)));
    CHECK(check_untouched(ids + 5, (ROOM - 5) * sizeof(uint32_t)));
    CHECK(check_untouched(weights + 5, (ROOM - 5) * sizeof(float)));
}

static void check_multi(void) {
    size_t row, i;
    CHECK_EQ(multi_offsets[0], 0);
    CHECK_EQ(multi_offsets[1], 10);
    CHECK_EQ(multi_offsets[2], 11);
    CHECK_EQ(multi_offsets[3], ROWS);
    for (row = 0; row < ROWS; row++) {
        double sum = 0;
        for (i = 0; i < MULTI_DIM; i++)
            sum += (double)multi[row * MULTI_DIM + i] * multi[row * MULTI_DIM + i];
        CHECK_NEAR(sum, 1, 1e-6);
    }
    CHECK_NEAR(multi[0], 0.304966837, 1e-5);
    CHECK_NEAR(multi[10 * MULTI_DIM], 0.213912383, 1e-5);
    CHECK_NEAR(multi[ROWS * MULTI_DIM - 1], -0.476857334, 1e-5);
    CHECK(check_untouched(multi_offsets + 4, sizeof(uint64_t)));
    CHECK(check_untouched(multi + ROWS * MULTI_DIM, (ROOM - ROWS) * MULTI_DIM * sizeof(float)));
}

/* The first of them is what the dense vector is made of: divided by its length. */
static void check_tokens(void) {
    double sum = 0;
    size_t i;
    CHECK_EQ(token_offsets[0], 0);
    CHECK_EQ(token_offsets[1], 11);
    CHECK_EQ(token_offsets[2], 13);
    CHECK_EQ(token_offsets[3], TOKENS);
    for (i = 0; i < DIM; i++) sum += (double)tokens[13 * DIM + i] * tokens[13 * DIM + i];
    CHECK(sum > 1.5);
    CHECK_NEAR(tokens[13 * DIM] / sqrt(sum), 0.147160798, 1e-5);
    for (i = 0; i < TOKENS * DIM; i++) CHECK(isfinite(tokens[i]));
    CHECK(check_untouched(token_offsets + 4, sizeof(uint64_t)));
    CHECK(check_untouched(tokens + TOKENS * DIM, (ROOM - TOKENS) * DIM * sizeof(float)));
}

static void what_is_asked_for_is_written_and_nothing_else(void) {
    int outputs;
    for (outputs = 1; outputs < 16; outputs++) {
        ask(outputs);
        CHECK_OK(encode());
        CHECK_EQ(token_counts[0], 11);
        if (outputs & DENSE)
            check_dense();
        else
            CHECK(check_untouched(dense, sizeof dense));
        if (outputs & SPARSE)
            check_sparse();
        else
            CHECK(sparse_untouched());
        if (outputs & MULTI)
            check_multi();
        else
            CHECK(multi_untouched());
        if (outputs & STATES)
            check_tokens();
        else
            CHECK(tokens_untouched());
    }
    ask(NONE);
    ENCODE_FAILS(BGE_ERROR_INVALID_ARGUMENT, "nothing is asked for");
    ask(SPARSE);
    out.dense_capacity = DIM;
    ENCODE_FAILS(BGE_ERROR_INVALID_ARGUMENT, "dense is NULL, but dense_capacity is 32");
}

static void no_texts_have_no_results(void) {
    ask(DENSE | SPARSE | MULTI | STATES);
    CHECK_OK(bge_encode(model, NULL, NULL, 0, NULL, &out, &error));
    CHECK_EQ(sparse_offsets[0], 0);
    CHECK_EQ(multi_offsets[0], 0);
    CHECK_EQ(token_offsets[0], 0);
    CHECK(check_untouched(sparse_offsets + 1, sizeof sparse_offsets - sizeof *sparse_offsets));
    CHECK(check_untouched(ids, sizeof ids) && check_untouched(multi, sizeof multi));
    ask(SPARSE | MULTI);
    out.sparse_ids = NULL;
    out.sparse_weights = NULL;
    out.sparse_capacity = 0;
    out.multi = NULL;
    out.multi_capacity = 0;
    CHECK_OK(bge_encode(model, NULL, NULL, 0, NULL, &out, &error));
    CHECK_EQ(sparse_offsets[0], 0);
    /* A text of special tokens alone has a row, but nothing to weigh. */
    ask(SPARSE);
    out.sparse_ids = NULL;
    out.sparse_weights = NULL;
    out.sparse_capacity = 0;
    CHECK_OK(bge_encode(model, texts + 1, NULL, 1, NULL, &out, &error));
    CHECK_EQ(sparse_offsets[1], 0);
}

static void room_is_checked_to_the_entry(void) {
    ask(DENSE | SPARSE | MULTI);
    out.sparse_capacity = ENTRIES - 1;
    ENCODE_FAILS(BGE_ERROR_BUFFER_TOO_SMALL, "need room for 15 entries");
    CHECK_HAS(error.message, "sparse_capacity is 14");
    CHECK(error.text_index == BGE_NO_TEXT);
    ask(DENSE | SPARSE | MULTI);
    out.multi_capacity = ROWS * MULTI_DIM - 1;
    ENCODE_FAILS(BGE_ERROR_BUFFER_TOO_SMALL, "need 192 floats: 24 rows of 8");
    CHECK_HAS(error.message, "multi_capacity is 191");
    ask(DENSE | STATES);
    out.token_embeddings_capacity = TOKENS * DIM - 1;
    ENCODE_FAILS(BGE_ERROR_BUFFER_TOO_SMALL, "need 864 floats: 27 rows of 32");
    CHECK_HAS(error.message, "token_embeddings_capacity is 863");
    /* Asking with no room at all is a way to learn how much is needed. */
    ask(MULTI);
    out.multi = NULL;
    out.multi_capacity = 0;
    ENCODE_FAILS(BGE_ERROR_BUFFER_TOO_SMALL, "192");
    ask(STATES);
    out.token_embeddings = NULL;
    out.token_embeddings_capacity = 0;
    ENCODE_FAILS(BGE_ERROR_BUFFER_TOO_SMALL, "864");
    /* As much as one may claim. */
    ask(SPARSE | MULTI | STATES);
    out.sparse_capacity = SIZE_MAX;
    out.multi_capacity = SIZE_MAX;
    out.token_embeddings_capacity = SIZE_MAX;
    CHECK_OK(encode());
    check_sparse();
    check_multi();
    check_tokens();
}

/* What the header says of counting first, and of not counting. */
static void room_can_be_told_from_token_counts(void) {
    uint32_t counts[COUNT];
    size_t i, entries = 0, rows = 0;
    CHECK_OK(bge_count_tokens(model, texts, NULL, COUNT, counts, &error));
    for (i = 0; i < COUNT; i++) {
        entries += counts[i] - 2;
        rows += counts[i] - 1;
    }
    CHECK_EQ(rows, ROWS);
    ask(SPARSE | MULTI);
    CHECK(entries >= ENTRIES && entries <= ROOM);
    out.sparse_capacity = entries;
    out.multi_capacity = rows * MULTI_DIM;
    CHECK_OK(encode());
    check_sparse();
    check_multi();
}

static void pointers_are_checked(void) {
    size_t i;
    for (i = 0; i < 13; i++) {
        void *misaligned = (char *)multi + 2;
        ask(DENSE | SPARSE | MULTI | STATES);
        if (i == 0) out.sparse_offsets = NULL;
        if (i == 1) out.sparse_ids = NULL;
        if (i == 2) out.sparse_weights = NULL;
        if (i == 3) out.multi_offsets = NULL;
        if (i == 4) out.multi = NULL;
        if (i == 5) out.token_offsets = NULL;
        if (i == 6) out.token_embeddings = NULL;
        if (i == 7) out.sparse_offsets = misaligned;
        if (i == 8) out.sparse_ids = misaligned;
        if (i == 9) out.sparse_weights = misaligned;
        if (i == 10) out.multi = misaligned;
        if (i == 11) out.token_offsets = misaligned;
        if (i == 12) out.token_embeddings = misaligned;
        ENCODE_FAILS(BGE_ERROR_INVALID_ARGUMENT, i < 7 ? "is NULL" : "multiple of");
    }
    for (i = 0; i < 9; i++) {
        ask(DENSE | SPARSE | MULTI | STATES);
        if (i == 0) out.sparse_offsets = (uint64_t *)(void *)multi;
        if (i == 1) out.sparse_ids = (uint32_t *)(void *)(dense + COUNT * DIM - 1);
        if (i == 2) out.sparse_weights = (float *)(void *)ids;
        if (i == 3) out.multi_offsets = sparse_offsets + COUNT;
        if (i == 4) out.multi = weights + ENTRIES - 1;
        if (i == 5) out.multi = dense;
        if (i == 6) out.token_counts = (uint32_t *)(void *)multi_offsets;
        if (i == 7) out.token_offsets = multi_offsets + COUNT;
        if (i == 8) out.token_embeddings = multi;
        ENCODE_FAILS(BGE_ERROR_INVALID_ARGUMENT, "overlap");
    }
    /* What is beyond the need is not written, and may be somebody else's. */
    ask(SPARSE);
    out.sparse_ids = (uint32_t *)(void *)multi;
    out.sparse_weights = multi + ENTRIES;
    out.sparse_capacity = ENTRIES + 1;
    CHECK_OK(encode());
}

static void models_say_what_they_have(void) {
    char folder[4096];
    bge_open_options open = BGE_OPEN_OPTIONS_INIT;
    bge_info info = BGE_INFO_INIT;
    bge_model *heads = model;
    CHECK_OK(bge_get_info(model, &info, &error));
    CHECK_EQ(info.outputs,
             BGE_OUTPUT_DENSE | BGE_OUTPUT_SPARSE | BGE_OUTPUT_MULTI | BGE_OUTPUT_TOKENS);
    CHECK_EQ(info.token_dim, DIM);
    CHECK_EQ(info.multi_dim, MULTI_DIM);
    CHECK_OK(bge_open(check_model("cls"), NULL, &model, &error));
    CHECK_OK(bge_get_info(model, &info, &error));
    CHECK_EQ(info.outputs, BGE_OUTPUT_DENSE | BGE_OUTPUT_TOKENS);
    CHECK_EQ(info.multi_dim, 0);
    ask(DENSE | SPARSE);
    ENCODE_FAILS(BGE_ERROR_UNSUPPORTED, "neither sparse_linear.pt nor");
    ask(MULTI);
    ENCODE_FAILS(BGE_ERROR_UNSUPPORTED, "neither colbert_linear.pt nor");
    ask(DENSE | STATES);
    CHECK_OK(encode());
    bge_close(model);
    /* With heads from another folder. */
    snprintf(folder, sizeof folder, "%s", check_model("heads-forms/f32"));
    open.heads_dir = folder;
    CHECK_OK(bge_open(check_model("cls"), &open, &model, &error));
    CHECK_OK(bge_get_info(model, &info, &error));
    CHECK_EQ(info.outputs,
             BGE_OUTPUT_DENSE | BGE_OUTPUT_SPARSE | BGE_OUTPUT_MULTI | BGE_OUTPUT_TOKENS);
    CHECK_EQ(info.multi_dim, MULTI_DIM);
    ask(DENSE | SPARSE | MULTI);
    CHECK_OK(encode());
    bge_close(model);
    model = heads;
}

int main(int argc, char **argv) {
    if (argc > 1) check_tiny = argv[1];
    CHECK_OK(bge_open(check_model("heads"), NULL, &model, &error));
    what_is_asked_for_is_written_and_nothing_else();
    no_texts_have_no_results();
    room_is_checked_to_the_entry();
    room_can_be_told_from_token_counts();
    pointers_are_checked();
    models_say_what_they_have();
    bge_close(model);
    return check_done();
}
