package dev.libbge;

import java.nio.FloatBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;
import java.util.function.BiConsumer;

/**
 * The native methods, and the methods that they call. Models and switches are numbers, never pointers: a closed one is an error.
 *
 * <p>{@link NativeLibrary#load} must be called first. Opening a model does, so that the methods of a model need not.
 *
 * <p>Strings are passed as UTF-8 by {@link #utf8}, and returned as strings of JNI.
 */
final class Native {
    private static volatile BiConsumer<LogLevel, String> log = (level, line) -> {};
    private static final ThreadLocal<Boolean> LOGGING = ThreadLocal.withInitial(() -> false);

    private Native() {}

    static native String version();

    static native int live();

    private static native void setLog(int level);

    static native long open(
            byte[] path,
            byte[] runtimeLibrary,
            int device,
            int deviceIndex,
            int deviceCount,
            int threads,
            int maxTokens,
            int maxBatchTokens,
            int queueCapacity,
            byte[] headsDir,
            byte[] onnxFile,
            int computeType,
            long maxRunBytes,
            byte[] cacheDir,
            boolean smallMemory,
            boolean rawTokenizer);

    static native void close(long model);

    static native ModelInfo info(long model);

    static native long[] stats(long model);

    static native String fingerprint(long model);

    static native String tokenText(long model, int id);

    static native int[] countTokens(long model, byte[][] texts);

    static native Embeddings encode(
            long model,
            byte[][] texts,
            int outputs,
            int flags,
            int maxTokens,
            long timeoutNanos,
            byte[] prompt,
            int truncateDim,
            long cancel,
            FloatBuffer buffer,
            int position,
            int room);

    static native void encodeAsync(
            long model,
            byte[][] texts,
            int outputs,
            int flags,
            int maxTokens,
            long timeoutNanos,
            byte[] prompt,
            int truncateDim,
            long cancel,
            FloatBuffer buffer,
            int position,
            int room,
            PendingCall<?> call);

    static native long newCancel();

    static native void cancel(long cancel);

    static native void freeCancel(long cancel);

    static native float[][] similarity(int metric, float[][] a, float[][] b, int threads);

    static native float[] similarityPairwise(int metric, float[][] a, float[][] b);

    static native int[][] similarityTopK(int metric, float[][] queries, float[][] corpus, int k, int threads, float[][] scores);

    static native float[][] similaritySparse(int[][] aIds, float[][] aWeights, int[][] bIds, float[][] bWeights, int threads);

    static native float[][] similarityMulti(float[][][] a, float[][][] b, int threads);

    static native float[][] similarityHybrid(float[][] dense, float[][] sparse, float[][] multi, float[] weights);

    static native byte[][] quantize(int precision, float[][] vectors, float[] min, float[] max, boolean st5);

    static native float[][] quantizeRanges(float[][] vectors);

    static void setLog(LogLevel level, BiConsumer<LogLevel, String> to) {
        NativeLibrary.load();
        if (LOGGING.get()) {
            throw new IllegalStateException("a log function cannot set the log: it would wait for itself");
        }
        synchronized (Native.class) {
            // Off first, which waits until the previous function has its last line.
            setLog(LogLevel.OFF.value());
            log = to;
            setLog(level.value());
        }
    }

    // Methods that the native methods call.

    static BgeException exception(String code, String message, int textIndex, int runtimeCode) {
        return new BgeException(ErrorCode.valueOf(code.substring("BGE_ERROR_".length())), message, textIndex, runtimeCode);
    }

    static Embeddings embeddings(
            float[][] dense,
            int[][] sparseIds,
            float[][] sparseWeights,
            float[][][] multi,
            float[][][] tokens,
            int[] tokenCounts,
            boolean[] truncated,
            Throwable[] errors) {
        return new Embeddings(dense, sparseIds, sparseWeights, multi, tokens, tokenCounts, truncated, errors);
    }

    static ModelInfo describe(
            int outputs,
            int denseDim,
            int multiDim,
            int tokenDim,
            int vocabSize,
            int maxTokens,
            int threads,
            int maxBatchTokens,
            String pooling,
            String precision,
            String device,
            String runtime,
            int similarity) {
        Set<Output> set = EnumSet.noneOf(Output.class);
        for (Output output : Output.values()) {
            if ((outputs & output.value()) != 0) {
                set.add(output);
            }
        }
        Metric metric = Arrays.stream(Metric.values()).filter(it -> it.value() == similarity).findFirst().orElseThrow();
        return new ModelInfo(
                Set.copyOf(set), denseDim, multiDim, tokenDim, vocabSize, maxTokens, threads, maxBatchTokens, pooling, precision, device,
                runtime, metric);
    }

    static void log(int number, String line) {
        LOGGING.set(true);
        try {
            log.accept(LogLevel.values()[number], line);
        } catch (Throwable thrown) {
            Thread thread = Thread.currentThread();
            try {
                thread.getUncaughtExceptionHandler().uncaughtException(thread, thrown);
            } catch (Throwable ignored) {
                // The JVM ignores what such a handler throws, too.
            }
        } finally {
            LOGGING.remove();
        }
    }

    // Strings as UTF-8.

    /** UTF-8 of a path or a string, or null for null. */
    static byte[] utf8OrNull(Object text) {
        return text == null ? null : utf8(text.toString());
    }

    /**
     * UTF-8 of a string. A lone half of a surrogate pair has no UTF-8: there the result ends with a byte that is never part of
     * UTF-8, which the native side reports.
     */
    static byte[] utf8(String text) {
        int lone = loneSurrogate(text);
        if (lone < 0) {
            return text.getBytes(StandardCharsets.UTF_8);
        }
        byte[] before = text.substring(0, lone).getBytes(StandardCharsets.UTF_8);
        byte[] marked = Arrays.copyOf(before, before.length + 1);
        marked[before.length] = (byte) 0xFF;
        return marked;
    }

    static byte[][] utf8(List<String> texts) {
        // A copy, in case another thread changes the list.
        List<String> copy = new ArrayList<>(texts);
        byte[][] bytes = new byte[copy.size()][];
        for (int i = 0; i < bytes.length; i++) {
            String text = copy.get(i);
            if (text == null) {
                throw new NullPointerException("texts[" + i + "] is null");
            }
            bytes[i] = utf8(text);
        }
        return bytes;
    }

    private static int loneSurrogate(String text) {
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            if (Character.isSurrogate(c)) {
                if (!Character.isHighSurrogate(c) || i + 1 == text.length() || !Character.isLowSurrogate(text.charAt(i + 1))) {
                    return i;
                }
                i++;
            }
        }
        return -1;
    }
}
