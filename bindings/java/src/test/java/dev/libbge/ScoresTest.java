package dev.libbge;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.EnumSet;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;

class ScoresTest {
    private static void refuses(String says, Executable call) {
        BgeException e = assertThrows(BgeException.class, call);
        assertEquals(ErrorCode.INVALID_ARGUMENT, e.code());
        assertTrue(e.getMessage().contains(says), e.getMessage());
    }

    @Test
    void denseScoresAreRows() {
        float[][] a = {{1, 0}, {0, 1}, {3, 4}};
        float[][] b = {{0, 2}, {1, 1}};
        assertArrayEquals(new float[][] {{0, 1}, {2, 1}, {8, 7}}, Similarity.dense(Metric.DOT, a, b, 2));
        assertArrayEquals(new float[] {-3, -1}, Similarity.pairwise(Metric.MANHATTAN, b, new float[][] {{1, 0}, {0, 1}}));
        assertEquals(0, Similarity.dense(Metric.DOT, new float[0][], b).length);
        assertEquals(0, Similarity.dense(Metric.DOT, b, new float[0][])[1].length);
        assertTrue(Float.isNaN(Similarity.dense(Metric.COSINE, new float[][] {{Float.NaN, 1}}, b)[0][0]));
        refuses("threads is 0", () -> Similarity.dense(Metric.DOT, a, b, 0));
        refuses("threads is 1025", () -> Similarity.dense(Metric.DOT, a, b, 1025));
        refuses("b[1] has 1 numbers", () -> Similarity.dense(Metric.DOT, a, new float[][] {{1, 2}, {1}}));
        refuses("a[0] has 0 numbers", () -> Similarity.dense(Metric.DOT, new float[1][0], b));
        refuses("", () -> Similarity.dense(Metric.DOT, a, new float[][] {{1, 2, 3}}));
        refuses("", () -> Similarity.pairwise(Metric.DOT, a, b));
        assertThrows(NullPointerException.class, () -> Similarity.dense(Metric.DOT, null, b));
        assertThrows(NullPointerException.class, () -> Similarity.dense(Metric.DOT, a, new float[][] {null}));
        assertThrows(NullPointerException.class, () -> Similarity.dense(null, a, b));
    }

    @Test
    void topKIsTheBestOfAllScores() {
        float[][] corpus = {{1, 0}, {0, 1}, {Float.NaN, 0}, {1, 0}, {3, 4}};
        float[][] queries = {{1, 0}, {0, 2}};
        // Of equals the first comes first, NaN never.
        List<List<Hit>> best = List.of(
                List.of(new Hit(4, 3), new Hit(0, 1), new Hit(3, 1)), List.of(new Hit(4, 8), new Hit(1, 2), new Hit(0, 0)));
        assertEquals(best, Similarity.topK(Metric.DOT, queries, corpus, 3));
        assertEquals(best, Similarity.topK(Metric.DOT, queries, corpus, 3, 2));
        assertEquals(List.of(new Hit(0, 1)), Similarity.topK(Metric.COSINE, queries, corpus, 1).get(0));
        List<Hit> all = Similarity.topK(Metric.DOT, queries, corpus, Integer.MAX_VALUE).get(1);
        assertEquals(List.of(new Hit(4, 8), new Hit(1, 2), new Hit(0, 0), new Hit(3, 0)), all);
        assertThrows(UnsupportedOperationException.class, () -> all.remove(0));
        assertEquals(List.of(List.of()), Similarity.topK(Metric.DOT, new float[][] {{Float.NaN, 1}}, corpus, 9));
        assertEquals(List.of(List.of(), List.of()), Similarity.topK(Metric.DOT, queries, corpus, 0));
        assertEquals(List.of(List.of(), List.of()), Similarity.topK(Metric.DOT, queries, new float[0][], 2));
        assertEquals(List.of(), Similarity.topK(Metric.DOT, new float[0][], corpus, 2));
        refuses("k is -1", () -> Similarity.topK(Metric.DOT, queries, corpus, -1));
        refuses("threads is 0", () -> Similarity.topK(Metric.DOT, queries, corpus, 1, 0));
        refuses("corpus[1] has 1 numbers", () -> Similarity.topK(Metric.DOT, queries, new float[][] {{1, 2}, {1}}, 1));
        refuses("", () -> Similarity.topK(Metric.DOT, queries, new float[][] {{1, 2, 3}}, 1));
        assertThrows(NullPointerException.class, () -> Similarity.topK(Metric.DOT, null, corpus, 1));
        assertThrows(NullPointerException.class, () -> Similarity.topK(Metric.DOT, queries, new float[][] {null}, 1));
        assertThrows(NullPointerException.class, () -> Similarity.topK(null, queries, corpus, 1));
    }

