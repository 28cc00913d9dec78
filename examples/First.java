import dev.libbge.BgeException;
import dev.libbge.Metric;
import dev.libbge.Model;
import dev.libbge.Similarity;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;

public class First {
    public static void main(String[] args) {
        try (Model model = Model.open(Path.of(args.length > 0 ? args[0] : "bge-m3"))) {
            float[][] vectors = model.encode(List.of(
                "Orang-orang ada di luar.",
                "Orang-orang berjalan di luar dan mengenakan warna gelap.",
                "Sekelompok orang sedang makan di sebuah restoran dengan mural seorang wanita sedang berbelanja di belakang mereka."));
            System.out.printf("[3, %d]%n", model.info().denseDim());
            for (float[] scores : Similarity.dense(Metric.COSINE, vectors, vectors)) {
                System.out.printf(Locale.ROOT, "%.4f %.4f %.4f%n", scores[0], scores[1], scores[2]);
            }
        } catch (BgeException e) {
            System.err.println(e.getMessage());
            System.exit(1);
        }
    }
}
