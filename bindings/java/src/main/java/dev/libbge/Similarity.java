package dev.libbge;

import java.util.List;
import java.util.Objects;
import java.util.stream.IntStream;

/**
 * Compares the vectors of texts, which may come from {@link Model} or from any other source.
 *
 * <p>Scores of two sets of texts are rows: {@code scores[i][j]} is that of text i of the first and text j of the second. A NaN
 * in a vector makes its scores NaN.
 */
public final class Similarity {
    private Similarity() {}

    /**
     * Compares every vector of {@code a} with every one of {@code b}, on one thread.
     *
     * @param metric the metric
     * @param a rows of one length
     * @param b rows of the same length
     * @return {@code a.length} rows of {@code b.length} scores
     * @throws BgeException {@link ErrorCode#INVALID_ARGUMENT} if rows differ in length
     */
    public static float[][] dense(Metric metric, float[][] a, float[][] b) {
        return dense(metric, a, b, 1);
    }

    /**
     * Compares every vector of {@code a} with every one of {@code b}.
     *
     * @param metric the metric
     * @param a rows of one length
     * @param b rows of the same length
     * @param threads the most threads to use, 1 to 1024
     * @return {@code a.length} rows of {@code b.length} scores
     * @throws BgeException {@link ErrorCode#INVALID_ARGUMENT} if rows differ in length
     */
    public static float[][] dense(Metric metric, float[][] a, float[][] b, int threads) {
        NativeLibrary.load();
        return Native.similarity(metric.value(), notNull(a, "a"), notNull(b, "b"), threads);
    }

    /**
     * Compares row i of {@code a} with row i of {@code b}.
     *
     * @param metric the metric
     * @param a rows of one length
     * @param b rows of the same number and length
     * @return a score for each pair
     * @throws BgeException {@link ErrorCode#INVALID_ARGUMENT} if rows differ in length or number
     */
    public static float[] pairwise(Metric metric, float[][] a, float[][] b) {
        NativeLibrary.load();
        return Native.similarityPairwise(metric.value(), notNull(a, "a"), notNull(b, "b"));
    }

    /**
     * Finds the rows of a corpus with the highest scores for each query, on one thread.
     *
     * @param metric the metric
     * @param queries rows of one length
     * @param corpus rows of the same length
     * @param k the most hits of a query
     * @return {@code queries.length} lists of at most {@code k} hits
     * @throws BgeException {@link ErrorCode#INVALID_ARGUMENT} if rows differ in length, or {@code k} is below 0
     */
    public static List<List<Hit>> topK(Metric metric, float[][] queries, float[][] corpus, int k) {
        return topK(metric, queries, corpus, k, 1);
    }

    /**
     * Finds the rows of a corpus with the highest scores for each query, best first, and of rows with equal scores the first.
     * The search is exact, and the scores are those of {@link #dense dense}, bit by bit. A query has fewer than {@code k} hits if
     * the corpus has fewer rows, or scores are NaN, which is never a hit.
     *
     * <p>There is never a matrix of all scores, but the call holds a copy of both arrays until it returns.
     *
     * @param metric the metric
     * @param queries rows of one length
     * @param corpus rows of the same length
     * @param k the most hits of a query; 0: none
     * @param threads the most threads to use, 1 to 1024
     * @return {@code queries.length} lists of at most {@code k} hits, which nobody can change
     * @throws BgeException {@link ErrorCode#INVALID_ARGUMENT} if rows differ in length, or {@code k} is below 0
     */
    public static List<List<Hit>> topK(Metric metric, float[][] queries, float[][] corpus, int k, int threads) {
        NativeLibrary.load();
        float[][] scores = new float[queries.length][];
        int[][] rows =
                Native.similarityTopK(metric.value(), notNull(queries, "queries"), notNull(corpus, "corpus"), k, threads, scores);
        return IntStream.range(0, rows.length).mapToObj(query -> hits(rows[query], scores[query])).toList();
    }

    private static List<Hit> hits(int[] rows, float[] scores) {
        return IntStream.range(0, rows.length).mapToObj(rank -> new Hit(rows[rank], scores[rank])).toList();
    }

    /**
     * Compares texts by their sparse weights, on one thread.
     *
     * @param a texts
     * @param b texts
     * @return {@code a.size()} rows of {@code b.size()} scores
     * @throws BgeException {@link ErrorCode#INVALID_ARGUMENT} if ids do not ascend
     */
    public static float[][] sparse(List<SparseWeights> a, List<SparseWeights> b) {
        return sparse(a, b, 1);
    }

