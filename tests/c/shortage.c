/* Memory that runs out: each allocation of 64 KB or more in turn fails, once. Every call is an error
 * then, or does without; and the next one is as good as ever.
 *
 *     shortage TINY_MODELS [STEP]
 *
 * With STEP only every STEPth allocation fails. */

#define _GNU_SOURCE
#include "check.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LARGE = 64 << 10, TEXTS = 400, DIM = 32, TOKENS_MAX = 12000 };

/* What glibc calls its own. */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

/* Which large allocation is to fail, from 1 on; and how many there were. */
static atomic_long failing, seen;

static int fails(size_t size) {
    if (size < LARGE) return 0;
    if (atomic_fetch_add(&seen, 1) + 1 != failing) return 0;
    errno = ENOMEM;
    return 1;
}

void *malloc(size_t size) { return fails(size) ? NULL : __libc_malloc(size); }

void *calloc(size_t count, size_t size) {
    return fails(count * size) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size) {
    return fails(size) ? NULL : __libc_realloc(memory, size);
}

void *memalign(size_t alignment, size_t size) {
    return fails(size) ? NULL : __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
    return fails(size) ? NULL : __libc_memalign(alignment, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size) {
    if (fails(size)) return ENOMEM;
    *memory = __libc_memalign(alignment, size);
    return *memory ? 0 : ENOMEM;
}

static long step = 1;

static void fail_at(long place) {
    seen = 0;
    failing = place;
}

static bge_status opened(const char *name, bge_compute_type compute_type, bge_model **model) {
    bge_open_options options = BGE_OPEN_OPTIONS_INIT;
    options.threads = 2;
    options.compute_type = compute_type;
    return bge_open(check_model(name), &options, model, &error);
}

/* Tries to open while some large allocation fails. */
static void open_short(const char *name, bge_compute_type compute_type) {
    bge_model *model;
    long total, place, errors = 0;
    fail_at(0);
    CHECK_EQ(opened(name, compute_type, &model), BGE_OK);
    total = seen;
    bge_close(model);
    for (place = 1; place <= total; place += step) {
        bge_status status;
        fail_at(place);
        status = opened(name, compute_type, &model);
        fail_at(0);
        if (status != BGE_OK) {
            CHECK_EQ(status, BGE_ERROR_OUT_OF_MEMORY);
            CHECK_HAS(error.message, "memory");
            errors++;
        }
        CHECK((model == NULL) == (status != BGE_OK));
        bge_close(model);
    }
    /* That there were any is what makes this a test. Valgrind has a malloc of its own. */
    CHECK(step > 1 || (total > 0 && errors > 0));
    CHECK_EQ(opened(name, compute_type, &model), BGE_OK);
    bge_close(model);
}

static float dense[2][TEXTS * DIM], multi[TOKENS_MAX * DIM], tokens[TOKENS_MAX * DIM];
static float weights[TOKENS_MAX];
static uint32_t ids[TOKENS_MAX];
static uint64_t offsets[3][TEXTS + 1];

static bge_status encode(const bge_model *model, int second) {
    static const char *const few[] = {"Orang-orang ada di luar.", "Seorang pria makan.", "rumah"};
    static const char *texts[TEXTS];
    bge_embeddings out = BGE_EMBEDDINGS_INIT;
    size_t i;
    for (i = 0; i < TEXTS; i++) texts[i] = few[i % 3];
    out.dense = dense[second];
    out.dense_capacity = TEXTS * DIM;
    out.sparse_offsets = offsets[0];
    out.sparse_ids = ids;
    out.sparse_weights = weights;
    out.sparse_capacity = TOKENS_MAX;
    out.multi_offsets = offsets[1];
    out.multi = multi;
    out.multi_capacity = TOKENS_MAX * DIM;
    out.token_offsets = offsets[2];
    out.token_embeddings = tokens;
    out.token_embeddings_capacity = TOKENS_MAX * DIM;
    return bge_encode(model, texts, NULL, TEXTS, NULL, &out, &error);
}

static void encode_short(void) {
    bge_model *model;
    long total, place;
    fail_at(0);
    CHECK_EQ(opened("heads", BGE_COMPUTE_FP32, &model), BGE_OK);
    CHECK_EQ(encode(model, 0), BGE_OK);
    fail_at(0);
    CHECK_EQ(encode(model, 0), BGE_OK);
    total = seen;
    for (place = 1; place <= total; place += step) {
        bge_status status;
        fail_at(place);
        status = encode(model, 1);
        fail_at(0);
        if (status != BGE_OK)
            CHECK_EQ(status, BGE_ERROR_OUT_OF_MEMORY);
        else
            CHECK(!memcmp(dense[0], dense[1], sizeof dense[0]));
    }
    CHECK(step > 1 || total > 0);
    CHECK_EQ(encode(model, 1), BGE_OK);
    CHECK(!memcmp(dense[0], dense[1], sizeof dense[0]));
    bge_close(model);
}

static bge_status encode_alloc(const bge_model *model, bge_encode_result *result) {
    static const char *const few[] = {"Orang-orang ada di luar.", "Seorang pria makan.", "rumah"};
    static const char *texts[TEXTS];
    size_t i;
    for (i = 0; i < TEXTS; i++) texts[i] = few[i % 3];
    return bge_encode_alloc(model, texts, NULL, TEXTS,
                            BGE_OUTPUT_DENSE | BGE_OUTPUT_SPARSE | BGE_OUTPUT_MULTI | BGE_OUTPUT_TOKENS,
                            NULL, result, &error);
}

/* As above, where the library allocates the results, too. */
static void encode_alloc_short(void) {
    bge_model *model;
    bge_encode_result result = BGE_ENCODE_RESULT_INIT;
    long total, place, errors = 0;
    fail_at(0);
    CHECK_EQ(opened("heads", BGE_COMPUTE_FP32, &model), BGE_OK);
    CHECK_EQ(encode(model, 0), BGE_OK);
    CHECK_EQ(encode_alloc(model, &result), BGE_OK);
    bge_encode_result_free(&result);
    fail_at(0);
    CHECK_EQ(encode_alloc(model, &result), BGE_OK);
    total = seen;
    bge_encode_result_free(&result);
    for (place = 1; place <= total; place += step) {
        bge_status status;
        fail_at(place);
        status = encode_alloc(model, &result);
        fail_at(0);
        if (status != BGE_OK) {
            CHECK_EQ(status, BGE_ERROR_OUT_OF_MEMORY);
            CHECK(result.memory == NULL && result.dense == NULL);
            errors++;
        } else {
            CHECK(!memcmp(dense[0], result.dense, sizeof dense[0]));
        }
        bge_encode_result_free(&result);
    }
    CHECK(step > 1 || (total > 0 && errors > 0));
    bge_close(model);
}

/* A first open for which there is no memory must not be the last. */
static void first_open(void) {
    int status;
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        struct rlimit before, low;
        bge_model *model;
        getrlimit(RLIMIT_AS, &before);
        low = before;
        low.rlim_cur = (rlim_t)80 << 20;
        setrlimit(RLIMIT_AS, &low);
        if (opened("cls", BGE_COMPUTE_FP32, &model) != BGE_ERROR_OUT_OF_MEMORY) _exit(1);
        setrlimit(RLIMIT_AS, &before);
        if (opened("cls", BGE_COMPUTE_FP32, &model) != BGE_OK) _exit(2);
        bge_close(model);
        _exit(0);
    }
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 0);
}

int main(int argc, char **argv) {
    if (argc > 1) check_tiny = argv[1];
    if (argc > 2) step = atol(argv[2]);
    /* Under valgrind all of the address space is in use before. */
    if (argc < 3) first_open();
    open_short("heads", BGE_COMPUTE_FP32);
    open_short("cls", BGE_COMPUTE_INT8);
    open_short("int8", BGE_COMPUTE_FP32);
    open_short("sharded", BGE_COMPUTE_FP32);
    encode_short();
    encode_alloc_short();
    return check_done();
}
