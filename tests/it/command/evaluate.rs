//! `bge evaluate`: its figures for files, and its errors for bad ones.

use bge::{EncodeOptions, TripletDefinition, evaluate_triplets};
use ndarray::ArrayView2;
use serde_json::Value;
use tempfile::TempDir;

use crate::command::streams::{assert_failed, assert_succeeded, bge, stdout, tiny};
use crate::support::models::{open, tiny_dir};

const TRIPLETS: [[&str; 3]; 4] = [
    ["Seseorang sedang tidur.", "Seorang pemuda tidur siang.", "Seekor anjing \"besar\", lari."],
    ["Seorang bayi menangis.", "Seorang bayi menangis di tempat tidur.", "Seekor kucing."],
    ["a", "a", "b"],
    // Equal scores: never right.
    ["a", "b", "b"],
];

/// A file in a folder of its own.
fn file(name: &str, text: impl AsRef<[u8]>) -> (TempDir, String) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_string();
    (folder, path)
}

fn evaluated(model: &str, name: &str, text: &str, more: &[&str]) -> Value {
    let (_folder, path) = file(name, text);
    let output = bge(&[&["evaluate", &tiny(model), &path, "--json"], more].concat());
    assert_succeeded(&output);
    serde_json::from_str(stdout(&output)).unwrap()
}

fn metric(evaluated: &Value, name: &str) -> f64 {
    evaluated["metrics"][name].as_f64().unwrap_or_else(|| panic!("no {name} in {evaluated}"))
}

fn triplets_tsv() -> String {
    let rows = TRIPLETS.map(|row| row.join("\t") + "\n").concat();
    format!("anchor\tpositive\tnegative\n{rows}")
}

#[test]
fn triplets_are_measured_as_the_library_measures_their_vectors_in_every_format() {
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let csv = TRIPLETS.map(|row| row.map(quoted).join(",") + "\r\n").concat();
    let csv = format!("\u{feff}anchor,positive,negative\r\n{csv}");
    let line = |[a, p, n]: [&str; 3]| {
        serde_json::json!({"id": 7, "anchor": a, "positive": p, "negative": n}).to_string() + "\n\n"
    };
    let jsonl = TRIPLETS.map(line).concat();
    let model = open(&tiny_dir("cls")).unwrap();
    let vectors = |column: usize| {
        let texts = TRIPLETS.map(|row| row[column]);
        model.encode(&texts, &EncodeOptions::default()).unwrap()
    };
    let columns = [vectors(0), vectors(1), vectors(2)];
    let [anchors, positives, negatives] =
        columns.each_ref().map(|v| ArrayView2::from_shape((4, v.dim), &v.dense).unwrap());
    for (as_of, definition) in
        [("current", TripletDefinition::Current), ("3.0", TripletDefinition::V3_0)]
    {
        let expected = evaluate_triplets(anchors, positives, negatives, definition).unwrap();
        for (name, text) in
            [("x.tsv", triplets_tsv()), ("x.csv", csv.clone()), ("x.jsonl", jsonl.clone())]
        {
            let ours = evaluated("cls", name, &text, &["--as-of", as_of]);
            assert_eq!(
                (ours["kind"].as_str(), &ours["counts"]["triplets"]),
                (Some("triplets"), &4.into())
            );
            for (name, accuracy) in
                ["cosine", "dot", "euclidean", "manhattan"].iter().zip(expected.accuracy)
            {
                assert_eq!(metric(&ours, &format!("{name}_accuracy")), accuracy, "{name}");
            }
            assert_eq!(metric(&ours, "max_accuracy"), expected.max);
            assert!(expected.max <= 0.75 && expected.accuracy[0] >= 0.25);
        }
    }
}

#[test]
fn the_table_is_for_people() {
    let (_folder, path) = file("x.tsv", triplets_tsv());
    let output = bge(&["evaluate", &tiny("cls"), &path, "--max-tokens", "6"]);
    assert_succeeded(&output);
    let lines: Vec<&str> = stdout(&output).lines().collect();
    assert!(
        lines[0].starts_with("4 triplets, ") && lines[0].ends_with("texts truncated"),
        "{lines:?}"
    );
    assert!(lines[2].starts_with("cosine_accuracy     0."), "{lines:?}");
    assert_eq!(lines.len(), 7);
}

