import dev.libbge.BgeException;
import dev.libbge.Embeddings;
import dev.libbge.EncodeOptions;
import dev.libbge.Model;
import dev.libbge.Output;
import dev.libbge.SparseWeights;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Comparator;
import java.util.EnumSet;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.apache.lucene.document.Document;
import org.apache.lucene.document.FeatureField;
import org.apache.lucene.document.KnnFloatVectorField;
import org.apache.lucene.document.StoredField;
import org.apache.lucene.index.DirectoryReader;
import org.apache.lucene.index.IndexWriter;
import org.apache.lucene.index.IndexWriterConfig;
import org.apache.lucene.index.VectorSimilarityFunction;
import org.apache.lucene.search.BooleanClause;
import org.apache.lucene.search.BooleanQuery;
import org.apache.lucene.search.IndexSearcher;
import org.apache.lucene.search.KnnFloatVectorQuery;
import org.apache.lucene.search.Query;
import org.apache.lucene.search.ScoreDoc;
import org.apache.lucene.search.TopDocs;
import org.apache.lucene.store.FSDirectory;

/** Hybrid search in Lucene, by the dense vectors of a model and, if it has them, by its sparse weights. */
public class LuceneSearch {
    private static final String USAGE = """
            index MODEL INDEX FILE     index the lines of a file in the folder INDEX
            search MODEL INDEX QUERY   search there""";
    private static final int BATCH = 256;
    private static final int SHOWN = 10;
    /** How many hits each search finds: more than are shown, so that HNSW is accurate and fusion has something to choose from. */
    private static final int CANDIDATES = 100;

    public static void main(String[] args) throws IOException {
        if (args.length != 4 || !List.of("index", "search").contains(args[0])) {
            System.err.println(USAGE);
            System.exit(2);
        }
        try (Model model = Model.open(Path.of(args[1])); FSDirectory directory = FSDirectory.open(Path.of(args[2]))) {
            if (args[0].equals("index")) {
                index(model, directory, Files.readAllLines(Path.of(args[3])));
            } else {
                search(model, directory, args[3]);
            }
        } catch (BgeException | IllegalStateException e) {
            System.err.println(e.getMessage());
            System.exit(1);
        }
    }

    private static void index(Model model, FSDirectory directory, List<String> texts) throws IOException {
        IndexWriterConfig config = new IndexWriterConfig().setOpenMode(IndexWriterConfig.OpenMode.CREATE);
        try (IndexWriter writer = new IndexWriter(directory, config)) {
            for (int start = 0; start < texts.size(); start += BATCH) {
                List<String> batch = texts.subList(start, Math.min(start + BATCH, texts.size()));
                Embeddings embeddings = encode(model, batch);
                for (int i = 0; i < batch.size(); i++) {
                    writer.addDocument(document(model, batch.get(i), embeddings, i));
                }
            }
            // For search to compare: vectors of another model mean something else.
            writer.setLiveCommitData(Map.of("model", model.fingerprint()).entrySet());
        }
    }

    private static Document document(Model model, String text, Embeddings embeddings, int i) {
        Document document = new Document();
        document.add(new StoredField("text", text));
        // Lucene takes up to 1024 numbers, which bge-m3 has. To cut longer vectors, EncodeOptions has truncateDim.
        document.add(new KnnFloatVectorField("dense", embeddings.dense(i), VectorSimilarityFunction.DOT_PRODUCT));
        if (isSparse(model)) {
            SparseWeights sparse = embeddings.sparse(i);
            for (int j = 0; j < sparse.size(); j++) {
                // Kept as a term frequency, with the first 9 bits of the number: up to 0.4% less. No subnormal number is taken.
                float weight = Math.max(sparse.weights()[j], Float.MIN_NORMAL);
                document.add(new FeatureField("sparse", Integer.toString(sparse.ids()[j]), weight));
            }
        }
        return document;
    }

    private static void search(Model model, FSDirectory directory, String text) throws IOException {
        try (DirectoryReader reader = DirectoryReader.open(directory)) {
            if (!model.fingerprint().equals(reader.getIndexCommit().getUserData().get("model"))) {
                throw new IllegalStateException(directory.getDirectory() + " was made with another model: index again");
            }
            IndexSearcher searcher = new IndexSearcher(reader);
            Embeddings query = encode(model, List.of(text));
            TopDocs dense = searcher.search(new KnnFloatVectorQuery("dense", query.dense(0), CANDIDATES), CANDIDATES);
            print("dense", searcher, dense.scoreDocs);
            if (isSparse(model)) {
                TopDocs sparse = searcher.search(sparseQuery(query.sparse(0)), CANDIDATES);
                print("sparse", searcher, sparse.scoreDocs);
                print("fused", searcher, fused(dense, sparse));
            }
        }
    }

    /** The sum, over the tokens that query and text have, of the product of their weights: what Similarity.sparse computes. */
    private static Query sparseQuery(SparseWeights sparse) {
        // A clause for each different token; Lucene's own limit is 1024.
        IndexSearcher.setMaxClauseCount(Math.max(IndexSearcher.getMaxClauseCount(), sparse.size()));
        BooleanQuery.Builder query = new BooleanQuery.Builder();
        for (int i = 0; i < sparse.size(); i++) {
            String token = Integer.toString(sparse.ids()[i]);
            // The weight is a boost, which may be up to 64; those of bge-m3 are mostly below 1.
            query.add(FeatureField.newLinearQuery("sparse", token, sparse.weights()[i]), BooleanClause.Occur.SHOULD);
        }
        return query.build();
    }

    /**
     * Reciprocal rank fusion, which Lucene 10 has as TopDocs.rrf: a hit counts 1 / (60 + rank) in each list. Ranks, not scores,
     * because those of the two lists cannot be added as they are: dense ones crowd at the upper end of 0 to 1, and sparse ones
     * grow with the query. A weighted sum can be better, with weights that were tuned on judged queries.
     */
    private static ScoreDoc[] fused(TopDocs... lists) {
        Map<Integer, Double> scores = new HashMap<>();
        for (TopDocs list : lists) {
            for (int i = 0; i < list.scoreDocs.length; i++) {
                scores.merge(list.scoreDocs[i].doc, 1.0 / (60 + i + 1), Double::sum);
            }
        }
        return scores.entrySet().stream()
                .map(entry -> new ScoreDoc(entry.getKey(), entry.getValue().floatValue()))
                .sorted(Comparator.<ScoreDoc>comparingDouble(hit -> -hit.score).thenComparingInt(hit -> hit.doc))
                .toArray(ScoreDoc[]::new);
    }

    private static void print(String kind, IndexSearcher searcher, ScoreDoc[] hits) throws IOException {
        System.out.println(kind);
        for (ScoreDoc hit : Arrays.copyOf(hits, Math.min(SHOWN, hits.length))) {
            String text = searcher.storedFields().document(hit.doc).get("text");
            System.out.printf(Locale.ROOT, "%10.6f  %s%n", hit.score, text);
        }
    }

    /** Vectors have length 1, as DOT_PRODUCT asks for: it then is the cosine c, for which Lucene's score is (1 + c) / 2. */
    private static Embeddings encode(Model model, List<String> texts) {
        EnumSet<Output> outputs = isSparse(model) ? EnumSet.of(Output.DENSE, Output.SPARSE) : EnumSet.of(Output.DENSE);
        return model.encodeOutputs(texts, outputs, EncodeOptions.builder().normalize(true).build());
    }

    private static boolean isSparse(Model model) {
        return model.info().outputs().contains(Output.SPARSE);
    }
}
