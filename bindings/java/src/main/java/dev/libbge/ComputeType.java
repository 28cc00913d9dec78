package dev.libbge;

/** The numbers that weights are multiplied in. */
public enum ComputeType {
    /** Floating point of 32 bits. */
    FP32(0),
    /** Integers of 8 bits, quantized when the model is opened. */
    INT8(1),
    /** Floating point of 16 bits, on a GPU. */
    FP16(2),
    /** Floating point of 32 bits, rounded to 19 bits in products, on a GPU. */
    TF32(3),
    /** Floating point of 16 bits with the range of 32, with TensorRT. */
    BF16(4);

    private final int value;

    ComputeType(int value) {
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
