package dev.libbge;

import java.util.concurrent.CompletableFuture;
import java.util.concurrent.RejectedExecutionException;
import java.util.function.Function;

/** An asynchronous call: keeps its model open, completes its future, and is stopped by whatever completes that otherwise. */
final class PendingCall<T> {
    final CompletableFuture<T> future = new CompletableFuture<>();
    final long cancel = Native.newCancel();
    private final Function<Embeddings, T> results;
    /** Not null: runs at the end, and nothing hangs on the future but a thread that waits for it. */
    private final Runnable atEnd;
    /** Forgotten models are closed, but not while a call is under way. */
    private Model model;

    PendingCall(Model model, Function<Embeddings, T> results, Runnable atEnd) {
        this.model = model;
        this.results = results;
        this.atEnd = atEnd;
        future.whenComplete((result, thrown) -> Native.cancel(cancel));
    }

    void neverBegan() {
        Native.freeCancel(cancel);
        if (atEnd != null) {
            atEnd.run();
        }
    }

    /** Called once by the library's own thread, which must not wait for what hangs on the future. */
    void end(Embeddings embeddings, Throwable thrown) {
        Native.freeCancel(cancel);
        model = null;
        if (atEnd != null) {
            atEnd.run();
            complete(embeddings, thrown);
            return;
        }
        try {
            future.defaultExecutor().execute(() -> complete(embeddings, thrown));
        } catch (RejectedExecutionException | OutOfMemoryError e) {
            complete(embeddings, thrown);
        }
    }

    private void complete(Embeddings embeddings, Throwable thrown) {
        if (thrown != null) {
            future.completeExceptionally(thrown);
        } else if (embeddings != null) {
            future.complete(results.apply(embeddings));
        } else {
            future.completeExceptionally(
                    new BgeException(ErrorCode.OUT_OF_MEMORY, "the JVM has no memory for the results"));
        }
    }
}
