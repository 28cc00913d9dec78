/* Scores of sparse weights and multi-vectors against double loops, and the
 * edges of the arguments. */

#include "check.h"

enum { DIM = 8, COUNT = 3, ENTRIES = 64, ROWS = 64 };

static const char *texts[COUNT] = {"di di luar di luar", "", "Orang-orang ada di luar."};
static uint64_t sparse_offsets[COUNT + 1], offsets[COUNT + 1];
static uint32_t ids[ENTRIES];
static float weights[ENTRIES], rows[ROWS * DIM];
static float scores[COUNT * (COUNT + 2)];
static bge_similarity_options options = BGE_SIMILARITY_OPTIONS_INIT;

static void encode(void) {
    bge_embeddings out = BGE_EMBEDDINGS_INIT;
    bge_model *model;
    CHECK_OK(bge_open(check_model("heads"), NULL, &model, &error));
    out.sparse_offsets = sparse_offsets;
    out.sparse_ids = ids;
    out.sparse_weights = weights;
    out.sparse_capacity = ENTRIES;
    out.multi_offsets = offsets;
    out.multi = rows;
    out.multi_capacity = ROWS * DIM;
    CHECK_OK(bge_encode(model, texts, NULL, COUNT, NULL, &out, &error));
    bge_close(model);
}

static double sparse_score(size_t a, size_t b) {
    double sum = 0;
    size_t i, j;
    for (i = sparse_offsets[a]; i < sparse_offsets[a + 1]; i++)
        for (j = sparse_offsets[b]; j < sparse_offsets[b + 1]; j++)
            if (ids[i] == ids[j]) sum += (double)weights[i] * weights[j];
    return sum;
}

static double multi_score(size_t a, size_t b) {
    double sum = 0;
    size_t i, j, k;
    for (i = offsets[a]; i < offsets[a + 1]; i++) {
        double max = -INFINITY;
        for (j = offsets[b]; j < offsets[b + 1]; j++) {
            double dot = 0;
            for (k = 0; k < DIM; k++) dot += (double)rows[i * DIM + k] * rows[j * DIM + k];
            if (dot > max) max = dot;
        }
        sum += max;
    }
    return sum / (double)(offsets[a + 1] - offsets[a]);
}

static bge_status sparse(const uint64_t *a_offsets, const uint32_t *a_ids, size_t count,
                         float *to) {
    return bge_similarity_sparse(a_offsets, a_ids, weights, count, sparse_offsets, ids, weights,
                                 COUNT, &options, to, &error);
}

static bge_status multi(const uint64_t *a_offsets, const float *a, size_t count, float *to) {
    return bge_similarity_multi(a_offsets, a, count, offsets, rows, COUNT, DIM, &options, to,
                                &error);
}

static void scores_are_those_of_the_formulas(void) {
    size_t stride, i, j;
    CHECK(sparse_score(0, 0) > 0 && sparse_score(0, 2) != sparse_score(0, 0));
    for (stride = COUNT; stride <= COUNT + 2; stride++) {
        options.scores_stride = stride == COUNT ? 0 : stride;
        options.threads = (uint32_t)(stride - COUNT);
        memset(scores, 0x5a, sizeof scores);
        CHECK_OK(sparse(sparse_offsets, ids, COUNT, scores));
        for (i = 0; i < COUNT; i++) {
            for (j = 0; j < COUNT; j++)
                CHECK_NEAR(scores[i * stride + j], sparse_score(i, j), 1e-6);
            for (; j < stride; j++)
                CHECK(check_untouched(&scores[i * stride + j], sizeof(float)));
        }
        CHECK_OK(multi(offsets, rows, COUNT, scores));
        for (i = 0; i < COUNT; i++)
            for (j = 0; j < COUNT; j++)
                CHECK_NEAR(scores[i * stride + j], multi_score(i, j), 1e-6);
    }
    options.scores_stride = 0;
    options.threads = 2;
    /* Texts from the middle: offsets need not begin at 0. */
    CHECK_OK(multi(offsets + 1, rows, 2, scores));
    CHECK_NEAR(scores[COUNT], multi_score(2, 0), 1e-6);
    CHECK_OK(sparse(sparse_offsets + 2, ids, 1, scores));
    CHECK_NEAR(scores[0], sparse_score(2, 0), 1e-6);
}

