package dev.libbge;

/** The {@code BGE_ENCODE_} bits of {@code bge.h}. */
enum EncodeFlag {
    NORMALIZE(1),
    REJECT_LONG(2),
    STRIP(4),
    PER_TEXT_ERRORS(8);

    private final int value;

    EncodeFlag(int value) {
        this.value = value;
    }

    int value() {
        return value;
    }

    int bitIf(boolean isSet) {
        return isSet ? value : 0;
    }
}
