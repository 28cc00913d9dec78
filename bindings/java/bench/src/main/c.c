// bge_encode as a program in C calls it, timed where no Java is around it.

#include <bge.h>
#include <jni.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct {
    bge_model *model;
    const char **texts;
    size_t count;
    bge_embeddings out;
} call;

JNIEXPORT jlong JNICALL Java_dev_libbge_bench_C_open(JNIEnv *env, jclass c, jstring path, jstring runtime, jstring text, jint count) {
    (void)c;
    const char *model = (*env)->GetStringUTFChars(env, path, NULL), *library = (*env)->GetStringUTFChars(env, runtime, NULL);
    const char *words = (*env)->GetStringUTFChars(env, text, NULL);
    call *it = calloc(1, sizeof *it);
    bge_open_options options = BGE_OPEN_OPTIONS_INIT;
    options.runtime_library = library;
    bge_info info = BGE_INFO_INIT;
    if (bge_open(model, &options, &it->model, NULL) || bge_get_info(it->model, &info, NULL)) return 0;
    it->count = (size_t)count;
    it->texts = malloc(it->count * sizeof *it->texts);
    for (size_t i = 0; i < it->count; i++) it->texts[i] = strdup(words);
    it->out = (bge_embeddings)BGE_EMBEDDINGS_INIT;
    it->out.dense_capacity = it->count * info.dense_dim;
    it->out.dense = malloc(it->out.dense_capacity * sizeof(float));
    (*env)->ReleaseStringUTFChars(env, path, model);
    (*env)->ReleaseStringUTFChars(env, runtime, library);
    (*env)->ReleaseStringUTFChars(env, text, words);
    return (jlong)(size_t)it;
}

JNIEXPORT jlong JNICALL Java_dev_libbge_bench_C_encode(JNIEnv *env, jclass c, jlong number) {
    (void)env;
    (void)c;
    call *it = (call *)(size_t)number;
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    bge_status status = bge_encode(it->model, it->texts, NULL, it->count, NULL, &it->out, NULL);
    clock_gettime(CLOCK_MONOTONIC, &to);
    return status ? -1 : (jlong)(to.tv_sec - from.tv_sec) * 1000000000 + (to.tv_nsec - from.tv_nsec);
}
