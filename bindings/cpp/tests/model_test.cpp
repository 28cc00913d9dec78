// A model in C++: what encode takes and gives, and how it fails.

#include "tiny.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string_view>
#include <type_traits>

static_assert(std::is_nothrow_move_constructible_v<bge::model>);
static_assert(std::is_nothrow_move_assignable_v<bge::model>);
static_assert(!std::is_copy_constructible_v<bge::model>);
static_assert(!std::is_copy_constructible_v<bge::cancel>);

namespace {

const bge::model& heads() {
    static const bge::model model(tiny("heads"));
    return model;
}

/// What bge_encode itself gives for the sentences.
std::vector<float> by_c(std::size_t dim) {
    std::vector<const char*> pointers;
    std::vector<std::size_t> lengths;
    for (const std::string& text : sentences) {
        pointers.push_back(text.data());
        lengths.push_back(text.size());
    }
    std::vector<float> dense(sentences.size() * dim);
    bge_embeddings out = BGE_EMBEDDINGS_INIT;
    out.dense = dense.data();
    out.dense_capacity = dense.size();
    EXPECT_EQ(bge_encode(heads().get(), pointers.data(), lengths.data(), lengths.size(), nullptr, &out, nullptr), BGE_OK);
    return dense;
}

template <class Call>
bge_status code_of(Call&& call, const char* part_of_message = "") {
    try {
        call();
    } catch (const bge::error& e) {
        EXPECT_NE(std::strstr(e.what(), part_of_message), nullptr) << e.what();
        EXPECT_STREQ(e.name(), bge_status_name(e.code()));
        return e.code();
    }
    return BGE_OK;
}

}  // namespace

TEST(Model, GivesTheBitsOfC) {
    const std::size_t dim = heads().dense_dim();
    const std::vector<float> expected = by_c(dim);
    EXPECT_EQ(heads().encode(sentences), expected);

    const std::vector<std::string_view> views(sentences.begin(), sentences.end());
    EXPECT_EQ(heads().encode(views), expected);
    EXPECT_EQ(heads().encode_async(sentences).get(), expected);
    EXPECT_EQ(heads().encode_outputs(sentences, BGE_OUTPUT_DENSE).dense, expected);

    std::vector<float> wide(sentences.size() * (dim + 3), -7.0F);
    heads().encode_into(sentences, wide, {}, dim + 3);
    for (std::size_t i = 0; i < sentences.size(); i++) {
        EXPECT_TRUE(std::equal(&wide[i * (dim + 3)], &wide[i * (dim + 3)] + dim, &expected[i * dim])) << i;
        EXPECT_EQ(wide[i * (dim + 3) + dim], -7.0F) << "what lies between rows was written to";
    }
}

TEST(Model, TakesTextsInAnyForm) {
    const std::vector<float> expected = heads().encode(std::vector<std::string>{"a"});
    const char* const array[] = {"a"};
    EXPECT_EQ(heads().encode("a"), expected);
    EXPECT_EQ(heads().encode(std::string("a")), expected);
    EXPECT_EQ(heads().encode(std::string_view("a")), expected);
    EXPECT_EQ(heads().encode({"a"}), expected);
    EXPECT_EQ(heads().encode(array), expected);
    EXPECT_EQ(heads().encode({"a", "b"}).size(), 2 * heads().dense_dim());
}

TEST(Model, TakesNoTexts) {
    const std::vector<std::string> none;
    EXPECT_TRUE(heads().encode(none).empty());
    EXPECT_TRUE(heads().count_tokens(none).empty());
    EXPECT_TRUE(heads().encode_async({}).get().empty());
    const bge::embeddings all = heads().encode_outputs(none, BGE_OUTPUT_DENSE | BGE_OUTPUT_SPARSE | BGE_OUTPUT_MULTI);
    EXPECT_EQ(all.sparse.offsets, std::vector<std::uint64_t>{0});
    EXPECT_EQ(all.multi.offsets, std::vector<std::uint64_t>{0});
}

