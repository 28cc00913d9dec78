/* Calls with arguments drawn at random from what is valid and what is not, but
 * for what no library can survive: pointers to less memory than they promise.
 * Every call has to return a status of the header, and a model that has seen
 * them all has to give the same vector as before.
 *
 *     fuzz TINY_MODELS [CALLS] */

#include "check.h"

#include <stdint.h>

enum { TEXTS = 4, BYTES = 64, DIM = 32, ROOM = 4096, ENTRIES = 1024, GROWN = 512 };

static uint64_t seed = 0x9e3779b97f4a7c15u;

static uint64_t draw(uint64_t below) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (seed >> 11) % below;
}

/* Mostly what is usual, at times what is at an end, seldom anything. */
static uint64_t number(uint64_t usual) {
    static const uint64_t ends[] = {0, 1, 2, UINT32_MAX, UINT64_MAX, (uint64_t)1 << 63};
    switch (draw(8)) {
        case 0: return ends[draw(sizeof ends / sizeof *ends)];
        case 1: return draw(UINT64_MAX) >> draw(64);
        default: return usual;
    }
}

static void *or_null(void *pointer) { return draw(10) ? pointer : NULL; }

static int is_known(bge_status status) {
    return strcmp(bge_status_name(status), "BGE_ERROR_UNKNOWN") != 0;
}

static char bytes[TEXTS][BYTES];
static const char *texts[TEXTS];
static size_t lengths[TEXTS];

static void draw_texts(void) {
    static const char *const parts[] = {"di ", "a", "\xe7\x9a\x84", "\xcc\x81", " ", "\xff", "<mask>"};
    for (size_t i = 0; i < TEXTS; i++) {
        size_t end = 0;
        memset(bytes[i], 0, BYTES);
        for (uint64_t left = draw(8); left > 0; left--) {
            /* Malformed UTF-8 in one text of a hundred. */
            size_t part = draw(100) ? draw(5) : 5 + draw(2);
            memcpy(bytes[i] + end, parts[part], strlen(parts[part]));
            end += strlen(parts[part]);
        }
        texts[i] = draw(50) ? bytes[i] : NULL;
        lengths[i] = texts[i] ? draw(2) ? end : draw(BYTES) : 0;
    }
}

/* A struct that an older or a newer caller could have, or nobody. */
static void *draw_struct(unsigned char *grown, const void *initial, size_t size) {
    uint32_t claimed = (uint32_t)(draw(10) ? size : draw(GROWN));
    memset(grown, 0, GROWN);
    memcpy(grown, initial, size);
    memcpy(grown, &claimed, sizeof claimed);
    if (draw(20) == 0) grown[size + draw(GROWN - size)] = 1;
    return or_null(grown);
}

static bge_status encode(const bge_model *model, float *room, bge_error *error) {
    static union {
        uint64_t aligned;
        unsigned char bytes[GROWN];
    } options_room, out_room;
    bge_encode_options options = BGE_ENCODE_OPTIONS_INIT;
    bge_embeddings out = BGE_EMBEDDINGS_INIT;
    static uint64_t sparse_offsets[TEXTS + 1], multi_offsets[TEXTS + 1], token_offsets[TEXTS + 1];
    static uint32_t ids[ENTRIES];
    static float weights[ENTRIES], multi[ENTRIES], tokens[ENTRIES];
    uint32_t counts[TEXTS];
    uint8_t truncated[TEXTS];
    bge_status statuses[TEXTS];
    bge_cancel *cancel = draw(4) ? NULL : bge_cancel_new();
    bge_status status;
    draw_texts();
    options.flags = (uint32_t)number(draw(8));
    options.max_tokens = (uint32_t)number(draw(130));
    options.timeout_ms = draw(8) ? 0 : 1;
    options.prompt_name = draw(8) ? NULL : bytes[0];
    options.cancel = cancel;
    if (draw(2)) bge_cancel_trigger(cancel);
    out.flags = draw(30) == 0;
    out.dense = or_null(room);
    /* Never more than there is, whatever the stride. */
    out.dense_capacity = draw(4) ? ROOM : draw(ROOM);
    out.dense_stride = (size_t)number(draw(2) ? 0 : DIM + draw(8));
    out.token_counts = or_null(counts);
    out.truncated = or_null(truncated);
    out.statuses = draw(2) ? statuses : NULL;
    if (draw(2)) {
        out.sparse_offsets = or_null(sparse_offsets);
        out.sparse_ids = or_null(ids);
        out.sparse_weights = or_null(weights);
        out.sparse_capacity = draw(4) ? ENTRIES : draw(ENTRIES);
    }
    if (draw(2)) {
        out.multi_offsets = or_null(multi_offsets);
        out.multi = or_null(multi);
        out.multi_capacity = draw(4) ? ENTRIES : draw(ENTRIES);
    }
    if (draw(4) == 0) {
        out.token_offsets = or_null(token_offsets);
        out.token_embeddings = or_null(tokens);
        out.token_embeddings_capacity = draw(4) ? ENTRIES : draw(ENTRIES);
    }
    status = bge_encode(or_null((void *)model), or_null((void *)texts),
                        draw(4) ? lengths : NULL, draw(TEXTS + 1),
                        draw_struct(options_room.bytes, &options, sizeof options),
                        draw_struct(out_room.bytes, &out, sizeof out), error);
    bge_cancel_free(cancel);
    return status;
}

