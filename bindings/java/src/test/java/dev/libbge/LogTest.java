package dev.libbge;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;

class LogTest {
    @Test
    void linesArriveUpToTheirLevel() {
        List<String> lines = new CopyOnWriteArrayList<>();
        Bge.setLog(LogLevel.INFO, (level, line) -> lines.add(level + " " + line));
        try {
            Tiny.open("cls").close();
        } finally {
            Bge.setLog(LogLevel.OFF, (level, line) -> {});
        }
        assertTrue(lines.stream().anyMatch(line -> line.startsWith("INFO opened ")), lines.toString());
        assertTrue(lines.stream().noneMatch(line -> line.startsWith("DEBUG ")), lines.toString());
        int count = lines.size();
        Tiny.open("cls").close();
        assertEquals(count, lines.size());
    }

    @Test
    void whatALogFunctionThrowsIsNeitherLostNorInTheWay() {
        AtomicInteger thrown = new AtomicInteger();
        AtomicReference<Throwable> last = new AtomicReference<>();
        Thread.UncaughtExceptionHandler before = Thread.currentThread().getUncaughtExceptionHandler();
        Thread.UncaughtExceptionHandler all = Thread.getDefaultUncaughtExceptionHandler();
        Thread.UncaughtExceptionHandler handler = (thread, e) -> {
            thrown.incrementAndGet();
            last.set(e);
        };
        Thread.currentThread().setUncaughtExceptionHandler(handler);
        Thread.setDefaultUncaughtExceptionHandler(handler);
        Bge.setLog(LogLevel.DEBUG, (level, line) -> {
            // Of a log function itself, this would wait for ever.
            Bge.setLog(LogLevel.OFF, (ignored, alsoIgnored) -> {});
        });
        try (Model model = Tiny.open("cls")) {
            assertEquals(Tiny.TEXTS.size(), model.encode(Tiny.TEXTS).length);
        } finally {
            Bge.setLog(LogLevel.OFF, (level, line) -> {});
            Thread.currentThread().setUncaughtExceptionHandler(before);
            Thread.setDefaultUncaughtExceptionHandler(all);
        }
        assertTrue(thrown.get() > 0);
        assertTrue(last.get() instanceof IllegalStateException, String.valueOf(last.get()));
        assertThrows(NullPointerException.class, () -> Bge.setLog(null, (level, line) -> {}));
        assertThrows(NullPointerException.class, () -> Bge.setLog(LogLevel.INFO, null));
    }
}
