/* What a thread of the host has: its environment of floating point, that it may be cancelled, and how
 * small its stack is. None of it reaches into the library, and the thread has it again afterwards. */

#define _GNU_SOURCE
#include "check.h"

#include <fenv.h>
#include <pthread.h>
#include <time.h>

enum { TEXTS = 4, DIM = 32, STACK_OPEN = 256 << 10, STACK_ENCODE = 128 << 10 };

static const char *const texts[TEXTS] = {
    "Orang-orang ada di luar.", "a", "",
    "Sekelompok orang sedang makan di sebuah restoran dengan mural seorang wanita."};

static void encode(const bge_model *model, float *dense) {
    size_t i;
    for (i = 0; i < TEXTS; i++) {
        bge_embeddings out = BGE_EMBEDDINGS_INIT;
        out.dense = dense + i * DIM;
        out.dense_capacity = DIM;
        CHECK_OK(bge_encode(model, texts + i, NULL, 1, NULL, &out, &error));
    }
}

static bge_model *opened(bge_compute_type compute_type) {
    bge_open_options options = BGE_OPEN_OPTIONS_INIT;
    bge_model *model;
    options.threads = 2;
    options.compute_type = compute_type;
    CHECK_OK(bge_open(check_model("cls"), &options, &model, &error));
    return model;
}

static void floating_point(bge_compute_type compute_type) {
    static const int roundings[] = {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
    static float expected[TEXTS * DIM], dense[TEXTS * DIM];
    bge_model *model = opened(compute_type);
    const char *fingerprint;
    size_t i;
    encode(model, expected);
    for (i = 0; i < sizeof roundings / sizeof *roundings; i++) {
        bge_model *other;
        CHECK_EQ(fesetround(roundings[i]), 0);
        encode(model, dense);
        other = opened(compute_type);
        CHECK_EQ(fegetround(), roundings[i]);
        CHECK_EQ(fesetround(FE_TONEAREST), 0);
        CHECK(!memcmp(dense, expected, sizeof dense));
        encode(other, dense);
        CHECK(!memcmp(dense, expected, sizeof dense));
        bge_close(other);
    }
#if defined(__x86_64__)
    {
        unsigned before = __builtin_ia32_stmxcsr();
        /* Numbers near 0 are 0. */
        __builtin_ia32_ldmxcsr(before | 0x8040);
        encode(model, dense);
        CHECK_EQ(__builtin_ia32_stmxcsr() & 0x8040, 0x8040);
        __builtin_ia32_ldmxcsr(before);
        CHECK(!memcmp(dense, expected, sizeof dense));
    }
#endif
    /* Not every processor can trap. */
    if (feenableexcept(FE_DIVBYZERO | FE_INVALID | FE_OVERFLOW) != -1) {
        int trapped = fegetexcept();
        bge_model *other = opened(compute_type);
        float scores[TEXTS * TEXTS];
        encode(other, dense);
        CHECK_OK(bge_get_fingerprint(other, &fingerprint, &error));
        CHECK_OK(bge_similarity(BGE_METRIC_COSINE, dense, TEXTS, dense, TEXTS, DIM, NULL, scores,
                                &error));
        bge_close(other);
        CHECK_EQ(fegetexcept(), trapped);
        fedisableexcept(FE_ALL_EXCEPT);
        CHECK(!memcmp(dense, expected, sizeof dense));
    }
    /* Nor do the flags tell what was computed here. */
    feclearexcept(FE_ALL_EXCEPT);
    encode(model, dense);
    CHECK_EQ(fetestexcept(FE_ALL_EXCEPT), 0);
    bge_close(model);
}

static bge_model *of_thread;

static void *open_to_be_cancelled(void *argument) {
    bge_open_options options = BGE_OPEN_OPTIONS_INIT;
    (void)argument;
    options.threads = 1;
    if (bge_open(check_model("cls"), &options, &of_thread, NULL) != BGE_OK) of_thread = NULL;
    for (;;) pthread_testcancel();
    return NULL;
}

static void cancellation(void) {
    long delay;
    for (delay = 0; delay < 24; delay++) {
        struct timespec pause = {0, 0};
        pthread_t thread;
        void *result;
        pause.tv_nsec = delay * 1000000;
        of_thread = NULL;
        check_model("cls");
        CHECK_EQ(pthread_create(&thread, NULL, open_to_be_cancelled, NULL), 0);
        nanosleep(&pause, NULL);
        CHECK_EQ(pthread_cancel(thread), 0);
        CHECK_EQ(pthread_join(thread, &result), 0);
        CHECK(result == PTHREAD_CANCELED && of_thread != NULL);
        bge_close(of_thread);
    }
}

static void *open_and_describe(void *argument) {
    const char *fingerprint;
    bge_open_options options = BGE_OPEN_OPTIONS_INIT;
    options.threads = 1;
    (void)argument;
    CHECK_OK(bge_open(check_model("heads"), &options, &of_thread, &error));
    CHECK_OK(bge_get_fingerprint(of_thread, &fingerprint, &error));
    return NULL;
}

static void *encode_and_count(void *argument) {
    static float dense[TEXTS * DIM];
    static char text[300001];
    const char *pointer = text;
    uint32_t count;
    size_t i;
    (void)argument;
    encode(of_thread, dense);
    for (i = 0; i < sizeof text - 1; i++) text[i] = "di orang "[i % 9];
    CHECK_OK(bge_count_tokens(of_thread, &pointer, NULL, 1, &count, &error));
    return NULL;
}

static void run_on(size_t stack, void *(*body)(void *)) {
    pthread_attr_t attributes;
    pthread_t thread;
    CHECK_EQ(pthread_attr_init(&attributes), 0);
    CHECK_EQ(pthread_attr_setstacksize(&attributes, stack), 0);
    CHECK_EQ(pthread_create(&thread, &attributes, body, NULL), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(pthread_attr_destroy(&attributes), 0);
}

int main(int argc, char **argv) {
    if (argc > 1) check_tiny = argv[1];
    /* A second argument: under valgrind, which has neither traps nor all roundings. */
    if (argc < 3) {
        floating_point(BGE_COMPUTE_FP32);
        floating_point(BGE_COMPUTE_INT8);
        run_on(STACK_OPEN, open_and_describe);
        run_on(STACK_ENCODE, encode_and_count);
        bge_close(of_thread);
    }
    cancellation();
    return check_done();
}
