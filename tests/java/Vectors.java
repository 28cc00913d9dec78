import dev.libbge.EncodeOptions;
import dev.libbge.Embeddings;
import dev.libbge.Model;
import dev.libbge.OpenOptions;
import dev.libbge.Output;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.EnumSet;
import java.util.List;

/** Prints all outputs of a model for the texts in its arguments, a line of bits for each output of each text. */
public class Vectors {
    public static void main(String[] args) {
        try (Model model = Model.open(Path.of(args[0]), OpenOptions.builder().threads(1).build())) {
            List<String> texts = Arrays.asList(args).subList(1, args.length);
            Embeddings all = model.encodeOutputs(texts, EnumSet.allOf(Output.class), EncodeOptions.defaults());
            for (int i = 0; i < all.size(); i++) {
                print(all.dense(i));
                print(all.sparse(i).weights());
                print(all.multi(i));
                print(all.tokens(i));
            }
        }
    }

    private static void print(float[]... rows) {
        StringBuilder line = new StringBuilder();
        for (float[] row : rows) {
            for (float number : row) {
                line.append(String.format("%08x", Float.floatToRawIntBits(number)));
            }
        }
        System.out.println(line);
    }
}
