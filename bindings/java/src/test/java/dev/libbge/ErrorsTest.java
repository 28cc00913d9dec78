package dev.libbge;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;

class ErrorsTest {
    private static final EncodeOptions DEFAULTS = EncodeOptions.defaults();

    private static BgeException fails(ErrorCode code, String says, Executable call) {
        BgeException e = assertThrows(BgeException.class, call);
        assertEquals(code, e.code(), e.getMessage());
        assertTrue(e.getMessage().contains(says), e.getMessage());
        assertTrue(e.toString().endsWith(" (" + code + ")"), e.toString());
        return e;
    }

    private static void isNull(String says, Executable call) {
        NullPointerException e = assertThrows(NullPointerException.class, call);
        assertTrue(e.getMessage().contains(says), e.getMessage());
    }

    @Test
    void openingSaysWhatIsWrong() {
        Path tiny = Tiny.path("heads");
        fails(ErrorCode.MODEL_NOT_FOUND, "/no/such/model", () -> Model.open(Path.of("/no/such/model")));
        fails(ErrorCode.MODEL_NOT_FOUND, "dev", () -> Model.open(Tiny.path("../../bindings/java/src/main/java/dev")));
        fails(ErrorCode.INVALID_ARGUMENT, "threads is 2000", () -> open(OpenOptions.builder().threads(2000)));
        fails(ErrorCode.INVALID_ARGUMENT, "threads is -1", () -> open(OpenOptions.builder().threads(-1)));
        fails(ErrorCode.INVALID_ARGUMENT, "max_run_bytes", () -> open(OpenOptions.builder().maxRunBytes(-1)));
        fails(ErrorCode.RUNTIME_UNAVAILABLE, "libonnxruntime_providers_", () -> open(OpenOptions.builder().device(Device.CUDA)));
        fails(ErrorCode.UNSUPPORTED, "tensorrt:0", () -> open(OpenOptions.builder().device(Device.TENSORRT)));
        fails(ErrorCode.INVALID_ARGUMENT, "cache_dir", () -> open(OpenOptions.builder().device(Device.TENSORRT).computeType(ComputeType.BF16)));
        fails(ErrorCode.INVALID_ARGUMENT, "device_index is 1", () -> open(OpenOptions.builder().deviceIndex(1)));
        fails(ErrorCode.INVALID_ARGUMENT, "device_count is 2", () -> open(OpenOptions.builder().deviceCount(2)));
        fails(ErrorCode.INVALID_ARGUMENT, "queue_capacity", () -> open(OpenOptions.builder().queueCapacity(1 << 21)));
        fails(ErrorCode.MODEL_NOT_FOUND, "nowhere", () -> open(OpenOptions.builder().headsDir(Path.of("/nowhere"))));
        fails(ErrorCode.RUNTIME_UNAVAILABLE, "/nowhere", () -> open(OpenOptions.builder().runtimeLibrary(Path.of("/nowhere"))));
        isNull("path", () -> Model.open(null));
        isNull("", () -> Model.open(tiny, null));
        isNull("device", () -> OpenOptions.builder().device(null));
        isNull("prompt", () -> EncodeOptions.builder().prompt(null));
    }

    private static void open(OpenOptions.Builder options) {
        Model.open(Tiny.path("heads"), options.build()).close();
    }

    @Test
    void encodingSaysWhatIsWrong() {
        try (Model model = Tiny.open("heads"); Model dense = Tiny.open("cls")) {
            EncodeOptions.Builder options = EncodeOptions.builder();
            fails(ErrorCode.INVALID_ARGUMENT, "no such", () -> model.encode(Tiny.TEXTS, EncodeOptions.builder().prompt("no such").build()));
            fails(ErrorCode.INVALID_ARGUMENT, "truncate_dim is 99999", () -> model.encode(Tiny.TEXTS, options.truncateDim(99999).build()));
            fails(ErrorCode.INVALID_ARGUMENT, "max_tokens is -3", () -> model.encode(Tiny.TEXTS, EncodeOptions.builder().maxTokens(-3).build()));
            fails(ErrorCode.INVALID_ARGUMENT, "PT-1S", () -> EncodeOptions.builder().timeout(Duration.ofSeconds(-1)));
            fails(ErrorCode.INVALID_ARGUMENT, "nothing is asked for", () -> model.encodeOutputs(Tiny.TEXTS, Set.of(), DEFAULTS));
            fails(ErrorCode.UNSUPPORTED, "", () -> dense.encodeOutputs(Tiny.TEXTS, Set.of(Output.SPARSE), DEFAULTS));
            fails(ErrorCode.TIMEOUT, "", () -> model.encode(Tiny.many(), EncodeOptions.builder().timeout(Duration.ofNanos(1)).build()));
            fails(ErrorCode.INVALID_ARGUMENT, "no such", () -> model.encodeAsync(Tiny.TEXTS, EncodeOptions.builder().prompt("no such").build()));
            isNull("texts[1] is null", () -> model.encode(Arrays.asList("a", null)));
            isNull("texts[0] is null", () -> model.countTokens(Collections.singletonList(null)));
            isNull("texts[1] is null", () -> model.encodeAsync(Arrays.asList("a", null)));
            isNull("", () -> model.encode(null));
            isNull("", () -> model.encode(Tiny.TEXTS, null));
            isNull("", () -> model.encodeInto(Tiny.TEXTS, null));
            isNull("", () -> model.encodeOutputs(Tiny.TEXTS, null, DEFAULTS));
            // A timeout beyond what a long of nanoseconds holds is no error.
            model.encode(Tiny.TEXTS, EncodeOptions.builder().timeout(Duration.ofDays(1_000_000)).build());
        }
    }

