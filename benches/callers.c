/* Many threads that each send one text of 12 tokens after another, against the same texts in bulk,
 * as concurrency.py measures it but without an interpreter at which they take turns.
 *
 *     cc -O2 -Iinclude benches/callers.c -o callers -Ltarget/release -lbge -lpthread
 *     LD_LIBRARY_PATH=target/release ./callers MODEL_DIR CALLERS SECONDS [ROUNDS] [COMPUTE_TYPE]
 *
 * In each of ROUNDS (5) rounds, bulk and callers take turns. Prints the median of each column. */
#define _POSIX_C_SOURCE 200809L
#include <bge.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

enum { TEXTS = 512, WORDS = 10, LATENCIES_MAX = 1 << 16, ROUNDS_MAX = 64, COLUMNS = 5 };

typedef struct {
  const char *text;
  double end, *latencies;
  size_t count;
} caller;

static bge_model *model;
static size_t dim;

static void encode(const char *const *texts, size_t count, float *dense) {
  bge_error error;
  bge_embeddings out = BGE_EMBEDDINGS_INIT;
  out.dense = dense;
  out.dense_capacity = count * dim;
  check(bge_encode(model, texts, NULL, count, NULL, &out, &error) != BGE_OK, error.message);
}

static void *call(void *argument) {
  caller *self = argument;
  float *dense = allocated(dim * sizeof *dense);
  while (self->count < LATENCIES_MAX && now() < self->end) {
    double start = now();
    encode(&self->text, 1, dense);
    self->latencies[self->count++] = now() - start;
  }
  free(dense);
  return NULL;
}

static int ascending(const void *a, const void *b) {
  double left = *(const double *)a, right = *(const double *)b;
  return (left > right) - (left < right);
}

/* Texts a second, and the latencies that half and 99 of 100 calls have at most. */
static void measure(const char *const *texts, size_t callers, double seconds, double *row) {
  caller *all = allocated(callers * sizeof *all);
  pthread_t *threads = allocated(callers * sizeof *threads);
  double start = now(), *latencies;
  size_t count = 0;
  for (size_t i = 0; i < callers; i++) {
    all[i] = (caller){texts[i % TEXTS], start + seconds,
                      allocated(LATENCIES_MAX * sizeof(double)), 0};
    check(pthread_create(&threads[i], NULL, call, &all[i]), "no thread");
  }
  for (size_t i = 0; i < callers; i++) {
    pthread_join(threads[i], NULL);
    count += all[i].count;
  }
  row[0] = (double)count / (now() - start);
  check(!count, "no call has ended");
  latencies = allocated(count * sizeof *latencies);
  count = 0;
  for (size_t i = 0; i < callers; i++) {
    memcpy(latencies + count, all[i].latencies, all[i].count * sizeof *latencies);
    count += all[i].count;
    free(all[i].latencies);
  }
  qsort(latencies, count, sizeof *latencies, ascending);
  row[3] = latencies[count / 2] * 1e3;
  row[4] = latencies[count * 99 / 100] * 1e3;
  free(latencies);
  free(threads);
  free(all);
}

/* Texts a second in calls of many. */
static double bulk(const char *const *texts, double seconds) {
  float *dense = allocated(TEXTS * dim * sizeof *dense);
  double start = now();
  size_t count = 0;
  do {
    encode(texts, TEXTS, dense);
    count += TEXTS;
  } while (now() - start < seconds);
  free(dense);
  return (double)count / (now() - start);
}

int main(int argc, char **argv) {
  /* One token each in the vocabulary of XLM-RoBERTa. */
  static const char *const words[] = {"di", "a", "in", "to"};
  static char texts[TEXTS][WORDS * 3 + 1];
  static double rows[COLUMNS][ROUNDS_MAX];
  const char *pointers[TEXTS];
  bge_error error;
  bge_open_options options = BGE_OPEN_OPTIONS_INIT;
  bge_info info = BGE_INFO_INIT;
  check(argc < 4, "usage: callers MODEL_DIR CALLERS SECONDS [ROUNDS] [COMPUTE_TYPE]");
  size_t callers = strtoul(argv[2], NULL, 10);
  double seconds = strtod(argv[3], NULL);
  int rounds = argc > 4 ? atoi(argv[4]) : 5;
  check(callers < 1 || rounds < 1 || rounds > ROUNDS_MAX, "1 caller or more, 1 to 64 rounds");
  options.threads = 2;
  options.compute_type = argc > 5 ? (uint32_t)atoi(argv[5]) : BGE_COMPUTE_FP32;
  check(bge_open(argv[1], &options, &model, &error) != BGE_OK, error.message);
  check(bge_get_info(model, &info, &error) != BGE_OK, error.message);
  dim = info.dense_dim;
  for (size_t i = 0; i < TEXTS; i++) {
    for (size_t word = 0; word < WORDS; word++) {
      if (word) strcat(texts[i], " ");
      strcat(texts[i], words[(i + word * word) % 4]);
    }
    pointers[i] = texts[i];
  }
  bulk(pointers, 0);
  for (int round = 0; round < rounds; round++) {
    double row[COLUMNS];
    double before = bulk(pointers, seconds / 2);
    measure(pointers, callers, seconds, row);
    row[1] = (before + bulk(pointers, seconds / 2)) / 2;
    row[2] = row[0] / row[1];
    for (int column = 0; column < COLUMNS; column++) rows[column][round] = row[column];
  }
  for (int column = 0; column < COLUMNS; column++) {
    qsort(rows[column], (size_t)rounds, sizeof rows[column][0], ascending);
  }
  int half = rounds / 2;
  printf("%zu callers: %.1f texts/s, %.1f in bulk, ratio %.2f, p50 %.1f ms, p99 %.1f ms\n", callers,
         rows[0][half], rows[1][half], rows[2][half], rows[3][half], rows[4][half]);
  bge_close(model);
  return 0;
}
