package dev.libbge;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.FloatBuffer;
import java.util.Arrays;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.Test;

class EncodeTest {
    @Test
    void everyWayGivesTheSameVectors() throws Exception {
        try (Model model = Tiny.open("heads")) {
            int dim = model.info().denseDim();
            float[][] vectors = model.encode(Tiny.TEXTS);
            FloatBuffer into = Tiny.direct(3 + vectors.length * dim);
            into.position(3);
            model.encodeInto(Tiny.TEXTS, into);
            assertEquals(0, into.remaining());
            Embeddings alone = model.encodeOutputs(Tiny.TEXTS, Set.of(Output.DENSE), EncodeOptions.defaults());
            float[][] async = model.encodeAsync(Tiny.TEXTS).get();
            assertEquals(Tiny.TEXTS.size(), vectors.length);
            for (int i = 0; i < vectors.length; i++) {
                float[] row = new float[dim];
                into.get(3 + i * dim, row);
                assertArrayEquals(vectors[i], row);
                assertArrayEquals(vectors[i], alone.dense(i));
                assertArrayEquals(vectors[i], async[i]);
                double length = 0;
                for (float number : vectors[i]) {
                    length += (double) number * number;
                }
                assertEquals(1, length, 1e-5);
            }
            assertEquals(0, into.get(0));
        }
    }

    @Test
    void textsOfOtherPlanesAndNulReachTheTokenizer() {
        try (Model model = Tiny.open("heads")) {
            float[][] vectors = model.encode(List.of("a", "a\0", "\uD83D\uDE00", "\uD83D\uDE01", "\u00E9"));
            for (int i = 0; i < vectors.length; i++) {
                for (int j = 0; j < i; j++) {
                    // The tiny vocabulary may know neither emoji, but never takes NUL or a letter for nothing.
                    assertTrue(i == 3 && j == 2 || !Arrays.equals(vectors[i], vectors[j]), i + " and " + j);
                }
            }
        }
    }

    @Test
    void noTextsAreNoError() throws Exception {
        try (Model model = Tiny.open("heads")) {
            assertEquals(0, model.encode(List.of()).length);
            assertEquals(0, model.encodeAsync(List.of()).get().length);
            assertEquals(0, model.countTokens(List.of()).length);
            assertEquals(0, model.encodeOutputs(List.of(), Set.of(), EncodeOptions.defaults()).size());
            model.encodeInto(List.of(), Tiny.direct(0));
        }
    }

    @Test
    void outputsBelongTogether() {
        try (Model model = Tiny.open("heads")) {
            ModelInfo info = model.info();
            assertEquals(EnumSet.allOf(Output.class), info.outputs());
            Embeddings all = model.encodeOutputs(Tiny.TEXTS, info.outputs(), EncodeOptions.defaults());
            int[] counts = model.countTokens(Tiny.TEXTS);
            for (int i = 0; i < all.size(); i++) {
                assertEquals(counts[i], all.tokenCount(i));
                assertEquals(counts[i], all.tokens(i).length);
                assertEquals(counts[i] - 1, all.multi(i).length);
                assertEquals(info.tokenDim(), all.tokens(i)[0].length);
                assertEquals(info.multiDim(), all.multi(i)[0].length);
                assertFalse(all.truncated(i));
                assertNull(all.error(i));
                int[] ids = all.sparse(i).ids();
                assertEquals(ids.length, all.sparse(i).size());
                for (int j = 1; j < ids.length; j++) {
                    assertTrue(ids[j - 1] < ids[j]);
                }
            }
            assertFalse(model.tokenText(all.sparse(0).ids()[0]).orElseThrow().isEmpty());
            assertTrue(model.tokenText(-1).isEmpty());
            assertTrue(model.tokenText(Integer.MAX_VALUE).isEmpty());
            Embeddings sparse = model.encodeOutputs(Tiny.TEXTS, Set.of(Output.SPARSE), EncodeOptions.defaults());
            assertThrows(IllegalStateException.class, sparse::dense);
            assertThrows(IllegalStateException.class, () -> sparse.multi(0));
            assertArrayEquals(all.sparse(0).weights(), sparse.sparse(0).weights(), 1e-6f);
        }
    }

