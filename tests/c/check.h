/* Assertions that tell what they saw, and a count of them at the end. */

#ifndef CHECK_H
#define CHECK_H

#include <bge.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static long check_passed;

/* Not safe on several threads: those report to the main thread, which checks. */
#define CHECK(condition) \
    ((condition) ? (void)check_passed++ \
                 : check_fail(__FILE__, __LINE__, #condition, "is not true"))

#define CHECK_EQ(a, b) \
    check_eq(__FILE__, __LINE__, #a, (long long)(a), #b, (long long)(b))

/* At most `tolerance` apart; two NaN are equal. */
#define CHECK_NEAR(a, b, tolerance) \
    check_near(__FILE__, __LINE__, #a, (a), #b, (b), (tolerance))

#define CHECK_STR(a, b) check_str(__FILE__, __LINE__, #a, (a), #b, (b))

#define CHECK_HAS(text, part) check_has(__FILE__, __LINE__, #text, (text), (part))

/* That a call which gets `&error` fails so, and describes it so. */
#define CHECK_FAILS(status, call, words) \
    check_fails(__FILE__, __LINE__, #call, (status), (check_dirty(), (call)), \
                (words))

/* That a call which gets `&error` succeeds, and leaves the error alone. */
#define CHECK_OK(call) \
    check_ok(__FILE__, __LINE__, #call, (check_dirty(), (call)))

static bge_error error;

static inline void check_fail(const char *file, int line, const char *what,
                              const char *seen) {
    fflush(stdout);
    fprintf(stderr, "%s:%d: %s: %s\n", file, line, what, seen);
    exit(1);
}

static inline void check_eq(const char *file, int line, const char *a_name,
                            long long a, const char *b_name, long long b) {
    char seen[100];
    if (a == b) {
        check_passed++;
        return;
    }
    snprintf(seen, sizeof seen, "%lld is not %lld", a, b);
    fprintf(stderr, "expected %s == %s\n", a_name, b_name);
    check_fail(file, line, a_name, seen);
}

static inline void check_near(const char *file, int line, const char *a_name,
                              double a, const char *b_name, double b,
                              double tolerance) {
    char seen[100];
    if (fabs(a - b) <= tolerance || (isnan(a) && isnan(b))) {
        check_passed++;
        return;
    }
    snprintf(seen, sizeof seen, "%.9g is not %.9g", a, b);
    fprintf(stderr, "expected %s near %s\n", a_name, b_name);
    check_fail(file, line, a_name, seen);
}

static inline void check_str(const char *file, int line, const char *a_name,
                             const char *a, const char *b_name,
                             const char *b) {
    if (a && b && strcmp(a, b) == 0) {
        check_passed++;
        return;
    }
    fprintf(stderr, "expected %s == %s, that is \"%s\"\n", a_name, b_name,
            b ? b : "NULL");
    check_fail(file, line, a_name, a ? a : "NULL");
}

static inline void check_has(const char *file, int line, const char *name,
                             const char *text, const char *part) {
    if (text && strstr(text, part)) {
        check_passed++;
        return;
    }
    fprintf(stderr, "expected \"%s\" in %s\n", part, name);
    check_fail(file, line, name, text ? text : "NULL");
}

/* Values that no call writes, to see whether one did. */
static inline void check_dirty(void) { memset(&error, 0x5a, sizeof error); }

static inline void check_fails(const char *file, int line, const char *call,
                               bge_status expected, bge_status status,
                               const char *words) {
    size_t length = 0;
    if (status != expected) {
        fprintf(stderr, "expected %s, got %s: %s\n", bge_status_name(expected),
                bge_status_name(status),
                status == BGE_OK ? "no error" : error.message);
        check_fail(file, line, call, "ended otherwise");
    }
    check_eq(file, line, "error.code", error.code, "the status", status);
    while (length < sizeof error.message && error.message[length]) length++;
    if (length == 0 || length == sizeof error.message)
        check_fail(file, line, call, "no message that ends in NUL");
    /* Completely written, the rest of the message too. */
    for (; length < sizeof error.message; length++)
        if (error.message[length])
            check_fail(file, line, call, "the end of the message is not zero");
    if (error.runtime_code == 0x5a5a5a5a ||
        error.text_index == 0x5a5a5a5a5a5a5a5a)
        check_fail(file, line, call, "a member of the error is not written");
    check_has(file, line, "error.message", error.message, words);
}

static inline void check_ok(const char *file, int line, const char *call,
                            bge_status status) {
    const unsigned char *bytes = (const unsigned char *)&error;
    size_t i;
    if (status != BGE_OK) {
        fprintf(stderr, "%s\n", bge_status_name(status));
        check_fail(file, line, call, error.message);
    }
    for (i = 0; i < sizeof error; i++)
        if (bytes[i] != 0x5a)
            check_fail(file, line, call, "succeeded, but wrote the error");
    check_passed++;
}

static const char *check_tiny = "tests/tiny";

/* A tiny model, in the folder that the first argument of a test names. */
static inline const char *check_model(const char *name) {
    static char path[4096];
    snprintf(path, sizeof path, "%s/%s", check_tiny, name);
    return path;
}

/* Whether memory that was filled with 0x5a still is. */
static inline int check_untouched(const void *memory, size_t bytes) {
    const unsigned char *byte = memory;
    while (bytes--)
        if (*byte++ != 0x5a) return 0;
    return 1;
}

static inline int check_done(void) {
    printf("%ld passed\n", check_passed);
    return 0;
}

#endif
