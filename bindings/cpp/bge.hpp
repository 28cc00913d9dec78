// bge.hpp: bge.h for C++17 and later, header only.
//
//     bge::model model("bge-m3");
//     std::vector<float> rows = model.encode({"Where is the cat?", "Di mana kucing itu?"});
//     std::vector<float> scores = bge::similarity(bge::metric::cosine, rows, rows, model.dense_dim());
//
// bge.h documents what a function does, its limits and its threads, under the
// same name with the prefix bge_; this header documents only what differs.
// Options are the structs of bge.h with their defaults set. A function that
// fails throws bge::error. Results are written to a span of yours, or returned
// as a std::vector.
//
// Any number of threads may use a const bge::model at once. Moving from a model
// and destroying it need it alone, as bge_close does.

#ifndef BGE_HPP
#define BGE_HPP

#include <bge.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <exception>
#include <functional>
#include <future>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <ratio>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#if defined(__has_include)
#if __has_include(<version>)
#include <version>
#endif
#endif
#if defined(__cpp_lib_span)
#include <span>
#endif

#if defined(__SANITIZE_THREAD__)
#define BGE_THREAD_SANITIZER
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define BGE_THREAD_SANITIZER
#endif
#endif
#if defined(BGE_THREAD_SANITIZER)
// As <sanitizer/tsan_interface.h> declares them, which not every compiler has.
extern "C" {
void __tsan_acquire(void* address);
void __tsan_release(void* address);
}
#endif

namespace bge {

#if defined(__cpp_lib_span)
using std::span;
#else
/// The part of C++20's std::span that this header needs.
template <class T>
class span {
public:
    constexpr span() noexcept = default;
    constexpr span(T* data, std::size_t size) noexcept : data_(data), size_(size) {}
    template <std::size_t N>
    constexpr span(T (&array)[N]) noexcept : data_(array), size_(N) {}
    template <class Container,
              class = std::enable_if_t<std::is_convertible_v<
                  std::remove_pointer_t<decltype(std::data(std::declval<Container&>()))> (*)[],
                  T (*)[]>>>
    constexpr span(Container&& container) : data_(std::data(container)), size_(std::size(container)) {}

    [[nodiscard]] constexpr T* data() const noexcept { return data_; }
    [[nodiscard]] constexpr std::size_t size() const noexcept { return size_; }
    [[nodiscard]] constexpr bool empty() const noexcept { return size_ == 0; }
    [[nodiscard]] constexpr T* begin() const noexcept { return data_; }
    [[nodiscard]] constexpr T* end() const noexcept { return data_ + size_; }
    constexpr T& operator[](std::size_t i) const { return data_[i]; }

private:
    T* data_ = nullptr;
    std::size_t size_ = 0;
};
#endif

/// How vectors are compared. See the BGE_METRIC_ constants.
enum class metric : bge_metric {
    cosine = BGE_METRIC_COSINE,
    dot = BGE_METRIC_DOT,
    euclidean = BGE_METRIC_EUCLIDEAN,
    manhattan = BGE_METRIC_MANHATTAN,
};

/// The element type of the codes of quantize. See the BGE_PRECISION_ constants.
enum class precision : bge_precision {
    int8 = BGE_PRECISION_INT8,
    uint8 = BGE_PRECISION_UINT8,
    binary = BGE_PRECISION_BINARY,
    ubinary = BGE_PRECISION_UBINARY,
};

/// A failure: what() is the library's message.
class error : public std::runtime_error {
public:
    explicit error(const bge_error& cause)
        : std::runtime_error(cause.message),
          code_(cause.code),
          runtime_code_(cause.runtime_code),
          text_index_(cause.text_index) {}

    /// A BGE_ERROR_ code.
    [[nodiscard]] bge_status code() const noexcept { return code_; }
    /// Its name, e.g. "BGE_ERROR_TIMEOUT".
    [[nodiscard]] const char* name() const noexcept { return bge_status_name(code_); }
    /// ONNX Runtime's own code, or zero.
    [[nodiscard]] std::int32_t runtime_code() const noexcept { return runtime_code_; }
    /// The index of the text that is at fault, if a single one is.
    [[nodiscard]] std::optional<std::size_t> text_index() const noexcept {
        if (text_index_ == BGE_NO_TEXT) return std::nullopt;
        return static_cast<std::size_t>(text_index_);
    }

private:
    bge_status code_;
    std::int32_t runtime_code_;
    std::uint64_t text_index_;
};

struct open_options : bge_open_options {
    open_options() : bge_open_options BGE_OPEN_OPTIONS_INIT {}
};

struct encode_options : bge_encode_options {
    encode_options() : bge_encode_options BGE_ENCODE_OPTIONS_INIT {}

