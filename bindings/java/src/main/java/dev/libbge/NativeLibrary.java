package dev.libbge;

import java.io.IOException;
import java.io.InputStream;
import java.io.RandomAccessFile;
import java.nio.file.DirectoryStream;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.UUID;

/**
 * Finds and loads {@code libbge_jni}, and ONNX Runtime for it.
 *
 * <p>No class loads it as it is initialized: what fails there can never be tried again, and is an Error. Whatever begins to use
 * the library calls {@link #load} first, which throws a {@link BgeException} and may succeed the next time.
 */
final class NativeLibrary {
    /** The version of this binding, which is that of the library. */
    static final String VERSION = "0.1.0";

    private static final String PROPERTY = "dev.libbge.library";
    private static final String RUNTIME_VARIABLE = "BGE_ORT_LIBRARY";
    private static final int CHUNK = 1 << 16;

    /** Kept open, since files without a name are gone with their last descriptor. */
    private static final List<RandomAccessFile> OPEN = new ArrayList<>();

    private static volatile boolean ready;
    private static boolean loaded;
    private static boolean fromJar;
    private static Path runtime;

    private NativeLibrary() {}

    /** Loads the library, unless it is. */
    static void load() {
        if (!ready) {
            withoutInterrupt(NativeLibrary::loadOnce);
        }
    }

    /** ONNX Runtime of the jar, or null to leave the search to the library. */
    static Path runtime() {
        load();
        String named = System.getenv(RUNTIME_VARIABLE);
        if (!fromJar || (named != null && !named.isEmpty())) {
            return null;
        }
        withoutInterrupt(NativeLibrary::extractRuntime);
        return runtime;
    }

    /**
     * An interrupt is for what the thread does next, and not for this: what reads the jar may do so through a channel, which an
     * interrupt closes.
     */
    private static void withoutInterrupt(Runnable work) {
        synchronized (NativeLibrary.class) {
            boolean interrupted = Thread.interrupted();
            try {
                work.run();
            } finally {
                if (interrupted) {
                    Thread.currentThread().interrupt();
                }
            }
        }
    }

    private static void loadOnce() {
        if (!loaded) {
            find();
            loaded = true;
        }
        String version = Native.version();
        if (!version.equals(VERSION) && !version.startsWith(VERSION + " ")) {
            throw failure("the libbge_jni that was loaded is " + version + ", and these classes are for " + VERSION, null);
        }
        ready = true;
    }

    private static void find() {
        String named = System.getProperty(PROPERTY, "");
        if (!named.isEmpty()) {
            try {
                System.load(Path.of(named).toAbsolutePath().toString());
            } catch (UnsatisfiedLinkError e) {
                throw failure("the system property " + PROPERTY + " is " + named + ", which cannot be loaded: " + e.getMessage(), e);
            }
        } else if (!loadFromLibraryPath()) {
            extracted(System.mapLibraryName("bge_jni"), path -> System.load(path.toString()));
            fromJar = true;
        }
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
            throw failure("libbge_jni, on java.library.path, cannot be loaded: " + e.getMessage(), e);
        }
    }

    private static void extractRuntime() {
        if (runtime == null) {
            extracted("libonnxruntime.so", path -> runtime = path);
        }
    }

    private interface Use {
        void of(Path path);
    }

    /** Uses a file of the jar by a path below /proc, from the first folder where that is possible. */
    private static void extracted(String name, Use use) {
        List<String> tried = new ArrayList<>();
        Throwable last = null;
        for (Path folder : folders()) {
            try {
                if (isNoexec(folder)) {
                    tried.add(folder + " is mounted noexec");
                    continue;
                }
                useFrom(folder, name, use);
                return;
            } catch (IOException | UnsatisfiedLinkError e) {
                tried.add(folder + ": " + reason(e));
                last = e;
            }
        }
        throw failure(
                "libbge cannot load " + name + " from its jar, for which it needs a folder that it may write to and that is not "
                        + "mounted noexec: name one with -Djava.io.tmpdir=, or set the system property " + PROPERTY
                        + " to the path of libbge_jni outside the jar, with ONNX Runtime beside it. Tried: " + String.join("; ", tried),
                last);
    }

    /** The folder that the user chose, and after it some that may serve where it does not. */
    private static Set<Path> folders() {
        Set<Path> folders = new LinkedHashSet<>();
        for (String folder : new String[] {
            System.getProperty("java.io.tmpdir"), "/dev/shm", "/var/tmp", System.getProperty("user.home")
        }) {
            // The JVM says ? where a user has no home.
            if (folder != null && !folder.isEmpty() && !folder.equals("?")) {
                folders.add(Path.of(folder).toAbsolutePath().normalize());
            }
        }
        return folders;
    }

    /** By the table of mounts, since ONNX Runtime itself is not loaded here. Where there is none, an attempt will tell. */
    private static boolean isNoexec(Path folder) throws IOException {
        Path real = folder.toRealPath();
        Path nearest = Path.of("/");
        boolean noexec = false;
        List<String> mounts;
        try {
            mounts = Files.readAllLines(Path.of("/proc/mounts"));
        } catch (IOException e) {
            return false;
        }
        for (String line : mounts) {
            // What is mounted, where, as what, and the options.
            String[] words = line.split(" ");
            Path at = Path.of(words[1].replace("\\040", " "));
            // Of several at one place, the last covers the others.
            if (real.startsWith(at) && at.startsWith(nearest)) {
                nearest = at;
                noexec = List.of(words[3].split(",")).contains("noexec");
            }
        }
        return noexec;
    }

    /**
     * Not through a channel, which an interrupt of the thread closes for good. The file has lost its name before it gets its
     * content, so that nothing stays behind.
     */
    private static void useFrom(Path folder, String name, Use use) throws IOException {
        String platform = System.getProperty("os.name").toLowerCase(Locale.ROOT) + "-"
                + System.getProperty("os.arch").replace("amd64", "x86_64");
        try (InputStream in = NativeLibrary.class.getResourceAsStream(platform + "/" + name)) {
            if (in == null) {
                throw failure(
                        "there is no " + name + " for " + platform + " in the jar of libbge, and none on java.library.path; set the "
                                + "system property " + PROPERTY + " to the path of libbge_jni",
                        null);
            }
            Path path = folder.resolve("libbge-" + UUID.randomUUID() + "-" + name);
            Files.createFile(path, PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rw-------")));
            RandomAccessFile file;
            try {
                file = new RandomAccessFile(path.toFile(), "rw");
            } finally {
                Files.delete(path);
            }
            try {
                byte[] chunk = new byte[CHUNK];
                for (int count = in.read(chunk); count >= 0; count = in.read(chunk)) {
                    file.write(chunk, 0, count);
                }
                use.of(descriptor(path.getFileName().toString()));
                OPEN.add(file);
            } catch (IOException | UnsatisfiedLinkError e) {
                file.close();
                throw e;
            }
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

    /** In words. An exception of the file system often has but a path for a message. */
    private static String reason(Throwable e) {
        if (e instanceof FileSystemException of && of.getReason() != null) {
            return of.getReason();
        }
        String kind = e instanceof FileSystemException ? e.getClass().getSimpleName() + " " : "";
        return kind + e.getMessage();
    }

    private static BgeException failure(String message, Throwable cause) {
        BgeException failure = new BgeException(ErrorCode.RUNTIME_UNAVAILABLE, message);
        failure.initCause(cause);
        return failure;
    }
}
