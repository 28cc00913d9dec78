package dev.libbge;

/** How two vectors are compared. A greater score always means more alike. */
public enum Metric {
    /** The cosine of the angle, -1 to 1. A vector of length 0 scores 0. */
    COSINE(0),
    /** The dot product. Equals the cosine for vectors of length 1. */
    DOT(1),
    /** The Euclidean distance, negated: at most 0. */
    EUCLIDEAN(2),
    /** The Manhattan distance, negated: at most 0. */
    MANHATTAN(3);

    private final int value;

    Metric(int value) {
        this.value = value;
    }

    /**
     * Its number in {@code bge.h}.
     *
     * @return the number
     */
    public int value() {
        return value;
    }
}
