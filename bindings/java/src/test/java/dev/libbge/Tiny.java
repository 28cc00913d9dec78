package dev.libbge;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

/** The tiny models of libbge's tests, and texts for them. */
final class Tiny {
    /** Empty, with NUL inside, with an emoji, which takes two chars, and beyond the first 256 letters. */
    static final List<String> TEXTS = List.of(
            "Orang-orang ada di luar.", "", "a", "Sekelompok orang sedang makan di sebuah restoran.", "Pria itu berdiri.",
            "NUL \0 inside", "\uD83D\uDE00 d\u00ED m\u00E8o \u732B");

    private Tiny() {}

    static Path path(String name) {
        return Path.of(System.getProperty("dev.libbge.tiny"), name);
    }

    static Model open(String name) {
        return Model.open(path(name), OpenOptions.builder().threads(1).build());
    }

    /** A second of work, or a good part of it. */
    static List<String> many() {
        List<String> many = new ArrayList<>();
        Collections.nCopies(2_000, TEXTS).forEach(many::addAll);
        return many;
    }

    static FloatBuffer direct(int floats) {
        return ByteBuffer.allocateDirect(4 * floats).order(ByteOrder.nativeOrder()).asFloatBuffer();
    }
}
