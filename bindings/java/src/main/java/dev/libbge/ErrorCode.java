package dev.libbge;

/**
 * The kind of a {@link BgeException}: the {@code BGE_ERROR_} codes of {@code bge.h}.
 *
 * <p>They are grouped by who can act on them, by their {@link #value()}: 1 to 19 is a mistake in the call, 20 to 39 something
 * missing or broken in its environment, 40 to 59 a call that was stopped, 60 and above a fault of the library.
 */
public enum ErrorCode {
    /** An argument is zero or out of range where that is not allowed. */
    INVALID_ARGUMENT(1),
    /** A text, path or name is not Unicode: a {@code String} with half of a surrogate pair. */
    INVALID_UTF8(2),
    /**
     * A text is longer than {@code maxTokens} and {@link EncodeOptions.Builder#rejectLong rejectLong} is set, or too long for
     * {@link OpenOptions.Builder#maxRunBytes maxRunBytes}.
     */
    TEXT_TOO_LONG(3),
    /** A buffer is too small. This is found before inference; the message names the size that is needed. */
    BUFFER_TOO_SMALL(4),
    /** This library or this model does not have what the call requests. */
    UNSUPPORTED(5),
    /** A file of the model does not exist or cannot be read. */
    MODEL_NOT_FOUND(20),
    /** The files were read, but do not form a usable model. */
    MODEL_INVALID(21),
    /** ONNX Runtime, or the native library of this package, could not be found or loaded. */
    RUNTIME_UNAVAILABLE(22),
    /** Memory ran out. */
    OUT_OF_MEMORY(23),
    /** A number of a result is NaN or infinite. */
    NOT_FINITE(24),
    /** The call was stopped: its thread was interrupted. */
    CANCELLED(40),
    /** The call was stopped by its {@link EncodeOptions.Builder#timeout timeout}. */
    TIMEOUT(41),
    /** As many asynchronous calls as {@link OpenOptions.Builder#queueCapacity queueCapacity} allows are unfinished. */
    QUEUE_FULL(42),
    /** The model was closed before the call could finish. */
    CLOSED(43),
    /** ONNX Runtime failed while it ran the model. */
    INFERENCE(60),
    /** A bug in the library was caught at its boundary. Please report it. */
    INTERNAL(61);

    private final int value;

    ErrorCode(int value) {
        this.value = value;
    }

    /**
     * Its number in {@code bge.h}.
     *
     * @return the number, greater than 0
     */
    public int value() {
        return value;
    }
}