    /// Sets timeout_ms, rounded up, and at most to its maximum of 49 days. Throws
    /// if `time` is not greater than zero.
    template <class Rep, class Period>
    encode_options& timeout(std::chrono::duration<Rep, Period> time);
};

struct similarity_options : bge_similarity_options {
    similarity_options() : bge_similarity_options BGE_SIMILARITY_OPTIONS_INIT {}
};

struct quantize_options : bge_quantize_options {
    quantize_options() : bge_quantize_options BGE_QUANTIZE_OPTIONS_INIT {}
};

namespace detail {

/// Declares to ThreadSanitizer, which does not see into the library, that this
/// thread's writes at an address happen before taken_over on another thread.
inline void handed_over([[maybe_unused]] void* address) noexcept {
#if defined(BGE_THREAD_SANITIZER)
    __tsan_release(address);
#endif
}

/// Declares that this thread continues after handed_over.
inline void taken_over([[maybe_unused]] void* address) noexcept {
#if defined(BGE_THREAD_SANITIZER)
    __tsan_acquire(address);
#endif
}

inline void check(bge_status status, const bge_error& cause) {
    if (status != BGE_OK) throw error(cause);
}

/// Throws for a mistake that the size of a span reveals, as the library would.
[[noreturn]] inline void refuse(bge_status code, const std::string& message) {
    bge_error cause{};
    cause.code = code;
    cause.text_index = BGE_NO_TEXT;
    cause.message[message.copy(cause.message, sizeof cause.message - 1)] = '\0';
    throw error(cause);
}

/// The number of rows of `dim` floats, `stride` apart, in `floats` floats.
inline std::size_t rows_of(const char* name, std::size_t floats, std::size_t dim, std::size_t stride) {
    if (stride == 0) stride = dim;
    if (floats == 0) return 0;
    if (dim == 0 || stride < dim || (floats + (stride - dim)) % stride != 0)
        refuse(BGE_ERROR_INVALID_ARGUMENT, std::string(name) + " has " + std::to_string(floats) +
                                               " floats, which are no rows of " + std::to_string(dim) +
                                               ", " + std::to_string(stride) + " apart");
    return (floats + (stride - dim)) / stride;
}

inline void expect(const char* name, std::size_t got, std::size_t expected) {
    if (got != expected)
        refuse(BGE_ERROR_INVALID_ARGUMENT, std::string(name) + " has " + std::to_string(got) +
                                               " elements, not " + std::to_string(expected));
}

inline void expect_some(const char* name, std::size_t got) {
    if (got == 0) refuse(BGE_ERROR_INVALID_ARGUMENT, std::string(name) + " is empty; it has at least 1 element");
}

inline void expect_capacity(const char* name, std::size_t capacity, std::size_t needed) {
    if (capacity < needed)
        refuse(BGE_ERROR_BUFFER_TOO_SMALL, std::string(name) + " has " + std::to_string(capacity) +
                                               " elements, but " + std::to_string(needed) + " are needed");
}

/// The number of floats from the first to the last of `rows` rows.
inline std::size_t extent(std::size_t rows, std::size_t columns, std::size_t stride) {
    return rows == 0 ? 0 : (rows - 1) * (stride == 0 ? columns : stride) + columns;
}

template <class Reference>
inline constexpr bool is_text =
    std::is_convertible_v<Reference, std::string_view> &&
    (std::is_lvalue_reference_v<Reference> || std::is_pointer_v<Reference> ||
     std::is_same_v<std::remove_cv_t<Reference>, std::string_view>);

template <class Range>
using reference_of = decltype(*std::begin(std::declval<const Range&>()));

}  // namespace detail

template <class Rep, class Period>
encode_options& encode_options::timeout(std::chrono::duration<Rep, Period> time) {
    // Computed in floating point, in which no unit overflows.
    const double milliseconds = std::ceil(std::chrono::duration<double, std::milli>(time).count());
    if (!(milliseconds > 0))
        detail::refuse(BGE_ERROR_INVALID_ARGUMENT, "the timeout is " + std::to_string(milliseconds) +
                                                       " ms; it must be greater than zero");
    constexpr std::uint32_t most = std::numeric_limits<std::uint32_t>::max();
    timeout_ms = milliseconds < most ? static_cast<std::uint32_t>(milliseconds) : most;
    return *this;
}

/// The texts of a call: a list, a text, or a range of std::string,
/// std::string_view or const char*. It views them and does not copy them, so use
/// it as a parameter only.
class texts {
public:
    texts(std::initializer_list<std::string_view> list) { add(list); }
    texts(std::string_view text) { add(std::initializer_list<std::string_view>{text}); }
    texts(const std::string& text) : texts(std::string_view(text)) {}
    texts(const char* text) { add(std::initializer_list<const char*>{text}); }
    template <class Range, class = std::enable_if_t<detail::is_text<detail::reference_of<Range>>>>
    texts(const Range& range) {
        add(range);
    }

