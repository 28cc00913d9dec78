package dev.libbge.bench;

import dev.libbge.Model;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.file.Path;
import java.util.Collections;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

/** Each way to encode by itself, for the whole of its distribution and for profilers. */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.SampleTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Fork(1)
@Warmup(iterations = 2, time = 2)
@Measurement(iterations = 3, time = 2)
public class EncodeBenchmark {
    /** The directory of the model: {@code -p model=DIR}. */
    @Param("tests/tiny/cls")
    public String model;

    /** Texts of a call. */
    @Param({"1", "64"})
    public int count;

    private Model open;
    private List<String> texts;
    private FloatBuffer buffer;
    private long inC;

    /** Opens the model, and one for C. */
    @Setup(Level.Trial)
    public void open() {
        open = Model.open(Path.of(model));
        texts = Collections.nCopies(count, Overhead.TEXT);
        int floats = count * open.info().denseDim();
        buffer = ByteBuffer.allocateDirect(4 * floats).order(ByteOrder.nativeOrder()).asFloatBuffer();
        inC = C.open(model, Objects.requireNonNull(System.getenv("BGE_ORT_LIBRARY")), Overhead.TEXT, count);
    }

    /** Closes the model. */
    @TearDown(Level.Trial)
    public void close() {
        open.close();
    }

    /** {@code bge_encode}, with a call of JNI around it. */
    @Benchmark
    public long c() {
        return C.encode(inC);
    }

    /** Into arrays. */
    @Benchmark
    public float[][] arrays() {
        return open.encode(texts);
    }

    /** Into a direct buffer. */
    @Benchmark
    public FloatBuffer directBuffer() {
        open.encodeInto(texts, buffer.clear());
        return buffer;
    }

    /** By a future. */
    @Benchmark
    public float[][] future() {
        return open.encodeAsync(texts).join();
    }
}
