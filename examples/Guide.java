import dev.libbge.BgeException;
import dev.libbge.EncodeOptions;
import dev.libbge.Model;
import dev.libbge.OpenOptions;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.stream.IntStream;

/** The code of the sections of bindings/java/README.md. Argument: a model directory. */
public class Guide {
    private static final List<String> TEXTS = List.of("Where is the cat?", "Di mana kucing itu?");

    public static void main(String[] args) {
        try (Model model = options(Path.of(args[0]))) {
            errors(model);
            threads(model);
            stopping(model);
        }
    }

    private static Model options(Path dir) {
        OpenOptions options = OpenOptions.builder().threads(2).queueCapacity(256).build();
        Model model = Model.open(dir, options);
        EncodeOptions unit = EncodeOptions.builder().normalize(true).maxTokens(64).build();
        System.out.println("options: " + model.encode(TEXTS, unit).length);
        return model;
    }

    private static void errors(Model model) {
        try {
            model.encode(List.of("a text", "half of a pair: \ud83d"));
        } catch (BgeException e) {
            System.out.println("errors: " + e.code() + ", text " + e.textIndex());
        }
    }

    private static void threads(Model model) {
        long floats = IntStream.range(0, 8).parallel()
                .mapToLong(i -> model.encode(TEXTS).length) // texts of all threads share batches
                .sum();
        System.out.println("threads: " + floats);
    }

    private static void stopping(Model model) {
        EncodeOptions limited = EncodeOptions.builder().timeout(Duration.ofSeconds(5)).build();
        CompletableFuture<float[][]> call = model.encodeAsync(TEXTS, limited);
        System.out.println("stopping: " + call.join().length);
    }
}
