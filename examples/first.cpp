#include <bge.hpp>
#include <cstdio>
#include <iostream>

int main(int argc, char **argv) try {
    bge::model model(argc > 1 ? argv[1] : "bge-m3");
    std::vector<float> vectors = model.encode({
        "Orang-orang ada di luar.",
        "Orang-orang berjalan di luar dan mengenakan warna gelap.",
        "Sekelompok orang sedang makan di sebuah restoran dengan mural seorang wanita sedang berbelanja di belakang mereka."});
    std::vector<float> scores = bge::similarity(bge::metric::cosine, vectors, vectors, model.dense_dim());
    std::printf("[3, %zu]\n", model.dense_dim());
    for (std::size_t i = 0; i < 9; i += 3) std::printf("%.4f %.4f %.4f\n", scores[i], scores[i + 1], scores[i + 2]);
} catch (const bge::error &error) {
    std::cerr << error.what() << '\n';
    return 1;
}
