#include <bge.hpp>
#include <cstdio>
#include <iostream>

int main(int argc, char **argv) try {
    const std::vector<std::string> passages = {
        "Ibu kota Indonesia adalah Jakarta.",
        "Harimau sumatera hidup di hutan pulau Sumatera.",
        "Nasi goreng dimasak dengan bawang, kecap, dan telur.",
        "Kereta berangkat dari stasiun Gambir setiap pagi.",
        "Gunung Bromo adalah gunung berapi di Jawa Timur.",
        "Batik dibuat dengan menggambar lilin di atas kain."};
    const std::vector<std::string> queries = {
        "Bagaimana cara memasak nasi goreng?", "Di mana harimau hidup?", "Kapan kereta berangkat?"};
    bge::model model(argc > 1 ? argv[1] : "bge-m3");
    const std::vector<float> corpus = model.encode(passages);
    const std::vector<std::vector<bge::hit>> hits =
        bge::similarity_top_k(bge::metric::cosine, model.encode(queries), corpus, model.dense_dim(), 2);
    for (std::size_t query = 0; query < queries.size(); query++) {
        std::printf("%s\n", queries[query].c_str());
        for (const bge::hit &hit : hits[query])
            std::printf("  %.4f  %s\n", hit.score, passages[hit.row].c_str());
    }
} catch (const bge::error &error) {
    std::cerr << error.what() << '\n';
    return 1;
}
