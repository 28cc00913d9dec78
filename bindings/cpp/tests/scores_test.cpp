// Scores and codes in C++: shapes, and what is refused before memory is touched.

#include <bge.hpp>

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

namespace {

const std::vector<float> a{1, 0, 0, 1, 3, 4};
const std::vector<float> b{0, 2, 1, 1};

template <class Call>
bge_status code_of(Call&& call, const char* part_of_message = "") {
    try {
        call();
    } catch (const bge::error& e) {
        EXPECT_FALSE(e.text_index().has_value());
        EXPECT_NE(std::strstr(e.what(), part_of_message), nullptr) << e.what();
        return e.code();
    }
    return BGE_OK;
}

}  // namespace

TEST(Similarity, HasTheShapeOfItsRows) {
    EXPECT_EQ(bge::similarity(bge::metric::dot, a, b, 2), (std::vector<float>{0, 1, 2, 1, 8, 7}));
    EXPECT_EQ(bge::similarity(bge::metric::manhattan, a, b, 2), (std::vector<float>{-3, -1, -1, -1, -5, -5}));
    EXPECT_NEAR(bge::similarity(bge::metric::cosine, a, b, 2)[4], 0.8, 1e-6);
    EXPECT_NEAR(bge::similarity(bge::metric::euclidean, a, b, 2)[0], -std::sqrt(5.0), 1e-6);
    EXPECT_EQ(bge::similarity_pairwise(bge::metric::dot, b, b, 2), (std::vector<float>{4, 2}));
    EXPECT_TRUE(bge::similarity(bge::metric::dot, {}, b, 2).empty());
    EXPECT_TRUE(bge::similarity(bge::metric::dot, a, {}, 2).empty());
}

TEST(Similarity, FindsTheBestRows) {
    using ranked = std::vector<std::vector<std::pair<std::size_t, float>>>;
    const auto top_k = [](const std::vector<float>& queries, const std::vector<float>& corpus, std::size_t k) {
        ranked found;
        for (const std::vector<bge::hit>& hits : bge::similarity_top_k(bge::metric::dot, queries, corpus, 2, k)) {
            found.emplace_back();
            for (const bge::hit& hit : hits) found.back().emplace_back(hit.row, hit.score);
        }
        return found;
    };
    EXPECT_EQ(top_k(b, a, 2), (ranked{{{2, 8.0F}, {1, 2.0F}}, {{2, 7.0F}, {0, 1.0F}}}));
    const ranked all = top_k(b, a, 4);
    EXPECT_EQ(all[0].size(), 3U);
    EXPECT_EQ(all[1].size(), 3U);
    EXPECT_TRUE(top_k({}, a, 4).empty());
    EXPECT_EQ(top_k(b, a, 0), (ranked{{}, {}}));
    EXPECT_EQ(top_k(b, {}, 1), (ranked{{}, {}}));
    const float nan = std::numeric_limits<float>::quiet_NaN();
    EXPECT_EQ(top_k(b, {nan, 0, 1, 1}, 2), (ranked{{{1, 2.0F}}, {{1, 2.0F}}}));
    EXPECT_EQ(code_of([] { (void)bge::similarity_top_k(bge::metric::dot, b, a, 4, 1); }), BGE_ERROR_INVALID_ARGUMENT);
}

TEST(Similarity, FollowsStrides) {
    bge::similarity_options options;
    options.a_stride = 4;
    options.scores_stride = 3;
    // Rows 0 and 1 of `a` are four floats apart: {1, 0} and {3, 4}.
    const std::vector<float> scores = bge::similarity(bge::metric::dot, a, b, 2, options);
    ASSERT_EQ(scores.size(), 5U);
    EXPECT_EQ(scores[0], 0);
    EXPECT_EQ(scores[3], 8);
    EXPECT_EQ(scores[4], 7);
}

TEST(Similarity, RefusesWhatIsNoRows) {
    EXPECT_EQ(code_of([] { (void)bge::similarity(bge::metric::dot, a, b, 4); }), BGE_ERROR_INVALID_ARGUMENT);
    EXPECT_EQ(code_of([] { (void)bge::similarity(bge::metric::dot, a, b, 0); }), BGE_ERROR_INVALID_ARGUMENT);
    EXPECT_EQ(code_of([] { (void)bge::similarity_pairwise(bge::metric::dot, a, b, 2); }), BGE_ERROR_INVALID_ARGUMENT);
    EXPECT_EQ(code_of([] { (void)bge::similarity(static_cast<bge::metric>(99), a, b, 2); }), BGE_ERROR_INVALID_ARGUMENT);
    std::vector<float> small(5);
    EXPECT_EQ(code_of([&] { bge::similarity_into(bge::metric::dot, a, b, 2, small); }), BGE_ERROR_BUFFER_TOO_SMALL);
    bge::similarity_options narrow;
    narrow.a_stride = 1;
    EXPECT_EQ(code_of([&] { (void)bge::similarity(bge::metric::dot, a, b, 2, narrow); }), BGE_ERROR_INVALID_ARGUMENT);
}

