import dev.libbge.BgeException;
import dev.libbge.Embeddings;
import dev.libbge.EncodeOptions;
import dev.libbge.ErrorCode;
import dev.libbge.Model;
import dev.libbge.OpenOptions;
import dev.libbge.Output;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/** Virtual threads of JDK 21 on one carrier: what would keep it keeps all others from running. */
public class Virtual {
    private static final List<String> MANY = Collections.nCopies(20_000, "Sekelompok orang sedang makan di sebuah restoran.");
    private static final List<String> FEW = List.of("a", "", "Orang-orang ada di luar.");

    public static void main(String[] args) throws Exception {
        Path dir = Path.of(args[0]);
        try (ExecutorService threads = Executors.newVirtualThreadPerTaskExecutor();
                Model model = threads.submit(() -> Model.open(dir, OpenOptions.builder().threads(1).queueCapacity(4).build())).get()) {
            interruptsReachCallsOnTheOneCarrier(threads, model);
            resultsAndErrorsAreThoseOfOtherThreads(threads, model);
            moreCallsThanTheQueueHolds(threads, model);
        }
        closingEndsCalls(dir);
        System.out.println("done");
    }

    private static void check(boolean holds, Object what) {
        if (!holds) {
            throw new IllegalStateException(String.valueOf(what));
        }
    }

    private static BgeException failure(Callable<?> call) throws Exception {
        try {
            call.call();
        } catch (BgeException e) {
            return e;
        }
        throw new IllegalStateException("no failure");
    }

    private static BgeException failure(Future<?> call) throws Exception {
        try {
            call.get();
        } catch (ExecutionException e) {
            return (BgeException) e.getCause();
        }
        throw new IllegalStateException("no failure");
    }

    /** Another virtual thread can only stop the first if it runs while that waits. */
    private static void interruptsReachCallsOnTheOneCarrier(ExecutorService threads, Model model) throws Exception {
        List<Callable<?>> blocking = List.of(
                () -> model.encode(MANY),
                () -> model.encodeOutputs(MANY, Set.of(Output.TOKENS), EncodeOptions.defaults()),
                () -> {
                    model.encodeInto(MANY, direct(MANY.size() * model.info().denseDim()), EncodeOptions.defaults());
                    return null;
                });
        for (Callable<?> call : blocking) {
            long before = model.stats().cancellations();
            CompletableFuture<Boolean> interrupted = new CompletableFuture<>();
            Thread thread = Thread.ofVirtual().unstarted(() -> {
                try {
                    BgeException e = failure(call);
                    interrupted.complete(e.code() == ErrorCode.CANCELLED && Thread.currentThread().isInterrupted());
                } catch (Throwable e) {
                    interrupted.completeExceptionally(e);
                }
            });
            long calls = model.stats().calls();
            thread.start();
            threads.submit(() -> {
                while (model.stats().calls() == calls) {
                    Thread.sleep(1);
                }
                thread.interrupt();
                return null;
            }).get();
            check(interrupted.get(), "not cancelled, or not interrupted any more");
            check(model.stats().cancellations() == before + 1, "the call went on");
        }
        threads.submit(() -> {
            Thread.currentThread().interrupt();
            long calls = model.stats().calls();
            check(failure(() -> model.encode(FEW)).code() == ErrorCode.CANCELLED, "it began");
            check(model.stats().calls() == calls && Thread.interrupted(), "it began");
            return null;
        }).get();
    }

    private static FloatBuffer direct(int floats) {
        return ByteBuffer.allocateDirect(4 * floats).order(ByteOrder.nativeOrder()).asFloatBuffer();
    }

