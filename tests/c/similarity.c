/* Scores against double loops, in every layout, and the edges of the arguments. */

#include "check.h"

enum { ROWS = 37, DIM = 51 };

static const bge_metric metrics[] = {BGE_METRIC_COSINE, BGE_METRIC_DOT, BGE_METRIC_EUCLIDEAN,
                                     BGE_METRIC_MANHATTAN};

static float a[ROWS * (DIM + 5)], b[ROWS * (DIM + 9)];
static float scores[ROWS * (ROWS + 3)];

static void fill(float *to, size_t count, uint32_t seed) {
    while (count--) {
        seed = seed * 1664525u + 1013904223u;
        *to++ = (float)(seed >> 8) / (float)(1 << 23) - 1.0f;
    }
}

static double naive(bge_metric metric, const float *x, const float *y, size_t dim) {
    double dot = 0, xx = 0, yy = 0, squares = 0, sum = 0;
    size_t i;
    for (i = 0; i < dim; i++) {
        double d = (double)x[i] - y[i];
        dot += (double)x[i] * y[i];
        xx += (double)x[i] * x[i];
        yy += (double)y[i] * y[i];
        squares += d * d;
        sum += fabs(d);
    }
    switch (metric) {
        case BGE_METRIC_COSINE: return xx == 0 || yy == 0 ? 0 : dot / sqrt(xx) / sqrt(yy);
        case BGE_METRIC_DOT: return dot;
        case BGE_METRIC_EUCLIDEAN: return -sqrt(squares);
        default: return -sum;
    }
}

/* `options` NULL: rows without gaps. */
static void compare(bge_metric metric, size_t a_rows, size_t b_rows, size_t dim,
                    const bge_similarity_options *options) {
    const size_t a_stride = options && options->a_stride ? options->a_stride : dim;
    const size_t b_stride = options && options->b_stride ? options->b_stride : dim;
    const size_t stride = options && options->scores_stride ? options->scores_stride : b_rows;
    const size_t pairs = a_rows < b_rows ? a_rows : b_rows;
    size_t i, j;

    memset(scores, 0x5a, sizeof scores);
    CHECK_OK(bge_similarity(metric, a, a_rows, b, b_rows, dim, options, scores, &error));
    for (i = 0; i < a_rows; i++) {
        for (j = 0; j < b_rows; j++)
            CHECK_NEAR(scores[i * stride + j],
                       naive(metric, a + i * a_stride, b + j * b_stride, dim), 2e-5);
        for (j = b_rows; j < stride; j++)
            CHECK(check_untouched(&scores[i * stride + j], sizeof(float)));
    }
    memset(scores, 0x5a, sizeof scores);
    CHECK_OK(bge_similarity_pairwise(metric, a, b, pairs, dim, options, scores, &error));
    for (i = 0; i < pairs; i++)
        CHECK_NEAR(scores[i], naive(metric, a + i * a_stride, b + i * b_stride, dim), 2e-5);
    CHECK(check_untouched(scores + pairs, sizeof scores - pairs * sizeof *scores));
}

static void scores_are_those_of_double_loops(void) {
    static const size_t shapes[][3] = {{1, 1, 1},  {1, 5, 3},   {5, 1, 16}, {2, 3, 17},
                                       {ROWS, ROWS, DIM}, {ROWS, 2, 32}, {3, ROWS, 33}};
    bge_similarity_options options = BGE_SIMILARITY_OPTIONS_INIT;
    size_t m, s;
    fill(a, sizeof a / sizeof *a, 1);
    fill(b, sizeof b / sizeof *b, 2);
    for (m = 0; m < 4; m++) {
        for (s = 0; s < sizeof shapes / sizeof *shapes; s++) {
            const size_t *shape = shapes[s];
            compare(metrics[m], shape[0], shape[1], shape[2], NULL);
            options.a_stride = shape[2] + 5;
            options.b_stride = shape[2] + 9;
            options.scores_stride = shape[1] + 3;
            options.threads = 3;
            compare(metrics[m], shape[0], shape[1], shape[2], &options);
            options.a_stride = 0;
            compare(metrics[m], shape[0], shape[1], shape[2], &options);
        }
    }
}

/* Enough work that threads are really started. */
static void threads_make_no_difference(void) {
    enum { MANY = 300, WIDE = 64 };
    static float x[MANY * WIDE], one[MANY * MANY], four[MANY * MANY];
    bge_similarity_options options = BGE_SIMILARITY_OPTIONS_INIT;
    size_t m, i;
    fill(x, sizeof x / sizeof *x, 3);
    options.threads = 4;
    for (m = 0; m < 4; m++) {
        CHECK_OK(bge_similarity(metrics[m], x, MANY, x, MANY, WIDE, NULL, one, &error));
        CHECK_OK(bge_similarity(metrics[m], x, MANY, x, MANY, WIDE, &options, four, &error));
        for (i = 0; i < MANY * MANY; i++) CHECK_NEAR(four[i], one[i], 2e-5);
    }
}

static void zero_vectors_and_nan(void) {
    float x[3 * 4] = {0, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0}, out[9];
    size_t m, i;
    CHECK_OK(bge_similarity(BGE_METRIC_COSINE, x, 3, x, 3, 4, NULL, out, &error));
    for (i = 0; i < 9; i++) CHECK_NEAR(out[i], i == 4 ? 1 : 0, 1e-6);
    CHECK_OK(bge_similarity_pairwise(BGE_METRIC_COSINE, x, x, 3, 4, NULL, out, &error));
    CHECK(out[0] == 0 && out[2] == 0);
    x[2] = NAN;
    for (m = 0; m < 4; m++) {
        CHECK_OK(bge_similarity(metrics[m], x, 3, x + 4, 2, 4, NULL, out, &error));
        CHECK(isnan(out[0]) && isnan(out[1]));
        CHECK(!isnan(out[2]) && !isnan(out[3]) && !isnan(out[4]) && !isnan(out[5]));
        CHECK_OK(bge_similarity_pairwise(metrics[m], x, x + 4, 2, 4, NULL, out, &error));
        CHECK(isnan(out[0]) && !isnan(out[1]));
    }
}

