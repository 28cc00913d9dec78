/* What the header promises of `statuses`: an error of one text is reported beside
 * the results of the others, and an error of the call ends it. */

#include "check.h"

#include <pthread.h>

enum { DIM = 32, MULTI_DIM = 8, COUNT = 5, ROOM = 64, MAX_TOKENS = 12 };

static bge_model *model;

/* The second is not UTF-8, the fourth has 14 tokens; the others have 11, 2, 3. */
static const char *texts[COUNT] = {"di di luar di luar", "a\xff", "", "Orang-orang ada di luar.",
                                   "di"};
static const bge_status expected[COUNT] = {BGE_OK, BGE_ERROR_INVALID_UTF8, BGE_OK,
                                           BGE_ERROR_TEXT_TOO_LONG, BGE_OK};

static float dense[COUNT * DIM], weights[ROOM], multi[ROOM * MULTI_DIM];
static uint64_t sparse_offsets[COUNT + 1], multi_offsets[COUNT + 1];
static uint32_t ids[ROOM], token_counts[COUNT];
static uint8_t truncated[COUNT];
static bge_status statuses[COUNT + 1];
static bge_embeddings out;
static bge_encode_options options;

static void reset(void) {
    static const bge_embeddings no_room = BGE_EMBEDDINGS_INIT;
    static const bge_encode_options defaults = BGE_ENCODE_OPTIONS_INIT;
    options = defaults;
    options.flags = BGE_ENCODE_REJECT_LONG;
    options.max_tokens = MAX_TOKENS;
    out = no_room;
    out.dense = dense;
    out.dense_capacity = COUNT * DIM;
    out.token_counts = token_counts;
    out.truncated = truncated;
    out.sparse_offsets = sparse_offsets;
    out.sparse_ids = ids;
    out.sparse_weights = weights;
    out.sparse_capacity = ROOM;
    out.multi_offsets = multi_offsets;
    out.multi = multi;
    /* Texts that failed need no room. */
    out.multi_capacity = (10 + 1 + 2) * MULTI_DIM;
    out.statuses = statuses;
    memset(dense, 0x5a, sizeof dense);
    memset(statuses, 0x5a, sizeof statuses);
    memset(token_counts, 0x5a, sizeof token_counts);
}

static bge_status encode(void) {
    return bge_encode(model, texts, NULL, COUNT, &options, &out, &error);
}

static void check_results(void) {
    static const uint32_t tokens[COUNT] = {11, 0, 2, 0, 3};
    static const uint64_t rows[COUNT + 1] = {0, 10, 10, 11, 11, 13};
    size_t i, column;
    for (i = 0; i < COUNT; i++) {
        CHECK_EQ(statuses[i], expected[i]);
        CHECK_EQ(token_counts[i], tokens[i]);
        CHECK_EQ(truncated[i], 0);
        CHECK_EQ(multi_offsets[i + 1], rows[i + 1]);
        if (expected[i] == BGE_OK) {
            double sum = 0;
            for (column = 0; column < DIM; column++)
                sum += (double)dense[i * DIM + column] * dense[i * DIM + column];
            CHECK_NEAR(sum, 1, 1e-6);
        } else {
            for (column = 0; column < DIM; column++) CHECK(isnan(dense[i * DIM + column]));
            CHECK_EQ(sparse_offsets[i], sparse_offsets[i + 1]);
        }
    }
    /* From golden.json. */
    CHECK_EQ(sparse_offsets[1], 2);
    CHECK_NEAR(weights[0], 0.203967944, 1e-5);
    CHECK_NEAR(multi[0], 0.304966837, 1e-5);
    CHECK_NEAR(multi[10 * MULTI_DIM], 0.213912383, 1e-5);
    CHECK(check_untouched(statuses + COUNT, sizeof *statuses));
}

