package dev.libbge;

/** A kind of result. */
public enum Output {
    /** A vector for each text. */
    DENSE(1),
    /** A weight for each token that a text contains, as lexical search needs them. */
    SPARSE(2),
    /** A vector for each token of a text but the first, as late interaction (ColBERT) needs them. */
    MULTI(4),
    /** The final state of each token of a text, special tokens included. */
    TOKENS(8);

    private final int value;

    Output(int value) {
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
