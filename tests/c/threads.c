/* One model on many threads: the same vectors, stopping, callbacks, closing.
 *
 * Nothing here waits for a time to pass: threads wait for each other, and what
 * has to be under way long enough is far larger than what it is compared with.
 *
 *     threads TINY_MODELS [TEXTS_OF_A_LARGE_CALL] */

#define _POSIX_C_SOURCE 200809L

#include "check.h"

#include <pthread.h>
#include <sched.h>

enum { DIM = 32, TEXTS = 6, THREADS = 8, CALLS = 40, TOLERANCE_E6 = 2 };

static const char *const texts[TEXTS] = {"a", "", "Orang-orang ada di luar.",
                                         "Sekelompok orang sedang makan di sebuah restoran.", "b",
                                         "di di di di di di di di di di di di di di di di"};
static float alone[TEXTS][DIM];

/* A call that takes long: about 90 tokens in each of many texts. */
static size_t large_count = 3000;
static const char **large;
static float *large_room;

/* A large call that was stopped ends so; a call that is not so large, as under
 * valgrind, may have made it before. */
static int is_stopped(bge_status status, bge_status by) {
    return status == by || (large_count < 1000 && status == BGE_OK);
}

/* Threads that wait for a number to be reached. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

static void add(int *number) {
    pthread_mutex_lock(&lock);
    ++*number;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static int read_number(const int *number) {
    int value;
    pthread_mutex_lock(&lock);
    value = *number;
    pthread_mutex_unlock(&lock);
    return value;
}

static void wait_for(const int *number, int at_least) {
    pthread_mutex_lock(&lock);
    while (*number < at_least) pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

static pthread_t start(void *(*body)(void *), void *argument) {
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, body, argument), 0);
    return thread;
}

static void join(pthread_t thread) { CHECK_EQ(pthread_join(thread, NULL), 0); }

static bge_model *open_model(uint32_t queue_capacity) {
    bge_open_options options = BGE_OPEN_OPTIONS_INIT;
    bge_model *model;
    options.queue_capacity = queue_capacity;
    options.threads = 2;
    CHECK_OK(bge_open(check_model("cls"), &options, &model, &error));
    return model;
}

static bge_embeddings room_at(float *dense, size_t count) {
    bge_embeddings out = BGE_EMBEDDINGS_INIT;
    out.dense = dense;
    out.dense_capacity = count * DIM;
    return out;
}

static int is_vector_of(size_t text, const float *vector) {
    size_t i;
    for (i = 0; i < DIM; i++)
        if (!(fabs(vector[i] - alone[text][i]) <= TOLERANCE_E6 * 1e-6)) return 0;
    return 1;
}

/* Until `count` calls of this model have passed the point where a close is allowed. */
static void wait_for_calls(const bge_model *model, uint64_t count) {
    bge_stats stats = BGE_STATS_INIT;
    do CHECK_OK(bge_get_stats(model, &stats, &error));
    while (stats.calls < count);
}

/* A blocking call on its own thread. */
struct blocking {
    const bge_model *model;
    const char **texts;
    size_t count;
    float *dense;
    bge_encode_options options;
    bge_status status;
    bge_error error;
};

static void *run_blocking(void *argument) {
    struct blocking *call = argument;
    bge_embeddings out = room_at(call->dense, call->count);
    call->status = bge_encode(call->model, call->texts, NULL, call->count, &call->options, &out,
                              &call->error);
    return NULL;
}

static struct blocking large_call(const bge_model *model) {
    static const bge_encode_options defaults = BGE_ENCODE_OPTIONS_INIT;
    struct blocking call;
    memset(&call, 0, sizeof call);
    call.model = model;
    call.texts = large;
    call.count = large_count;
    call.dense = large_room;
    call.options = defaults;
    call.status = -1;
    return call;
}

struct worker {
    const bge_model *model;
    unsigned seed;
    int wrong;
};

static void *encode_at_random(void *argument) {
    struct worker *worker = argument;
    int round;
    for (round = 0; round < CALLS; round++) {
        const char *chosen[4];
        size_t which[4], count = 1 + worker->seed % 4, i;
        float room[4 * DIM];
        bge_embeddings out = room_at(room, 4);
        for (i = 0; i < count; i++) {
            worker->seed = worker->seed * 1664525u + 1013904223u;
            which[i] = (worker->seed >> 16) % TEXTS;
            chosen[i] = texts[which[i]];
        }
        if (bge_encode(worker->model, chosen, NULL, count, NULL, &out, NULL)) worker->wrong++;
        for (i = 0; i < count; i++) worker->wrong += !is_vector_of(which[i], room + i * DIM);
    }
    return NULL;
}

