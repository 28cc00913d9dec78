package dev.libbge;

import java.time.Duration;
import java.util.Objects;

/**
 * The options of a call that encodes.
 *
 * <p>Immutable; made by a {@link Builder}. An option that is not set has its default. Numbers are checked when they are
 * used, against the limits of the model.
 */
public final class EncodeOptions {
    private static final EncodeOptions DEFAULTS = builder().build();

    final boolean normalize;
    final boolean rejectLong;
    final boolean strip;
    final int maxTokens;
    final Duration timeout;
    final String prompt;
    final int truncateDim;
    final boolean perTextErrors;

    private EncodeOptions(Builder builder) {
        normalize = builder.normalize;
        rejectLong = builder.rejectLong;
        strip = builder.strip;
        maxTokens = builder.maxTokens;
        timeout = builder.timeout;
        prompt = builder.prompt;
        truncateDim = builder.truncateDim;
        perTextErrors = builder.perTextErrors;
    }

    /**
     * Options with all defaults.
     *
     * @return options in which nothing is set
     */
    public static EncodeOptions defaults() {
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

    /** Sets options for encoding. Only one thread at a time may use a builder. */
    public static final class Builder {
        private boolean normalize;
        private boolean rejectLong;
        private boolean strip;
        private int maxTokens;
        private Duration timeout;
        private String prompt;
        private int truncateDim;
        private boolean perTextErrors;

        private Builder() {}

        /**
         * Scales dense vectors to length 1 even if the model does not, after {@code truncateDim} has cut them.
         * Default: as the model does.
         *
         * @param normalize whether to scale them
         * @return this
         */
        public Builder normalize(boolean normalize) {
            this.normalize = normalize;
            return this;
        }

        /**
         * Fails with {@link ErrorCode#TEXT_TOO_LONG} instead of cutting a text. Default: texts are cut.
         *
         * @param rejectLong whether long texts are refused
         * @return this
         */
        public Builder rejectLong(boolean rejectLong) {
            this.rejectLong = rejectLong;
            return this;
        }

        /**
         * Removes white space around each text first, as sentence-transformers did before version 6. Default: texts stay
         * as they are.
         *
         * @param strip whether to remove it
         * @return this
         */
        public Builder strip(boolean strip) {
            this.strip = strip;
            return this;
        }

        /**
         * Cuts texts at this many tokens, at least 2. Default, 0, and limit: the {@code maxTokens} of {@link ModelInfo}.
         *
         * @param maxTokens the number of tokens
         * @return this
         */
        public Builder maxTokens(int maxTokens) {
            this.maxTokens = maxTokens;
            return this;
        }

        /**
         * Fails with {@link ErrorCode#TIMEOUT} after this long, waiting included. Default: no limit.
         *
         * @param timeout the time, greater than zero
         * @return this
         */
        public Builder timeout(Duration timeout) {
            if (timeout.isZero() || timeout.isNegative()) {
                throw new BgeException(
                        ErrorCode.INVALID_ARGUMENT, "timeout is " + timeout + "; it must be greater than zero");
            }
            this.timeout = Objects.requireNonNull(timeout, "timeout");
            return this;
        }

        /**
         * Puts a prompt of the model in front of each text, by its name. Default: the model's default prompt, if it has
         * one. An empty name: none. To encode as sentence-transformers' {@code encode_query} and {@code encode_document} do,
         * name {@code query} or {@code document}.
         *
         * @param prompt the name of the prompt
         * @return this
         */
        public Builder prompt(String prompt) {
            this.prompt = Objects.requireNonNull(prompt, "prompt");
            return this;
        }

        /**
         * Truncates dense vectors to this many dimensions (Matryoshka). The result does not have length 1 unless
         * {@code normalize} is set. Default, and 0: the {@code denseDim} of {@link ModelInfo}.
         *
         * @param truncateDim the number of dimensions
         * @return this
         */
        public Builder truncateDim(int truncateDim) {
            this.truncateDim = truncateDim;
            return this;
        }

        /**
         * Reports the error of a single text in {@link Embeddings#error} instead of failing the call. Only for calls that
         * return {@link Embeddings}; others refuse it. Default: the first error of a text fails the call.
         *
         * @param perTextErrors whether errors are reported per text
         * @return this
         */
        public Builder perTextErrors(boolean perTextErrors) {
            this.perTextErrors = perTextErrors;
            return this;
        }

        /**
         * Builds the options. The builder may be used again afterwards.
         *
         * @return options that never change
         */
        public EncodeOptions build() {
            return new EncodeOptions(this);
        }
    }
}
