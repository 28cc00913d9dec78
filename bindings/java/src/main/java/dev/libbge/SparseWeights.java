package dev.libbge;

import java.util.Objects;

/**
 * The weights of the tokens of a text, for lexical search. Its arrays are not copied.
 *
 * @param ids ids of tokens, ascending and each at most once, never special ones
 * @param weights the weight of each of those tokens, greater than 0
 */
public record SparseWeights(int[] ids, float[] weights) {
    /**
     * Refuses arrays of different lengths with {@link ErrorCode#INVALID_ARGUMENT}.
     *
     * @param ids ids of tokens
     * @param weights the weight of each id
     */
    public SparseWeights {
        Objects.requireNonNull(ids, "ids");
        Objects.requireNonNull(weights, "weights");
        if (ids.length != weights.length) {
            throw new BgeException(
                    ErrorCode.INVALID_ARGUMENT, "there are " + ids.length + " ids and " + weights.length + " weights");
        }
    }

    /**
     * The number of tokens that have a weight.
     *
     * @return the length of both arrays
     */
    public int size() {
        return ids.length;
    }
}
