package dev.libbge;

/** Where inference runs. If it is not available, opening fails; it never falls back to another. */
public enum Device {
    /** The processor. */
    CPU(0),
    /** An NVIDIA GPU. The jar carries ONNX Runtime for the CPU: name the build for GPUs by {@code runtimeLibrary}. */
    CUDA(1),
    /** An NVIDIA GPU, by engines that the command {@code bge prepare} has built in {@code cacheDir}; opening builds none. */
    TENSORRT(2);

    private final int value;

    Device(int value) {
        this.value = value;
    }

    /**
     * Its number in {@code bge.h}.
     *
     * @return the number
     */
    public int value() {
        return value;
    }
}
