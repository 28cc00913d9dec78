/* What the header promises of opening a model, of what a model tells of
 * itself, and of the process around it. */

#define _POSIX_C_SOURCE 200809L

#include "check.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

enum { DIM = 32, MAX_TOKENS = 128 };

static bge_model *model;

static void opening(void) {
    bge_open_options open = BGE_OPEN_OPTIONS_INIT;
    bge_model *const garbage = (bge_model *)&open;
    bge_model *m = garbage;
    const char *cls = check_model("cls");

    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT, bge_open(NULL, NULL, &m, &error), "path is NULL");
    CHECK(m == NULL);
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT, bge_open(cls, NULL, NULL, &error), "model is NULL");
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT,
                bge_open(cls, NULL, (bge_model **)((char *)&open + 1), &error), "multiple of");
    m = garbage;
    CHECK_FAILS(BGE_ERROR_MODEL_NOT_FOUND, bge_open("/no such folder", NULL, &m, &error),
                "/no such folder");
    CHECK(m == NULL);
    CHECK(error.text_index == BGE_NO_TEXT);
    CHECK_FAILS(BGE_ERROR_MODEL_NOT_FOUND, bge_open("", NULL, &m, &error), "");
    CHECK_FAILS(BGE_ERROR_INVALID_UTF8, bge_open("\xff", NULL, &m, &error), "path");
    /* The error may be NULL. */
    CHECK_EQ(bge_open("/no such folder", NULL, &m, NULL), BGE_ERROR_MODEL_NOT_FOUND);

    open.flags = 4 | BGE_OPEN_SMALL_MEMORY;
    CHECK_FAILS(BGE_ERROR_UNSUPPORTED, bge_open(cls, &open, &m, &error), "flags is 0x5");
    open.flags = 0;
    open.device = BGE_DEVICE_CUDA;
    CHECK_FAILS(BGE_ERROR_RUNTIME_UNAVAILABLE, bge_open(cls, &open, &m, &error), "libonnxruntime_providers_");
    open.device = BGE_DEVICE_TENSORRT;
    CHECK_FAILS(BGE_ERROR_UNSUPPORTED, bge_open(cls, &open, &m, &error), "fp16 or bf16");
    open.compute_type = BGE_COMPUTE_BF16;
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT, bge_open(cls, &open, &m, &error), "cache_dir");
    open.cache_dir = "/no such folder";
    CHECK_FAILS(BGE_ERROR_RUNTIME_UNAVAILABLE, bge_open(cls, &open, &m, &error), "libonnxruntime_providers_");
    open.device = BGE_DEVICE_CUDA;
    CHECK_FAILS(BGE_ERROR_UNSUPPORTED, bge_open(cls, &open, &m, &error), "bf16");
    open.cache_dir = NULL;
    open.compute_type = BGE_COMPUTE_FP32;
    open.device = 77;
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT, bge_open(cls, &open, &m, &error), "77");
    open.device = BGE_DEVICE_CPU;
    open.device_index = 1;
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT, bge_open(cls, &open, &m, &error), "device_index");
    open.device_index = 0;
    open.device_count = 2;
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT, bge_open(cls, &open, &m, &error), "device_count");
    open.device_count = 0;
    open.max_tokens = 1;
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT, bge_open(cls, &open, &m, &error), "max_tokens is 1");
    open.max_tokens = MAX_TOKENS + 1;
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT, bge_open(cls, &open, &m, &error), "2 to 128");
    open.max_tokens = 0;
    open.threads = 1025;
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT, bge_open(cls, &open, &m, &error), "threads");
    open.threads = 0;
    open.max_batch_tokens = 1048577;
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT, bge_open(cls, &open, &m, &error), "max_batch_tokens");
    open.max_batch_tokens = 0;
    open.queue_capacity = 1048577;
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT, bge_open(cls, &open, &m, &error), "queue_capacity");
    open.queue_capacity = 0;
    open.runtime_library = "\xff";
    CHECK_FAILS(BGE_ERROR_INVALID_UTF8, bge_open(cls, &open, &m, &error), "runtime_library");
    open.runtime_library = NULL;
    open.heads_dir = "\xff";
    CHECK_FAILS(BGE_ERROR_INVALID_UTF8, bge_open(cls, &open, &m, &error), "heads_dir");
    open.heads_dir = "/no such folder";
    CHECK_FAILS(BGE_ERROR_MODEL_NOT_FOUND, bge_open(cls, &open, &m, &error), "heads_dir");
    open.heads_dir = NULL;
    open.runtime_library = "/no such library";
    CHECK_FAILS(BGE_ERROR_RUNTIME_UNAVAILABLE, bge_open(cls, &open, &m, &error),
                "/no such library");
    CHECK(m == NULL);
}

