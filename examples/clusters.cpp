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
    const auto nearest = [&](const std::vector<float> &centres) {
        return bge::similarity_top_k(bge::metric::cosine, vectors, centres, dim, 1);
    };
    // The first centre is the first sentence, and each further one the sentence that is least like all before.
    std::vector<float> centres(vectors.begin(), vectors.begin() + dim);
    while (centres.size() < count * dim) {
        const std::vector<float> scores = nearest(centres).scores;
        const std::size_t row = std::min_element(scores.begin(), scores.end()) - scores.begin();
        centres.insert(centres.end(), &vectors[row * dim], &vectors[row * dim] + dim);
    }
    // Spherical k-means: a centre is the sum of its vectors, since the cosine asks for its direction only.
    std::vector<std::uint64_t> cluster = nearest(centres).indices, before;
    while (cluster != before) {
        std::fill(centres.begin(), centres.end(), 0.0f);
        for (std::size_t i = 0; i < vectors.size(); i++) centres[cluster[i / dim] * dim + i % dim] += vectors[i];
        before = cluster;
        cluster = nearest(centres).indices;
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