    @Test
    void sparseAndMultiScoresAreThoseOfTheirDefinition() {
        try (Model model = Tiny.open("heads")) {
            Embeddings all = model.encodeOutputs(Tiny.TEXTS, EnumSet.allOf(Output.class), EncodeOptions.defaults());
            List<SparseWeights> sparse = all.sparse();
            float[][][] multi = all.multi();
            float[][] sparseScores = Similarity.sparse(sparse, sparse, 2);
            float[][] multiScores = Similarity.multi(multi, multi, 2);
            for (int i = 0; i < all.size(); i++) {
                for (int j = 0; j < all.size(); j++) {
                    assertEquals(sparseScore(sparse.get(i), sparse.get(j)), sparseScores[i][j], 1e-5);
                    assertEquals(multiScore(multi[i], multi[j]), multiScores[i][j], 1e-5);
                }
            }
            float[][] mixed = Similarity.hybrid(null, sparseScores, multiScores, 1, 1, 3);
            assertEquals((sparseScores[2][0] + 3 * multiScores[2][0]) / 4, mixed[2][0], 1e-6);
            float[][] dense = Similarity.dense(Metric.COSINE, all.dense(), all.dense());
            assertEquals((dense[0][1] + sparseScores[0][1] + multiScores[0][1]) / 3,
                    Similarity.hybrid(dense, sparseScores, multiScores)[0][1], 1e-6);
        }
    }

    private static double sparseScore(SparseWeights a, SparseWeights b) {
        double sum = 0;
        for (int i = 0; i < a.size(); i++) {
            for (int j = 0; j < b.size(); j++) {
                sum += a.ids()[i] == b.ids()[j] ? (double) a.weights()[i] * b.weights()[j] : 0;
            }
        }
        return sum;
    }

    private static double multiScore(float[][] a, float[][] b) {
        double sum = 0;
        for (float[] query : a) {
            double best = Double.NEGATIVE_INFINITY;
            for (float[] row : b) {
                double dot = 0;
                for (int i = 0; i < row.length; i++) {
                    dot += (double) query[i] * row[i];
                }
                best = Math.max(best, dot);
            }
            sum += best;
        }
        return sum / a.length;
    }

    @Test
    void whatCannotBeScoredIsRefused() {
        SparseWeights unordered = new SparseWeights(new int[] {9, 7}, new float[] {1, 1});
        refuses("ascend", () -> Similarity.sparse(List.of(unordered), List.of()));
        refuses("2 ids and 1 weights", () -> new SparseWeights(new int[2], new float[1]));
        assertEquals(0, Similarity.sparse(List.of(), List.of()).length);
        assertEquals(0, Similarity.multi(new float[0][][], new float[0][][]).length);
        assertEquals(0, Similarity.multi(new float[][][] {{}}, new float[][][] {{{1, 2}}})[0][0]);
        refuses("a[0][1] has 1 numbers", () -> Similarity.multi(new float[][][] {{{1, 2}, {1}}}, new float[0][][]));
        refuses("", () -> Similarity.multi(new float[][][] {{{1, 2}}}, new float[][][] {{{1}}}));
        assertThrows(NullPointerException.class, () -> Similarity.multi(new float[][][] {{null}}, new float[0][][]));
        refuses("missing", () -> Similarity.hybrid(null, null, null));
        refuses("cannot be mixed", () -> Similarity.hybrid(new float[][] {{1}}, new float[][] {{1, 2}}, null));
        refuses("weight", () -> Similarity.hybrid(new float[][] {{1}}, null, null, -1, 1, 1));
        refuses("weight", () -> Similarity.hybrid(new float[][] {{1}}, null, null, 0, 1, 1));
    }

    @Test
    void codesNeedRangesThatFit() {
        float[][] vectors = {{1, 0}, {3, 4}, {0, 1}};
        VectorRanges ranges = Quantization.ranges(vectors);
        assertArrayEquals(new float[] {0, 0}, ranges.min());
        assertArrayEquals(new float[] {3, 4}, ranges.max());
        QuantizeOptions options = QuantizeOptions.builder().ranges(ranges).build();
        byte[][] codes = Quantization.quantize(Precision.UINT8, vectors, options);
        assertEquals(3, codes.length);
        assertEquals(0, codes[0][1]);
        assertTrue(Byte.toUnsignedInt(codes[1][1]) >= 254);
        assertArrayEquals(codes, Quantization.quantize(Precision.UINT8, vectors));
        assertEquals(0, Quantization.quantize(Precision.INT8, new float[0][]).length);
        refuses("ranges", () -> Quantization.quantize(Precision.INT8, new float[][] {{1, 2}}));
        QuantizeOptions short1 = QuantizeOptions.builder().ranges(new VectorRanges(new float[1], new float[2])).build();
        refuses("1 minima", () -> Quantization.quantize(Precision.INT8, vectors, short1));
        QuantizeOptions st5 = QuantizeOptions.builder().st5(true).build();
        refuses("multiple of 8", () -> Quantization.quantize(Precision.BINARY, vectors, st5));
        refuses("", () -> Quantization.ranges(new float[0][]));
        refuses("", () -> Quantization.quantize(Precision.BINARY, new float[][] {{Float.NaN}}));
        assertThrows(NullPointerException.class, () -> Quantization.ranges(null));
    }
}