static void preparing(void) {
    bge_open_options open = BGE_OPEN_OPTIONS_INIT;
    const char *cls = check_model("cls");
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT, bge_prepare(NULL, NULL, NULL, NULL, &error), "path is NULL");
    CHECK_FAILS(BGE_ERROR_UNSUPPORTED, bge_prepare(cls, NULL, NULL, NULL, &error), "device is cpu");
    open.device = BGE_DEVICE_TENSORRT;
    CHECK_FAILS(BGE_ERROR_UNSUPPORTED, bge_prepare(cls, &open, NULL, NULL, &error), "fp16 or bf16");
    open.compute_type = BGE_COMPUTE_FP16;
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT, bge_prepare(cls, &open, NULL, NULL, &error), "cache_dir");
    open.cache_dir = "/no such folder";
    CHECK_FAILS(BGE_ERROR_MODEL_NOT_FOUND, bge_prepare("/no such model", &open, NULL, NULL, &error), "/no such model");
    CHECK_FAILS(BGE_ERROR_RUNTIME_UNAVAILABLE, bge_prepare(cls, &open, NULL, NULL, &error), "libonnxruntime_providers_");
    /* The error may be NULL. */
    CHECK_EQ(bge_prepare(NULL, NULL, NULL, NULL, NULL), BGE_ERROR_INVALID_ARGUMENT);
}

/* A message that is too long is cut between two characters. */
static void long_messages_are_cut_between_characters(void) {
    char name[3001];
    const char *text = "a";
    float room[DIM];
    bge_encode_options options = BGE_ENCODE_OPTIONS_INIT;
    bge_embeddings out = BGE_EMBEDDINGS_INIT;
    size_t i, length;
    out.dense = room;
    out.dense_capacity = DIM;
    options.prompt_name = name;
    for (size_t first = 0; first < 3; first++) {
        memset(name, 'x', first);
        for (i = first; i + 3 < sizeof name; i += 3) memcpy(name + i, "\xe2\x82\xac", 3);
        name[i] = 0;
        CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT,
                    bge_encode(model, &text, NULL, 1, &options, &out, &error), "\xe2\x82\xac");
        length = strlen(error.message);
        CHECK(length > sizeof error.message - 4);
        CHECK(memcmp(error.message + length - 3, "\xe2\x82\xac", 3) == 0);
    }
}

static void info_and_stats(void) {
    union {
        bge_info info;
        bge_stats stats;
        uint32_t struct_size;
        unsigned char bytes[200];
    } grown;
    bge_info info = BGE_INFO_INIT;
    bge_stats stats = BGE_STATS_INIT;
    size_t i;

    CHECK_OK(bge_get_info(model, &info, &error));
    CHECK_EQ(info.struct_size, sizeof info);
    CHECK_EQ(info.outputs, BGE_OUTPUT_DENSE | BGE_OUTPUT_TOKENS);
    CHECK_EQ(info.dense_dim, DIM);
    CHECK_EQ(info.multi_dim, 0);
    CHECK_EQ(info.token_dim, DIM);
    CHECK_EQ(info.vocab_size, 1501);
    CHECK_EQ(info.max_tokens, MAX_TOKENS);
    CHECK(info.threads >= 1);
    CHECK_EQ(info.max_batch_tokens, 2048);
    CHECK_STR(info.pooling, "cls");
    CHECK_STR(info.precision, "fp32");
    CHECK_STR(info.device, "cpu");
    CHECK_HAS(info.runtime, "onnxruntime");
    CHECK_OK(bge_get_stats(model, &stats, &error));
    CHECK_EQ(stats.struct_size, sizeof stats);

    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT, bge_get_info(NULL, &info, &error), "model");
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT, bge_get_info(model, NULL, &error), "bge_info");
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT, bge_get_stats(NULL, &stats, &error), "model");
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT, bge_get_stats(model, NULL, &error), "bge_stats");
    for (i = 0; i < 3; i++) {
        static const uint32_t wrong[] = {0, 1, 4097};
        info.struct_size = stats.struct_size = wrong[i];
        CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT, bge_get_info(model, &info, &error), "_INIT");
        CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT, bge_get_stats(model, &stats, &error), "_INIT");
    }
    info.struct_size = sizeof info - 1;
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT, bge_get_info(model, &info, &error), "struct_size");
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT,
                bge_get_info(model, (bge_info *)((char *)&grown + 1), &error), "multiple of");

    /* A newer caller: what this library does not know is left at zero. */
    memset(&grown, 0x5a, sizeof grown);
    grown.struct_size = 100;
    CHECK_OK(bge_get_info(model, &grown.info, &error));
    CHECK_EQ(grown.struct_size, 100);
    CHECK_EQ(grown.info.dense_dim, DIM);
    CHECK_EQ(grown.info.similarity, BGE_METRIC_COSINE);
    for (i = sizeof(bge_info); i < 100; i++) CHECK_EQ(grown.bytes[i], 0);
    CHECK(check_untouched(grown.bytes + 100, 100));
    grown.struct_size = 80;
    CHECK_OK(bge_get_stats(model, &grown.stats, &error));
    CHECK_EQ(grown.bytes[79], 0);
}