static void many_threads_get_the_vectors_of_one(const bge_model *model) {
    pthread_t threads[THREADS];
    struct worker workers[THREADS];
    unsigned i;
    for (i = 0; i < THREADS; i++) {
        struct worker worker = {NULL, 0, 0};
        worker.model = model;
        worker.seed = i;
        workers[i] = worker;
        threads[i] = start(encode_at_random, &workers[i]);
    }
    for (i = 0; i < THREADS; i++) join(threads[i]);
    for (i = 0; i < THREADS; i++) CHECK_EQ(workers[i].wrong, 0);
}

static void another_thread_cancels(const bge_model *model) {
    bge_stats stats = BGE_STATS_INIT, after = BGE_STATS_INIT;
    bge_cancel *cancel = bge_cancel_new();
    struct blocking call = large_call(model);
    pthread_t thread;
    CHECK_OK(bge_get_stats(model, &stats, &error));
    call.options.cancel = cancel;
    thread = start(run_blocking, &call);
    wait_for_calls(model, stats.calls + 1);
    bge_cancel_trigger(cancel);
    join(thread);
    CHECK(is_stopped(call.status, BGE_ERROR_CANCELLED));
    CHECK_EQ(call.error.code, call.status);
    bge_cancel_free(cancel);
    CHECK_OK(bge_get_stats(model, &after, &error));
    CHECK_EQ(after.cancellations, stats.cancellations + (call.status != BGE_OK));
}

static void time_runs_out(const bge_model *model) {
    struct blocking call = large_call(model);
    call.options.timeout_ms = 1;
    run_blocking(&call);
    CHECK_EQ(call.status, BGE_ERROR_TIMEOUT);
    CHECK_HAS(call.error.message, "timeout_ms of 1");
}

/* An asynchronous call, and the arguments of its callback. */
struct async {
    const bge_model *model;
    size_t text;
    float room[DIM];
    int told;
    bge_status status;
    int error_fits;
    int *gate; /* The callback waits here, if it is set. */
    int left;  /* Calls that the callback still starts. */
};

static int finished;

static bge_status start_async(struct async *call, const bge_encode_options *options, bge_error *e);

static void note(void *user_data, bge_status status, const bge_error *e) {
    struct async *call = user_data;
    call->status = status;
    call->error_fits = status == BGE_OK ? e == NULL : e && e->code == status && e->message[0];
    if (call->left-- > 0) {
        if (start_async(call, NULL, NULL)) call->status = -1;
    }
    add(&call->told);
    if (call->gate) wait_for(call->gate, 1);
    add(&finished);
}

static bge_status start_async(struct async *call, const bge_encode_options *options,
                              bge_error *e) {
    bge_embeddings out = room_at(call->room, 1);
    return bge_encode_async(call->model, texts + call->text, NULL, 1, options, &out, note, call, e);
}

static struct async async_call(const bge_model *model, size_t text) {
    struct async call;
    memset(&call, 0, sizeof call);
    call.model = model;
    call.text = text;
    call.status = -1;
    return call;
}

static void every_callback_runs_once(const bge_model *model) {
    static struct async calls[CALLS];
    int i;
    finished = 0;
    for (i = 0; i < CALLS; i++) {
        calls[i] = async_call(model, (size_t)i % TEXTS);
        CHECK_OK(start_async(&calls[i], NULL, &error));
    }
    wait_for(&finished, CALLS);
    for (i = 0; i < CALLS; i++) {
        CHECK_EQ(read_number(&calls[i].told), 1);
        CHECK_EQ(calls[i].status, BGE_OK);
        CHECK(calls[i].error_fits);
        CHECK(is_vector_of(calls[i].text, calls[i].room));
    }
}

/* A call whose result the library allocates, and the arguments of its callback. */
struct allocated {
    bge_encode_result result;
    bge_status status;
};

static void note_allocated(void *user_data, bge_status status, const bge_error *e) {
    ((struct allocated *)user_data)->status = e ? e->code : status;
    add(&finished);
}