#[test]
fn graded_pairs_take_their_columns_by_other_names() {
    let rows =
        [("a", "a", 5.0), ("a", "Seekor kucing.", 0.5), ("b c d", "b c", 4.0), ("a", "d", 4.0)];
    let rows: String = rows.iter().map(|(a, b, gold)| format!("0001,{gold},{a},{b}\n")).collect();
    let text = format!("score,correlation,text_1,text_2\n{rows}");
    let columns = ["score=correlation", "sentence1=text_1", "sentence2=text_2"];
    let options = columns.map(|column| ["--column", column]).concat();
    let ours = evaluated("cls", "x.csv", &text, &options);
    assert_eq!(ours["kind"], "pairs");
    for kind in ["pearson", "spearman"] {
        let values = ["cosine", "dot", "euclidean", "manhattan"]
            .map(|name| metric(&ours, &format!("{kind}_{name}")));
        assert!(values.iter().all(|value| value.abs() <= 1.0), "{values:?}");
        assert_eq!(metric(&ours, &format!("{kind}_max")), values.into_iter().fold(-1.0, f64::max));
    }
}

const QUERIES: &str = "query\tpassage\trelevance
Orang-orang ada di luar.\tOrang-orang ada di luar.\t1
Orang-orang ada di luar.\tSeekor kucing.\t0
a b c\ta b c\t1
a b c\td e f\t1
nobody answers\ta b c\t0
nobody answers\tPria itu berdiri.\t0
";

#[test]
fn passages_are_found_by_every_output_of_the_model() {
    for mode in ["dense", "sparse", "multi", "sparse+dense", "all"] {
        let ours = evaluated("heads", "x.tsv", QUERIES, &["--mode", mode]);
        let counts = &ours["counts"];
        assert_eq!((&counts["queries"], &counts["passages"]), (&2.into(), &5.into()), "{mode}");
        assert_eq!(counts["relevant"], 3);
        let by = if mode == "dense" { "cosine" } else { mode };
        let of = |name: &str| metric(&ours, &format!("{by}_{name}"));
        // A passage of the very words of its query stands first, by sparse weights among equals.
        if mode != "sparse" {
            assert_eq!((of("accuracy@1"), of("mrr@10")), (1.0, 1.0), "{mode}: {ours}");
            assert_eq!(of("recall@1"), 0.75);
        }
        // All passages: five, of which one and two are relevant.
        assert_eq!((of("recall@5"), (of("precision@10") * 100.0).round()), (1.0, 15.0));
        assert!(of("ndcg@10") > 0.5 && of("map@100") > 0.4);
    }
    let without = QUERIES.lines().map(|line| line.rsplit_once('\t').unwrap().0.to_string() + "\n");
    let ours = evaluated("heads", "x.tsv", &without.collect::<String>(), &[]);
    assert_eq!((&ours["counts"]["queries"], &ours["counts"]["relevant"]), (&3.into(), &6.into()));
    let weighed = evaluated("heads", "x.tsv", QUERIES, &["--mode", "all", "--weights", "1,0,0"]);
    assert_eq!(
        metric(&weighed, "all_map@100"),
        metric(&evaluated("heads", "x.tsv", QUERIES, &[]), "cosine_map@100")
    );
}

#[test]
fn queries_may_have_a_prompt_of_their_own() {
    let text = "query\tpassage\na\ta\nb\tb\nc\tc\n";
    let ours =
        |more: &[&str]| evaluated("prompts", "x.tsv", text, more)["counts"]["tokens"].clone();
    // Without one, equal texts are one text.
    let (none, all) = (ours(&[]).as_u64().unwrap(), ours(&["--prompt", "query"]).as_u64().unwrap());
    let queries = ours(&["--query-prompt", "query"]).as_u64().unwrap();
    assert!(none < all);
    assert_eq!(queries, none + all);
}

#[test]
fn a_plot_is_there_as_a_whole_or_not_at_all() {
    let (folder, path) = file("x.tsv", triplets_tsv());
    let plot = folder.path().join("plot.svg").to_str().unwrap().to_string();
    assert_succeeded(&bge(&["evaluate", &tiny("cls"), &path, "--plot", &plot]));
    let drawn = std::fs::read_to_string(&plot).unwrap();
    assert!(drawn.starts_with("<svg") && drawn.ends_with("</svg>\n"));
    assert!(drawn.contains("anchor and positive (4)") && drawn.contains("anchor and negative (4)"));
    assert!(drawn.contains(&path), "the picture does not say of what it is");
    let files = || std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(files(), 2);
    let nowhere = folder.path().join("none/plot.svg").to_str().unwrap().to_string();
    let output = bge(&["evaluate", &tiny("cls"), &path, "--plot", &nowhere]);
    assert_failed(&output, 4, "none/plot.svg");
    // Figures that were computed before the error are printed.
    assert!(stdout(&output).contains("cosine_accuracy"));
    assert_failed(&bge(&["evaluate", &tiny("cls"), &path, "--plot", "x.png"]), 2, ".svg");
    assert_eq!(files(), 2);
}

