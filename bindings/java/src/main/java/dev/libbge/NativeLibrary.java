package dev.libbge;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.nio.channels.Channels;
import java.nio.channels.FileChannel;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.UUID;

/** Finds and loads {@code libbge_jni}, and ONNX Runtime for it. */
final class NativeLibrary {
    /** The version of this binding, which is that of the library. */
    static final String VERSION = "0.1.0";

    private static final String PROPERTY = "dev.libbge.library";
    private static final String RUNTIME_VARIABLE = "BGE_ORT_LIBRARY";

    /** Kept open, since files without a name are gone with their last descriptor. */
    private static final List<FileChannel> OPEN = new ArrayList<>();
    private static boolean fromJar;
    private static Path runtime;

    private NativeLibrary() {}

    static void load() {
        String named = System.getProperty(PROPERTY, "");
        if (!named.isEmpty()) {
            System.load(Path.of(named).toAbsolutePath().toString());
        } else if (!loadFromLibraryPath()) {
            String name = System.mapLibraryName("bge_jni");
            System.load(extracted(name).toString());
            fromJar = true;
        }
        String version = Native.version();
        if (!version.equals(VERSION) && !version.startsWith(VERSION + " ")) {
            throw new UnsatisfiedLinkError(
                    "the libbge_jni that was loaded is " + version + ", and these classes are for " + VERSION);
        }
    }

    /** ONNX Runtime of the jar, or null to leave the search to the library. */
    static synchronized Path runtime() {
        // Initialises it, which loads the library.
        Native.live();
        String named = System.getenv(RUNTIME_VARIABLE);
        if (!fromJar || (named != null && !named.isEmpty())) {
            return null;
        }
        if (runtime == null) {
            runtime = extracted("libonnxruntime.so");
        }
        return runtime;
    }

    private static boolean loadFromLibraryPath() {
        try {
            System.loadLibrary("bge_jni");
            return true;
        } catch (UnsatisfiedLinkError e) {
            // Otherwise it is there and cannot be loaded.
            if (e.getMessage() != null && e.getMessage().startsWith("no bge_jni in ")) {
                return false;
            }
            throw e;
        }
    }

    /** A path, below /proc, of a file of the jar that has no name where it was written. */
    private static Path extracted(String name) {
        String platform = System.getProperty("os.name").toLowerCase(Locale.ROOT) + "-"
                + System.getProperty("os.arch").replace("amd64", "x86_64");
        try (InputStream in = NativeLibrary.class.getResourceAsStream(platform + "/" + name)) {
            if (in == null) {
                throw new UnsatisfiedLinkError(
                        "there is no " + name + " for " + platform + " in the jar of libbge, and none on java.library.path; set the "
                                + "system property " + PROPERTY + " to the path of libbge_jni");
            }
            Path file = Path.of(System.getProperty("java.io.tmpdir"), "libbge-" + UUID.randomUUID() + "-" + name);
            // On Linux, this takes the name away as soon as the file is open.
            FileChannel channel = FileChannel.open(
                    file.toAbsolutePath(),
                    Set.of(StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE, StandardOpenOption.DELETE_ON_CLOSE),
                    PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rw-------")));
            OPEN.add(channel);
            OutputStream out = Channels.newOutputStream(channel);
            in.transferTo(out);
            return descriptor(file.getFileName().toString());
        } catch (IOException e) {
            throw new UncheckedIOException(
                    "libbge cannot write its " + name + " into the folder of java.io.tmpdir, "
                            + System.getProperty("java.io.tmpdir"),
                    e);
        }
    }

    private static Path descriptor(String name) throws IOException {
        Path folder = Path.of("/proc", Long.toString(ProcessHandle.current().pid()), "fd");
        try (DirectoryStream<Path> descriptors = Files.newDirectoryStream(folder)) {
            for (Path descriptor : descriptors) {
                if (leadsTo(descriptor, name)) {
                    return descriptor;
                }
            }
        }
        throw new IOException("/proc does not list the file " + name);
    }

    private static boolean leadsTo(Path descriptor, String name) throws IOException {
        try {
            return Files.readSymbolicLink(descriptor).toString().contains(name);
        } catch (NoSuchFileException e) {
            // Closed meanwhile, as that of the listing itself.
            return false;
        }
    }
}