TEST(Similarity, RefusesOffsetsThatLeaveTheirRows) {
    const bge::sparse_weights good{{0, 1}, {7}, {0.5F}};
    EXPECT_EQ(bge::similarity(good, good), std::vector<float>{0.25F});
    for (const bge::sparse_weights& bad :
         {bge::sparse_weights{{}, {}, {}}, bge::sparse_weights{{0, 2}, {7}, {0.5F}},
          bge::sparse_weights{{0, 1}, {7}, {}}, bge::sparse_weights{{0, 9, 1}, {7}, {0.5F}}}) {
        EXPECT_NE(code_of([&] { (void)bge::similarity(bad, good); }), BGE_OK);
        EXPECT_NE(code_of([&] { (void)bge::similarity(good, bad); }), BGE_OK);
    }
    const bge::token_vectors rows{{0, 2}, {1, 0, 0, 1}};
    EXPECT_EQ(bge::similarity(rows, rows, 2), std::vector<float>{1});
    const bge::token_vectors short_rows{{0, 2}, {1, 0, 0}};
    EXPECT_EQ(code_of([&] { (void)bge::similarity(rows, short_rows, 2); }, "b.rows has 3 elements, not 4"),
              BGE_ERROR_INVALID_ARGUMENT);
}

TEST(Hybrid, MixesWhatIsThere) {
    const std::vector<float> dense{1, 0}, sparse{0, 1};
    EXPECT_EQ(bge::similarity_hybrid(dense, sparse, {}), (std::vector<float>{0.5F, 0.5F}));
    EXPECT_EQ(bge::similarity_hybrid(dense, sparse, {}, std::vector<float>{3, 1, 0}), (std::vector<float>{0.75F, 0.25F}));
    EXPECT_TRUE(bge::similarity_hybrid({}, {}, {}).empty());
    const std::vector<float> longer{1, 2, 3};
    EXPECT_EQ(code_of([&] { (void)bge::similarity_hybrid(dense, longer, {}); }, "dense has 2 elements, not 3"),
              BGE_ERROR_INVALID_ARGUMENT);
}

TEST(Quantize, MakesBytesAndBits) {
    const std::vector<float> rows{-1, 0, 1, 2, 3, 5, -2, 1};
    EXPECT_EQ(bge::quantize(bge::precision::ubinary, rows, 8), std::vector<std::uint8_t>{0b00111101});
    const std::vector<float> ranges = bge::quantize_ranges(rows, 2);
    EXPECT_EQ(ranges, (std::vector<float>{-2, 0, 3, 5}));
    bge::quantize_options options;
    options.ranges = ranges.data();
    const std::vector<std::uint8_t> codes = bge::quantize(bge::precision::uint8, rows, 2, options);
    std::vector<std::uint8_t> by_c(8);
    ASSERT_EQ(bge_quantize(BGE_PRECISION_UINT8, rows.data(), 4, 2, &options, by_c.data(), by_c.size(), nullptr), BGE_OK);
    EXPECT_EQ(codes, by_c);
    EXPECT_EQ(codes[6], 0) << "the least of its dimension";
    const std::vector<float> bad{std::numeric_limits<float>::quiet_NaN()};
    EXPECT_NE(code_of([&] { (void)bge::quantize(bge::precision::binary, bad, 1); }), BGE_OK);
}

TEST(Constants, AreTheHeaders) {
    EXPECT_EQ(static_cast<bge_metric>(bge::metric::cosine), BGE_METRIC_COSINE);
    EXPECT_EQ(static_cast<bge_metric>(bge::metric::dot), BGE_METRIC_DOT);
    EXPECT_EQ(static_cast<bge_metric>(bge::metric::euclidean), BGE_METRIC_EUCLIDEAN);
    EXPECT_EQ(static_cast<bge_metric>(bge::metric::manhattan), BGE_METRIC_MANHATTAN);
    EXPECT_EQ(bge_version(), static_cast<std::uint32_t>(BGE_VERSION)) << "header and library differ";
}
