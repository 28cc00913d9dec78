package dev.libbge;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.lang.reflect.Field;
import java.lang.reflect.Modifier;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;

/** Numbers and options here are those of {@code bge.h}. */
class ConstantsTest {
    private static final String HEADER = header();

    private static String header() {
        try {
            return Files.readString(Path.of(System.getProperty("dev.libbge.header")));
        } catch (IOException e) {
            throw new java.io.UncheckedIOException(e);
        }
    }

    @Test
    void everyNumberIsThatOfTheHeader() {
        Map<String, Integer> here = new TreeMap<>();
        Arrays.stream(ErrorCode.values()).forEach(it -> here.put("ERROR_" + it, it.value()));
        Arrays.stream(Device.values()).forEach(it -> here.put("DEVICE_" + it, it.value()));
        Arrays.stream(ComputeType.values()).forEach(it -> here.put("COMPUTE_" + it, it.value()));
        Arrays.stream(Output.values()).forEach(it -> here.put("OUTPUT_" + it, it.value()));
        Arrays.stream(Metric.values()).forEach(it -> here.put("METRIC_" + it, it.value()));
        Arrays.stream(Precision.values()).forEach(it -> here.put("PRECISION_" + it, it.value()));
        Arrays.stream(LogLevel.values()).forEach(it -> here.put("LOG_" + it, it.value()));
        Arrays.stream(EncodeFlag.values()).forEach(it -> here.put("ENCODE_" + it, it.value()));
        Map<String, Integer> there = new TreeMap<>();
        Matcher define = Pattern.compile("(?m)^#define BGE_((?:ERROR|DEVICE|COMPUTE|OUTPUT|METRIC|PRECISION|LOG|ENCODE)_\\w+) (\\d+)$")
                .matcher(HEADER);
        while (define.find()) {
            there.put(define.group(1), Integer.parseInt(define.group(2)));
        }
        assertEquals(there, here);
        for (ErrorCode code : ErrorCode.values()) {
            assertEquals(code, Native.exception("BGE_ERROR_" + code, "", 0, 0).code());
        }
    }

    @Test
    void everyMemberOfTheHeadersOptionsIsAnOption() {
        assertOptions("bge_open_options", "BGE_OPEN_", OpenOptions.class, List.of());
        // Stopping is for interrupts and futures here.
        assertOptions("bge_encode_options", "BGE_ENCODE_", EncodeOptions.class, List.of("cancel"));
        // Rows lie apart from one another in Java.
        assertOptions("bge_quantize_options", "BGE_QUANTIZE_", QuantizeOptions.class, List.of("vectorsStride", "codesStride"));
        assertEquals(List.of("struct_size", "threads", "a_stride", "b_stride", "scores_stride"), members("bge_similarity_options"));
    }

    private static void assertOptions(String struct, String flags, Class<?> options, List<String> without) {
        List<String> there = members(struct).stream()
                .filter(name -> !List.of("struct_size", "flags", "reserved").contains(name))
                .map(ConstantsTest::camelCase)
                .filter(name -> !without.contains(name))
                .collect(Collectors.toList());
        Matcher flag = Pattern.compile("(?m)^#define " + flags + "(\\w+) \\d+$").matcher(HEADER);
        while (flag.find()) {
            there.add(camelCase(flag.group(1).toLowerCase()));
        }
        List<String> here = Arrays.stream(options.getDeclaredFields())
                .filter(field -> !Modifier.isStatic(field.getModifiers()))
                .map(Field::getName)
                .collect(Collectors.toList());
        // A Duration has its unit, and an option of Java needs no suffix.
        Map<String, String> renamed = Map.of("timeoutMs", "timeout", "promptName", "prompt");
        there.replaceAll(name -> renamed.getOrDefault(name, name));
        assertEquals(there.stream().sorted().toList(), here.stream().sorted().toList());
    }

    private static List<String> members(String struct) {
        Matcher body = Pattern.compile("(?s)typedef struct \\{([^}]*)\\} " + struct + ";").matcher(HEADER);
        assertTrue(body.find(), struct);
        return Pattern.compile("(?m)^    [^/\\n][^\\n]*?(\\w+);$").matcher(body.group(1)).results()
                .map(member -> member.group(1))
                .toList();
    }

    private static String camelCase(String name) {
        return Pattern.compile("_(\\w)").matcher(name).replaceAll(match -> match.group(1).toUpperCase());
    }

    @Test
    void everyConstantDoesWhatItSays() {
        float[][] a = {{1, 2}};
        float[][] b = {{3, 1}};
        Map<Metric, Double> scores = Map.of(
                Metric.COSINE, 5 / Math.sqrt(50), Metric.DOT, 5.0, Metric.EUCLIDEAN, -Math.sqrt(5), Metric.MANHATTAN, -3.0);
        for (Metric metric : Metric.values()) {
            assertEquals(scores.get(metric), Similarity.dense(metric, a, b)[0][0], 1e-6);
        }
        float[][] row = {{-1, 0, 1, 2, 3, 5, -2, 1}};
        float[] min = new float[8];
        Arrays.fill(min, -2);
        float[] max = new float[8];
        Arrays.fill(max, 253);
        QuantizeOptions ranges = QuantizeOptions.builder().ranges(new VectorRanges(min, max)).build();
        Map<Precision, byte[]> codes = Map.of(
                Precision.UINT8, new byte[] {1, 2, 3, 4, 5, 7, 0, 3},
                Precision.INT8, new byte[] {-127, -126, -125, -124, -123, -121, -128, -125},
                Precision.UBINARY, new byte[] {0b00111101},
                Precision.BINARY, new byte[] {0b00111101 - 128});
        for (Precision precision : Precision.values()) {
            assertArrayEquals(codes.get(precision), Quantization.quantize(precision, row, ranges)[0], precision.toString());
        }
        for (ComputeType type : ComputeType.values()) {
            OpenOptions options = OpenOptions.builder().computeType(type).build();
            if (type != ComputeType.FP32 && type != ComputeType.INT8) {
                // Only GPUs have these.
                BgeException e = assertThrows(BgeException.class, () -> Model.open(Tiny.path("cls"), options));
                assertEquals(ErrorCode.UNSUPPORTED, e.code());
                continue;
            }
            try (Model model = Model.open(Tiny.path("cls"), options)) {
                assertEquals(type.toString().toLowerCase(), model.info().precision());
            }
        }
    }

    @Test
    void versionsAgree() {
        assertTrue(Bge.version().startsWith(NativeLibrary.VERSION));
        assertTrue(HEADER.contains("#define BGE_VERSION_MINOR " + NativeLibrary.VERSION.split("\\.")[1] + "\n"));
    }
}
