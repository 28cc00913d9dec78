/* The best rows against a sort of all scores, in every layout, and the edges of
 * the arguments. */

#include "check.h"

enum { QUERIES = 37, ROWS = 1301, DIM = 67, MOST = 1400 };

static const bge_metric metrics[] = {BGE_METRIC_COSINE, BGE_METRIC_DOT, BGE_METRIC_EUCLIDEAN,
                                     BGE_METRIC_MANHATTAN};

static float queries[QUERIES * (DIM + 5)], corpus[ROWS * (DIM + 9)];
static float all[QUERIES * ROWS], scores[QUERIES * (MOST + 3)];
static uint64_t indices[QUERIES * MOST];

/* Few different numbers, so that many scores are equal, and some rows too. */
static void fill(float *to, size_t count, uint32_t seed, uint32_t values) {
    while (count--) {
        seed = seed * 1664525u + 1013904223u;
        *to++ = (float)((seed >> 8) % values) - (float)(values / 2);
    }
}

/* How often `place` has been given out in the row that is looked at. */
static int seen[ROWS];

/* The best of row `query` are those of a sort by score, then by number, which
 * shows without one: they descend, and nothing that was left out is better. */
static void check_query(size_t query, size_t rows, size_t k, const float *row_scores) {
    const float *of_query = all + query * rows;
    const uint64_t *found = indices + query * k;
    size_t i, there = k < rows ? k : rows;
    memset(seen, 0, sizeof seen);
    for (i = 0; i < there; i++) {
        CHECK(found[i] < rows && !seen[found[i]]++);
        CHECK(memcmp(&row_scores[i], &of_query[found[i]], sizeof(float)) == 0);
        if (i > 0)
            CHECK(row_scores[i - 1] > row_scores[i] ||
                  (row_scores[i - 1] == row_scores[i] && found[i - 1] < found[i]));
    }
    for (i = 0; i < rows && there > 0; i++)
        CHECK(seen[i] || of_query[i] < row_scores[there - 1] ||
              (of_query[i] == row_scores[there - 1] && i > found[there - 1]));
    for (i = there; i < k; i++) CHECK(found[i] == BGE_NO_ROW && isnan(row_scores[i]));
}

static void compare(bge_metric metric, size_t count, size_t rows, size_t k,
                    const bge_similarity_options *options) {
    bge_similarity_options plain = *options;
    const size_t stride = options->scores_stride ? options->scores_stride : k;
    size_t i, j;
    plain.scores_stride = 0;
    CHECK_OK(bge_similarity(metric, queries, count, corpus, rows, DIM, &plain, all, &error));
    memset(scores, 0x5a, sizeof scores);
    memset(indices, 0x5a, sizeof indices);
    CHECK_OK(bge_similarity_top_k(metric, queries, count, corpus, rows, DIM, k, options, indices,
                                  scores, &error));
    for (i = 0; i < count; i++) {
        check_query(i, rows, k, scores + i * stride);
        for (j = k; j < stride && i + 1 < count; j++)
            CHECK(check_untouched(&scores[i * stride + j], sizeof(float)));
    }
    CHECK(check_untouched(indices + count * k, sizeof indices - count * k * sizeof *indices));
}

static void the_best_are_those_of_a_sort(void) {
    static const size_t shapes[][3] = {{1, 1, 1},       {1, 5, 3},    {5, 1, 1},   {2, 3, 5},
                                       {1, ROWS, 10},   {9, ROWS, 1}, {17, 100, 100},
                                       {QUERIES, ROWS, 13}, {3, ROWS, MOST}, {8, 7, 0}};
    uint32_t values;
    size_t m, s;
    for (values = 3; values < 2000000; values *= 1000) {
        fill(queries, sizeof queries / sizeof *queries, 1, values);
        fill(corpus, sizeof corpus / sizeof *corpus, 2, values);
        for (m = 0; m < 4; m++) {
            for (s = 0; s < sizeof shapes / sizeof *shapes; s++) {
                const size_t *shape = shapes[s];
                bge_similarity_options options = BGE_SIMILARITY_OPTIONS_INIT;
                compare(metrics[m], shape[0], shape[1], shape[2], &options);
                options.a_stride = DIM + 5;
                options.b_stride = DIM + 9;
                options.scores_stride = shape[2] + 3;
                options.threads = 3;
                compare(metrics[m], shape[0], shape[1], shape[2], &options);
            }
        }
    }
}

static void equals_come_in_the_order_of_the_corpus_on_any_threads(void) {
    bge_similarity_options options = BGE_SIMILARITY_OPTIONS_INIT;
    size_t i, m;
    fill(queries, DIM, 1, 100);
    for (i = 0; i < ROWS; i++) memcpy(corpus + i * DIM, queries + DIM, DIM * sizeof(float));
    for (m = 0; m < 4; m++)
        for (options.threads = 1; options.threads < 6; options.threads++) {
            CHECK_OK(bge_similarity_top_k(metrics[m], queries, 1, corpus, ROWS, DIM, 50, &options,
                                          indices, scores, &error));
            for (i = 0; i < 50; i++) CHECK_EQ(indices[i], i);
        }
}

