package dev.libbge;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Interrupts, futures and closing reach calls that are under way. */
@Timeout(120)
class StopTest {
    private static final List<String> MANY = Tiny.many();

    @Test
    void anInterruptEndsABlockedCall() throws Exception {
        try (Model model = Tiny.open("cls")) {
            CompletableFuture<Boolean> stillInterrupted = new CompletableFuture<>();
            Thread thread = new Thread(() -> {
                BgeException e = assertThrows(BgeException.class, () -> model.encode(MANY));
                assertEquals(ErrorCode.CANCELLED, e.code());
                stillInterrupted.complete(Thread.currentThread().isInterrupted());
            });
            thread.setUncaughtExceptionHandler((failed, thrown) -> stillInterrupted.completeExceptionally(thrown));
            thread.start();
            untilUnderWay(model);
            thread.interrupt();
            assertTrue(stillInterrupted.get());
            assertEquals(1, model.stats().cancellations());
        }
    }

    @Test
    void anInterruptedThreadDoesNotStartACall() {
        try (Model model = Tiny.open("cls")) {
            Thread.currentThread().interrupt();
            BgeException e = assertThrows(BgeException.class, () -> model.encode(MANY));
            assertEquals(ErrorCode.CANCELLED, e.code());
            assertTrue(Thread.interrupted());
            assertEquals(0, model.stats().texts());
            model.encode(Tiny.TEXTS);
            assertFalse(Thread.currentThread().isInterrupted());
        }
    }

    @Test
    void whateverCompletesAFutureStopsItsCall() throws Exception {
        try (Model model = Tiny.open("cls")) {
            CompletableFuture<float[][]> cancelled = model.encodeAsync(MANY);
            assertTrue(cancelled.cancel(true));
            assertTrue(cancelled.isCancelled());
            untilCancelled(model, 1);
            CompletableFuture<float[][]> late = model.encodeAsync(MANY).orTimeout(1, TimeUnit.MILLISECONDS);
            ExecutionException e = assertThrows(ExecutionException.class, late::get);
            assertTrue(e.getCause() instanceof TimeoutException, e.toString());
            untilCancelled(model, 2);
            assertEquals(Tiny.TEXTS.size(), model.encodeAsync(Tiny.TEXTS).get().length);
        }
    }

    private static void untilUnderWay(Model model) throws InterruptedException {
        while (model.stats().calls() == 0) {
            Thread.sleep(1);
        }
    }

    private static void untilCancelled(Model model, int calls) throws InterruptedException {
        while (model.stats().cancellations() < calls || model.stats().queueDepth() != 0) {
            Thread.sleep(1);
        }
    }

    @Test
    void closingEndsWhatIsUnderWay() throws Exception {
        Model model = Tiny.open("cls");
        List<CompletableFuture<ErrorCode>> calls = new ArrayList<>();
        CountDownLatch started = new CountDownLatch(6);
        for (int i = 0; i < 6; i++) {
            CompletableFuture<ErrorCode> call = new CompletableFuture<>();
            calls.add(call);
            new Thread(() -> {
                started.countDown();
                try {
                    model.encode(MANY);
                    call.complete(null);
                } catch (BgeException e) {
                    call.complete(e.code());
                } catch (Throwable e) {
                    call.completeExceptionally(e);
                }
            }).start();
        }
        CompletableFuture<float[][]> async = model.encodeAsync(MANY);
        started.await();
        untilUnderWay(model);
        model.close();
        for (CompletableFuture<ErrorCode> call : calls) {
            assertEquals(ErrorCode.CLOSED, call.get());
        }
        ExecutionException e = assertThrows(ExecutionException.class, async::get);
        assertEquals(ErrorCode.CLOSED, ((BgeException) e.getCause()).code());
    }

    @Test
    void aFullQueueRefuses() throws Exception {
        try (Model model = Model.open(Tiny.path("cls"), OpenOptions.builder().queueCapacity(1).build())) {
            CompletableFuture<float[][]> first = model.encodeAsync(MANY);
            BgeException e = assertThrows(BgeException.class, () -> model.encodeAsync(Tiny.TEXTS));
            assertEquals(ErrorCode.QUEUE_FULL, e.code());
            first.cancel(true);
        }
    }

    @Test
    void whatHangsOnAFutureMayThrowBlockAndClose() throws Exception {
        Model model = Tiny.open("cls");
        CompletableFuture<?> throwing = model.encodeAsync(Tiny.TEXTS).thenApply(vectors -> {
            throw new IllegalStateException("of the host");
        });
        CompletableFuture<float[][]> nested =
                model.encodeAsync(Tiny.TEXTS).thenApply(vectors -> model.encodeAsync(Tiny.TEXTS).join());
        assertEquals(Tiny.TEXTS.size(), nested.get().length);
        model.encodeAsync(Tiny.TEXTS).thenRun(model::close).get();
        ExecutionException e = assertThrows(ExecutionException.class, throwing::get);
        assertEquals("of the host", e.getCause().getMessage());
        assertThrows(BgeException.class, model::stats);
    }

    @Test
    void forgottenModelsAreClosedButNotUnderACall() throws Exception {
        CompletableFuture<float[][]> call = Tiny.open("cls").encodeAsync(MANY.subList(0, 10_000));
        for (int i = 0; i < 5; i++) {
            System.gc();
            Thread.sleep(5);
        }
        assertEquals(10_000, call.get().length);
        assertEquals(Tiny.TEXTS.size(), Tiny.open("cls").encode(Tiny.TEXTS).length);
        // Whatever other tests of this process have made is closed.
        while (Native.live() != 0) {
            System.gc();
            Thread.sleep(5);
        }
    }
}
