package dev.libbge;

import java.lang.ref.Cleaner;
import java.lang.ref.Reference;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.channels.AsynchronousCloseException;
import java.nio.channels.spi.AbstractInterruptibleChannel;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;
import java.util.function.Supplier;

/**
 * An open model: texts in, vectors out.
 *
 * <p>Open once and share the model: any number of threads may use it at once, and their texts share batches. Results are in the
 * order of the texts. An empty list has no results; an empty text is a text like any other.
 *
 * <p>Every method that encodes may throw a {@link BgeException} with one of the codes {@link ErrorCode#INVALID_ARGUMENT},
 * {@link ErrorCode#INVALID_UTF8} and {@link ErrorCode#TEXT_TOO_LONG}, with the index of the text, {@link ErrorCode#UNSUPPORTED}
 * for an output that the model does not have, {@link ErrorCode#CANCELLED}, {@link ErrorCode#TIMEOUT}, {@link ErrorCode#CLOSED},
 * {@link ErrorCode#OUT_OF_MEMORY}, {@link ErrorCode#NOT_FINITE}, {@link ErrorCode#INFERENCE} and {@link ErrorCode#INTERNAL}.
 *
 * <p><b>Interrupts.</b> {@link Thread#interrupt} soon ends a blocking call with {@link ErrorCode#CANCELLED}, and the thread's
 * interrupt status stays set. On a thread whose status is set already, the call does not start.
 *
 * <p><b>Closing</b> ends the calls under way with {@link ErrorCode#CLOSED}, unless they have just finished; later calls throw
 * it, too. A {@link Cleaner} closes a model that nothing refers to, at some time: do not rely on it.
 */
public final class Model implements AutoCloseable {
    private static final Cleaner CLEANER = Cleaner.create();

    /** The default of {@code queue_capacity} in C. */
    private static final int QUEUE_CAPACITY = 1024;

    private static final Set<Output> DENSE = Set.of(Output.DENSE);

    private final long handle;
    private final ModelInfo info;
    private final Cleaner.Cleanable closing;
    /** Permits for calls of virtual threads, half of the queue; the other half is for asynchronous calls. */
    private final Semaphore virtualCalls;

    private Model(long handle, int queueCapacity) {
        this.handle = handle;
        closing = CLEANER.register(this, () -> Native.close(handle));
        info = Native.info(handle);
        virtualCalls = new Semaphore(Math.max(1, (queueCapacity == 0 ? QUEUE_CAPACITY : queueCapacity) / 2));
    }

    /**
     * Opens the model in a directory with all defaults.
     *
     * @param path a directory as sentence-transformers writes it
     * @return the open model
     * @throws BgeException as {@link #open(Path, OpenOptions)} does
     */
    public static Model open(Path path) {
        return open(path, OpenOptions.defaults());
    }

    /**
     * Opens the model in a directory, which takes up to seconds. The files must not change while the model is open.
     *
     * @param path a directory as sentence-transformers writes it, or with an ONNX export
     * @param options how to open it
     * @return the open model
     * @throws BgeException {@link ErrorCode#MODEL_NOT_FOUND}, {@link ErrorCode#MODEL_INVALID}, {@link ErrorCode#UNSUPPORTED},
     *     {@link ErrorCode#RUNTIME_UNAVAILABLE}, {@link ErrorCode#OUT_OF_MEMORY}, or {@link ErrorCode#INVALID_ARGUMENT} for an
     *     option out of range
     */
    public static Model open(Path path, OpenOptions options) {
        Objects.requireNonNull(path, "path");
        NativeLibrary.load();
        byte[] runtime =
                Native.utf8OrNull(options.runtimeLibrary == null ? NativeLibrary.runtime() : options.runtimeLibrary);
        long handle = VirtualThreads.offCarrier(() -> Native.open(
                Native.utf8(path.toString()),
                runtime,
                options.device.value(),
                options.deviceIndex,
                options.deviceCount,
                options.threads,
                options.maxTokens,
                options.maxBatchTokens,
                options.queueCapacity,
                Native.utf8OrNull(options.headsDir),
                Native.utf8OrNull(options.onnxFile),
                options.computeType.value(),
                options.maxRunBytes,
                Native.utf8OrNull(options.cacheDir),
                options.smallMemory,
                options.rawTokenizer));
        return new Model(handle, options.queueCapacity);
    }

    /**
     * Ends the calls under way and releases the model. Futures of asynchronous calls complete soon after. Closing again
     * does nothing.
     */
    @Override
    public void close() {
        VirtualThreads.offCarrier(() -> {
            closing.clean();
            return null;
        });
    }

