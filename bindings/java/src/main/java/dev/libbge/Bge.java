package dev.libbge;

import java.util.Objects;
import java.util.function.BiConsumer;

/** The version and the log of the whole library. */
public final class Bge {
    private Bge() {}

    /**
     * The version of the native library, and the revision that it was built from.
     *
     * @return a text such as {@code 0.1.0 (9f2c1d3)}
     */
    public static String version() {
        NativeLibrary.load();
        return Native.version();
    }

    /**
     * Sends log lines up to a level, of every model in the process, to a function, which replaces the previous one. When this
     * returns, the previous function is not running and will never run again. With {@link LogLevel#OFF} no lines are sent, which
     * is the initial state.
     *
     * <p>Lines never contain the texts that are encoded. The function may run on any thread, and on several at once, and must
     * not call this package. An exception that it throws goes to its thread's handler of uncaught exceptions, and does not
     * affect the call that logged.
     *
     * @param level the last level that is wanted
     * @param to gets the level of a line and the line
     * @throws IllegalStateException if a log function calls this, which would wait for itself
     */
    public static void setLog(LogLevel level, BiConsumer<LogLevel, String> to) {
        Native.setLog(Objects.requireNonNull(level, "level"), Objects.requireNonNull(to, "to"));
    }
}
