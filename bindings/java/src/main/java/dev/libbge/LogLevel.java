package dev.libbge;

/** How much to log. Each level includes those before it. */
public enum LogLevel {
    /** No lines. */
    OFF(0),
    /** Failures. */
    ERROR(1),
    /** What works, but not as it should. */
    WARN(2),
    /** Rare events that are worth knowing, such as a model that was opened. */
    INFO(3),
    /** Details that help to find a fault in the library. */
    DEBUG(4);

    private final int value;

    LogLevel(int value) {
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
