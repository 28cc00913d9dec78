package dev.libbge.bench;

/** The same call in C: {@code c.c}, from {@code libbgebench.so} on {@code java.library.path}. */
final class C {
    static {
        System.loadLibrary("bgebench");
    }

    private C() {}

    /** Opens a model of its own, for calls with so many texts. */
    static native long open(String path, String runtime, String text, int count);

    /** Encodes once, and returns the nanoseconds that {@code bge_encode} took; below 0: it failed. */
    static native long encode(long call);
}
