package dev.libbge;

/** A failure of libbge: a code to act on, and a message with the value, the limit and the option. */
public final class BgeException extends RuntimeException {
    /** The {@link #textIndex()} of an error that is not due to a single text: -1. */
    public static final int NO_TEXT = -1;

    private static final long serialVersionUID = 1;

    /** The kind of the error. */
    private final ErrorCode code;
    /** Which text, or -1. */
    private final int textIndex;
    /** ONNX Runtime's code, or 0. */
    private final int runtimeCode;

    BgeException(ErrorCode code, String message, int textIndex, int runtimeCode) {
        super(message);
        this.code = code;
        this.textIndex = textIndex;
        this.runtimeCode = runtimeCode;
    }

    BgeException(ErrorCode code, String message) {
        this(code, message, NO_TEXT, 0);
    }

    /**
     * The kind of the error.
     *
     * @return the code
     */
    public ErrorCode code() {
        return code;
    }

    /**
     * The index of the text that is at fault.
     *
     * @return the index of the text, or {@link #NO_TEXT}
     */
    public int textIndex() {
        return textIndex;
    }

    /**
     * ONNX Runtime's own code.
     *
     * @return the code, or 0 if the error is not ONNX Runtime's
     */
    public int runtimeCode() {
        return runtimeCode;
    }

    @Override
    public String toString() {
        return getClass().getName() + ": " + getMessage() + " (" + code + ")";
    }
}
