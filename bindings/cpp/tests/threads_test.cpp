// Ten thousand mixed calls from sixteen threads, some of them stopped, and models closed under them.

#include "tiny.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <random>
#include <thread>

namespace {

/// Fewer under valgrind, where each takes about fifty times as long.
int calls() {
    const char* given = std::getenv("BGE_CALLS");
    return given ? std::atoi(given) : 10000;
}

}  // namespace

TEST(Threads, MixCallsOfAllKinds) {
    constexpr int threads = 16;
    const bge::model model(tiny("heads"));
    const std::vector<float> expected = model.encode(sentences);
    std::atomic<int> made{0}, stopped{0}, wrong{0}, callbacks{0}, started{0};
    const auto same = [&](const std::vector<float>& got) {
        if (got.size() != expected.size()) return false;
        for (std::size_t i = 0; i < got.size(); i++)
            if (!(std::abs(got[i] - expected[i]) < 2e-6F)) return false;
        return true;
    };
    const auto work = [&](unsigned seed) {
        std::mt19937 random(seed);
        while (made.fetch_add(1) < calls()) {
            const bge::cancel cancel;
            bge::encode_options options;
            const auto kind = random() % 6;
            if (kind == 5) options.cancel = cancel.get();
            std::thread killer;
            if (kind == 5 && random() % 8 == 0) killer = std::thread([&] { cancel.trigger(); });
            else if (kind == 5) cancel.trigger();
            try {
                if (kind == 0) (void)model.count_tokens(sentences);
                else if (kind == 1) wrong += !same(model.encode_outputs(sentences, BGE_OUTPUT_DENSE | BGE_OUTPUT_MULTI).dense);
                else if (kind == 2) wrong += !same(model.encode_async(sentences).get());
                else if (kind == 3) {
                    started++;
                    try {
                        model.encode_async(sentences, [&](std::vector<float> dense, std::exception_ptr failure) {
                            wrong += failure || !same(dense);
                            callbacks++;
                        });
                    } catch (const bge::error& e) {
                        started--;
                        wrong += e.code() != BGE_ERROR_QUEUE_FULL;
                    }
                } else wrong += !same(model.encode(sentences, options));
            } catch (const bge::error& e) {
                wrong += e.code() != BGE_ERROR_CANCELLED;
                stopped++;
            }
            if (killer.joinable()) killer.join();
        }
    };
    std::vector<std::thread> pool;
    for (unsigned i = 0; i < threads; i++) pool.emplace_back(work, i);
    for (std::thread& thread : pool) thread.join();
    while (callbacks.load() < started.load()) std::this_thread::yield();
    EXPECT_EQ(wrong.load(), 0);
    EXPECT_GT(stopped.load(), 0);
    EXPECT_GT(callbacks.load(), 0);
}

TEST(Threads, ClosingEndsWhatIsUnderWay) {
    for (int round = 0; round < 20; round++) {
        std::vector<std::future<std::vector<float>>> futures;
        {
            const bge::model model(tiny("cls"));
            for (int i = 0; i < 50; i++) futures.push_back(model.encode_async(sentences));
        }
        for (auto& future : futures) {
            try {
                EXPECT_EQ(future.get().size() % sentences.size(), 0U);
            } catch (const bge::error& e) {
                EXPECT_EQ(e.code(), BGE_ERROR_CLOSED);
            }
        }
    }
}

// What callbacks have done is there once the model is closed, without another word between threads.
TEST(Threads, ClosingWaitsForCallbacks) {
    int made = 0;
    std::vector<float> last;
    {
        const bge::model model(tiny("cls"));
        for (int i = 0; i < 20; i++)
            model.encode_async(sentences, [&](std::vector<float> dense, std::exception_ptr) {
                made++;
                last = std::move(dense);
            });
    }
    EXPECT_EQ(made, 20);
    EXPECT_EQ(last.size() % sentences.size(), 0U);
}

TEST(Threads, ACallbackMayStartTheNext) {
    const bge::model model(tiny("cls"));
    std::promise<std::vector<float>> last;
    model.encode_async({"a"}, [&](std::vector<float>, std::exception_ptr) {
        model.encode_async({"b"}, [&](std::vector<float> dense, std::exception_ptr) { last.set_value(std::move(dense)); });
    });
    EXPECT_EQ(last.get_future().get(), model.encode("b"));
}