    [[nodiscard]] std::size_t size() const noexcept { return pointers_.size(); }
    [[nodiscard]] const char* const* pointers() const noexcept { return pointers_.data(); }
    [[nodiscard]] const std::size_t* lengths() const noexcept { return lengths_.data(); }

private:
    template <class Range>
    void add(const Range& range) {
        for (const auto& element : range) {
            if constexpr (std::is_pointer_v<std::decay_t<decltype(element)>>) {
                if (element == nullptr)
                    detail::refuse(BGE_ERROR_INVALID_ARGUMENT,
                                   "text " + std::to_string(size()) + " is a null pointer");
            }
            const std::string_view text = element;
            pointers_.push_back(text.data());
            lengths_.push_back(text.size());
        }
    }

    std::vector<const char*> pointers_;
    std::vector<std::size_t> lengths_;
};

/// Sparse weights of texts: entries offsets[i] to offsets[i + 1] are those of
/// text i.
struct sparse_weights {
    std::vector<std::uint64_t> offsets{0};
    std::vector<std::uint32_t> ids;
    std::vector<float> weights;
};

/// A vector for each token of texts: rows offsets[i] to offsets[i + 1] are those
/// of text i. A row has multi_dim or token_dim floats, as bge_info has them.
struct token_vectors {
    std::vector<std::uint64_t> offsets{0};
    std::vector<float> rows;
};

/// The results of encode_outputs. An output that was not requested is empty.
struct embeddings {
    std::vector<float> dense;
    sparse_weights sparse;
    token_vectors multi;
    token_vectors tokens;
    std::vector<std::uint32_t> token_counts;
    std::vector<std::uint8_t> truncated;
    /// BGE_OK or a BGE_ERROR_ code for each text, if the call reports per-text
    /// errors.
    std::vector<bge_status> statuses;
    /// The errors of the texts that failed, by ascending text_index().
    std::vector<error> errors;
};

namespace detail {

/// Frees what bge_encode_alloc allocated.
struct allocated_result {
    allocated_result() = default;
    allocated_result(const allocated_result&) = delete;
    allocated_result& operator=(const allocated_result&) = delete;
    ~allocated_result() { bge_encode_result_free(&result); }