/* What a model of small memory gives differs in the order of sums only. */
static void small_memory_changes_no_vector(void) {
    const char *texts[] = {"a b c", "di mana", ""};
    float usual[3 * DIM], small[3 * DIM];
    bge_open_options open = BGE_OPEN_OPTIONS_INIT;
    bge_embeddings out = BGE_EMBEDDINGS_INIT;
    bge_model *m = NULL;
    open.flags = BGE_OPEN_SMALL_MEMORY;
    CHECK_OK(bge_open(check_model("cls"), &open, &m, &error));
    out.dense_capacity = 3 * DIM;
    out.dense = usual;
    CHECK_OK(bge_encode(model, texts, NULL, 3, NULL, &out, &error));
    out.dense = small;
    CHECK_OK(bge_encode(m, texts, NULL, 3, NULL, &out, &error));
    for (int i = 0; i < 3 * DIM; i++) CHECK_NEAR(small[i], usual[i], 2e-6);
    bge_close(m);
}

static void a_model_tells_how_its_vectors_are_compared(void) {
    bge_info info = BGE_INFO_INIT;
    bge_model *bert = NULL;
    CHECK_OK(bge_open(check_model("bert-cased"), NULL, &bert, &error));
    CHECK_OK(bge_get_info(bert, &info, &error));
    CHECK_EQ(info.similarity, BGE_METRIC_DOT);
    CHECK_STR(bge_token_text(bert, 0), "[PAD]");
    bge_close(bert);
}

static void an_export_is_run_as_it_is(void) {
    const char *texts[] = {"di luar", "", "di di luar di luar"};
    float dense[3 * DIM];
    bge_open_options open = BGE_OPEN_OPTIONS_INIT;
    bge_embeddings out = BGE_EMBEDDINGS_INIT;
    bge_info info = BGE_INFO_INIT;
    bge_model *export = NULL;
    open.onnx_file = "onnx/other.onnx";
    CHECK_FAILS(BGE_ERROR_MODEL_NOT_FOUND,
                bge_open(check_model("exports/baai"), &open, &export, &error), "other.onnx");
    open.onnx_file = "onnx/model.onnx";
    CHECK_OK(bge_open(check_model("exports/baai"), &open, &export, &error));
    CHECK_OK(bge_get_info(export, &info, &error));
    CHECK_EQ(info.outputs, BGE_OUTPUT_DENSE | BGE_OUTPUT_TOKENS);
    CHECK_STR(info.pooling, "onnx");
    out.dense = dense;
    out.dense_capacity = 3 * DIM;
    CHECK_OK(bge_encode(export, texts, NULL, 3, NULL, &out, &error));
    bge_close(export);
}

static void fingerprints_and_token_texts(void) {
    const char *fingerprint = "before", *again = NULL;
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT, bge_get_fingerprint(NULL, &fingerprint, &error),
                "model");
    CHECK_STR(fingerprint, "before");
    CHECK_FAILS(BGE_ERROR_INVALID_ARGUMENT, bge_get_fingerprint(model, NULL, &error),
                "fingerprint is NULL");
    CHECK_OK(bge_get_fingerprint(model, &fingerprint, &error));
    CHECK_OK(bge_get_fingerprint(model, &again, &error));
    CHECK(strlen(fingerprint) >= 32);
    CHECK(fingerprint == again);

    CHECK_STR(bge_token_text(model, 0), "<s>");
    CHECK_STR(bge_token_text(model, 2), "</s>");
    CHECK_STR(bge_token_text(model, 1500), "<mask>");
    CHECK(bge_token_text(model, 1501) == NULL);
    CHECK(bge_token_text(model, UINT32_MAX) == NULL);
    CHECK(bge_token_text(NULL, 0) == NULL);
}

static void every_status_has_a_name(void) {
#define NAMED(status) CHECK_STR(bge_status_name(status), #status)
    NAMED(BGE_OK);
    NAMED(BGE_ERROR_INVALID_ARGUMENT);
    NAMED(BGE_ERROR_INVALID_UTF8);
    NAMED(BGE_ERROR_TEXT_TOO_LONG);
    NAMED(BGE_ERROR_BUFFER_TOO_SMALL);
    NAMED(BGE_ERROR_UNSUPPORTED);
    NAMED(BGE_ERROR_MODEL_NOT_FOUND);
    NAMED(BGE_ERROR_MODEL_INVALID);
    NAMED(BGE_ERROR_RUNTIME_UNAVAILABLE);
    NAMED(BGE_ERROR_OUT_OF_MEMORY);
    NAMED(BGE_ERROR_CANCELLED);
    NAMED(BGE_ERROR_TIMEOUT);
    NAMED(BGE_ERROR_QUEUE_FULL);
    NAMED(BGE_ERROR_CLOSED);
    NAMED(BGE_ERROR_INFERENCE);
    NAMED(BGE_ERROR_INTERNAL);
    CHECK_STR(bge_status_name(-1), "BGE_ERROR_UNKNOWN");
    CHECK_STR(bge_status_name(6), "BGE_ERROR_UNKNOWN");
    CHECK_STR(bge_status_name(INT32_MAX), "BGE_ERROR_UNKNOWN");
}