    private static void resultsAndErrorsAreThoseOfOtherThreads(ExecutorService threads, Model model) throws Exception {
        float[][] expected = model.encode(FEW);
        int dim = expected[0].length;
        check(Arrays.deepEquals(expected, threads.submit(() -> model.encode(FEW)).get()), "other vectors");
        FloatBuffer buffer = direct(1 + FEW.size() * dim);
        buffer.position(1);
        threads.submit(() -> model.encodeInto(FEW, buffer, EncodeOptions.defaults())).get();
        check(buffer.position() == 1 + FEW.size() * dim && buffer.get(0) == 0 && buffer.get(1) == expected[0][0], buffer);
        Embeddings all = threads.submit(() ->
                model.encodeOutputs(List.of("a", "\uD83D"), Set.of(Output.DENSE), EncodeOptions.builder().perTextErrors(true).build())).get();
        check(all.error(0) == null && all.error(1).code() == ErrorCode.INVALID_UTF8, "errors");
        List<Callable<?>> wrong = List.of(
                () -> model.encode(List.of("a", "\uD83D")),
                () -> model.encode(FEW, EncodeOptions.builder().prompt("nope").build()),
                () -> model.encode(FEW, EncodeOptions.builder().truncateDim(1 << 20).build()),
                () -> {
                    model.encodeInto(FEW, direct(1), EncodeOptions.defaults());
                    return null;
                });
        for (Callable<?> call : wrong) {
            BgeException here = failure(call);
            BgeException there = failure(threads.submit(call));
            check(here.toString().equals(there.toString()) && here.textIndex() == there.textIndex(), there);
        }
        EncodeOptions hurried = EncodeOptions.builder().timeout(Duration.ofMillis(1)).build();
        check(failure(threads.submit(() -> model.encode(MANY, hurried))).code() == ErrorCode.TIMEOUT, "no timeout");
    }

    /** Two of the four places are for these; and asynchronous calls may take all of them. */
    private static void moreCallsThanTheQueueHolds(ExecutorService threads, Model model) throws Exception {
        long before = model.stats().calls();
        List<Future<float[][]>> large = new ArrayList<>();
        for (int i = 0; i < 2; i++) {
            large.add(threads.submit(() -> model.encode(MANY)));
        }
        while (model.stats().calls() < before + 2) {
            Thread.sleep(1);
        }
        EncodeOptions hurried = EncodeOptions.builder().timeout(Duration.ofMillis(1)).build();
        check(failure(threads.submit(() -> model.encode(MANY, hurried))).code() == ErrorCode.TIMEOUT, "no timeout");
        for (Future<float[][]> call : large) {
            check(call.get().length == MANY.size(), "another number of vectors");
        }
        List<CompletableFuture<float[][]>> async = new ArrayList<>();
        for (int i = 0; i < 4; i++) {
            async.add(model.encodeAsync(MANY));
        }
        List<Future<float[][]>> calls = new ArrayList<>();
        for (int i = 0; i < 100; i++) {
            calls.add(threads.submit(() -> model.encode(FEW)));
        }
        for (Future<float[][]> call : calls) {
            check(call.get().length == FEW.size(), "another number of vectors");
        }
        for (CompletableFuture<float[][]> call : async) {
            check(call.get().length == MANY.size(), "another number of vectors");
        }
        check(model.stats().queueDepth() == 0, "calls are left");
    }

    private static void closingEndsCalls(Path dir) throws Exception {
        try (ExecutorService threads = Executors.newVirtualThreadPerTaskExecutor()) {
            Model model = Model.open(dir, OpenOptions.builder().threads(1).queueCapacity(4).build());
            List<Future<?>> calls = new ArrayList<>();
            for (int i = 0; i < 10; i++) {
                calls.add(threads.submit(() -> model.encode(MANY)));
            }
            while (model.stats().calls() == 0) {
                Thread.sleep(1);
            }
            threads.submit(model::close).get();
            // Some may just have made it.
            int closed = 0;
            for (Future<?> call : calls) {
                try {
                    call.get();
                } catch (ExecutionException e) {
                    check(((BgeException) e.getCause()).code() == ErrorCode.CLOSED, e);
                    closed++;
                }
            }
            check(closed > 0, "no call was closed");
        }
    }
}
