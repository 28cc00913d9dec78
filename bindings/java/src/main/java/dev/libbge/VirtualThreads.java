package dev.libbge;

import java.lang.invoke.MethodHandle;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.MethodType;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CompletableFuture;
import java.util.function.Supplier;

/** Keeps native methods that wait off the carriers of virtual threads, which they would occupy until they return. */
final class VirtualThreads {
    /** {@code Thread.isVirtual} of JDK 21, or null before. */
    private static final MethodHandle IS_VIRTUAL = isVirtual();

    private VirtualThreads() {}

    private static MethodHandle isVirtual() {
        try {
            return MethodHandles.publicLookup().findVirtual(Thread.class, "isVirtual", MethodType.methodType(boolean.class));
        } catch (NoSuchMethodException | IllegalAccessException e) {
            return null;
        }
    }

    static boolean isCurrent() {
        try {
            return IS_VIRTUAL != null && (boolean) IS_VIRTUAL.invokeExact(Thread.currentThread());
        } catch (Throwable e) {
            return false;
        }
    }

    /** Runs rare work of a virtual thread on a new platform thread, and that of any other thread on the thread itself. */
    static <T> T offCarrier(Supplier<T> work) {
        if (!isCurrent()) {
            return work.get();
        }
        try {
            return CompletableFuture.supplyAsync(work, task -> {
                        Thread thread = new Thread(task, "libbge for " + Thread.currentThread().getName());
                        thread.setDaemon(true);
                        thread.start();
                    })
                    .join();
        } catch (CompletionException e) {
            if (e.getCause() instanceof RuntimeException failure) {
                throw failure;
            }
            if (e.getCause() instanceof Error error) {
                throw error;
            }
            throw e;
        }
    }
}
