package dev.libbge;

import java.util.List;
import java.util.Objects;
import java.util.stream.IntStream;

/**
 * The results of {@link Model#encodeOutputs encodeOutputs}, by the index of a text.
 *
 * <p>Arrays are those of this object, not copies. The method of an output that the call did not request throws an
 * {@link IllegalStateException}.
 */
public final class Embeddings {
    private final float[][] dense;
    private final int[][] sparseIds;
    private final float[][] sparseWeights;
    private final float[][][] multi;
    private final float[][][] tokens;
    private final int[] tokenCounts;
    private final boolean[] truncated;
    private final Throwable[] errors;

    Embeddings(
            float[][] dense,
            int[][] sparseIds,
            float[][] sparseWeights,
            float[][][] multi,
            float[][][] tokens,
            int[] tokenCounts,
            boolean[] truncated,
            Throwable[] errors) {
        this.dense = dense;
        this.sparseIds = sparseIds;
        this.sparseWeights = sparseWeights;
        this.multi = multi;
        this.tokens = tokens;
        this.tokenCounts = tokenCounts;
        this.truncated = truncated;
        this.errors = errors;
    }

    /**
     * The number of texts of the call.
     *
     * @return the number of texts of the call
     */
    public int size() {
        return tokenCounts.length;
    }

    /**
     * The dense vectors of all texts.
     *
     * @return an array of {@code size()} vectors
     */
    public float[][] dense() {
        // Without texts the native side does not distinguish an output that was requested from one that was not.
        return size() == 0 ? new float[0][] : requested(dense, Output.DENSE);
    }

    /**
     * The dense vector of a text: {@code denseDim} numbers, or {@code truncateDim} of them.
     *
     * @param text the index of the text
     * @return its vector
     */
    public float[] dense(int text) {
        return requested(dense, Output.DENSE)[text];
    }

    /**
     * The sparse weights of all texts.
     *
     * @return a list of {@code size()} vectors
     */
    public List<SparseWeights> sparse() {
        return IntStream.range(0, requested(sparseIds, Output.SPARSE).length).mapToObj(this::sparse).toList();
    }

    /**
     * The sparse weights of a text.
     *
     * @param text the index of the text
     * @return its weights
     */
    public SparseWeights sparse(int text) {
        return new SparseWeights(requested(sparseIds, Output.SPARSE)[text], sparseWeights[text]);
    }

    /**
     * The multi-vectors of all texts.
     *
     * @return for each text, its rows
     */
    public float[][][] multi() {
        return requested(multi, Output.MULTI);
    }

    /**
     * The multi-vector of a text: a row of {@code multiDim} numbers, of length 1, for each token but the first.
     *
     * @param text the index of the text
     * @return its rows
     */
    public float[][] multi(int text) {
        return requested(multi, Output.MULTI)[text];
    }

    /**
     * The token embeddings of all texts.
     *
     * @return for each text, its rows
     */
    public float[][][] tokens() {
        return requested(tokens, Output.TOKENS);
    }

    /**
     * The token embeddings of a text: a row of {@code tokenDim} numbers for each token, the special ones included.
     *
     * @param text the index of the text
     * @return its rows
     */
    public float[][] tokens(int text) {
        return requested(tokens, Output.TOKENS)[text];
    }

    /**
     * The number of tokens of a text that were encoded: after cutting, including special tokens and those of a prompt.
     *
     * @param text the index of the text
     * @return the number of tokens
     */
    public int tokenCount(int text) {
        return tokenCounts[text];
    }

    /**
     * Whether a text was cut at {@code maxTokens}.
     *
     * @param text the index of the text
     * @return whether it was cut
     */
    public boolean truncated(int text) {
        return truncated[text];
    }

    /**
     * The error of a text, if the call set {@link EncodeOptions.Builder#perTextErrors perTextErrors}. A text that failed has no
     * sparse weights, and NaN in its vector and its rows; if it failed before inference, it has no rows.
     *
     * @param text the index of the text
     * @return the error, or null if the text did not fail
     */
    public BgeException error(int text) {
        return errors == null ? null : (BgeException) errors[Objects.checkIndex(text, errors.length)];
    }

    private static <T> T requested(T results, Output output) {
        if (results == null) {
            throw new IllegalStateException("the call did not request Output." + output);
        }
        return results;
    }
}