    @Test
    void halfOfASurrogatePairIsNamed() {
        try (Model model = Tiny.open("heads")) {
            for (String half : List.of("\uD83D", "\uDE00", "\uDE00\uD83D", "\uD83Dx")) {
                List<String> texts = List.of("fine", "\uD83D\uDE00\u00E9 " + half);
                for (Executable call : List.<Executable>of(
                        () -> model.encode(texts), () -> model.countTokens(texts), () -> model.encodeAsync(texts).get())) {
                    BgeException e = fails(ErrorCode.INVALID_UTF8, "texts[1] is not Unicode: its char 4 is half", call);
                    assertEquals(1, e.textIndex());
                }
            }
            fails(ErrorCode.INVALID_UTF8, "prompt", () -> model.encode(Tiny.TEXTS, EncodeOptions.builder().prompt("\uD83D").build()));
        }
    }

    @Test
    void buffersThatDoNotServeAreRefused() {
        try (Model model = Tiny.open("heads")) {
            List<String> one = List.of("a");
            int dim = model.info().denseDim();
            BgeException small = fails(
                    ErrorCode.BUFFER_TOO_SMALL, "room for " + (dim - 1) + " floats", () -> model.encodeInto(one, Tiny.direct(dim - 1)));
            assertEquals(BgeException.NO_TEXT, small.textIndex());
            fails(ErrorCode.BUFFER_TOO_SMALL, "need " + dim, () -> model.encodeInto(one, Tiny.direct(0)));
            fails(ErrorCode.INVALID_ARGUMENT, "on the heap", () -> model.encodeInto(one, FloatBuffer.allocate(dim)));
            fails(ErrorCode.INVALID_ARGUMENT, "read-only", () -> model.encodeInto(one, Tiny.direct(dim).asReadOnlyBuffer()));
            ByteOrder other = ByteOrder.nativeOrder() == ByteOrder.BIG_ENDIAN ? ByteOrder.LITTLE_ENDIAN : ByteOrder.BIG_ENDIAN;
            FloatBuffer swapped = ByteBuffer.allocateDirect(4 * dim).order(other).asFloatBuffer();
            fails(ErrorCode.INVALID_ARGUMENT, other.toString(), () -> model.encodeInto(one, swapped));
            FloatBuffer limited = Tiny.direct(3 * dim).position(dim).limit(2 * dim - 1);
            fails(ErrorCode.BUFFER_TOO_SMALL, "", () -> model.encodeInto(one, limited));
            assertEquals(dim, limited.position());
            // At an odd address, and behind a position.
            ByteBuffer bytes = ByteBuffer.allocateDirect(4 * 2 * dim + 1).order(ByteOrder.nativeOrder()).position(1);
            FloatBuffer odd = bytes.slice().order(ByteOrder.nativeOrder()).asFloatBuffer().position(dim);
            model.encodeInto(one, odd);
            float[] row = new float[dim];
            odd.get(dim, row);
            assertTrue(Arrays.equals(model.encode(one)[0], row));
            assertEquals(0, odd.get(dim - 1));
        }
    }

    @Test
    void closedModelsSayThatTheyAreClosed() {
        Model model = Tiny.open("heads");
        String fingerprint = model.fingerprint();
        assertFalse(fingerprint.isEmpty());
        model.close();
        model.close();
        for (Executable call : List.<Executable>of(
                () -> model.encode(Tiny.TEXTS), () -> model.encodeInto(Tiny.TEXTS, Tiny.direct(999)), model::fingerprint,
                model::stats, () -> model.tokenText(5), () -> model.countTokens(Tiny.TEXTS), () -> model.encodeAsync(Tiny.TEXTS),
                () -> model.encodeOutputs(Tiny.TEXTS, Set.of(Output.DENSE), DEFAULTS))) {
            fails(ErrorCode.CLOSED, "closed", call);
        }
        assertTrue(model.info().denseDim() > 0);
    }

    @Test
    void anAsynchronousFailureIsThatOfItsFuture() {
        try (Model model = Tiny.open("heads")) {
            EncodeOptions hasty = EncodeOptions.builder().timeout(Duration.ofMillis(1)).build();
            ExecutionException e = assertThrows(ExecutionException.class, () -> {
                try {
                    model.encodeAsync(Tiny.many(), hasty).get();
                } catch (BgeException early) {
                    // While the texts were tokenized.
                    throw new ExecutionException(early);
                }
            });
            assertEquals(ErrorCode.TIMEOUT, ((BgeException) e.getCause()).code());
        }
    }
}
