package dev.libbge.bench;

import dev.libbge.Model;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Locale;
import java.util.Objects;

/**
 * What Java adds to a call of C: each way to encode takes turns with C, of which either goes first every other time, with a
 * model of C's own; the medians are compared. {@code make java-bench}.
 */
final class Overhead {
    static final String TEXT = "Orang-orang ada di luar.";

    private Overhead() {}

    public static void main(String[] args) {
        System.out.println("| texts a call | way | C us | Java us | difference us |\n|---|---|---|---|---|");
        try (Model model = Model.open(Path.of(args[0]))) {
            int calls = args.length > 1 ? Integer.parseInt(args[1]) : 2000;
            compare(model, args[0], 1, calls);
            compare(model, args[0], 64, Math.max(30, calls / 64));
        }
    }

    private static void compare(Model model, String path, int count, int calls) {
        List<String> texts = Collections.nCopies(count, TEXT);
        int room = count * model.info().denseDim();
        FloatBuffer buffer = ByteBuffer.allocateDirect(4 * room).order(ByteOrder.nativeOrder()).asFloatBuffer();
        long call = C.open(path, Objects.requireNonNull(System.getenv("BGE_ORT_LIBRARY")), TEXT, count);
        compare(count, calls, "float[][]", call, () -> model.encode(texts));
        compare(count, calls, "direct buffer", call, () -> model.encodeInto(texts, buffer.clear()));
        compare(count, calls, "future", call, () -> model.encodeAsync(texts).join());
    }

    private static void compare(int count, int calls, String way, long call, Runnable inJava) {
        double[] c = new double[calls];
        double[] java = new double[calls];
        double[] difference = new double[calls];
        // As many again, until the JIT has compiled what is called.
        for (int i = -calls; i < calls; i++) {
            int at = Math.max(i, 0);
            if (i % 2 == 0) {
                c[at] = C.encode(call) / 1e3;
            }
            long start = System.nanoTime();
            inJava.run();
            java[at] = (System.nanoTime() - start) / 1e3;
            if (i % 2 != 0) {
                c[at] = C.encode(call) / 1e3;
            }
            difference[at] = java[at] - c[at];
        }
        System.out.printf(
                Locale.ROOT, "| %d | %s | %.1f | %.1f | %.1f |%n", count, way, median(c), median(java), median(difference));
    }

    private static double median(double[] numbers) {
        Arrays.sort(numbers);
        return numbers[numbers.length / 2];
    }
}
