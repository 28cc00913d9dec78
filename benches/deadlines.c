/* Callers that each send one text after another and wait no longer than a deadline: how many calls a
 * second end in time.
 *
 *     cc -O2 -Iinclude benches/deadlines.c -o deadlines -Ltarget/release -lbge -lpthread
 *     LD_LIBRARY_PATH=target/release ./deadlines MODEL_DIR CALLERS WORDS DEADLINE SECONDS [BATCH_TOKENS]
 *
 * A text has WORDS words of a token each, and two special tokens. DEADLINE is a multiple of the time of
 * a full run of such texts: of all callers, or of 2048 tokens if that is less; 0 is none. BATCH_TOKENS is
 * max_batch_tokens (2048). With the library of another version in LD_LIBRARY_PATH, that is measured. */
#define _POSIX_C_SOURCE 200809L
#include <bge.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

enum { FULL_TOKENS = 2048, FULL_RUNS = 5 };

typedef struct {
  unsigned long in_time, late;
} caller;

static bge_model *model;
static size_t dim;
static char *text;
static double end;
static uint32_t timeout_ms;

static void *call(void *argument) {
  caller *self = argument;
  float *dense = allocated(dim * sizeof *dense);
  const char *texts[1];
  texts[0] = text;
  while (now() < end) {
    bge_error error;
    bge_embeddings out = BGE_EMBEDDINGS_INIT;
    bge_encode_options options = BGE_ENCODE_OPTIONS_INIT;
    out.dense = dense;
    out.dense_capacity = dim;
    options.timeout_ms = timeout_ms;
    if (bge_encode(model, texts, NULL, 1, &options, &out, &error) == BGE_OK) {
      self->in_time++;
    } else {
      check(error.code != BGE_ERROR_TIMEOUT, error.message);
      self->late++;
    }
  }
  free(dense);
  return NULL;
}

/* Seconds that a full run takes: the median of several. */
static double full_run(size_t texts, bge_model *full) {
  const char **all = allocated(texts * sizeof *all);
  float *dense = allocated(texts * dim * sizeof *dense);
  double times[FULL_RUNS];
  for (size_t i = 0; i < texts; i++) all[i] = text;
  for (int run = -1; run < FULL_RUNS; run++) {
    bge_error error;
    bge_embeddings out = BGE_EMBEDDINGS_INIT;
    double start = now(), took;
    int at = run;
    out.dense = dense;
    out.dense_capacity = texts * dim;
    check(bge_encode(full, all, NULL, texts, NULL, &out, &error) != BGE_OK, error.message);
    took = now() - start;
    if (run < 0) continue;
    for (; at > 0 && times[at - 1] > took; at--) times[at] = times[at - 1];
    times[at] = took;
  }
  free(dense);
  free(all);
  return times[FULL_RUNS / 2];
}

int main(int argc, char **argv) {
  bge_error error;
  bge_open_options options = BGE_OPEN_OPTIONS_INIT;
  bge_info info = BGE_INFO_INIT;
  bge_stats stats = BGE_STATS_INIT;
  unsigned long in_time = 0, late = 0;
  check(argc < 6, "usage: deadlines MODEL_DIR CALLERS WORDS DEADLINE SECONDS [BATCH_TOKENS]");
  size_t callers = strtoul(argv[2], NULL, 10), words = strtoul(argv[3], NULL, 10);
  double deadline = strtod(argv[4], NULL), seconds = strtod(argv[5], NULL), full;
  check(callers < 1 || words < 1 || words > FULL_TOKENS - 2, "1 caller or more, 1 to 2046 words");
  text = allocated(words * 3 + 1);
  text[0] = 0;
  for (size_t word = 0; word < words; word++) strcat(text, "di ");
  options.threads = 2;
  options.max_batch_tokens = FULL_TOKENS;
  check(bge_open(argv[1], &options, &model, &error) != BGE_OK, error.message);
  check(bge_get_info(model, &info, &error) != BGE_OK, error.message);
  dim = info.dense_dim;
  full = full_run(callers * (words + 2) < FULL_TOKENS ? callers : FULL_TOKENS / (words + 2), model);
  bge_close(model);
  timeout_ms = deadline > 0 ? (uint32_t)(full * deadline * 1e3) + 1 : 0;
  options.max_batch_tokens = argc > 6 ? (uint32_t)strtoul(argv[6], NULL, 10) : 0;
  check(bge_open(argv[1], &options, &model, &error) != BGE_OK, error.message);
  caller *all = allocated(callers * sizeof *all);
  pthread_t *threads = allocated(callers * sizeof *threads);
  double start = now();
  end = start + seconds;
  for (size_t i = 0; i < callers; i++) {
    all[i] = (caller){0, 0};
    check(pthread_create(&threads[i], NULL, call, &all[i]), "no thread");
  }
  for (size_t i = 0; i < callers; i++) {
    pthread_join(threads[i], NULL);
    in_time += all[i].in_time;
    late += all[i].late;
  }
  seconds = now() - start;
  check(bge_get_stats(model, &stats, &error) != BGE_OK, error.message);
  printf("%zu callers, %zu tokens, deadline %u ms: %.1f calls/s in time, %.1f not, %.1f tokens a run\n",
         callers, words + 2, timeout_ms, (double)in_time / seconds, (double)late / seconds,
         (double)stats.tokens / (double)(stats.batches ? stats.batches : 1));
  bge_close(model);
  free(threads);
  free(all);
  free(text);
  return 0;
}