    @Test
    void optionsChangeWhatTheySay() {
        EncodeOptions none = EncodeOptions.builder().prompt("").build();
        EncodeOptions query = EncodeOptions.builder().prompt("query").build();
        try (Model model = Tiny.open("prompts")) {
            int[] bare = tokenCounts(model, none);
            int[] prompted = tokenCounts(model, query);
            EncodeOptions cutting = EncodeOptions.builder().prompt("").maxTokens(3).truncateDim(8).build();
            Embeddings cut = model.encodeOutputs(Tiny.TEXTS, Set.of(Output.DENSE), cutting);
            for (int i = 0; i < bare.length; i++) {
                assertTrue(prompted[i] > bare[i]);
                assertEquals(bare[i] > 3, cut.truncated(i));
                assertTrue(cut.tokenCount(i) <= 3);
                assertEquals(8, cut.dense(i).length);
            }
            EncodeOptions scaled = EncodeOptions.builder().prompt("").truncateDim(8).normalize(true).build();
            double length = 0;
            for (float number : model.encode(List.of("a b c"), scaled)[0]) {
                length += (double) number * number;
            }
            assertEquals(1, length, 1e-5);
            FloatBuffer into = Tiny.direct(8);
            model.encodeInto(List.of("a b c"), into, scaled);
            assertEquals(8, into.position());
            EncodeOptions stripped = EncodeOptions.builder().prompt("").strip(true).build();
            EncodeOptions reject = EncodeOptions.builder().prompt("").maxTokens(3).rejectLong(true).build();
            assertArrayEquals(model.encode(List.of("a"), none)[0], model.encode(List.of("\u3000a\n"), stripped)[0]);
            BgeException e = assertThrows(BgeException.class, () -> model.encode(List.of("a", "a b c d e"), reject));
            assertEquals(ErrorCode.TEXT_TOO_LONG, e.code());
            assertEquals(1, e.textIndex());
        }
    }

    private static int[] tokenCounts(Model model, EncodeOptions options) {
        Embeddings embeddings = model.encodeOutputs(Tiny.TEXTS, Set.of(Output.DENSE), options);
        int[] counts = new int[embeddings.size()];
        Arrays.setAll(counts, embeddings::tokenCount);
        return counts;
    }

    @Test
    void openOptionsReachTheModel() {
        OpenOptions options = OpenOptions.builder().threads(2).maxTokens(7).maxBatchTokens(99).smallMemory(true).build();
        try (Model model = Model.open(Tiny.path("heads"), options)) {
            assertEquals(2, model.info().threads());
            assertEquals(7, model.info().maxTokens());
            assertEquals(99, model.info().maxBatchTokens());
            assertEquals("fp32", model.info().precision());
            assertEquals("cpu", model.info().device());
            assertTrue(model.info().runtime().startsWith("onnxruntime "));
            assertNotNull(model.fingerprint());
            model.encode(Tiny.TEXTS);
            ModelStats stats = model.stats();
            assertEquals(1, stats.calls());
            assertEquals(Tiny.TEXTS.size(), stats.texts());
            assertEquals(0, stats.failures() + stats.cancellations() + stats.queueDepth());
            assertTrue(stats.tokens() > 0 && stats.batches() > 0);
            assertTrue(stats.tokenizing().toNanos() > 0 && stats.inference().toNanos() > 0);
        }
    }

    @Test
    void errorsAreReportedPerText() {
        try (Model model = Tiny.open("heads")) {
            EncodeOptions apart = EncodeOptions.builder().perTextErrors(true).build();
            List<String> texts = List.of("a", "\uD83D", "b");
            Embeddings embeddings = model.encodeOutputs(texts, EnumSet.allOf(Output.class), apart);
            assertNull(embeddings.error(0));
            assertNull(embeddings.error(2));
            BgeException error = embeddings.error(1);
            assertEquals(ErrorCode.INVALID_UTF8, error.code());
            assertEquals(1, error.textIndex());
            assertTrue(Float.isNaN(embeddings.dense(1)[0]));
            assertEquals(0, embeddings.tokenCount(1) + embeddings.sparse(1).size() + embeddings.multi(1).length);
            assertArrayEquals(model.encode(List.of("b"))[0], embeddings.dense(2), 2e-6f);
            BgeException e = assertThrows(BgeException.class, () -> model.encode(texts, apart));
            assertEquals(ErrorCode.INVALID_ARGUMENT, e.code());
        }
    }
}
