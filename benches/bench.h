/* What the programs in C that measure have in common. */
#ifndef BGE_BENCH_H
#define BGE_BENCH_H
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static void check(int failed, const char *message) {
  if (failed) {
    fprintf(stderr, "%s\n", message);
    exit(1);
  }
}

static void *allocated(size_t size) {
  void *memory = malloc(size);
  check(!memory, "no memory");
  return memory;
}

#endif