#[test]
fn bad_files_are_refused_with_the_line_and_what_was_expected() {
    for (name, text, words) in [
        ("x.tsv", "", "has no rows: expected anchor, positive and negative"),
        ("x.tsv", "anchor\tpositive\tnegative\n", "has no rows"),
        ("x.jsonl", "\n\n", "has no rows"),
        ("x.txt", "a\n", "has to end in .tsv, .csv or .jsonl"),
        ("x.tsv", "anchor\tpositive\na\tb\n", "has the columns anchor, positive: expected anchor"),
        ("x.tsv", "anchor\tpositive\tnegative\na\tb\tc\na\tb\n", "has no negative in line 3"),
        (
            "x.tsv",
            "anchor\tpositive\tnegative\na\tb\tc\td\n",
            "has 4 fields in line 2, and the first line 3",
        ),
        ("x.tsv", "anchor\tpositive\tnegative\na\t \tc\n", "has an empty positive in line 2"),
        (
            "x.csv",
            "sentence1,sentence2,score\na,b,1\na,c,nan\n",
            "has a score in line 3 that is \"nan\", not a finite number",
        ),
        ("x.csv", "sentence1,sentence2,score\na,b,good\n", "that is \"good\", not a finite number"),
        ("x.csv", "sentence1,sentence2,score\na,b,\n", "that is \"\", not a finite number"),
        ("x.csv", "sentence1,sentence2,score\na,b,2\nc,d,2\n", "has the score 2 in every row"),
        ("x.tsv", "query\tpassage\trelevance\na\tb\t0\n", "no row with a relevance above 0"),
        ("x.tsv", "query\tpassage\trelevance\na\tb\t1\na\tc\tx\n", "has a relevance in line 3"),
        ("x.jsonl", "{\"query\": \"a\", \"passage\": \"b\"}\n{\n", "has no JSON object in line 2"),
        ("x.jsonl", "{\"query\": \"a\", \"passage\": \"b\"}\n[]\n", "has no JSON object in line 2"),
        (
            "x.jsonl",
            "{\"query\": \"a\", \"passage\": 5}\n",
            "has a passage in line 1 that is 5, not a text",
        ),
        (
            "x.jsonl",
            "{\"query\": \"a\", \"passage\": \"b\"}\n\n{\"query\": \"a\"}\n",
            "has no passage in line 3",
        ),
    ] {
        let (_folder, path) = file(name, text);
        let output = bge(&["evaluate", &tiny("cls"), &path]);
        assert_failed(&output, 1, words);
        assert_failed(&output, 1, &path);
        assert!(output.stdout.is_empty(), "{text:?}");
    }
    let (_folder, path) = file("x.tsv", b"query\tpassage\na\tb\na\t\xff\n");
    assert_failed(&bge(&["evaluate", &tiny("cls"), &path]), 1, "is not UTF-8 in line 3");
    assert_failed(
        &bge(&["evaluate", &tiny("cls"), "no-such.tsv"]),
        1,
        "no-such.tsv cannot be read",
    );
}

#[test]
fn options_that_would_do_nothing_are_refused() {
    let (_folder, path) = file("x.tsv", triplets_tsv());
    let (_queries_folder, queries) = file("x.tsv", QUERIES);
    for (path, more, words) in [
        (&path, &["--mode", "sparse"][..], "--mode is for retrieval"),
        (&queries, &["--mode", "sparse", "--metric", "dot"], "--metric is for --mode dense"),
        (&queries, &["--weights", "1,1,1"], "--weights is for --mode sparse+dense and all"),
        (&queries, &["--as-of", "3.0"], "--as-of 3.0 is for triplets"),
        (&queries, &["--column", "gold=x"], "NAME is one of anchor"),
        (&queries, &["--column", "score"], "it takes NAME=THEIRS"),
    ] {
        assert_failed(&bge(&[&["evaluate", &tiny("heads"), path], more].concat()), 2, words);
    }
    assert_failed(&bge(&["evaluate", &tiny("cls"), &queries, "--mode", "all"]), 3, "sparse_linear");
}
