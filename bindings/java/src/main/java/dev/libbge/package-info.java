/**
 * Text embeddings of BAAI/bge-m3 and its fine-tunes, in this process, by libbge.
 *
 * <pre>{@code
 * try (Model model = Model.open(Path.of("bge-m3"))) {
 *     float[][] vectors = model.encode(List.of("Where is the cat?", "Di mana kucing itu?"));
 * }
 * }</pre>
 *
 * <p>{@code bge.h}, libbge's C interface, documents in full what a function does, its limits and its defaults.
 *
 * <p><b>Threads.</b> Any number of threads may use everything in this package at once. Texts of all threads share batches,
 * so encode where the texts are rather than collect them. A call that encodes from a virtual thread waits without
 * occupying its carrier; a method that only computes, as in {@link dev.libbge.Similarity}, occupies it.
 *
 * <p><b>Errors.</b> A method that fails throws the unchecked {@link dev.libbge.BgeException}, but for null, which is a
 * {@link java.lang.NullPointerException}. If the native library cannot be loaded, that is
 * {@link dev.libbge.ErrorCode#RUNTIME_UNAVAILABLE}; the next use tries again.
 *
 * <p><b>The native library</b> is that of the system property {@code dev.libbge.library}, the path of {@code libbge_jni},
 * if it is set; else the one on {@code java.library.path}, if there is one; else the one in this jar, for Linux on x86-64.
 * What is in the jar is loaded from a file that has lost its name before it gets its content, so that nothing is left behind
 * however the process ends: in the folder {@code java.io.tmpdir}, or where that cannot be written to, is full or mounted
 * {@code noexec}, in {@code /dev/shm}, {@code /var/tmp} or {@code user.home}. ONNX Runtime is
 * that of {@link dev.libbge.OpenOptions.Builder#runtimeLibrary runtimeLibrary}, else of the environment variable
 * {@code BGE_ORT_LIBRARY}, else the one in the jar if {@code libbge_jni} came from there, else what libbge finds by itself.
 *
 * <p><b>Class loaders.</b> Each class loader that loads these classes loads a native library of its own, which stays in the
 * process when the loader is gone: about 10 MB of memory, as for each redeployment of a web application that carries this jar.
 * Put it where the container shares it, as {@code lib} of Tomcat, to have it once.
 *
 * <p><b>Native access.</b> From JDK 24 on, the JVM warns of a library that loads native code unless it is started with
 * {@code --enable-native-access=ALL-UNNAMED}, or {@code --enable-native-access=dev.libbge} where this jar is on the module
 * path; a later release will refuse it. For {@code java -jar app.jar}, {@code Enable-Native-Access: ALL-UNNAMED} in the
 * manifest of {@code app.jar} does the same; in the manifest of this jar the JVM would not look.
 *
 * <p><b>Numbers.</b> Vectors are 32-bit floats; counts of tokens include the special ones, such as {@code <s>} and
 * {@code </s>}; sizes of memory are bytes.
 */
package dev.libbge;
