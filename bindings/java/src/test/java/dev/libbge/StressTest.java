package dev.libbge;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

class StressTest {
    private static final int CALLS = 10_000;
    private static final int THREADS = 16;
    /** What a text shares a run with changes its vector by no more. */
    private static final float TOLERANCE = 2e-6f;

    private final AtomicInteger made = new AtomicInteger();
    private final AtomicInteger stopped = new AtomicInteger();
    private float[][] expected;

    @Test
    @Timeout(300)
    void tenThousandMixedCalls() throws Exception {
        try (Model model = Tiny.open("heads")) {
            expected = model.encode(Tiny.TEXTS);
            run(model, CALLS / 5);
            long early = heap();
            run(model, CALLS);
            long late = heap();
            assertTrue(late < early + (8 << 20), "the heap grew from " + early + " to " + late + " bytes");
            assertTrue(stopped.get() > 0, "no call was stopped");
            assertEquals(0, model.stats().queueDepth());
        }
        while (Native.live() != 0) {
            System.gc();
            Thread.sleep(5);
        }
    }

    private void run(Model model, int calls) throws Exception {
        made.set(0);
        ExecutorService threads = Executors.newFixedThreadPool(THREADS);
        List<Future<?>> workers = new ArrayList<>();
        for (int seed = 0; seed < THREADS; seed++) {
            Random random = new Random(seed);
            workers.add(threads.submit(() -> {
                FloatBuffer buffer = Tiny.direct(expected.length * expected[0].length);
                while (made.incrementAndGet() <= calls) {
                    one(model, random, buffer);
                }
                return null;
            }));
        }
        for (Future<?> worker : workers) {
            worker.get();
        }
        threads.shutdown();
    }

    private void one(Model model, Random random, FloatBuffer buffer) throws Exception {
        switch (random.nextInt(8)) {
            case 0 -> assertEquals(Tiny.TEXTS.size(), model.countTokens(Tiny.TEXTS).length);
            case 1 -> check(model.encodeOutputs(Tiny.TEXTS, EnumSet.allOf(Output.class), EncodeOptions.defaults()).dense());
            case 2 -> {
                CompletableFuture<float[][]> future = model.encodeAsync(Tiny.TEXTS);
                if (random.nextBoolean()) {
                    Thread.onSpinWait();
                }
                if (future.cancel(true)) {
                    stopped.incrementAndGet();
                } else {
                    check(future.get());
                }
            }
            case 3 -> check(model.encodeAsync(Tiny.TEXTS).get());
            case 4 -> {
                Thread.currentThread().interrupt();
                try {
                    check(model.encode(Tiny.TEXTS));
                } catch (BgeException e) {
                    assertEquals(ErrorCode.CANCELLED, e.code());
                    stopped.incrementAndGet();
                }
                assertTrue(Thread.interrupted());
            }
            case 5 -> closeWhileInUse(random);
            case 6 -> {
                model.encodeInto(Tiny.TEXTS, buffer.clear());
                float[] row = new float[expected[0].length];
                for (int i = 0; i < expected.length; i++) {
                    buffer.get(i * row.length, row);
                    check(row, expected[i]);
                }
            }
            default -> check(model.encode(Tiny.TEXTS));
        }
    }

    private void closeWhileInUse(Random random) throws Exception {
        if (random.nextInt(4) != 0) {
            return;
        }
        Model other = Tiny.open("cls");
        CompletableFuture<float[][]> async = other.encodeAsync(Tiny.TEXTS);
        CompletableFuture<float[][]> blocking = CompletableFuture.supplyAsync(() -> other.encode(Tiny.TEXTS));
        other.close();
        for (CompletableFuture<float[][]> call : List.of(async, blocking)) {
            try {
                assertEquals(Tiny.TEXTS.size(), call.get().length);
            } catch (ExecutionException e) {
                assertEquals(ErrorCode.CLOSED, ((BgeException) e.getCause()).code());
            }
        }
    }

    private void check(float[][] vectors) {
        assertEquals(expected.length, vectors.length);
        for (int i = 0; i < vectors.length; i++) {
            check(vectors[i], expected[i]);
        }
    }

    private static void check(float[] vector, float[] expected) {
        assertEquals(expected.length, vector.length);
        for (int i = 0; i < vector.length; i++) {
            assertTrue(Math.abs(vector[i] - expected[i]) <= TOLERANCE);
        }
    }

    private static long heap() throws InterruptedException {
        for (int i = 0; i < 3; i++) {
            System.gc();
            Thread.sleep(10);
        }
        return Runtime.getRuntime().totalMemory() - Runtime.getRuntime().freeMemory();
    }
}
