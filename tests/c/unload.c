/* A host that loads the library at run time and is done with it before it
 * ends.
 *
 *     unload TINY_MODELS */

#include "check.h"

#include <dlfcn.h>

typedef bge_status open_function(const char *, const bge_open_options *, bge_model **,
                                 bge_error *);
typedef bge_status encode_function(const bge_model *, const char *const *, const size_t *, size_t,
                                   const bge_encode_options *, bge_embeddings *, bge_error *);
typedef void close_function(bge_model *);

/* C has no cast from an object pointer to a function pointer, POSIX has. */
static void find(void *library, const char *name, void *function) {
    void *found = dlsym(library, name);
    CHECK(found != NULL);
    memcpy(function, &found, sizeof found);
}

int main(int argc, char **argv) {
    const char *texts[] = {"Orang-orang ada di luar."};
    int round;
    if (argc > 1) check_tiny = argv[1];
    for (round = 0; round < 2; round++) {
        float vector[32];
        bge_embeddings out = BGE_EMBEDDINGS_INIT;
        bge_model *model;
        open_function *open;
        encode_function *encode;
        close_function *close;
        void *library = dlopen("libbge.so.0", RTLD_NOW | RTLD_LOCAL);
        if (!library) check_fail(__FILE__, __LINE__, "dlopen", dlerror());
        find(library, "bge_open", &open);
        find(library, "bge_encode", &encode);
        find(library, "bge_close", &close);
        out.dense = vector;
        out.dense_capacity = 32;
        CHECK_EQ(open(check_model("cls"), NULL, &model, &error), BGE_OK);
        CHECK_EQ(encode(model, texts, NULL, 1, NULL, &out, &error), BGE_OK);
        CHECK_NEAR(vector[0], -0.0776768029, 1e-5);
        close(model);
        CHECK_EQ(dlclose(library), 0);
    }
    return check_done();
}
