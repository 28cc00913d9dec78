package dev.libbge;

import java.util.Objects;

/**
 * The options of quantizing vectors.
 *
 * <p>Immutable; made by a {@link Builder}. An option that is not set has its default. Ranges are checked when they are
 * used.
 */
public final class QuantizeOptions {
    private static final QuantizeOptions DEFAULTS = builder().build();

    final VectorRanges ranges;
    final boolean st5;

    private QuantizeOptions(Builder builder) {
        ranges = builder.ranges;
        st5 = builder.st5;
    }

    /**
     * Options with all defaults.
     *
     * @return options in which nothing is set
     */
    public static QuantizeOptions defaults() {
        return DEFAULTS;
    }

    /**
     * A builder with all defaults.
     *
     * @return a new builder
     */
    public static Builder builder() {
        return new Builder();
    }

    /** Sets options for quantizing. Only one thread at a time may use a builder. */
    public static final class Builder {
        private VectorRanges ranges;
        private boolean st5;

        private Builder() {}

        /**
         * The ranges of the dimensions, from {@link Quantization#ranges}, for {@link Precision#INT8} and
         * {@link Precision#UINT8}. Default: those of the vectors of the call, whose codes cannot be compared with those of
         * another call.
         *
         * @param ranges the ranges
         * @return this
         */
        public Builder ranges(VectorRanges ranges) {
            this.ranges = Objects.requireNonNull(ranges, "ranges");
            return this;
        }

        /**
         * Uses the formulas of sentence-transformers before version 6. Default: those of version 6.
         *
         * @param st5 whether to use them
         * @return this
         */
        public Builder st5(boolean st5) {
            this.st5 = st5;
            return this;
        }

        /**
         * Builds the options. The builder may be used again afterwards.
         *
         * @return options that never change
         */
        public QuantizeOptions build() {
            return new QuantizeOptions(this);
        }
    }
}
