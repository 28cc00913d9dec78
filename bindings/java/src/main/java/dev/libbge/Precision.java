package dev.libbge;

/** The element type of the codes of quantized vectors. */
public enum Precision {
    /** A byte for each dimension, -128 to 127. */
    INT8(0),
    /** A byte for each dimension, 0 to 255: read it with {@link Byte#toUnsignedInt}. */
    UINT8(1),
    /** A bit for each dimension, eight in a byte, the first in its highest bit, and 128 subtracted from each byte. */
    BINARY(2),
    /** A bit for each dimension, eight in a byte, the first in its highest bit. */
    UBINARY(3);

    private final int value;

    Precision(int value) {
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
