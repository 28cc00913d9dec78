package dev.libbge;

import java.util.Objects;

/**
 * The least and the greatest number of each dimension of vectors. Its arrays are not copied.
 *
 * @param min the least number of each dimension
 * @param max the greatest number of each dimension
 */
public record VectorRanges(float[] min, float[] max) {
    /**
     * Refuses null.
     *
     * @param min the least number of each dimension
     * @param max the greatest number of each dimension
     */
    public VectorRanges {
        Objects.requireNonNull(min, "min");
        Objects.requireNonNull(max, "max");
    }
}
