#include <bge.h>
#include <stdio.h>

int main(int argc, char **argv) {
    const char *texts[] = {
        "Orang-orang ada di luar.",
        "Orang-orang berjalan di luar dan mengenakan warna gelap.",
        "Sekelompok orang sedang makan di sebuah restoran dengan mural seorang wanita sedang berbelanja "
        "di belakang mereka."};
    static float vectors[3 * BGE_M3_DIM], scores[3][3];
    bge_embeddings out = BGE_EMBEDDINGS_INIT;
    out.dense = vectors;
    out.dense_capacity = 3 * BGE_M3_DIM;
    bge_info info = BGE_INFO_INIT;
    bge_model *model = NULL;
    bge_error error;
    int failed = bge_open(argc > 1 ? argv[1] : "bge-m3", NULL, &model, &error) ||
                 bge_get_info(model, &info, &error) ||
                 bge_encode(model, texts, NULL, 3, NULL, &out, &error) ||
                 bge_similarity(BGE_METRIC_COSINE, vectors, 3, vectors, 3, info.dense_dim, NULL, scores[0], &error);
    if (failed) fprintf(stderr, "%s\n", error.message);
    else printf("[3, %u]\n", info.dense_dim);
    for (int i = 0; i < 3 && !failed; i++) printf("%.4f %.4f %.4f\n", scores[i][0], scores[i][1], scores[i][2]);
    bge_close(model);
    return failed;
}
