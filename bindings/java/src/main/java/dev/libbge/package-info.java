/**
 * Text embeddings of BAAI/bge-m3 and its fine-tunes, in this process, by libbge.
 *
 * <pre>{@code
 * try (Model model = Model.open(Path.of("bge-m3"))) {
 *     float[][] vectors = model.encode(List.of("Where is the cat?", "Di mana kucing itu?"));
 * }
 * }</pre>
 *
 * <p>What a function does, its limits and its defaults are those of {@code bge.h}, libbge's C interface, and said there
 * in full.
 *
 * <p><b>Threads.</b> Everything here may be used by any number of threads at once. Texts of all of them share runs of the
 * model, so encode from where the texts are rather than collect them. A blocking call keeps its thread, also the carrier
 * of a virtual thread: from those, use {@link dev.libbge.Model#encodeAsync encodeAsync}.
 *
 * <p><b>Errors.</b> Whatever fails throws the unchecked {@link dev.libbge.BgeException}, but for null, which is a
 * {@link java.lang.NullPointerException}. If the native library cannot be loaded, the first use of a class here throws an
 * {@link java.lang.UnsatisfiedLinkError} that says where it was looked for.
 *
 * <p><b>The native library</b> is that of the system property {@code dev.libbge.library}, the path of {@code libbge_jni},
 * if it is set; else the one on {@code java.library.path}, if there is one; else the one in this jar, for Linux on x86-64.
 * What is in the jar is loaded from a file in {@code java.io.tmpdir} that has lost its name before it gets its content, so
 * that nothing is left behind however the process ends. That folder must not be mounted {@code noexec}. ONNX Runtime is
 * that of {@link dev.libbge.OpenOptions.Builder#runtimeLibrary runtimeLibrary}, else of the environment variable
 * {@code BGE_ORT_LIBRARY}, else the one in the jar if {@code libbge_jni} came from there, else what libbge finds by itself.
 *
 * <p><b>Numbers.</b> Vectors are 32-bit floats; counts of tokens include the special ones, such as {@code <s>} and
 * {@code </s>}; sizes of memory are bytes.
 */
package dev.libbge;