static void library_and_header_have_one_version(void) {
    char version[50];
    snprintf(version, sizeof version, "%d.%d.%d", BGE_VERSION_MAJOR, BGE_VERSION_MINOR,
             BGE_VERSION_PATCH);
    CHECK_EQ(bge_version(), BGE_VERSION);
    CHECK_EQ(bge_version() / 1000000, BGE_VERSION_MAJOR);
    CHECK_EQ(bge_version() / 1000 % 1000, BGE_VERSION_MINOR);
    CHECK_EQ(bge_version() % 1000, BGE_VERSION_PATCH);
    CHECK(strncmp(bge_version_string(), version, strlen(version)) == 0);
}

struct log {
    int lines, wrong;
};

/* May run on any thread, so it only counts. */
static void count_line(void *user_data, bge_log_level level, const char *line) {
    struct log *log = user_data;
    __sync_fetch_and_add(&log->lines, 1);
    if (level < BGE_LOG_ERROR || level > BGE_LOG_DEBUG || *line == 0)
        __sync_fetch_and_add(&log->wrong, 1);
}

static int lines_of_an_open(bge_log_callback callback, bge_log_level level) {
    bge_model *m;
    struct log log = {0, 0};
    bge_set_log_callback(callback, &log, level);
    CHECK_OK(bge_open(check_model("cls"), NULL, &m, &error));
    bge_set_log_callback(NULL, NULL, BGE_LOG_DEBUG);
    bge_close(m);
    CHECK_EQ(log.wrong, 0);
    return log.lines;
}

static void log_lines_go_where_they_are_sent(void) {
    CHECK(lines_of_an_open(count_line, BGE_LOG_INFO) >= 1);
    CHECK(lines_of_an_open(count_line, 99) >= 1);
    CHECK_EQ(lines_of_an_open(count_line, BGE_LOG_ERROR), 0);
    CHECK_EQ(lines_of_an_open(count_line, BGE_LOG_OFF), 0);
    CHECK_EQ(lines_of_an_open(NULL, BGE_LOG_DEBUG), 0);
}

/* A child has the memory, but not the threads. It ends by a signal: valgrind
 * would look for leaks otherwise, and find what the lost threads held. */
static void a_forked_child_is_refused_and_may_close(void) {
    bge_embeddings out = BGE_EMBEDDINGS_INIT;
    bge_status status = -1;
    int ends[2];
    pid_t child;
    CHECK_EQ(pipe(ends), 0);
    fflush(NULL);
    child = fork();
    if (child == 0) {
        status = bge_encode(model, NULL, NULL, 0, NULL, &out, NULL);
        bge_close(model);
        if (write(ends[1], &status, sizeof status) != sizeof status) _exit(1);
        raise(SIGKILL);
    }
    CHECK(child > 0);
    close(ends[1]);
    CHECK_EQ(read(ends[0], &status, sizeof status), sizeof status);
    CHECK_EQ(status, BGE_ERROR_UNSUPPORTED);
    close(ends[0]);
    CHECK_EQ(waitpid(child, NULL, 0), child);
}

static void signals(struct sigaction *actions) {
    int number;
    memset(actions, 0, 32 * sizeof *actions);
    for (number = 1; number < 32; number++) sigaction(number, NULL, &actions[number]);
}

int main(int argc, char **argv) {
    struct sigaction before[32], after[32];
    int number;
    if (argc > 1) check_tiny = argv[1];
    signals(before);
    every_status_has_a_name();
    library_and_header_have_one_version();
    opening();
    preparing();
    CHECK_OK(bge_open(check_model("cls"), NULL, &model, &error));
    long_messages_are_cut_between_characters();
    info_and_stats();
    small_memory_changes_no_vector();
    a_model_tells_how_its_vectors_are_compared();
    an_export_is_run_as_it_is();
    fingerprints_and_token_texts();
    log_lines_go_where_they_are_sent();
    a_forked_child_is_refused_and_may_close();
    bge_close(model);
    bge_close(NULL);
    signals(after);
    for (number = 1; number < 32; number++)
        CHECK(before[number].sa_handler == after[number].sa_handler);
    return check_done();
}