static void results_are_allocated_side_by_side(const bge_model *model) {
    static const bge_encode_result empty = BGE_ENCODE_RESULT_INIT;
    static struct allocated calls[CALLS];
    int i;
    finished = 0;
    for (i = 0; i < CALLS; i++) {
        calls[i].result = empty;
        CHECK_OK(bge_encode_alloc_async(model, texts + i % TEXTS, NULL, 1,
                                        BGE_OUTPUT_DENSE | BGE_OUTPUT_TOKENS, NULL,
                                        &calls[i].result, note_allocated, &calls[i], &error));
    }
    wait_for(&finished, CALLS);
    for (i = 0; i < CALLS; i++) {
        CHECK_EQ(calls[i].status, BGE_OK);
        CHECK(is_vector_of((size_t)i % TEXTS, calls[i].result.dense));
        CHECK_EQ(calls[i].result.token_offsets[1], calls[i].result.token_counts[0]);
        bge_encode_result_free(&calls[i].result);
    }
}

static void callbacks_are_told_of_failures(const bge_model *model) {
    bge_encode_options options = BGE_ENCODE_OPTIONS_INIT;
    bge_cancel *cancel = bge_cancel_new();
    struct async call = async_call(model, 0);
    finished = 0;
    bge_cancel_trigger(cancel);
    options.cancel = cancel;
    CHECK_OK(start_async(&call, &options, &error));
    wait_for(&finished, 1);
    CHECK_EQ(call.status, BGE_ERROR_CANCELLED);
    CHECK(call.error_fits);
    bge_cancel_free(cancel);
}

static void a_callback_starts_the_next_call(const bge_model *model) {
    struct async call = async_call(model, 3);
    finished = 0;
    call.left = CALLS - 1;
    CHECK_OK(start_async(&call, NULL, &error));
    wait_for(&finished, CALLS);
    CHECK_EQ(call.told, CALLS);
    CHECK_EQ(call.status, BGE_OK);
    CHECK(is_vector_of(3, call.room));
}

static void a_full_queue_refuses(void) {
    enum { CAPACITY = 3 };
    bge_model *model = open_model(CAPACITY);
    struct async calls[CAPACITY + 2];
    bge_stats stats = BGE_STATS_INIT;
    int gate = 0, i;
    finished = 0;
    for (i = 0; i < CAPACITY + 2; i++) calls[i] = async_call(model, 1);
    /* The one whose callback has begun does not count, but keeps the others waiting. */
    calls[0].gate = &gate;
    CHECK_OK(start_async(&calls[0], NULL, &error));
    wait_for(&calls[0].told, 1);
    for (i = 1; i <= CAPACITY; i++) CHECK_OK(start_async(&calls[i], NULL, &error));
    CHECK_FAILS(BGE_ERROR_QUEUE_FULL, start_async(&calls[CAPACITY + 1], NULL, &error), "3");
    CHECK_OK(bge_get_stats(model, &stats, &error));
    CHECK_EQ(stats.queue_depth, CAPACITY);
    add(&gate);
    wait_for(&finished, CAPACITY + 1);
    CHECK_OK(bge_get_stats(model, &stats, &error));
    CHECK_EQ(stats.queue_depth, 0);
    CHECK_OK(start_async(&calls[CAPACITY + 1], NULL, &error));
    bge_close(model);
    for (i = 0; i < CAPACITY + 2; i++) CHECK_EQ(calls[i].told, 1);
}

static void *open_gate(void *gate) {
    struct timespec moment = {0, 20 * 1000 * 1000};
    /* Most likely the close has begun by then; what is checked holds in any case. */
    nanosleep(&moment, NULL);
    add(gate);
    return NULL;
}

static void close_returns_after_every_callback(void) {
    bge_model *model = open_model(0);
    struct async first = async_call(model, 1), calls[CALLS], last = async_call(model, 1);
    bge_embeddings out = room_at(large_room, large_count);
    pthread_t thread;
    int gate = 0, i;
    finished = 0;
    first.gate = &gate;
    CHECK_OK(start_async(&first, NULL, &error));
    CHECK_OK(bge_encode_async(model, large, NULL, large_count, NULL, &out, note, &last, &error));
    for (i = 0; i < CALLS; i++) {
        calls[i] = async_call(model, 2);
        CHECK_OK(start_async(&calls[i], NULL, &error));
    }
    thread = start(open_gate, &gate);
    bge_close(model);
    CHECK_EQ(read_number(&finished), CALLS + 2);
    CHECK_EQ(first.told, 1);
    CHECK_EQ(last.told, 1);
    CHECK(last.status == BGE_ERROR_CLOSED || last.status == BGE_OK);
    for (i = 0; i < CALLS; i++) {
        CHECK_EQ(calls[i].told, 1);
        CHECK(calls[i].error_fits);
        CHECK(calls[i].status == BGE_ERROR_CLOSED || calls[i].status == BGE_OK);
        if (calls[i].status == BGE_OK) CHECK(is_vector_of(2, calls[i].room));
    }
    join(thread);
}