/* Whatever the call was, its result can be released, and then holds nothing. */
static bge_status encode_alloc(const bge_model *model, bge_error *error) {
    static union {
        uint64_t aligned;
        unsigned char bytes[GROWN];
    } options_room, result_room;
    static const bge_encode_result empty = BGE_ENCODE_RESULT_INIT;
    bge_encode_options options = BGE_ENCODE_OPTIONS_INIT;
    bge_encode_result *result = draw_struct(result_room.bytes, &empty, sizeof empty);
    bge_status status;
    draw_texts();
    options.flags = (uint32_t)number(draw(16));
    options.max_tokens = (uint32_t)number(draw(130));
    options.truncate_dim = (uint32_t)number(0);
    status = bge_encode_alloc(or_null((void *)model), or_null((void *)texts),
                              draw(4) ? lengths : NULL, draw(TEXTS + 1), (uint32_t)number(draw(17)),
                              draw_struct(options_room.bytes, &options, sizeof options), result,
                              error);
    if (status == BGE_OK) CHECK(result->count <= TEXTS && result->memory);
    if (result && result->struct_size >= sizeof empty) {
        if (status != BGE_OK && status != BGE_ERROR_UNSUPPORTED) CHECK(!result->memory);
        bge_encode_result_free(result);
        if (status == BGE_OK) CHECK(!result->memory && !result->dense);
    }
    return status;
}

static bge_status compare(float *room, bge_error *error) {
    bge_similarity_options options = BGE_SIMILARITY_OPTIONS_INIT;
    const float *a = room + draw(8), *b = room + draw(64);
    float *scores = room + (draw(20) ? ROOM / 2 : draw(ROOM / 2));
    size_t rows = draw(5), more = draw(5), dim = draw(10);
    /* A stride reaches no further than the room, or too far for any memory. */
    options.a_stride = draw(20) ? draw(100) : SIZE_MAX / 2;
    options.b_stride = draw(100);
    options.scores_stride = draw(100);
    options.threads = (uint32_t)number(draw(3));
    if (draw(3) == 0) {
        static uint64_t indices[5 * 8];
        return bge_similarity_top_k((uint32_t)number(draw(4)), or_null((void *)a), rows,
                                    or_null((void *)b), more, dim, draw(8), or_null(&options),
                                    or_null(indices), or_null(scores), error);
    }
    if (draw(2))
        return bge_similarity((uint32_t)number(draw(4)), or_null((void *)a), rows,
                              or_null((void *)b), more, dim, or_null(&options), or_null(scores),
                              error);
    return bge_similarity_pairwise((uint32_t)number(draw(4)), or_null((void *)a),
                                   or_null((void *)b), rows, dim, or_null(&options),
                                   or_null(scores), error);
}

static bge_status mix(float *room, bge_error *error) {
    float weights[3] = {1, 0.5f, (float)draw(3)};
    float *scores = room + (draw(20) ? ROOM / 2 : draw(ROOM / 2));
    return bge_similarity_hybrid(or_null(room), or_null(room + draw(64)), or_null(room + draw(64)),
                                 draw(64), or_null(weights), or_null(scores), error);
}