    bge_encode_result result = BGE_ENCODE_RESULT_INIT;
};

template <class T>
std::vector<T> copied(const T* array, std::size_t size) {
    return array ? std::vector<T>(array, array + size) : std::vector<T>();
}

/// `offsets` is NULL for an output that was not requested.
inline std::vector<std::uint64_t> copied_offsets(const std::uint64_t* offsets, std::size_t texts) {
    return offsets ? copied(offsets, texts + 1) : std::vector<std::uint64_t>{0};
}

inline embeddings copied(const bge_encode_result& result) {
    embeddings copy;
    copy.dense = copied(result.dense, result.count * result.dense_dim);
    copy.sparse.offsets = copied_offsets(result.sparse_offsets, result.count);
    const auto entries = static_cast<std::size_t>(copy.sparse.offsets.back());
    copy.sparse.ids = copied(result.sparse_ids, entries);
    copy.sparse.weights = copied(result.sparse_weights, entries);
    copy.multi.offsets = copied_offsets(result.multi_offsets, result.count);
    copy.multi.rows = copied(result.multi, static_cast<std::size_t>(copy.multi.offsets.back()) * result.multi_dim);
    copy.tokens.offsets = copied_offsets(result.token_offsets, result.count);
    copy.tokens.rows =
        copied(result.token_embeddings, static_cast<std::size_t>(copy.tokens.offsets.back()) * result.token_dim);
    copy.token_counts = copied(result.token_counts, result.count);
    copy.truncated = copied(result.truncated, result.count);
    copy.statuses = copied(result.statuses, result.count);
    copy.errors.reserve(result.error_count);
    for (std::size_t i = 0; i < result.error_count; i++) copy.errors.emplace_back(result.errors[i]);
    return copy;
}

}  // namespace detail

/// A switch that stops calls: put get() into encode_options::cancel.
class cancel {
public:
    cancel() : handle_(bge_cancel_new()) {
        if (!handle_) throw std::bad_alloc();
    }
    /// Stops the calls that use it, now and later. Any thread may call this.
    void trigger() const noexcept { bge_cancel_trigger(handle_.get()); }
    [[nodiscard]] const bge_cancel* get() const noexcept { return handle_.get(); }

private:
    struct deleter {
        void operator()(bge_cancel* handle) const noexcept { bge_cancel_free(handle); }
    };
    std::unique_ptr<bge_cancel, deleter> handle_;
};

/// An open model. Closed by its destructor.
class model {
public:
    explicit model(const std::string& path, const open_options& options = {}) {
        bge_model* handle = nullptr;
        bge_error cause;
        detail::check(bge_open(path.c_str(), &options, &handle, &cause), cause);
        handle_.reset(handle);
        info_ = BGE_INFO_INIT;
        detail::check(bge_get_info(handle, &info_, &cause), cause);
    }

    /// Its strings live as long as the model.
    [[nodiscard]] const bge_info& info() const noexcept { return info_; }
    /// Floats of a dense vector, unless a call sets truncate_dim.
    [[nodiscard]] std::size_t dense_dim() const noexcept { return info_.dense_dim; }
    /// The C handle, e.g. for functions of bge.h. The model still owns it.
    [[nodiscard]] bge_model* get() const noexcept { return handle_.get(); }

    [[nodiscard]] bge_stats stats() const {
        bge_stats stats = BGE_STATS_INIT;
        bge_error cause;
        detail::check(bge_get_stats(get(), &stats, &cause), cause);
        return stats;
    }

    [[nodiscard]] std::string fingerprint() const {
        const char* fingerprint = nullptr;
        bge_error cause;
        detail::check(bge_get_fingerprint(get(), &fingerprint, &cause), cause);
        return fingerprint;
    }

    /// Empty if the model has no such token.
    [[nodiscard]] std::optional<std::string_view> token_text(std::uint32_t id) const noexcept {
        const char* text = bge_token_text(get(), id);
        return text ? std::optional<std::string_view>(text) : std::nullopt;
    }

    [[nodiscard]] std::vector<std::uint32_t> count_tokens(const texts& texts) const {
        std::vector<std::uint32_t> counts(texts.size());
        bge_error cause;
        detail::check(bge_count_tokens(get(), texts.pointers(), texts.lengths(), texts.size(),
                                       counts.data(), &cause),
                      cause);
        return counts;
    }

    /// A dense vector for each text, one after another.
    [[nodiscard]] std::vector<float> encode(const texts& texts, const encode_options& options = {}) const {
        std::vector<float> dense(texts.size() * dim(options));
        encode_into(texts, dense, options);
        return dense;
    }

    /// Writes a dense vector for each text to `dense`, with `stride` floats from
    /// one vector to the next; zero: no gap.
    void encode_into(const texts& texts, span<float> dense, const encode_options& options = {},
                     std::size_t stride = 0) const {
        bge_embeddings out = BGE_EMBEDDINGS_INIT;
        out.dense = dense.data();
        out.dense_capacity = dense.size();
        out.dense_stride = stride;
        encode_into(texts, out, options);
    }

    /// Calls bge_encode, which computes the outputs that `out` requests.
    void encode_into(const texts& texts, bge_embeddings& out, const encode_options& options = {}) const {
        bge_error cause;
        detail::check(bge_encode(get(), texts.pointers(), texts.lengths(), texts.size(), &options, &out, &cause),
                      cause);
    }

