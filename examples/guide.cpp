// The code of docs/guide.md: a function for each of its sections. Arguments: a model directory with heads, such as
// BAAI/bge-m3's, and one with prompts.
#include <bge.hpp>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <thread>

namespace {

const std::vector<std::string> texts = {"Where is the cat?", "Di mana kucing itu?", "The stock market fell."};

bge::model opening(const char *dir) {
    bge::open_options options;
    options.threads = 2;               // default: the physical cores that the process may use
    options.queue_capacity = 256;      // asynchronous calls, default 1024
    bge::model model(dir, options);
    std::printf("opening: %u floats, %u tokens\n", model.info().dense_dim, model.info().max_tokens);
    return model;
}

void encoding(const bge::model &model) {
    const std::vector<float> vectors = model.encode(texts);
    const float *second = &vectors[1 * model.dense_dim()];  // vectors lie one after another

    std::vector<float> mine(texts.size() * model.dense_dim());
    model.encode_into(texts, mine);  // into memory of the caller, without a copy
    std::printf("encoding: %s\n", *second == mine[model.dense_dim()] ? "same" : "different");
}

void outputs(const bge::model &model) {
    const bge::embeddings all =
        model.encode_outputs(texts, BGE_OUTPUT_DENSE | BGE_OUTPUT_SPARSE | BGE_OUTPUT_MULTI);
    for (std::uint64_t i = all.sparse.offsets[0]; i < all.sparse.offsets[1]; i++)  // of text 0
        std::printf("outputs: token %u weighs %.3f\n", all.sparse.ids[i], all.sparse.weights[i]);
    const std::uint64_t rows = all.multi.offsets[1] - all.multi.offsets[0];  // of multi_dim floats each
    std::printf("outputs: %u rows, %u tokens\n", static_cast<unsigned>(rows), all.token_counts[0]);
}

void prompts(const bge::model &model) {
    bge::encode_options query, none;
    query.prompt_name = "query";  // a name in config_sentence_transformers.json
    none.prompt_name = "";        // no prompt, not even the model's default one
    const std::vector<float> prompted = model.encode(texts, query);
    const std::vector<float> plain = model.encode(texts, none);
    std::printf("prompts: %s\n", prompted == plain ? "same" : "different");
}

void long_texts(const bge::model &model) {
    const std::string text(100000, 'a');
    const bge::embeddings cut = model.encode_outputs(text, BGE_OUTPUT_DENSE);
    std::printf("long: cut %d\n", cut.truncated[0]);

    bge::encode_options options;
    options.flags |= BGE_ENCODE_REJECT_LONG;
    try {
        (void)model.encode(text, options);
    } catch (const bge::error &error) {
        std::printf("long: %s\n", error.name());  // BGE_ERROR_TEXT_TOO_LONG
    }
}

void errors(const bge::model &model) {
    const std::vector<std::string> mixed = {"a text", "not UTF-8: \xff"};
    try {
        (void)model.encode(mixed);
    } catch (const bge::error &error) {
        if (error.text_index()) std::printf("errors: text %zu: %s\n", *error.text_index(), error.what());
    }

    const bool per_text_errors = true;
    const bge::embeddings some = model.encode_outputs(mixed, BGE_OUTPUT_DENSE, {}, per_text_errors);
    for (const bge::error &error : some.errors)  // of text 1; text 0 has its vector
        std::printf("errors: %s\n", error.name());
}

void threads(const bge::model &model) {
    std::vector<std::thread> callers;
    for (int i = 0; i < 4; i++)
        callers.emplace_back([&] { (void)model.encode(texts); });  // texts of all threads share batches
    for (std::thread &caller : callers) caller.join();
    std::printf("threads: %u texts\n", static_cast<unsigned>(model.stats().texts));
}

void stopping(const bge::model &model) {
    bge::cancel cancel;
    bge::encode_options options;
    options.timeout(std::chrono::seconds(5));
    options.cancel = cancel.get();
    cancel.trigger();  // any thread may
    try {
        (void)model.encode(texts, options);
    } catch (const bge::error &error) {
        std::printf("stopping: %s\n", error.name());  // BGE_ERROR_CANCELLED
    }

    std::future<std::vector<float>> later = model.encode_async(texts);
    std::printf("stopping: %zu floats\n", later.get().size());
}

void memory(const char *dir) {
    bge::open_options options;
    options.flags |= BGE_OPEN_SMALL_MEMORY;   // the weights stay in their mapped file
    options.max_run_bytes = 256 << 20;        // batches take at most this, beside the opened model
    const bge::model model(dir, options);
    std::printf("memory: %u tokens a batch\n", model.info().max_batch_tokens);
}

void similarity(const bge::model &model) {
    const std::vector<float> corpus = model.encode(texts), query = model.encode("kucing");
    const std::vector<float> scores = bge::similarity(bge::metric::cosine, query, corpus, model.dense_dim());
    const std::vector<std::vector<bge::hit>> best =
        bge::similarity_top_k(bge::metric::cosine, query, corpus, model.dense_dim(), 2);
    const bge::hit first = best[0][0];  // of query 0, the most similar row of the corpus
    std::printf("similarity: %s\n", first.score == scores[first.row] ? "same" : "different");
}

void hybrid(const bge::model &model) {
    const std::uint32_t outputs = BGE_OUTPUT_DENSE | BGE_OUTPUT_SPARSE | BGE_OUTPUT_MULTI;
    const bge::embeddings query = model.encode_outputs("kucing", outputs);
    const bge::embeddings corpus = model.encode_outputs(texts, outputs);
    const std::vector<float> dense =
        bge::similarity(bge::metric::cosine, query.dense, corpus.dense, model.dense_dim());
    const std::vector<float> sparse = bge::similarity(query.sparse, corpus.sparse);
    const std::vector<float> multi = bge::similarity(query.multi, corpus.multi, model.info().multi_dim);
    const std::vector<float> mixed =
        bge::similarity_hybrid(dense, sparse, multi, std::vector<float>{0.4f, 0.2f, 0.4f});
    std::printf("hybrid: %zu scores\n", mixed.size());
}

}  // namespace

int main(int argc, char **argv) try {
    if (argc != 3) return 2;
    const bge::model model = opening(argv[1]);
    encoding(model);
    outputs(model);
    prompts(bge::model(argv[2]));
    long_texts(model);
    errors(model);
    threads(model);
    stopping(model);
    memory(argv[1]);
    similarity(model);
    hybrid(model);
} catch (const bge::error &error) {
    std::cerr << error.what() << '\n';
    return 1;
}
