import dev.libbge.BgeException;
import dev.libbge.Hit;
import dev.libbge.Metric;
import dev.libbge.Model;
import dev.libbge.Similarity;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Collectors;

public class Classification {
    private record Example(String label, String text) {}

    private static final List<Example> EXAMPLES = List.of(
            new Example("pengiriman", "Paket saya belum sampai juga."),
            new Example("pengiriman", "Kapan barang pesanan saya dikirim?"),
            new Example("pengiriman", "Kurir mengantar kiriman ke alamat yang salah."),
            new Example("pembayaran", "Saya sudah transfer, tetapi tagihannya belum lunas."),
            new Example("pembayaran", "Apakah bisa membayar dengan kartu kredit?"),
            new Example("pembayaran", "Uang saya terpotong dua kali untuk satu transaksi."),
            new Example("akun", "Saya tidak bisa masuk ke akun saya."),
            new Example("akun", "Bagaimana cara mengganti kata sandi?"),
            new Example("akun", "Tolong ubah alamat surel di profil saya."));

    public static void main(String[] args) {
        List<String> messages = List.of(
                "Sudah seminggu pesanan saya belum diantar.",
                "Kenapa saldo saya terpotong padahal pembayaran gagal?",
                "Kata sandi saya ditolak waktu masuk.");
        try (Model model = Model.open(Path.of(args.length > 0 ? args[0] : "bge-m3"))) {
            float[][] known = model.encode(EXAMPLES.stream().map(Example::text).toList());
            List<List<Hit>> nearest = Similarity.topK(Metric.COSINE, model.encode(messages), known, 3);
            for (int i = 0; i < messages.size(); i++) {
                System.out.println(label(nearest.get(i)) + ": " + messages.get(i));
            }
        } catch (BgeException e) {
            System.err.println(e.getMessage());
            System.exit(1);
        }
    }

    /** The label with the greatest sum of scores: of most of the nearest, or of the most alike. */
    private static String label(List<Hit> nearest) {
        Map<String, Double> votes = nearest.stream().collect(Collectors.groupingBy(
                hit -> EXAMPLES.get(hit.row()).label(), TreeMap::new, Collectors.summingDouble(Hit::score)));
        return votes.entrySet().stream().max(Map.Entry.comparingByValue()).orElseThrow().getKey();
    }
}
