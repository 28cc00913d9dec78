package dev.libbge;

import java.nio.file.Path;
import java.util.Objects;

/**
 * The options of opening a model.
 *
 * <p>Immutable; made by a {@link Builder}. An option that is not set has its default. Numbers are checked when they are
 * used, against the limits of the model.
 */
public final class OpenOptions {
    private static final OpenOptions DEFAULTS = builder().build();

    final Path runtimeLibrary;
    final Device device;
    final int deviceIndex;
    final int deviceCount;
    final int threads;
    final int maxTokens;
    final int maxBatchTokens;
    final int queueCapacity;
    final Path headsDir;
    final Path onnxFile;
    final ComputeType computeType;
    final long maxRunBytes;
    final Path cacheDir;
    final boolean smallMemory;
    final boolean rawTokenizer;

    private OpenOptions(Builder builder) {
        runtimeLibrary = builder.runtimeLibrary;
        device = builder.device;
        deviceIndex = builder.deviceIndex;
        deviceCount = builder.deviceCount;
        threads = builder.threads;
        maxTokens = builder.maxTokens;
        maxBatchTokens = builder.maxBatchTokens;
        queueCapacity = builder.queueCapacity;
        headsDir = builder.headsDir;
        onnxFile = builder.onnxFile;
        computeType = builder.computeType;
        maxRunBytes = builder.maxRunBytes;
        cacheDir = builder.cacheDir;
        smallMemory = builder.smallMemory;
        rawTokenizer = builder.rawTokenizer;
    }

    /**
     * Options with all defaults.
     *
     * @return options in which nothing is set
     */
    public static OpenOptions defaults() {
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

    /** Sets options for opening a model. Only one thread at a time may use a builder. */
    public static final class Builder {
        private Path runtimeLibrary;
        private Device device = Device.CPU;
        private int deviceIndex;
        private int deviceCount;
        private int threads;
        private int maxTokens;
        private int maxBatchTokens;
        private int queueCapacity;
        private Path headsDir;
        private Path onnxFile;
        private ComputeType computeType = ComputeType.FP32;
        private long maxRunBytes;
        private Path cacheDir;
        private boolean smallMemory;
        private boolean rawTokenizer;

        private Builder() {}

        /**
         * The path of libonnxruntime, version 1.23 or later. A process loads one, when it first opens a model.
         * Default: see {@link dev.libbge the package}.
         *
         * @param runtimeLibrary its path
         * @return this
         */
        public Builder runtimeLibrary(Path runtimeLibrary) {
            this.runtimeLibrary = Objects.requireNonNull(runtimeLibrary, "runtimeLibrary");
            return this;
        }

        /**
         * Where inference runs. Default: {@link Device#CPU}.
         *
         * @param device the kind of device
         * @return this
         */
        public Builder device(Device device) {
            this.device = Objects.requireNonNull(device, "device");
            return this;
        }

        /**
         * The number of the device among those of its kind, or of the first of several. Default: 0.
         *
         * @param deviceIndex its index
         * @return this
         */
        public Builder deviceIndex(int deviceIndex) {
            this.deviceIndex = deviceIndex;
            return this;
        }

        /**
         * The number of GPUs that share the work, from {@link #deviceIndex(int)} on, at most 64. Each holds the weights and
         * computes one batch at a time. Default, and 0: 1; on the CPU at most 1.
         *
         * @param deviceCount the number of GPUs
         * @return this
         */
        public Builder deviceCount(int deviceCount) {
            this.deviceCount = deviceCount;
            return this;
        }

        /**
         * The number of threads that compute a batch, at most 1024. Default, and 0: the physical cores that the affinity and
         * the cgroup quota of the process allow.
         *
         * @param threads the number of threads
         * @return this
         */
        public Builder threads(int threads) {
            this.threads = threads;
            return this;
        }

        /**
         * The longest text in tokens, at least 2. Default, 0, and limit: the model's, 8192 for bge-m3.
         *
         * @param maxTokens the number of tokens
         * @return this
         */
        public Builder maxTokens(int maxTokens) {
            this.maxTokens = maxTokens;
            return this;
        }

        /**
         * The most tokens of a batch, unless a single text has more. Default, and 0: 2048. At most 1048576.
         *
         * @param maxBatchTokens the number of tokens
         * @return this
         */
        public Builder maxBatchTokens(int maxBatchTokens) {
            this.maxBatchTokens = maxBatchTokens;
            return this;
        }

        /**
         * The most asynchronous calls that may be unfinished. Default, and 0: 1024. At most 1048576.
         *
         * @param queueCapacity the number of calls
         * @return this
         */
        public Builder queueCapacity(int queueCapacity) {
            this.queueCapacity = queueCapacity;
            return this;
        }

        /**
         * A folder that holds {@code sparse_linear} or {@code colbert_linear}, or both, to be used in place of the
         * model's own. Default: the model's own.
         *
         * @param headsDir the path of the folder
         * @return this
         */
        public Builder headsDir(Path headsDir) {
            this.headsDir = Objects.requireNonNull(headsDir, "headsDir");
            return this;
        }

        /**
         * An ONNX export to run as it is, by its path from the model's directory. Default: the weights; without these,
         * an export that is found.
         *
         * @param onnxFile the path of the file
         * @return this
         */
        public Builder onnxFile(Path onnxFile) {
            this.onnxFile = Objects.requireNonNull(onnxFile, "onnxFile");
            return this;
        }

        /**
         * The numbers that weights are multiplied in. Default: {@link ComputeType#FP32}.
         *
         * @param computeType the type
         * @return this
         */
        public Builder computeType(ComputeType computeType) {
            this.computeType = Objects.requireNonNull(computeType, "computeType");
            return this;
        }

        /**
         * The most bytes that the batches under way may take beside the opened model. A text that does not fit even alone
         * fails with {@link ErrorCode#TEXT_TOO_LONG}. Default, and 0: no limit.
         *
         * @param maxRunBytes the number of bytes
         * @return this
         */
        public Builder maxRunBytes(long maxRunBytes) {
            this.maxRunBytes = maxRunBytes;
            return this;
        }

        /**
         * A folder for packed weights, which processes share, and for the engines of TensorRT. Default: none.
         *
         * @param cacheDir the path of the folder
         * @return this
         */
        public Builder cacheDir(Path cacheDir) {
            this.cacheDir = Objects.requireNonNull(cacheDir, "cacheDir");
            return this;
        }

        /**
         * Leaves the weights in their file, mapped, instead of packing them into memory. Default: packed.
         *
         * @param smallMemory whether they stay in their file
         * @return this
         */
        public Builder smallMemory(boolean smallMemory) {
            this.smallMemory = smallMemory;
            return this;
        }

        /**
         * Runs {@code tokenizer.json} as it is. Default: tokens are those of the version of transformers that the
         * directory names, which adds tokens of other files to it, or builds the pipeline of its class anew.
         *
         * @param rawTokenizer whether only the file counts
         * @return this
         */
        public Builder rawTokenizer(boolean rawTokenizer) {
            this.rawTokenizer = rawTokenizer;
            return this;
        }

        /**
         * Builds the options. The builder may be used again afterwards.
         *
         * @return options that never change
         */
        public OpenOptions build() {
            return new OpenOptions(this);
        }
    }
}