TEST(Model, GivesAllOutputs) {
    const std::uint32_t every = BGE_OUTPUT_DENSE | BGE_OUTPUT_SPARSE | BGE_OUTPUT_MULTI | BGE_OUTPUT_TOKENS;
    ASSERT_EQ(heads().info().outputs, every);
    const bge::embeddings all = heads().encode_outputs(sentences, every);
    EXPECT_EQ(all.token_counts, heads().count_tokens(sentences));
    EXPECT_EQ(all.truncated, std::vector<std::uint8_t>(sentences.size(), 0));
    EXPECT_TRUE(all.statuses.empty());
    EXPECT_TRUE(all.errors.empty());
    for (std::size_t i = 0; i < sentences.size(); i++) {
        EXPECT_EQ(all.tokens.offsets[i + 1] - all.tokens.offsets[i], all.token_counts[i]);
        EXPECT_EQ(all.multi.offsets[i + 1] - all.multi.offsets[i], all.token_counts[i] - 1);
    }
    EXPECT_EQ(all.multi.rows.size(), all.multi.offsets.back() * heads().info().multi_dim);
    EXPECT_EQ(all.tokens.rows.size(), all.tokens.offsets.back() * heads().info().token_dim);
    ASSERT_EQ(all.sparse.ids.size(), all.sparse.weights.size());
    ASSERT_FALSE(all.sparse.ids.empty());
    for (std::uint32_t id : all.sparse.ids) EXPECT_TRUE(heads().token_text(id).has_value());

    const std::vector<float> sparse = bge::similarity(all.sparse, all.sparse);
    const std::vector<float> multi = bge::similarity(all.multi, all.multi, heads().info().multi_dim);
    const std::size_t n = sentences.size();
    ASSERT_EQ(sparse.size(), n * n);
    ASSERT_EQ(multi.size(), n * n);
    float by_hand = 0;
    for (std::uint64_t k = all.sparse.offsets[0]; k < all.sparse.offsets[1]; k++)
        by_hand += all.sparse.weights[k] * all.sparse.weights[k];
    EXPECT_NEAR(sparse[0], by_hand, 1e-5);
    EXPECT_NEAR(multi[0], 1.0, 1e-5) << "each row is its own nearest";
}

TEST(Model, HasARowForEachTokenOfAPrompt) {
    const bge::model model(tiny("prompts"));
    const bge::embeddings bare = model.encode_outputs(sentences, BGE_OUTPUT_TOKENS);
    bge::encode_options options;
    options.prompt_name = "query";
    const bge::embeddings prompted = model.encode_outputs(sentences, BGE_OUTPUT_TOKENS, options);
    for (std::size_t i = 0; i < sentences.size(); i++) EXPECT_GT(prompted.token_counts[i], bare.token_counts[i]);
    EXPECT_EQ(prompted.tokens.rows.size(), prompted.tokens.offsets.back() * model.info().token_dim);
}

TEST(Model, CutsAndTruncates) {
    bge::encode_options options;
    options.max_tokens = 3;
    const bge::embeddings cut = heads().encode_outputs(sentences, BGE_OUTPUT_MULTI, options);
    EXPECT_EQ(cut.truncated[0], 1);
    EXPECT_EQ(cut.token_counts[0], 3U);

    options = {};
    options.truncate_dim = 8;
    EXPECT_EQ(heads().encode(sentences, options).size(), sentences.size() * 8);
    options.truncate_dim = UINT32_MAX;
    EXPECT_EQ(code_of([&] { (void)heads().encode(sentences, options); }), BGE_ERROR_INVALID_ARGUMENT);
}

TEST(Model, TellsWhichTextIsAtFault) {
    const std::vector<std::string> texts{"a", "b", "\xff"};
    for (int way = 0; way < 4; way++) {
        try {
            if (way == 0) (void)heads().encode(texts);
            if (way == 1) (void)heads().count_tokens(texts);
            if (way == 2) (void)heads().encode_outputs(texts, BGE_OUTPUT_SPARSE);
            if (way == 3) (void)heads().encode_async(texts).get();
            FAIL() << way;
        } catch (const bge::error& e) {
            EXPECT_EQ(e.code(), BGE_ERROR_INVALID_UTF8) << way;
            EXPECT_EQ(e.text_index(), 2U) << way;
        }
    }
    const std::uint32_t outputs = BGE_OUTPUT_DENSE | BGE_OUTPUT_SPARSE;
    bge::encode_options by_flag;
    by_flag.flags = BGE_ENCODE_PER_TEXT_ERRORS;
    for (const bge::embeddings& results :
         {heads().encode_outputs(texts, outputs, {}, true), heads().encode_outputs(texts, outputs, by_flag)}) {
        EXPECT_EQ(results.statuses, (std::vector<bge_status>{BGE_OK, BGE_OK, BGE_ERROR_INVALID_UTF8}));
        ASSERT_EQ(results.errors.size(), 1U);
        EXPECT_EQ(results.errors[0].code(), BGE_ERROR_INVALID_UTF8);
        EXPECT_EQ(results.errors[0].text_index(), 2U);
        EXPECT_NE(std::strstr(results.errors[0].what(), "texts[2] is not UTF-8"), nullptr);
        EXPECT_TRUE(std::isnan(results.dense.back()));
        EXPECT_FALSE(std::isnan(results.dense.front()));
    }
    const bge::embeddings sound = heads().encode_outputs("a", outputs, {}, true);
    EXPECT_EQ(sound.statuses, std::vector<bge_status>{BGE_OK});
    EXPECT_TRUE(sound.errors.empty());
}

