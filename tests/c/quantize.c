/* Codes of vectors, rows with gaps, and the edges of the arguments. The numbers
 * themselves are compared with sentence-transformers' in tests/it/similarity/quantize_embeddings.rs. */

#include "check.h"

enum { ROWS = 3, DIM = 10, ROOM = 64 };

static float vectors[ROWS * (DIM + 2)], ranges[2 * DIM];
static uint8_t codes[ROOM];
static bge_quantize_options options = BGE_QUANTIZE_OPTIONS_INIT;

static bge_status quantize(bge_precision precision, size_t rows, void *to, size_t capacity) {
    return bge_quantize(precision, vectors, rows, DIM, &options, to, capacity, &error);
}

static void prepare(size_t stride) {
    for (size_t i = 0; i < ROWS; i++)
        for (size_t j = 0; j < DIM; j++)
            vectors[i * stride + j] = (float)((i * 7 + j * 3) % 5) - 2;
    memset(&options, 0, sizeof options);
    options.struct_size = sizeof options;
    options.vectors_stride = stride == DIM ? 0 : stride;
    memset(codes, 0x5a, sizeof codes);
}

static void codes_go_where_they_belong(void) {
    for (size_t stride = DIM; stride <= DIM + 2; stride++) {
        prepare(stride);
        CHECK_OK(bge_quantize_ranges(vectors, ROWS, DIM, &options, ranges, &error));
        for (size_t j = 0; j < DIM; j++) {
            float min = INFINITY, max = -INFINITY;
            for (size_t i = 0; i < ROWS; i++) {
                float x = vectors[i * stride + j];
                if (x < min) min = x;
                if (x > max) max = x;
            }
            CHECK(ranges[j] == min && ranges[DIM + j] == max);
        }
        options.codes_stride = stride;
        options.ranges = stride == DIM ? NULL : ranges;
        CHECK_OK(quantize(BGE_PRECISION_UINT8, ROWS, codes, 2 * stride + DIM));
        for (size_t i = 0; i < ROWS; i++) {
            for (size_t j = 0; j < DIM; j++) {
                float step = (ranges[DIM + j] - ranges[j]) / 255;
                float code = floorf((vectors[i * stride + j] - ranges[j]) / step);
                CHECK_EQ(codes[i * stride + j], code > 255 ? 255 : code);
            }
            CHECK(check_untouched(codes + i * stride + DIM, stride - DIM));
        }
        CHECK(check_untouched(codes + 2 * stride + DIM, ROOM - 2 * stride - DIM));
        options.ranges = ranges;
        CHECK_OK(quantize(BGE_PRECISION_INT8, 1, codes + 40, DIM));
        CHECK_EQ((int8_t)codes[40], codes[0] - 128);
    }
    prepare(DIM);
    CHECK_OK(quantize(BGE_PRECISION_UBINARY, ROWS, codes, 2 * ROWS));
    CHECK_OK(quantize(BGE_PRECISION_BINARY, ROWS, codes + 8, 2 * ROWS));
    for (size_t i = 0; i < ROWS; i++)
        for (size_t j = 0; j < 16; j++) {
            int expected = j < DIM && vectors[i * DIM + j] > 0;
            CHECK_EQ(codes[2 * i + j / 8] >> (7 - j % 8) & 1, expected);
            CHECK_EQ((uint8_t)(codes[8 + 2 * i + j / 8] + 128) >> (7 - j % 8) & 1, expected);
        }
    CHECK(check_untouched(codes + 8 + 2 * ROWS, ROOM - 8 - 2 * ROWS));
}

static void arguments_are_checked(void) {
    prepare(DIM);
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT, quantize(4, ROWS, codes, ROOM), "precision is 4");
    CHECK_FAILS(BGE_ERROR_BUFFER_TOO_SMALL, quantize(BGE_PRECISION_INT8, ROWS, codes, 29),
                "codes_capacity is 29, but 3 rows need 30 bytes");
    CHECK_FAILS(BGE_ERROR_BUFFER_TOO_SMALL, quantize(BGE_PRECISION_BINARY, ROWS, codes, 5),
                "need 6 bytes");
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT, quantize(BGE_PRECISION_INT8, ROWS, NULL, ROOM),
                "codes is NULL");
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT, quantize(BGE_PRECISION_INT8, 1, codes, ROOM), "one row");
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT, quantize(BGE_PRECISION_INT8, SIZE_MAX / 2, codes, ROOM),
                "codes: ");
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT,
                quantize(BGE_PRECISION_UBINARY, SIZE_MAX / 4, codes, SIZE_MAX), "vectors: ");
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT,
                quantize(BGE_PRECISION_INT8, ROWS, (uint8_t *)vectors + 4, ROOM), "overlap");
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT,
                bge_quantize(BGE_PRECISION_INT8, NULL, 2, DIM, NULL, codes, ROOM, &error),
                "vectors is NULL");
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT,
                bge_quantize(BGE_PRECISION_INT8, vectors, 2, 0, NULL, codes, ROOM, &error),
                "dim is 0");
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT,
                bge_quantize_ranges(vectors, 0, DIM, NULL, ranges, &error), "rows is 0");
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT,
                bge_quantize_ranges(vectors, 2, DIM, NULL, NULL, &error), "ranges is NULL");
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT,
                bge_quantize_ranges(NULL, 2, DIM, NULL, ranges, &error), "vectors is NULL");
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT,
                bge_quantize_ranges(vectors, 2, DIM, NULL, vectors + 5, &error), "overlap");
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT,
                bge_quantize_ranges(vectors, 1, SIZE_MAX / 2 + 1, NULL, ranges, &error), "ranges");
    options.ranges = ranges;
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT,
                quantize(BGE_PRECISION_INT8, ROWS, (uint8_t *)ranges + 9, ROOM), "overlap");
    options.ranges = NULL;
    options.flags = 2;
    CHECK_FAILS(BGE_ERROR_UNSUPPORTED, quantize(BGE_PRECISION_INT8, ROWS, codes, ROOM), "0x2");
    options.flags = BGE_QUANTIZE_ST5;
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT, quantize(BGE_PRECISION_BINARY, ROWS, codes, ROOM),
                "no multiple of 8");
    options.flags = 0;
    options.vectors_stride = DIM - 1;
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT, quantize(BGE_PRECISION_INT8, ROWS, codes, ROOM),
                "vectors_stride is 9");
    options.vectors_stride = 0;
    options.codes_stride = 1;
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT, quantize(BGE_PRECISION_BINARY, ROWS, codes, ROOM),
                "codes_stride is 1, less than the 2 bytes");
    options.codes_stride = 0;
    vectors[DIM + 3] = NAN;
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT, quantize(BGE_PRECISION_UBINARY, ROWS, codes, ROOM),
                "vectors[1] has NaN in dimension 3");
    CHECK(check_untouched(codes, sizeof codes));
    CHECK_OK(bge_quantize(BGE_PRECISION_INT8, NULL, 0, DIM, NULL, NULL, 0, &error));
    prepare(DIM);
    options.flags = BGE_QUANTIZE_ST5;
    CHECK_OK(quantize(BGE_PRECISION_INT8, 1, codes, DIM));
    CHECK_EQ(codes[0], 0);
}

int main(void) {
    codes_go_where_they_belong();
    arguments_are_checked();
    return check_done();
}
