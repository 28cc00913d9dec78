#include <algorithm>
#include <bge.hpp>
#include <cstdio>
#include <iostream>

int main(int argc, char **argv) try {
    const std::vector<std::string> sentences = {
        "Harga beras di pasar naik lagi.",
        "Penyerang itu mencetak dua gol ke gawang lawan.",
        "Nanti malam hujan lebat akan turun di wilayah selatan.",
        "Kiper itu menahan tendangan penalti di menit terakhir.",
        "Pedagang mengeluh karena harga cabai dan bawang mahal.",
        "Besok cuaca cerah dan berawan di sebagian besar wilayah.",
        "Harga minyak goreng turun di pasar tradisional.",
        "Angin kencang dan hujan petir akan berlanjut sampai besok.",
        "Pelatih mengganti penyerang pada babak kedua."};
    const std::size_t count = 3;
    bge::model model(argc > 1 ? argv[1] : "bge-m3");
    const std::size_t dim = model.dense_dim();
    const std::vector<float> vectors = model.encode(sentences);
    // The first center is the first sentence, and each further one the sentence that is least like all before.
    std::vector<float> centers(vectors.begin(), vectors.begin() + dim), scores(sentences.size());
    std::vector<std::size_t> cluster(sentences.size()), before;
    const auto assign = [&] {
        before = cluster;
        const std::vector<std::vector<bge::hit>> nearest =
            bge::similarity_top_k(bge::metric::cosine, vectors, centers, dim, 1);
        for (std::size_t i = 0; i < sentences.size(); i++) {
            cluster[i] = nearest[i][0].row;
            scores[i] = nearest[i][0].score;
        }
    };
    while (centers.size() < count * dim) {
        assign();
        const std::size_t row = std::min_element(scores.begin(), scores.end()) - scores.begin();
        centers.insert(centers.end(), &vectors[row * dim], &vectors[row * dim] + dim);
    }
    // Spherical k-means: a center is the sum of its vectors, since the cosine compares only directions.
    for (assign(); cluster != before; assign()) {
        std::fill(centers.begin(), centers.end(), 0.0f);
        for (std::size_t i = 0; i < vectors.size(); i++) centers[cluster[i / dim] * dim + i % dim] += vectors[i];
    }
    for (std::size_t c = 0; c < count; c++) {
        std::printf("%zu\n", c + 1);
        for (std::size_t i = 0; i < sentences.size(); i++)
            if (cluster[i] == c) std::printf("  %s\n", sentences[i].c_str());
    }
} catch (const bge::error &error) {
    std::cerr << error.what() << '\n';
    return 1;
}