static bge_status quantize(float *room, bge_error *error) {
    bge_quantize_options options = BGE_QUANTIZE_OPTIONS_INIT;
    size_t rows = draw(5), dim = draw(10);
    float ranges[20], *codes = room + (draw(20) ? ROOM / 2 : draw(ROOM / 2));
    for (size_t i = 0; i < 20; i++) ranges[i] = i < dim ? -1 : (float)draw(8);
    options.flags = (uint32_t)number(draw(2));
    /* As in `compare`. */
    options.vectors_stride = draw(20) ? draw(100) : SIZE_MAX / 2;
    options.codes_stride = draw(100);
    options.ranges = draw(2) ? ranges : NULL;
    if (draw(2))
        return bge_quantize((uint32_t)number(draw(4)), or_null(room + draw(8)), rows, dim,
                            or_null(&options), or_null(codes), draw(4) ? ROOM : draw(500), error);
    return bge_quantize_ranges(or_null(room + draw(8)), rows, dim, or_null(&options),
                               or_null(codes), error);
}

static bge_status open(const char *path, bge_error *error) {
    bge_open_options options = BGE_OPEN_OPTIONS_INIT;
    bge_model *model = NULL;
    bge_status status;
    options.flags = draw(8) == 0;
    options.device = (uint32_t)number(0);
    options.device_index = (uint32_t)number(0);
    options.device_count = (uint32_t)number(0);
    /* Not thousands, which this machine may not have. */
    options.threads = draw(8) ? 1 : UINT32_MAX;
    options.max_tokens = (uint32_t)number(0);
    options.max_batch_tokens = (uint32_t)number(0);
    options.queue_capacity = (uint32_t)number(0);
    status = bge_open(or_null((void *)path), or_null(&options), &model, error);
    CHECK((model != NULL) == (status == BGE_OK));
    bge_close(model);
    return status;
}

static void same_vector(const bge_model *model, float *vector) {
    const char *text = "Orang-orang ada di luar.";
    bge_embeddings out = BGE_EMBEDDINGS_INIT;
    out.dense = vector;
    out.dense_capacity = DIM;
    CHECK_OK(bge_encode(model, &text, NULL, 1, NULL, &out, &error));
}

int main(int argc, char **argv) {
    static float room[ROOM];
    float before[DIM], after[DIM];
    long calls = argc > 2 ? atol(argv[2]) : 20000, done[64] = {0};
    bge_model *model;
    if (argc > 1) check_tiny = argv[1];
    CHECK_OK(bge_open(check_model("heads"), NULL, &model, &error));
    same_vector(model, before);
    for (long i = 0; i < calls; i++) {
        bge_error e, *asked = or_null(&e);
        uint32_t counts[TEXTS];
        bge_status status;
        switch (draw(40)) {
            case 0: status = open(check_model("cls"), asked); break;
            case 1: case 2: case 3: case 4:
                draw_texts();
                status = bge_count_tokens(or_null(model), or_null((void *)texts), lengths,
                                          draw(TEXTS + 1), or_null(counts), asked);
                break;
            case 5: case 6: case 7: case 8: case 9: case 10: case 11: case 12: case 13:
                status = compare(room, asked);
                break;
            case 14: case 15: status = mix(room, asked); break;
            case 16: case 17: case 18: case 19: status = quantize(room, asked); break;
            case 20: case 21: case 22: case 23: status = encode_alloc(model, asked); break;
            default: status = encode(model, room, asked);
        }
        CHECK(is_known(status) && status != BGE_ERROR_INTERNAL);
        if (status != BGE_OK && asked) CHECK(e.code == status && e.message[0]);
        done[status]++;
    }
    /* Neither were all calls refused, nor all accepted. */
    CHECK(done[BGE_OK] > calls / 10 && done[BGE_ERROR_INVALID_ARGUMENT] > calls / 10);
    same_vector(model, after);
    CHECK(memcmp(before, after, sizeof before) == 0);
    bge_close(model);
    return check_done();
}