    /// Computes the outputs whose BGE_OUTPUT_ bits are set in `outputs`: see
    /// bge_encode_alloc. With `per_text_errors`, an error of a single text is
    /// in embeddings::errors and embeddings::statuses instead of being thrown.
    [[nodiscard]] embeddings encode_outputs(const texts& texts, std::uint32_t outputs,
                                            const encode_options& options = {},
                                            bool per_text_errors = false) const {
        encode_options chosen = options;
        if (per_text_errors) chosen.flags |= BGE_ENCODE_PER_TEXT_ERRORS;
        detail::allocated_result allocated;
        bge_error cause;
        detail::check(bge_encode_alloc(get(), texts.pointers(), texts.lengths(), texts.size(), outputs, &chosen,
                                       &allocated.result, &cause),
                      cause);
        return detail::copied(allocated.result);
    }

    /// Called once, with the dense vectors, or with an exception and no vectors.
    using callback = std::function<void(std::vector<float> dense, std::exception_ptr failure)>;

    /// Starts to encode, and returns when the texts are tokenized. `done` runs
    /// on the library's thread, as bge_encode_callback says; an exception that it
    /// throws ends the program, as with std::thread. If this throws, `done` never
    /// runs.
    ///
    /// The strings that `options` points at have to live until `done` has run;
    /// the call keeps the texts.
    void encode_async(std::vector<std::string> texts, callback done, const encode_options& options = {}) const {
        auto call = std::make_unique<async_call>(get(), std::move(texts), std::move(done), options, dim(options));
        detail::handed_over(call.get());
        bge_error cause;
        detail::check(bge_encode_async(get(), call->views.pointers(), call->views.lengths(), call->views.size(),
                                       &call->options, &call->out, &async_call::finish, call.get(), &cause),
                      cause);
        // Now `finish` owns the call, and may have run already.
        static_cast<void>(call.release());
    }

    /// Starts to encode, and returns a future of the dense vectors, which throws
    /// if the call failed. Waiting for it in a callback waits forever.
    [[nodiscard]] std::future<std::vector<float>> encode_async(std::vector<std::string> texts,
                                                               const encode_options& options = {}) const {
        auto promise = std::make_shared<std::promise<std::vector<float>>>();
        auto future = promise->get_future();
        encode_async(
            std::move(texts),
            [promise](std::vector<float> dense, std::exception_ptr failure) {
                if (failure) promise->set_exception(std::move(failure));
                else promise->set_value(std::move(dense));
            },
            options);
        return future;
    }

private:
    struct deleter {
        void operator()(bge_model* handle) const noexcept {
            bge_close(handle);
            // Every callback has returned.
            detail::taken_over(handle);
        }
    };

    struct async_call {
        async_call(bge_model* called, std::vector<std::string>&& given, callback&& then,
                   const encode_options& how, std::size_t dim)
            : handle(called), texts(std::move(given)), views(texts), done(std::move(then)), options(how),
              dense(texts.size() * dim) {
            out.dense = dense.data();
            out.dense_capacity = dense.size();
        }

        static void finish(void* user_data, bge_status status, const bge_error* cause) noexcept {
            detail::taken_over(user_data);
            std::unique_ptr<async_call> call(static_cast<async_call*>(user_data));
            bge_model* const closes_later = call->handle;
            if (status == BGE_OK) call->done(std::move(call->dense), nullptr);
            else call->done({}, std::make_exception_ptr(error(*cause)));
            call.reset();
            detail::handed_over(closes_later);
        }

        bge_model* handle;
        std::vector<std::string> texts;
        bge::texts views;
        callback done;
        encode_options options;
        std::vector<float> dense;
        bge_embeddings out = BGE_EMBEDDINGS_INIT;
    };

    /// Floats of a dense vector of a call. A call without texts has the library
    /// refuse a dimension that is too large, before memory is allocated for it.
    [[nodiscard]] std::size_t dim(const encode_options& options) const {
        if (options.truncate_dim > info_.dense_dim) {
            bge_embeddings none = BGE_EMBEDDINGS_INIT;
            encode_into(texts(std::initializer_list<std::string_view>{}), none, options);
        }
        return options.truncate_dim ? options.truncate_dim : info_.dense_dim;
    }