    /**
     * Compares texts by their sparse weights: the sum, over the tokens that both have, of the product of their weights.
     *
     * @param a texts
     * @param b texts
     * @param threads the most threads to use, 1 to 1024
     * @return {@code a.size()} rows of {@code b.size()} scores
     * @throws BgeException {@link ErrorCode#INVALID_ARGUMENT} if ids do not ascend
     */
    public static float[][] sparse(List<SparseWeights> a, List<SparseWeights> b, int threads) {
        NativeLibrary.load();
        SparseWeights[] first = notNull(a.toArray(new SparseWeights[0]), "a");
        SparseWeights[] second = notNull(b.toArray(new SparseWeights[0]), "b");
        return Native.similaritySparse(ids(first), weights(first), ids(second), weights(second), threads);
    }

    /**
     * Compares texts by their multi-vectors, on one thread.
     *
     * @param a the queries: for each, rows of one length
     * @param b the passages: for each, rows of the same length
     * @return {@code a.length} rows of {@code b.length} scores
     * @throws BgeException {@link ErrorCode#INVALID_ARGUMENT} if rows differ in length
     */
    public static float[][] multi(float[][][] a, float[][][] b) {
        return multi(a, b, 1);
    }

    /**
     * Compares texts by their multi-vectors: the mean, over the rows of the text of {@code a}, of the greatest dot product with
     * a row of the text of {@code b}. A text without rows scores 0.
     *
     * @param a the queries: for each, rows of one length
     * @param b the passages: for each, rows of the same length
     * @param threads the most threads to use, 1 to 1024
     * @return {@code a.size()} rows of {@code b.size()} scores
     * @throws BgeException {@link ErrorCode#INVALID_ARGUMENT} if rows differ in length
     */
    public static float[][] multi(float[][][] a, float[][][] b, int threads) {
        NativeLibrary.load();
        float[][][] first = notNull(a.clone(), "a");
        float[][][] second = notNull(b.clone(), "b");
        for (int i = 0; i < first.length; i++) {
            notNull(first[i], "a[" + i + "]");
        }
        for (int i = 0; i < second.length; i++) {
            notNull(second[i], "b[" + i + "]");
        }
        return Native.similarityMulti(first, second, threads);
    }

    /**
     * Combines scores of several kinds with a weight of 1 each.
     *
     * @param dense scores, or null: omitted
     * @param sparse scores, or null: omitted
     * @param multi scores, or null: omitted
     * @return the mean of the kinds that are not null
     * @throws BgeException {@link ErrorCode#INVALID_ARGUMENT} if all kinds are null, or they differ in shape
     */
    public static float[][] hybrid(float[][] dense, float[][] sparse, float[][] multi) {
        return hybrid(dense, sparse, multi, 1, 1, 1);
    }

    /**
     * Combines scores of several kinds, as FlagEmbedding's {@code compute_score} does: their weighted mean, score by score.
     *
     * @param dense scores, or null: omitted, with its weight
     * @param sparse scores, or null: omitted, with its weight
     * @param multi scores, or null: omitted, with its weight
     * @param denseWeight finite and not negative
     * @param sparseWeight finite and not negative
     * @param multiWeight finite and not negative; the sum of the weights that are used is greater than 0
     * @return the weighted mean of the kinds that are not null
     * @throws BgeException {@link ErrorCode#INVALID_ARGUMENT} if all kinds are null, they differ in shape, or a weight is not
     *     allowed
     */
    public static float[][] hybrid(
            float[][] dense,
            float[][] sparse,
            float[][] multi,
            float denseWeight,
            float sparseWeight,
            float multiWeight) {
        NativeLibrary.load();
        return Native.similarityHybrid(dense, sparse, multi, new float[] {denseWeight, sparseWeight, multiWeight});
    }

    private static int[][] ids(SparseWeights[] texts) {
        int[][] ids = new int[texts.length][];
        for (int i = 0; i < ids.length; i++) {
            ids[i] = texts[i].ids();
        }
        return ids;
    }

    private static float[][] weights(SparseWeights[] texts) {
        float[][] weights = new float[texts.length][];
        for (int i = 0; i < weights.length; i++) {
            weights[i] = texts[i].weights();
        }
        return weights;
    }

    private static <T> T[] notNull(T[] rows, String name) {
        Objects.requireNonNull(rows, name);
        for (int i = 0; i < rows.length; i++) {
            if (rows[i] == null) {
                throw new NullPointerException(name + "[" + i + "] is null");
            }
        }
        return rows;
    }
}