static void a_fault_of_a_text_is_its_own(void) {
    bge_stats before = BGE_STATS_INIT, after = BGE_STATS_INIT;
    CHECK_OK(bge_get_stats(model, &before, &error));
    reset();
    CHECK_OK(encode());
    check_results();
    CHECK_OK(bge_get_stats(model, &after, &error));
    CHECK_EQ(after.calls, before.calls + 1);
    CHECK_EQ(after.failures, before.failures);
    CHECK_EQ(after.texts, before.texts + 3);
    /* Not one of the texts is of use. */
    reset();
    CHECK_OK(bge_encode(model, texts + 1, NULL, 1, &options, &out, &error));
    CHECK_EQ(statuses[0], BGE_ERROR_INVALID_UTF8);
    CHECK(isnan(dense[0]));
    CHECK_EQ(multi_offsets[1], 0);
    CHECK_OK(bge_encode(model, NULL, NULL, 0, &options, &out, &error));
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t told = PTHREAD_COND_INITIALIZER;
static int ended;

static void done(void *user_data, bge_status status, const bge_error *e) {
    pthread_mutex_lock(&lock);
    *(bge_status *)user_data = e ? e->code : status;
    ended = 1;
    pthread_cond_signal(&told);
    pthread_mutex_unlock(&lock);
}

static void the_asynchronous_form_tells_the_same(void) {
    bge_status status = -1;
    reset();
    CHECK_OK(bge_encode_async(model, texts, NULL, COUNT, &options, &out, done, &status, &error));
    pthread_mutex_lock(&lock);
    while (!ended) pthread_cond_wait(&told, &lock);
    pthread_mutex_unlock(&lock);
    CHECK_EQ(status, BGE_OK);
    check_results();
}

#define ENCODE_FAILS(status, words) \
    do { \
        CHECK_FAILS(status, encode(), words); \
        CHECK(check_untouched(dense, sizeof dense)); \
        CHECK(check_untouched(statuses, sizeof statuses)); \
    } while (0)

static void faults_of_the_call_fail_it(void) {
    const char *null = texts[2];
    reset();
    out.multi_capacity--;
    ENCODE_FAILS(BGE_ERROR_BUFFER_TOO_SMALL, "104 floats: 13 rows of 8");
    reset();
    options.max_tokens = 1;
    ENCODE_FAILS(BGE_ERROR_INVALID_ARGUMENT, "max_tokens is 1");
    reset();
    options.prompt_name = "unknown";
    ENCODE_FAILS(BGE_ERROR_INVALID_ARGUMENT, "the model has no prompts");
    reset();
    texts[2] = NULL;
    ENCODE_FAILS(BGE_ERROR_INVALID_ARGUMENT, "texts[2] is NULL");
    texts[2] = null;
    reset();
    out.statuses = (bge_status *)(void *)((char *)statuses + 2);
    ENCODE_FAILS(BGE_ERROR_INVALID_ARGUMENT, "multiple of");
    reset();
    out.statuses = (bge_status *)(void *)(dense + COUNT * DIM - 1);
    ENCODE_FAILS(BGE_ERROR_INVALID_ARGUMENT, "overlap");
}

static void without_statuses_the_first_fault_fails_the_call(void) {
    reset();
    out.statuses = NULL;
    ENCODE_FAILS(BGE_ERROR_INVALID_UTF8, "texts[1]");
    CHECK_EQ(error.text_index, 1);
    CHECK_FAILS(BGE_ERROR_TEXT_TOO_LONG,
                bge_encode(model, texts + 2, NULL, COUNT - 2, &options, &out, &error),
                "more than 12 tokens");
    CHECK_EQ(error.text_index, 1);
}

static char lines[4096];

static void append(void *user_data, bge_log_level level, const char *line) {
    (void)user_data, (void)level;
    strncat(lines, line, sizeof lines - strlen(lines) - 1);
}

static void the_log_has_the_words(void) {
    bge_set_log_callback(append, NULL, BGE_LOG_WARN);
    reset();
    CHECK_OK(encode());
    bge_set_log_callback(NULL, NULL, BGE_LOG_OFF);
    CHECK_HAS(lines, "text 1 of a call failed: texts[1] is not UTF-8");
    CHECK_HAS(lines, "text 3 of a call failed: the text has more than 12 tokens");
}

int main(int argc, char **argv) {
    if (argc > 1) check_tiny = argv[1];
    CHECK_OK(bge_open(check_model("heads"), NULL, &model, &error));
    a_fault_of_a_text_is_its_own();
    the_asynchronous_form_tells_the_same();
    faults_of_the_call_fail_it();
    without_statuses_the_first_fault_fails_the_call();
    the_log_has_the_words();
    CHECK_STR(bge_status_name(BGE_ERROR_NOT_FINITE), "BGE_ERROR_NOT_FINITE");
    bge_close(model);
    return check_done();
}