    std::unique_ptr<bge_model, deleter> handle_;
    bge_info info_{};
};

/// Writes the score of every row of `a` with every row of `b` to `scores`, row
/// by row.
inline void similarity_into(metric metric, span<const float> a, span<const float> b, std::size_t dim,
                            span<float> scores, const similarity_options& options = {}) {
    const std::size_t a_rows = detail::rows_of("a", a.size(), dim, options.a_stride);
    const std::size_t b_rows = detail::rows_of("b", b.size(), dim, options.b_stride);
    if (b_rows != 0) detail::expect_capacity("scores", scores.size(), detail::extent(a_rows, b_rows, options.scores_stride));
    bge_error cause;
    detail::check(bge_similarity(static_cast<bge_metric>(metric), a.data(), a_rows, b.data(), b_rows, dim,
                                 &options, scores.data(), &cause),
                  cause);
}

/// The score of every row of `a` with every row of `b`, row by row.
[[nodiscard]] inline std::vector<float> similarity(metric metric, span<const float> a, span<const float> b,
                                                   std::size_t dim, const similarity_options& options = {}) {
    const std::size_t a_rows = detail::rows_of("a", a.size(), dim, options.a_stride);
    const std::size_t b_rows = detail::rows_of("b", b.size(), dim, options.b_stride);
    std::vector<float> scores(b_rows == 0 ? 0 : detail::extent(a_rows, b_rows, options.scores_stride));
    similarity_into(metric, a, b, dim, scores, options);
    return scores;
}

/// The score of row i of `a` with row i of `b`.
[[nodiscard]] inline std::vector<float> similarity_pairwise(metric metric, span<const float> a,
                                                            span<const float> b, std::size_t dim,
                                                            const similarity_options& options = {}) {
    const std::size_t rows = detail::rows_of("a", a.size(), dim, options.a_stride);
    const std::size_t b_rows = detail::rows_of("b", b.size(), dim, options.b_stride);
    if (rows != b_rows)
        detail::refuse(BGE_ERROR_INVALID_ARGUMENT,
                       "a has " + std::to_string(rows) + " rows and b " + std::to_string(b_rows));
    std::vector<float> scores(rows);
    bge_error cause;
    detail::check(bge_similarity_pairwise(static_cast<bge_metric>(metric), a.data(), b.data(), rows, dim,
                                          &options, scores.data(), &cause),
                  cause);
    return scores;
}

/// A row of a corpus, and its score with a query.
struct hit {
    std::size_t row;
    float score;
};

/// Finds for each row of `queries` the `k` rows of `corpus` with the highest
/// scores, best first. A query has fewer hits where the corpus has fewer rows or
/// scores are NaN. `scores_stride` is not used.
[[nodiscard]] inline std::vector<std::vector<hit>> similarity_top_k(metric metric, span<const float> queries,
                                                                    span<const float> corpus, std::size_t dim,
                                                                    std::size_t k,
                                                                    const similarity_options& options = {}) {
    const std::size_t query_rows = detail::rows_of("queries", queries.size(), dim, options.a_stride);
    const std::size_t corpus_rows = detail::rows_of("corpus", corpus.size(), dim, options.b_stride);
    const std::size_t per_query = std::min(k, corpus_rows);
    similarity_options without_gaps = options;
    without_gaps.scores_stride = 0;
    std::vector<std::uint64_t> rows(query_rows * per_query);
    std::vector<float> scores(rows.size());
    bge_error cause;
    detail::check(bge_similarity_top_k(static_cast<bge_metric>(metric), queries.data(), query_rows, corpus.data(),
                                       corpus_rows, dim, per_query, &without_gaps, rows.data(), scores.data(), &cause),
                  cause);
    std::vector<std::vector<hit>> hits(query_rows);
    for (std::size_t query = 0; query < query_rows; query++)
        for (std::size_t at = query * per_query; at < (query + 1) * per_query && rows[at] != BGE_NO_ROW; at++)
            hits[query].push_back({static_cast<std::size_t>(rows[at]), scores[at]});
    return hits;
}

/// The score of every text of `a` with every text of `b`, by sparse weights.
[[nodiscard]] inline std::vector<float> similarity(const sparse_weights& a, const sparse_weights& b,
                                                   const similarity_options& options = {}) {
    const auto check = [](const char* offsets, const char* ids, const char* weights, const sparse_weights& texts) {
        detail::expect_some(offsets, texts.offsets.size());
        detail::expect(ids, texts.ids.size(), static_cast<std::size_t>(texts.offsets.back()));
        detail::expect(weights, texts.weights.size(), texts.ids.size());
    };
    check("a.offsets", "a.ids", "a.weights", a);
    check("b.offsets", "b.ids", "b.weights", b);
    const std::size_t a_count = a.offsets.size() - 1, b_count = b.offsets.size() - 1;
    std::vector<float> scores(b_count == 0 ? 0 : detail::extent(a_count, b_count, options.scores_stride));
    bge_error cause;
    detail::check(bge_similarity_sparse(a.offsets.data(), a.ids.data(), a.weights.data(), a_count,
                                        b.offsets.data(), b.ids.data(), b.weights.data(), b_count, &options,
                                        scores.data(), &cause),
                  cause);
    return scores;
}

/// The score of every text of `a`, the queries, with every text of `b`, by
/// multi-vectors of `dim` floats.
[[nodiscard]] inline std::vector<float> similarity(const token_vectors& a, const token_vectors& b, std::size_t dim,
                                                   const similarity_options& options = {}) {
    const auto check = [dim](const char* offsets, const char* rows, const token_vectors& texts) {
        detail::expect_some(offsets, texts.offsets.size());
        detail::expect(rows, texts.rows.size(), static_cast<std::size_t>(texts.offsets.back()) * dim);
    };
    check("a.offsets", "a.rows", a);
    check("b.offsets", "b.rows", b);
    const std::size_t a_count = a.offsets.size() - 1, b_count = b.offsets.size() - 1;
    std::vector<float> scores(b_count == 0 ? 0 : detail::extent(a_count, b_count, options.scores_stride));
    bge_error cause;
    detail::check(bge_similarity_multi(a.offsets.data(), a.rows.data(), a_count, b.offsets.data(),
                                       b.rows.data(), b_count, dim, &options, scores.data(), &cause),
                  cause);
    return scores;
}

/// The mean of scores of several kinds. A kind without scores is omitted.
[[nodiscard]] inline std::vector<float> similarity_hybrid(span<const float> dense, span<const float> sparse,
                                                          span<const float> multi,
                                                          std::optional<std::vector<float>> weights = {}) {
    const std::size_t count = std::max({dense.size(), sparse.size(), multi.size()});
    const auto check = [count](const char* name, span<const float> scores) {
        if (!scores.empty()) detail::expect(name, scores.size(), count);
    };
    check("dense", dense);
    check("sparse", sparse);
    check("multi", multi);
    if (weights) detail::expect("weights", weights->size(), 3);
    std::vector<float> scores(count);
    bge_error cause;
    const auto given = [](span<const float> kind) { return kind.empty() ? nullptr : kind.data(); };
    if (count != 0)
        detail::check(bge_similarity_hybrid(given(dense), given(sparse), given(multi), count,
                                            weights ? weights->data() : nullptr, scores.data(), &cause),
                      cause);
    return scores;
}

/// Codes of vectors, row by row: a byte for each dimension, or a bit. Cast
/// those of precision::int8 and precision::binary to std::int8_t.
[[nodiscard]] inline std::vector<std::uint8_t> quantize(precision precision, span<const float> vectors,
                                                        std::size_t dim, const quantize_options& options = {}) {
    const std::size_t rows = detail::rows_of("vectors", vectors.size(), dim, options.vectors_stride);
    const bool bits = precision == precision::binary || precision == precision::ubinary;
    std::vector<std::uint8_t> codes(detail::extent(rows, bits ? (dim + 7) / 8 : dim, options.codes_stride));
    bge_error cause;
    detail::check(bge_quantize(static_cast<bge_precision>(precision), vectors.data(), rows, dim, &options,
                               codes.data(), codes.size(), &cause),
                  cause);
    return codes;
}

/// The least number of each dimension, followed by the greatest of each, for
/// quantize_options::ranges.
[[nodiscard]] inline std::vector<float> quantize_ranges(span<const float> vectors, std::size_t dim,
                                                        const quantize_options& options = {}) {
    const std::size_t rows = detail::rows_of("vectors", vectors.size(), dim, options.vectors_stride);
    std::vector<float> ranges(2 * dim);
    bge_error cause;
    detail::check(bge_quantize_ranges(vectors.data(), rows, dim, &options, ranges.data(), &cause), cause);
    return ranges;
}

}  // namespace bge

#endif
