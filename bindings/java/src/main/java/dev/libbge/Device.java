package dev.libbge;

/** Where inference runs. If it is not available, opening fails; it never falls back to another. */
public enum Device {
    /** The processor. */
    CPU(0),
    /** Not in this version: opening fails with {@link ErrorCode#UNSUPPORTED}. */
    CUDA(1),
    /** Likewise. */
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
