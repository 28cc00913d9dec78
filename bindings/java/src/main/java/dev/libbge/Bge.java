package dev.libbge;

import java.util.Objects;
import java.util.function.BiConsumer;

/** What concerns the whole library: its version and its log. */
public final class Bge {
    private Bge() {}

    /**
     * The version of the native library, and what it was built from.
     *
     * @return a text such as {@code 0.1.0 (9f2c1d3)}
     */
    public static String version() {
        NativeLibrary.load();
        return Native.version();
    }

    /**
     * Sends log lines up to a level, of every model in the process, to a function, in place of the one before. When this
     * returns, that one is not running and never will be. With {@link LogLevel#OFF}, as at the start, lines go nowhere.
     *
     * <p>Lines never contain the texts being encoded. The function runs on whatever thread has something to say, on several at
     * once, and must not call this package. What it throws goes to its thread's handler of uncaught exceptions, and changes
     * nothing for the call that logged.
     *
     * @param level the last level that is wanted
     * @param to gets the level of a line and the line
     * @throws IllegalStateException if a log function calls this, which would wait for itself
     */
    public static void setLog(LogLevel level, BiConsumer<LogLevel, String> to) {
        Native.setLog(Objects.requireNonNull(level, "level"), Objects.requireNonNull(to, "to"));
    }
}
