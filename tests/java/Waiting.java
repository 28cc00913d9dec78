import dev.libbge.Bge;
import dev.libbge.Model;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.TimeUnit;

/** Opens a model, says so, and waits: for what the library leaves behind if its process is killed. */
public class Waiting {
    public static void main(String[] args) throws Exception {
        Model model = Model.open(Path.of(args[0]));
        model.encodeAsync(List.of("a")).get(1, TimeUnit.MINUTES);
        System.out.println(Bge.version());
        // Without a second argument it ends here, with a model that nobody closed.
        if (args.length > 1) {
            System.in.read();
        }
    }
}