/* No score that is NaN is found, and one that is infinite is. */
static void nan_and_infinity(void) {
    float x[4 * 2] = {1, 2, NAN, 1, 3e38f, 3e38f, -3e38f, -3e38f}, q[2] = {4, 4}, bad[2] = {NAN, 0};
    size_t i;
    CHECK_OK(bge_similarity_top_k(BGE_METRIC_DOT, q, 1, x, 4, 2, 4, NULL, indices, scores, &error));
    CHECK(indices[0] == 2 && indices[1] == 0 && indices[2] == 3 && indices[3] == BGE_NO_ROW);
    CHECK(scores[0] == INFINITY && scores[1] == 12 && scores[2] == -INFINITY && isnan(scores[3]));
    CHECK_OK(bge_similarity_top_k(BGE_METRIC_DOT, q, 1, x, 4, 2, 1, NULL, indices, scores, &error));
    CHECK(indices[0] == 2);
    CHECK_OK(
        bge_similarity_top_k(BGE_METRIC_COSINE, bad, 1, x, 4, 2, 4, NULL, indices, scores, &error));
    for (i = 0; i < 4; i++) CHECK(indices[i] == BGE_NO_ROW && isnan(scores[i]));
}

#define FAILS(words, metric, q, count, x, dim, options, to, to_scores) \
    do { \
        memset(indices, 0x5a, sizeof indices); \
        memset(scores, 0x5a, sizeof scores); \
        CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT, \
                    bge_similarity_top_k(metric, q, count, x, 4, dim, 3, options, to, to_scores, \
                                         &error), \
                    words); \
        CHECK(check_untouched(indices, sizeof indices) && check_untouched(scores, sizeof scores)); \
    } while (0)

static void mistakes_are_refused(void) {
    bge_similarity_options options = BGE_SIMILARITY_OPTIONS_INIT;
    float *odd = (float *)(void *)((char *)scores + 1);
    uint64_t *odd_indices = (uint64_t *)(void *)((char *)indices + 4);
    FAILS("metric is 4", 4, queries, 2, corpus, 2, NULL, indices, scores);
    FAILS("dim is 0", 0, queries, 2, corpus, 0, NULL, indices, scores);
    FAILS("queries is NULL", 0, NULL, 2, corpus, 2, NULL, indices, scores);
    FAILS("corpus is NULL", 0, queries, 2, NULL, 2, NULL, indices, scores);
    FAILS("indices is NULL", 0, queries, 2, corpus, 2, NULL, NULL, scores);
    FAILS("scores is NULL", 0, queries, 2, corpus, 2, NULL, indices, NULL);
    FAILS("multiple of 4", 0, queries, 2, corpus, 2, NULL, indices, odd);
    FAILS("multiple of 8", 0, queries, 2, corpus, 2, NULL, odd_indices, scores);
    FAILS("indices and scores overlap", 0, queries, 2, corpus, 2, NULL, indices,
          (float *)(void *)indices + 2);
    FAILS("scores and queries overlap", 0, queries, 2, corpus, 2, NULL, indices, queries);
    FAILS("scores and corpus overlap", 0, queries, 2, corpus, 2, NULL, indices, corpus);
    FAILS("indices and corpus overlap", 0, queries, 2, (const float *)(const void *)indices, 2,
          NULL, indices, scores);
    FAILS("memory", 0, queries, SIZE_MAX, corpus, 2, NULL, indices, scores);
    options.a_stride = 1;
    FAILS("a_stride is 1", 0, queries, 2, corpus, 2, &options, indices, scores);
    options.a_stride = 0;
    options.scores_stride = 2;
    FAILS("scores_stride is 2", 0, queries, 2, corpus, 2, &options, indices, scores);
    options.scores_stride = 0;
    options.threads = 1025;
    FAILS("threads", 0, queries, 2, corpus, 2, &options, indices, scores);
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT,
                bge_similarity_top_k(0, queries, 1, corpus, 1, 2, SIZE_MAX / 2, NULL, indices,
                                     scores, &error),
                "indices");
}

static void nothing_to_do_is_no_error(void) {
    memset(indices, 0x5a, sizeof indices);
    CHECK_OK(bge_similarity_top_k(0, NULL, 0, NULL, 0, 3, 2, NULL, NULL, NULL, &error));
    CHECK_OK(bge_similarity_top_k(0, queries, 2, corpus, 2, 3, 0, NULL, NULL, NULL, &error));
    CHECK(check_untouched(indices, sizeof indices));
    CHECK_OK(bge_similarity_top_k(0, queries, 2, NULL, 0, 3, 2, NULL, indices, scores, &error));
    CHECK(indices[0] == BGE_NO_ROW && indices[3] == BGE_NO_ROW && isnan(scores[3]));
}

int main(void) {
    the_best_are_those_of_a_sort();
    equals_come_in_the_order_of_the_corpus_on_any_threads();
    nan_and_infinity();
    mistakes_are_refused();
    nothing_to_do_is_no_error();
    return check_done();
}
