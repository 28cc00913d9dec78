package dev.libbge;

import java.util.Objects;

/** Vectors to bytes or bits, as sentence-transformers' {@code quantize_embeddings} does. No model is involved. */
public final class Quantization {
    private Quantization() {}

    /**
     * Quantizes with all defaults.
     *
     * @param precision the element type of the codes
     * @param vectors rows of one length, of finite numbers
     * @return a row of codes for each vector
     * @throws BgeException {@link ErrorCode#INVALID_ARGUMENT} if the rows differ in length or hold a number that is not finite
     */
    public static byte[][] quantize(Precision precision, float[][] vectors) {
        return quantize(precision, vectors, QuantizeOptions.defaults());
    }

    /**
     * Quantizes vectors to codes: a byte for each dimension, or a bit, eight to a byte.
     *
     * @param precision the element type of the codes
     * @param vectors rows of one length, of finite numbers
     * @param options the ranges and the formulas
     * @return a row of codes for each vector
     * @throws BgeException {@link ErrorCode#INVALID_ARGUMENT} if the rows differ in length or hold a number that is not
     *     finite, if the ranges have another length, or if one row alone has no ranges
     */
    public static byte[][] quantize(Precision precision, float[][] vectors, QuantizeOptions options) {
        NativeLibrary.load();
        Objects.requireNonNull(vectors, "vectors");
        VectorRanges ranges = options.ranges;
        return Native.quantize(
                precision.value(),
                vectors,
                ranges == null ? null : ranges.min(),
                ranges == null ? null : ranges.max(),
                options.st5);
    }

    /**
     * Finds the least and the greatest number of each dimension. Use many vectors that resemble those to be quantized.
     *
     * @param vectors one row at least, all of one length, of finite numbers
     * @return the ranges
     * @throws BgeException {@link ErrorCode#INVALID_ARGUMENT} if there is no row, the rows differ in length, or a number is not
     *     finite
     */
    public static VectorRanges ranges(float[][] vectors) {
        NativeLibrary.load();
        float[][] ranges = Native.quantizeRanges(Objects.requireNonNull(vectors, "vectors"));
        return new VectorRanges(ranges[0], ranges[1]);
    }
}
