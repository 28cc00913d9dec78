package dev.libbge;

import java.util.concurrent.CompletableFuture;
import java.util.concurrent.RejectedExecutionException;
import java.util.function.Function;

/** An asynchronous call: it keeps its model open, completes its future, and stops if the future is completed first. */
final class PendingCall<T> {
    final CompletableFuture<T> future = new CompletableFuture<>();
    final long cancel = Native.newCancel();
    private final Function<Embeddings, T> results;
    /** Runs when the call has ended, or null. If it is not null, only a thread that waits depends on the future. */
    private final Runnable atEnd;
    /** Keeps the {@link java.lang.ref.Cleaner} from closing the model while the call is under way. */
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

    /** Called once on a thread of the library, which must not run the code that depends on the future. */
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