#define BOTH_FAIL(status, metric, x, rows, y, dim, options, to, words) \
    do { \
        memset(scores, 0x5a, sizeof scores); \
        CHECK_FAILS(status, \
                    bge_similarity(metric, x, rows, y, rows, dim, options, to, &error), words); \
        CHECK_FAILS(status, \
                    bge_similarity_pairwise(metric, x, y, rows, dim, options, to, &error), words); \
        CHECK(check_untouched(scores, sizeof scores)); \
    } while (0)

static void mistakes_are_refused(void) {
    const bge_status invalid = BGE_ERROR_INVALID_ARGUMENT;
    bge_similarity_options options = BGE_SIMILARITY_OPTIONS_INIT;
    float *odd = (float *)(void *)((char *)scores + 1);
    struct {
        bge_similarity_options options;
        uint32_t tail[2];
    } newer = {BGE_SIMILARITY_OPTIONS_INIT, {0, 0}};

    BOTH_FAIL(invalid, 4, a, 2, b, 3, NULL, scores, "metric is 4");
    BOTH_FAIL(invalid, UINT32_MAX, a, 2, b, 3, NULL, scores, "metric");
    BOTH_FAIL(invalid, 0, a, 2, b, 0, NULL, scores, "dim is 0");
    BOTH_FAIL(invalid, 0, NULL, 2, b, 3, NULL, scores, "a is NULL");
    BOTH_FAIL(invalid, 0, a, 2, NULL, 3, NULL, scores, "b is NULL");
    BOTH_FAIL(invalid, 0, a, 2, b, 3, NULL, NULL, "scores is NULL");
    BOTH_FAIL(invalid, 0, odd, 2, b, 3, NULL, a, "multiple of 4");
    BOTH_FAIL(invalid, 0, a, 2, odd, 3, NULL, b, "multiple of 4");
    BOTH_FAIL(invalid, 0, a, 2, b, 3, NULL, odd, "multiple of 4");
    BOTH_FAIL(invalid, 0, a, 2, b, 3, NULL, a, "scores and a overlap");
    BOTH_FAIL(invalid, 0, a, 2, b, 3, NULL, b + 5, "scores and b overlap");
    BOTH_FAIL(invalid, 0, a + 1, 2, b, 3, NULL, a, "overlap");
    BOTH_FAIL(invalid, 0, a, SIZE_MAX, b, 3, NULL, scores, "memory");
    BOTH_FAIL(invalid, 0, a, SIZE_MAX / 32, b, 1, NULL, scores, "");
    options.a_stride = 2;
    BOTH_FAIL(invalid, 0, a, 2, b, 3, &options, scores, "a_stride is 2");
    options.a_stride = 0;
    options.b_stride = 2;
    BOTH_FAIL(invalid, 0, a, 2, b, 3, &options, scores, "b_stride is 2");
    options.b_stride = 0;
    options.scores_stride = 1;
    CHECK_FAILS(invalid, bge_similarity(0, a, 2, b, 2, 3, &options, scores, &error),
                "scores_stride is 1");
    options.scores_stride = 0;
    options.threads = 1025;
    BOTH_FAIL(invalid, 0, a, 2, b, 3, &options, scores, "threads");
    options.threads = 0;
    options.struct_size = 0;
    BOTH_FAIL(invalid, 0, a, 2, b, 3, &options, scores, "struct_size is 0");
    options.struct_size = sizeof options - 1;
    BOTH_FAIL(invalid, 0, a, 2, b, 3, &options, scores, "_INIT");
    newer.options.struct_size = sizeof newer;
    CHECK_OK(bge_similarity(0, a, 2, b, 2, 3, &newer.options, scores, &error));
    newer.tail[1] = 1;
    BOTH_FAIL(BGE_ERROR_UNSUPPORTED, 0, a, 2, b, 3, &newer.options, scores,
              "bge_similarity_options");
    CHECK_EQ(bge_similarity(4, a, 2, b, 2, 3, NULL, scores, NULL), invalid);
}

static void no_rows_are_no_error(void) {
    memset(scores, 0x5a, sizeof scores);
    CHECK_OK(bge_similarity(0, NULL, 0, b, 2, 3, NULL, NULL, &error));
    CHECK_OK(bge_similarity(0, a, 2, NULL, 0, 3, NULL, scores, &error));
    CHECK_OK(bge_similarity_pairwise(0, NULL, NULL, 0, 3, NULL, NULL, &error));
    CHECK(check_untouched(scores, sizeof scores));
}

static void the_stride_of_a_single_row_does_not_matter(void) {
    bge_similarity_options options = BGE_SIMILARITY_OPTIONS_INIT;
    options.a_stride = options.b_stride = options.scores_stride = SIZE_MAX;
    CHECK_OK(bge_similarity(BGE_METRIC_DOT, a, 1, b, 1, DIM, &options, scores, &error));
    CHECK_NEAR(scores[0], naive(BGE_METRIC_DOT, a, b, DIM), 2e-5);
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT,
                bge_similarity(BGE_METRIC_DOT, a, 3, b, 1, DIM, &options, scores, &error),
                "memory");
}

int main(void) {
    scores_are_those_of_double_loops();
    threads_make_no_difference();
    zero_vectors_and_nan();
    mistakes_are_refused();
    no_rows_are_no_error();
    the_stride_of_a_single_row_does_not_matter();
    return check_done();
}