    /**
     * Describes the model, even if it is closed.
     *
     * @return what the model is
     */
    public ModelInfo info() {
        return info;
    }

    /**
     * Reads the counters of the model. Cheap enough to call every second.
     *
     * @return totals since it was opened
     * @throws BgeException {@link ErrorCode#CLOSED}
     */
    public ModelStats stats() {
        long[] numbers = alive(Native.stats(handle));
        return new ModelStats(
                (int) numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5], numbers[6],
                Duration.ofNanos(numbers[7]), Duration.ofNanos(numbers[8]), numbers[9], numbers[10]);
    }

    /**
     * A string that differs whenever the same text could have a different vector: a hash of the weights, the tokenizer and the
     * settings. Keep it beside your vectors, and compare it before you search in them. The first call reads all weights, about a
     * second for bge-m3.
     *
     * @return the fingerprint
     * @throws BgeException {@link ErrorCode#CLOSED}, or {@link ErrorCode#MODEL_NOT_FOUND} if a file can no longer be read
     */
    public String fingerprint() {
        return alive(VirtualThreads.offCarrier(() -> Native.fingerprint(handle)));
    }

    /**
     * The text of a token as the vocabulary has it, where U+2581 stands for a space.
     *
     * @param id the token
     * @return its text, or nothing if there is no such token
     * @throws BgeException {@link ErrorCode#CLOSED}
     */
    public Optional<String> tokenText(int id) {
        return Optional.ofNullable(alive(Native.tokenText(handle, id)));
    }

    /**
     * Counts the tokens of each text, the special ones included, before any cutting and without any prompt. Tokenizes all of
     * each text, but does not run the model.
     *
     * @param texts any number of texts
     * @return a count for each
     * @throws BgeException {@link ErrorCode#INVALID_UTF8} with the index of the text, or {@link ErrorCode#CLOSED}
     */
    public int[] countTokens(List<String> texts) {
        return alive(Native.countTokens(handle, Native.utf8(texts)));
    }

    /**
     * Encodes texts with all defaults.
     *
     * @param texts any number of texts
     * @return a dense vector of {@code denseDim} numbers for each
     * @throws BgeException see {@link Model}
     */
    public float[][] encode(List<String> texts) {
        return encode(texts, EncodeOptions.defaults());
    }

    /**
     * Encodes texts.
     *
     * @param texts any number of texts
     * @param options the options
     * @return a dense vector of {@code denseDim} numbers for each, or of {@code truncateDim} if that is set
     * @throws BgeException see {@link Model}
     */
    public float[][] encode(List<String> texts, EncodeOptions options) {
        return call(texts, DENSE, withoutPerTextErrors(options), null).dense();
    }

    /**
     * Encodes texts into a direct buffer with all defaults.
     *
     * @param texts any number of texts
     * @param vectors a direct buffer in native byte order
     * @throws BgeException as {@link #encodeInto(List, FloatBuffer, EncodeOptions)} does
     */
    public void encodeInto(List<String> texts, FloatBuffer vectors) {
        encodeInto(texts, vectors, EncodeOptions.defaults());
    }

    /**
     * Encodes texts into a direct buffer: a dense vector for each, one after another from the buffer's position on, which moves
     * to the end of the last one. If it fails, the position stays, and the content after it is undefined.
     *
     * <p>The memory of the buffer must stay valid until this returns: do not close the {@code Arena} of a buffer meanwhile.
     *
     * @param texts any number of texts
     * @param vectors a direct buffer in native byte order, as {@code ByteBuffer.allocateDirect(n)
     *     .order(ByteOrder.nativeOrder()).asFloatBuffer()}, with {@code denseDim} or {@code truncateDim} floats left for each
     *     text
     * @param options the options
     * @throws BgeException see {@link Model}; {@link ErrorCode#BUFFER_TOO_SMALL} before any inference;
     *     {@link ErrorCode#INVALID_ARGUMENT} for a buffer that is on the heap, read-only, or of another byte order
     */
    public void encodeInto(List<String> texts, FloatBuffer vectors, EncodeOptions options) {
        if (!vectors.isDirect() || vectors.isReadOnly() || vectors.order() != ByteOrder.nativeOrder()) {
            String what = vectors.isReadOnly() ? "is read-only" : vectors.isDirect() ? "is " + vectors.order() : "is on the heap";
            throw new BgeException(
                    ErrorCode.INVALID_ARGUMENT,
                    "the buffer " + what + "; it must be direct, writable and " + ByteOrder.nativeOrder()
                            + ", or use encode, which gives arrays");
        }
        int dim = options.truncateDim == 0 ? info.denseDim() : options.truncateDim;
        int position = vectors.position();
        int count = call(texts, DENSE, withoutPerTextErrors(options), vectors).size();
        vectors.position(position + count * dim);
    }

    /**
     * Computes several outputs of texts in one pass of the model, which costs little more than one of them.
     *
     * @param texts any number of texts
     * @param outputs the outputs to compute; {@link ModelInfo#outputs} lists those of the model
     * @param options the options
     * @return the results, by text
     * @throws BgeException see {@link Model}
     */
    public Embeddings encodeOutputs(List<String> texts, Set<Output> outputs, EncodeOptions options) {
        return call(texts, outputs, options, null);
    }

    /**
     * Starts to encode texts with all defaults.
     *
     * @param texts any number of texts
     * @return a future of the dense vectors
     * @throws BgeException as {@link #encodeOutputsAsync} does
     */
    public CompletableFuture<float[][]> encodeAsync(List<String> texts) {
        return encodeAsync(texts, EncodeOptions.defaults());
    }

    /**
     * Starts to encode texts.
     *
     * @param texts any number of texts
     * @param options the options
     * @return a future of a dense vector for each text
     * @throws BgeException as {@link #encodeOutputsAsync} does
     */
    public CompletableFuture<float[][]> encodeAsync(List<String> texts, EncodeOptions options) {
        return start(texts, DENSE, withoutPerTextErrors(options), Embeddings::dense).future;
    }

    /**
     * Starts to encode texts, and returns when they are tokenized.
     *
     * <p>The future completes with results or with a {@link BgeException}, on a thread of its default executor and never on a
     * thread of the library. Cancelling the future stops the call, and so does anything else that completes it first, such as
     * {@code orTimeout}; cancelling a future that depends on it does not. The model stays open until then, even if nothing refers
     * to it, unless it is closed.
     *
     * @param texts any number of texts
     * @param outputs the outputs to compute
     * @param options the options
     * @return a future of the results, by text
     * @throws BgeException at once, for a mistake in the call itself, and {@link ErrorCode#QUEUE_FULL} if
     *     {@code queueCapacity} calls are unfinished
     */
    public CompletableFuture<Embeddings> encodeOutputsAsync(List<String> texts, Set<Output> outputs, EncodeOptions options) {
        return start(texts, outputs, options, Function.identity()).future;
    }

    private Embeddings call(List<String> texts, Set<Output> outputs, EncodeOptions options, FloatBuffer buffer) {
        return VirtualThreads.isCurrent()
                ? callFromVirtualThread(texts, outputs, options, buffer)
                : callHere(texts, outputs, options, buffer);
    }

    private Embeddings callHere(List<String> texts, Set<Output> outputs, EncodeOptions options, FloatBuffer buffer) {
        byte[][] utf8 = Native.utf8(texts);
        Stop stop = new Stop();
        try {
            return stop.whileBlocked(() -> alive(Native.encode(
                    handle,
                    utf8,
                    bits(outputs),
                    flags(options),
                    options.maxTokens,
                    nanos(options.timeout),
                    Native.utf8OrNull(options.prompt),
                    options.truncateDim,
                    stop.cancel,
                    buffer,
                    buffer == null ? 0 : buffer.position(),
                    buffer == null ? 0 : buffer.remaining())));
        } finally {
            Native.freeCancel(stop.cancel);
        }
    }

    /**
     * Makes an asynchronous call, so that the virtual thread waits without its carrier. The time that it waits counts as time of
     * the call.
     */
    private Embeddings callFromVirtualThread(
            List<String> texts, Set<Output> outputs, EncodeOptions options, FloatBuffer buffer) {
        byte[][] utf8 = Native.utf8(texts);
        PendingCall<Embeddings> call;
        try {
            call = queued(utf8, outputs, options, buffer);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new BgeException(ErrorCode.CANCELLED, "the thread was interrupted before the call began");
        }
        boolean interrupted = false;
        try {
            while (true) {
                try {
                    return call.future.get();
                } catch (InterruptedException e) {
                    interrupted = true;
                    Native.cancel(call.cancel);
                } catch (ExecutionException e) {
                    if (e.getCause() instanceof BgeException failure) {
                        throw failure;
                    }
                    throw new IllegalStateException(e.getCause());
                }
            }
        } finally {
            if (interrupted) {
                Thread.currentThread().interrupt();
            }
        }
    }

    private PendingCall<Embeddings> queued(byte[][] utf8, Set<Output> outputs, EncodeOptions options, FloatBuffer buffer)
            throws InterruptedException {
        long started = System.nanoTime();
        long timeout = nanos(options.timeout);
        long left = timeout;
        while (true) {
            if (timeout == 0) {
                virtualCalls.acquire();
            } else if (left <= 0 || !virtualCalls.tryAcquire(left, TimeUnit.NANOSECONDS)) {
                throw new BgeException(ErrorCode.TIMEOUT, "the timeout of " + options.timeout + " is over, and the call has not begun");
            }
            left = timeout == 0 ? 0 : Math.max(1, timeout - (System.nanoTime() - started));
            PendingCall<Embeddings> call = new PendingCall<>(this, Function.identity(), virtualCalls::release);
            try {
                begin(call, utf8, outputs, options, left, buffer);
                return call;
            } catch (BgeException e) {
                if (e.code() != ErrorCode.QUEUE_FULL) {
                    throw e;
                }
                // Asynchronous calls fill the queue: a call that waits tries again.
                Thread.sleep(1);
            }
            left = timeout - (System.nanoTime() - started);
        }
    }

    private <T> PendingCall<T> start(
            List<String> texts, Set<Output> outputs, EncodeOptions options, Function<Embeddings, T> results) {
        byte[][] utf8 = Native.utf8(texts);
        PendingCall<T> call = new PendingCall<>(this, results, null);
        begin(call, utf8, outputs, options, nanos(options.timeout), null);
        return call;
    }

    private void begin(
            PendingCall<?> call,
            byte[][] utf8,
            Set<Output> outputs,
            EncodeOptions options,
            long timeoutNanos,
            FloatBuffer buffer) {
        boolean started = false;
        try {
            Native.encodeAsync(
                    handle,
                    utf8,
                    bits(outputs),
                    flags(options),
                    options.maxTokens,
                    timeoutNanos,
                    Native.utf8OrNull(options.prompt),
                    options.truncateDim,
                    call.cancel,
                    buffer,
                    buffer == null ? 0 : buffer.position(),
                    buffer == null ? 0 : buffer.remaining(),
                    call);
            started = true;
        } finally {
            if (!started) {
                call.neverBegan();
            }
            Reference.reachabilityFence(this);
        }
    }

    /** Keeps the {@link Cleaner} from closing the model before a native method has returned. */
    private <T> T alive(T result) {
        Reference.reachabilityFence(this);
        return result;
    }

    private static EncodeOptions withoutPerTextErrors(EncodeOptions options) {
        if (options.perTextErrors) {
            throw new BgeException(
                    ErrorCode.INVALID_ARGUMENT,
                    "perTextErrors is set, but an array cannot hold errors: use encodeOutputs");
        }
        return options;
    }

    private static int bits(Set<Output> outputs) {
        int bits = 0;
        for (Output output : outputs) {
            bits |= output.value();
        }
        return bits;
    }

    private static int flags(EncodeOptions options) {
        return EncodeFlag.NORMALIZE.bitIf(options.normalize)
                | EncodeFlag.REJECT_LONG.bitIf(options.rejectLong)
                | EncodeFlag.STRIP.bitIf(options.strip)
                | EncodeFlag.PER_TEXT_ERRORS.bitIf(options.perTextErrors);
    }

    /** At most 292 years. */
    private static long nanos(Duration timeout) {
        if (timeout == null) {
            return 0;
        }
        return timeout.compareTo(Duration.ofNanos(Long.MAX_VALUE)) < 0 ? timeout.toNanos() : Long.MAX_VALUE;
    }

    /**
     * A switch that an interrupt of the blocked thread triggers. A channel is the means of the JDK to react to an interrupt; this
     * one is open for the time of one call.
     */
    private static final class Stop extends AbstractInterruptibleChannel {
        final long cancel = Native.newCancel();

        <T> T whileBlocked(Supplier<T> call) {
            begin();
            try {
                return call.get();
            } finally {
                stopWatching();
            }
        }

        private void stopWatching() {
            try {
                end(true);
            } catch (AsynchronousCloseException e) {
                // The call has ended, by itself or by the switch, and the thread is still interrupted.
            }
        }

        @Override
        protected void implCloseChannel() {
            Native.cancel(cancel);
        }
    }
}