TEST(Model, RefusesWithTheLibrarysWords) {
    EXPECT_EQ(code_of([] { bge::model model("/no/such/model"); }, "/no/such/model"), BGE_ERROR_MODEL_NOT_FOUND);
    bge::open_options wrong;
    wrong.flags = 1U << 30;
    EXPECT_EQ(code_of([&] { bge::model model(tiny("cls"), wrong); }, "flags"), BGE_ERROR_UNSUPPORTED);
    std::vector<float> small(3);
    EXPECT_EQ(code_of([&] { heads().encode_into("a", small); }), BGE_ERROR_BUFFER_TOO_SMALL);
    bge::encode_options named;
    named.prompt_name = "no such prompt";
    EXPECT_NE(code_of([&] { (void)heads().encode("a", named); }, "no such prompt"), BGE_OK);
    const std::vector<const char*> null{"a", nullptr};
    EXPECT_EQ(code_of([&] { (void)heads().encode(null); }, "text 1"), BGE_ERROR_INVALID_ARGUMENT);
    EXPECT_EQ(code_of([] { (void)bge::model(tiny("cls")).encode_outputs("a", BGE_OUTPUT_SPARSE); }), BGE_ERROR_UNSUPPORTED);
}

TEST(Model, StopsWhenTold) {
    const bge::cancel cancel;
    cancel.trigger();
    bge::encode_options options;
    options.cancel = cancel.get();
    EXPECT_EQ(code_of([&] { (void)heads().encode(sentences, options); }), BGE_ERROR_CANCELLED);
    EXPECT_EQ(code_of([&] { (void)heads().encode_async(sentences, options).get(); }), BGE_ERROR_CANCELLED);
}

TEST(Model, DescribesItself) {
    const bge_stats before = heads().stats();
    (void)heads().encode(sentences);
    EXPECT_EQ(heads().stats().texts, before.texts + sentences.size());
    EXPECT_EQ(heads().fingerprint().size(), 32U);
    EXPECT_FALSE(heads().token_text(UINT32_MAX).has_value());
    EXPECT_STREQ(heads().info().pooling, "cls");
    EXPECT_EQ(heads().dense_dim(), heads().info().dense_dim);
}

TEST(Model, MovesAndCloses) {
    bge::model first(tiny("cls"));
    const std::vector<float> expected = first.encode("a");
    bge::model second = std::move(first);
    EXPECT_EQ(second.encode("a"), expected);
    first = bge::model(tiny("mean"));
    EXPECT_NE(first.encode("a"), expected);
    first = std::move(second);
    EXPECT_EQ(first.encode("a"), expected);
}

TEST(Model, AMovedFromModelIsAnError) {
    bge::model model(tiny("cls"));
    const bge::model taken = std::move(model);
    // What is left behind may be asked, and says no.
    EXPECT_EQ(code_of([&] { (void)model.encode("a"); }), BGE_ERROR_INVALID_ARGUMENT);  // NOLINT
}

TEST(Options, StartAtTheHeadersDefaults) {
    const bge_open_options open = BGE_OPEN_OPTIONS_INIT;
    const bge_encode_options encode = BGE_ENCODE_OPTIONS_INIT;
    const bge_similarity_options similarity = BGE_SIMILARITY_OPTIONS_INIT;
    const bge_quantize_options quantize = BGE_QUANTIZE_OPTIONS_INIT;
    const bge::open_options our_open;
    const bge::encode_options our_encode;
    const bge::similarity_options our_similarity;
    const bge::quantize_options our_quantize;
    EXPECT_EQ(std::memcmp(&open, &our_open, sizeof open), 0);
    EXPECT_EQ(std::memcmp(&encode, &our_encode, sizeof encode), 0);
    EXPECT_EQ(std::memcmp(&similarity, &our_similarity, sizeof similarity), 0);
    EXPECT_EQ(std::memcmp(&quantize, &our_quantize, sizeof quantize), 0);
}

TEST(Options, TakeTimesOfChrono) {
    using namespace std::chrono_literals;
    bge::encode_options options;
    EXPECT_EQ(options.timeout(2s).timeout_ms, 2000U);
    EXPECT_EQ(options.timeout(1500us).timeout_ms, 2U);
    EXPECT_EQ(options.timeout(1ns).timeout_ms, 1U);
    EXPECT_EQ(options.timeout(std::chrono::duration<float>(0.25F)).timeout_ms, 250U);
    EXPECT_EQ(options.timeout(std::chrono::hours::max()).timeout_ms, UINT32_MAX);
    for (const auto time : {0ms, -1ms, std::chrono::milliseconds::min()})
        EXPECT_EQ(code_of([&] { options.timeout(time); }), BGE_ERROR_INVALID_ARGUMENT);
    EXPECT_EQ(code_of([&] { options.timeout(std::chrono::duration<double>(std::nan(""))); }), BGE_ERROR_INVALID_ARGUMENT);
    const std::vector<std::string> many(20000, sentences[0]);
    EXPECT_EQ(code_of([&] { (void)heads().encode(many, bge::encode_options().timeout(1ms)); }), BGE_ERROR_TIMEOUT);
}