static void arguments_are_checked(void) {
    const uint64_t falling[] = {0, 2, 1, 1}, none[] = {0, 0, 0, 0};
    const uint64_t huge[] = {0, 1, 1, UINT64_MAX};
    const uint32_t unsorted[] = {9, 5, 4, 3, 2, 1};
    memset(scores, 0x5a, sizeof scores);
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT, sparse(falling, ids, COUNT, scores), "a_offsets[1] is 2");
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT, multi(falling, rows, COUNT, scores), "a_offsets[1] is 2");
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT, sparse(huge, ids, COUNT, scores), "a_ids");
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT, multi(huge, rows, COUNT, scores), "memory");
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT, sparse(sparse_offsets, unsorted, COUNT, scores),
                "text 0 of a do not ascend");
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT, sparse(NULL, ids, 1, scores), "a_offsets is NULL");
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT, sparse(sparse_offsets, NULL, 1, scores), "a_ids is NULL");
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT, multi(offsets, NULL, 1, scores), "a is NULL");
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT, multi(offsets, rows, 1, NULL), "scores is NULL");
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT, multi(offsets, rows, SIZE_MAX, scores), "scores");
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT, sparse(sparse_offsets, ids, SIZE_MAX, scores),
                "scores");
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT, sparse(sparse_offsets, ids, 1, weights), "overlap");
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT, multi(offsets, rows, 1, rows + 8), "overlap");
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT,
                bge_similarity_multi(offsets, rows, 1, offsets, rows, 1, 0, NULL, scores, &error),
                "dim is 0");
    options.threads = 1025;
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT, multi(offsets, rows, 1, scores), "threads is 1025");
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT, sparse(sparse_offsets, ids, 1, scores),
                "threads is 1025");
    options.threads = 0;
    options.scores_stride = COUNT - 1;
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT, multi(offsets, rows, 1, scores), "scores_stride is 2");
    options.scores_stride = 0;
    CHECK(check_untouched(scores, sizeof scores));
    CHECK_OK(sparse(NULL, NULL, 0, NULL));
    CHECK_OK(multi(NULL, NULL, 0, NULL));
    /* Texts without anything need no memory, and score 0. */
    CHECK_OK(sparse(none, NULL, COUNT, scores));
    CHECK_NEAR(scores[8], 0, 0);
    CHECK_OK(multi(none, NULL, COUNT, scores));
    CHECK_NEAR(scores[8], 0, 0);
}

static void scores_of_several_kinds_are_mixed(void) {
    float d[] = {0.5f, 1, -1}, s[] = {0.25f, 0, 3}, m[] = {1, 0.5f, 0.5f};
    const float weights[] = {3, 1, 0}, none[] = {0, 0, 1}, negative[] = {1, 1, -1};
    size_t i;
    memset(scores, 0x5a, sizeof scores);
    CHECK_OK(bge_similarity_hybrid(d, s, m, 3, NULL, scores, &error));
    for (i = 0; i < 3; i++) CHECK_NEAR(scores[i], (d[i] + s[i] + m[i]) / 3, 1e-7);
    CHECK_OK(bge_similarity_hybrid(d, s, m, 3, weights, scores, &error));
    for (i = 0; i < 3; i++) CHECK_NEAR(scores[i], (3 * d[i] + s[i]) / 4, 1e-7);
    CHECK_OK(bge_similarity_hybrid(NULL, s, m, 3, NULL, scores, &error));
    for (i = 0; i < 3; i++) CHECK_NEAR(scores[i], (s[i] + m[i]) / 2, 1e-7);
    CHECK_OK(bge_similarity_hybrid(d, s, NULL, 2, negative, scores, &error));
    CHECK_NEAR(scores[1], 0.5, 0);
    CHECK_NEAR(scores[2], (s[2] + m[2]) / 2, 1e-7);
    CHECK(check_untouched(scores + 3, sizeof scores - 3 * sizeof *scores));
    CHECK_OK(bge_similarity_hybrid(d, NULL, NULL, 0, NULL, NULL, &error));
    memset(scores, 0x5a, sizeof scores);
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT,
                bge_similarity_hybrid(NULL, NULL, NULL, 3, NULL, scores, &error), "missing");
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT,
                bge_similarity_hybrid(d, s, NULL, 3, none, scores, &error),
                "the weights of dense and sparse are all 0");
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT,
                bge_similarity_hybrid(d, s, m, 3, negative, scores, &error), "multi is -1");
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT,
                bge_similarity_hybrid(d, s, m, 3, NULL, NULL, &error), "scores is NULL");
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT,
                bge_similarity_hybrid(d, s, m, 3, NULL, s + 2, &error), "scores and sparse overlap");
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT,
                bge_similarity_hybrid(d, s, m, 3, m, m, &error), "overlap");
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT,
                bge_similarity_hybrid(d, NULL, NULL, SIZE_MAX, NULL, scores, &error), "dense");
    CHECK(check_untouched(scores, sizeof scores));
}

int main(int argc, char **argv) {
    if (argc > 1) check_tiny = argv[1];
    encode();
    scores_are_those_of_the_formulas();
    arguments_are_checked();
    scores_of_several_kinds_are_mixed();
    return check_done();
}