static void close_ends_calls_that_wait(void) {
    enum { WAITING = 3 };
    bge_model *model = open_model(0);
    struct blocking calls[WAITING];
    pthread_t threads[WAITING];
    float *rooms = malloc(WAITING * large_count * DIM * sizeof *rooms);
    int i;
    for (i = 0; i < WAITING; i++) {
        calls[i] = large_call(model);
        calls[i].dense = rooms + (size_t)i * large_count * DIM;
        threads[i] = start(run_blocking, &calls[i]);
    }
    wait_for_calls(model, WAITING);
    bge_close(model);
    for (i = 0; i < WAITING; i++) {
        join(threads[i]);
        CHECK(is_stopped(calls[i].status, BGE_ERROR_CLOSED));
        CHECK_EQ(calls[i].error.code, calls[i].status);
    }
    free(rooms);
}

static void a_switch_may_be_freed_while_its_calls_run(const bge_model *model) {
    static struct async calls[CALLS];
    int i;
    finished = 0;
    for (i = 0; i < CALLS; i++) {
        bge_encode_options options = BGE_ENCODE_OPTIONS_INIT;
        bge_cancel *cancel = bge_cancel_new();
        calls[i] = async_call(model, 3);
        options.cancel = cancel;
        CHECK_OK(start_async(&calls[i], &options, &error));
        if (i % 2) bge_cancel_trigger(cancel);
        bge_cancel_free(cancel);
    }
    wait_for(&finished, CALLS);
    for (i = 0; i < CALLS; i++)
        CHECK(calls[i].status == BGE_OK || (i % 2 && calls[i].status == BGE_ERROR_CANCELLED));
}

static void count_line(void *user_data, bge_log_level level, const char *line) {
    (void)level, (void)line;
    add(user_data);
}

static int stop_logging;

static void *set_and_unset(void *lines_in_all) {
    do {
        int *lines = calloc(1, sizeof *lines), seen;
        bge_set_log_callback(count_line, lines, BGE_LOG_DEBUG);
        bge_set_log_callback(NULL, NULL, BGE_LOG_OFF);
        /* Nobody writes here any more; valgrind would see it. */
        for (seen = *lines; seen > 0; seen--) add(lines_in_all);
        free(lines);
        sched_yield(); /* Valgrind runs one thread at a time. */
    } while (!read_number(&stop_logging));
    return NULL;
}

static void log_callbacks_change_under_way(void) {
    pthread_t threads[2];
    int lines = 0, i;
    threads[0] = start(set_and_unset, &lines);
    threads[1] = start(set_and_unset, &lines);
    for (i = 0; i < 4; i++) bge_close(open_model(0));
    add(&stop_logging);
    join(threads[0]);
    join(threads[1]);
}

int main(int argc, char **argv) {
    static char text[300] = "";
    bge_model *model;
    size_t i;
    if (argc > 1) check_tiny = argv[1];
    if (argc > 2) large_count = (size_t)atol(argv[2]);
    for (i = 0; i < 90; i++) strcat(text, "di ");
    large = malloc(large_count * sizeof *large);
    large_room = malloc(large_count * DIM * sizeof *large_room);
    CHECK(large && large_room);
    for (i = 0; i < large_count; i++) large[i] = text;

    model = open_model(0);
    for (i = 0; i < TEXTS; i++) {
        bge_embeddings out = room_at(alone[i], 1);
        CHECK_OK(bge_encode(model, texts + i, NULL, 1, NULL, &out, &error));
    }
    many_threads_get_the_vectors_of_one(model);
    another_thread_cancels(model);
    time_runs_out(model);
    every_callback_runs_once(model);
    results_are_allocated_side_by_side(model);
    callbacks_are_told_of_failures(model);
    a_callback_starts_the_next_call(model);
    a_switch_may_be_freed_while_its_calls_run(model);
    bge_close(model);
    a_full_queue_refuses();
    close_returns_after_every_callback();
    close_ends_calls_that_wait();
    log_callbacks_change_under_way();
    free(large_room);
    free(large);
    return check_done();
}
