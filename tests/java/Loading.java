import dev.libbge.BgeException;
import dev.libbge.Metric;
import dev.libbge.Model;
import dev.libbge.Similarity;
import java.nio.file.Path;
import java.util.List;

/**
 * The first use of the library: on a thread that is interrupted, and after attempts that failed. Prints what failed, and at last
 * the length of a vector.
 */
public class Loading {
    public static void main(String[] args) {
        for (String library : System.getProperty("first", "").split(",")) {
            if (library.isEmpty()) {
                continue;
            }
            System.setProperty("dev.libbge.library", library);
            failing(() -> Model.open(Path.of(args[0])));
            failing(() -> Similarity.dense(Metric.COSINE, new float[][] {{1}}, new float[][] {{1}}));
        }
        System.clearProperty("dev.libbge.library");
        Thread.currentThread().interrupt();
        try (Model model = Model.open(Path.of(args[0]))) {
            if (!Thread.interrupted()) {
                throw new IllegalStateException("the interrupt was lost");
            }
            System.out.println(model.encode(List.of("a"))[0].length);
        } catch (BgeException e) {
            System.out.println(e.code() + " " + e.getMessage());
        }
    }

    private static void failing(Runnable use) {
        try {
            use.run();
            throw new IllegalStateException("it was loaded");
        } catch (BgeException e) {
            System.out.println(e.code() + " " + e.getMessage());
        }
    }
}
