// What bge.hpp adds to a call of bge.h: both encode the same texts in turns, and the medians are compared.
//
//     overhead MODEL [CALLS]

#include <bge.hpp>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace {

using Clock = std::chrono::steady_clock;

double microseconds(Clock::time_point from) { return std::chrono::duration<double, std::micro>(Clock::now() - from).count(); }

double median(std::vector<double> times) {
    std::nth_element(times.begin(), times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2), times.end());
    return times[times.size() / 2];
}

}  // namespace

int main(int argc, char** argv) try {
    if (argc < 2) {
        std::fprintf(stderr, "usage: overhead MODEL [CALLS]\n");
        return 2;
    }
    const bge::model model(argv[1]);
    const int calls = argc > 2 ? std::atoi(argv[2]) : 2000;
    std::printf("| texts a call | bge.h us | bge.hpp us | difference us |\n|---|---|---|---|\n");
    for (std::size_t count : {1U, 64U}) {
        const std::vector<std::string> texts(count, "Orang-orang ada di luar.");
        std::vector<const char*> pointers;
        std::vector<std::size_t> lengths;
        for (const std::string& text : texts) {
            pointers.push_back(text.data());
            lengths.push_back(text.size());
        }
        std::vector<float> dense(count * model.dense_dim());
        bge_embeddings out = BGE_EMBEDDINGS_INIT;
        out.dense = dense.data();
        out.dense_capacity = dense.size();
        std::vector<double> by_c, by_cpp, differences;
        for (int call = 0; call < calls; call++) {
            const auto first = Clock::now();
            bge_error error;
            if (bge_encode(model.get(), pointers.data(), lengths.data(), count, nullptr, &out, &error) != BGE_OK)
                throw bge::error(error);
            by_c.push_back(microseconds(first));
            const auto second = Clock::now();
            const std::vector<float> vectors = model.encode(texts);
            by_cpp.push_back(microseconds(second));
            differences.push_back(by_cpp.back() - by_c.back());
        }
        std::printf("| %zu | %.1f | %.1f | %.1f |\n", count, median(by_c), median(by_cpp), median(differences));
    }
} catch (const bge::error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
}
