//! `examples/finetune`: the model that it saves opens as it is, with the vectors that the program
//! computed.

use std::path::Path;
use std::process::Command;

use bge::EncodeOptions;
use serde_json::{Value, json};

use crate::encode::golden::cosine;
use crate::support::build::{empty_folder, has, root, run};
use crate::support::models::{open, tiny_dir};
use crate::support::python::python_with;

/// Anchor, positive, negative.
const TRIPLETS: [[&str; 3]; 6] = [
    ["Seekor kucing tidur di kursi.", "Seekor hewan sedang tidur.", "Seekor kucing mengejar bola."],
    ["Anak itu membaca buku.", "Seorang anak membaca.", "Anak itu sedang berenang."],
    ["Hujan turun di kota.", "Di kota sedang hujan.", "Langit di atas kota cerah."],
    ["Petani menanam padi.", "Padi ditanam oleh petani.", "Petani menjual sapi."],
    ["Kereta tiba pukul tujuh.", "Pukul tujuh kereta datang.", "Kereta itu tidak datang."],
    ["Ibu memasak \"soto\" ayam.", "Ibu sedang memasak.", "Ibu membeli sepatu."],
];

#[test]
fn lines_of_indonli_become_triplets() {
    if !has("python3", "examples/finetune/triplets.py was not tried") {
        return;
    }
    let lines = [
        ("Hujan \"deras\" turun.", "Tidak hujan.", "c"),
        ("Ia\ttidur.", "Ia berlari.", "c"),
        ("Hujan \"deras\" turun.", "Ada angin.", "n"),
        ("Hujan \"deras\" turun.", "Hujan turun.", "e"),
        ("Hujan \"deras\" turun.", "Hujan.", "e"),
        ("Ia\ttidur.", "Ia tak bangun.", "e"),
    ];
    let lines = lines.map(|(premise, hypothesis, label)| {
        format!("{}\n", json!({ "premise": premise, "hypothesis": hypothesis, "label": label }))
    });
    let file = empty_folder("triplets").join("lines.jsonl");
    std::fs::write(&file, lines.concat()).unwrap();
    let script = root().join("examples/finetune/triplets.py");
    let said = run(Command::new("python3").arg("-B").arg(script).arg(file));
    let expected = "anchor\tpositive\tnegative\n\
        Hujan \"deras\" turun.\tHujan turun.\tTidak hujan.\n\
        Ia tidur.\tIa tak bangun.\tIa berlari.\n";
    assert_eq!(said, expected);
}

#[test]
fn a_fine_tune_opens_without_conversion() {
    if std::env::var_os("BGE_TEST_FINETUNE").is_none() {
        println!(
            "BGE_TEST_FINETUNE IS NOT SET: examples/finetune, which needs torch, was not tested"
        );
        return;
    }
    let Some(python) = python_with("venv-finetune", "examples/finetune/requirements.txt") else {
        panic!("examples/finetune has to be tested here");
    };
    let folder = empty_folder("finetune");
    let file = folder.join("triplets.tsv");
    // Columns are known by name, and other columns may stand between them.
    let rows = TRIPLETS.map(|[anchor, positive, negative]| {
        format!("{negative}\tentailed\t{anchor}\t{positive}\n")
    });
    std::fs::write(&file, format!("negative\tlabel\tanchor\tpositive\n{}", rows.concat())).unwrap();
    for (base, pooling, expected) in [
        ("v6", &[][..], "cls"),
        ("v6-mean", &[], "mean"),
        ("v6-mean", &["--pooling", "cls"], "cls"),
    ] {
        let out = folder.join(format!("{base}{}", pooling.len()));
        let trained = Command::new(&python)
            .arg("-B")
            .arg(root().join("examples/finetune/finetune.py"))
            .args([&tiny_dir(base), &file, &file, &out])
            .args(["--steps", "3", "--batch", "2"])
            .args(pooling)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&trained.stderr);
        assert!(trained.status.success(), "{base}: {errors}");
        assert!(!errors.contains("Warning"), "{base}: {errors}");
        let said = String::from_utf8(trained.stdout).unwrap();
        assert!(said.contains("\n| cosine | 0."), "{base}: {said}");
        compare(&out, &tiny_dir(base), expected);
    }
}

/// Compares the vectors that the program wrote with the library's for the saved directory.
fn compare(out: &Path, base: &Path, pooling: &str) {
    let model = open(&out.join("model")).unwrap();
    assert_eq!(model.info().pooling, pooling);
    let encode = |model: &bge::Model, text: &str| {
        model.encode(&[text], &EncodeOptions::default()).unwrap().dense
    };
    let vectors = std::fs::read_to_string(out.join("vectors.jsonl")).unwrap();
    assert_eq!(vectors.lines().count(), TRIPLETS.len());
    for line in vectors.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let theirs: Vec<f64> = serde_json::from_value(row["dense"].clone()).unwrap();
        let ours = encode(&model, row["text"].as_str().unwrap());
        assert_eq!(ours.len(), theirs.len());
        for (a, b) in ours.iter().zip(theirs) {
            assert!((f64::from(*a) - b).abs() <= 1e-5, "{a} here, {b} there: {line}");
        }
    }
    let figures = std::fs::read_to_string(out.join("figures.json")).unwrap();
    let figures: Value = serde_json::from_str(&figures).unwrap();
    assert_eq!(figures["loss"].as_array().unwrap().len(), 3);
    let nearer = |triplet: &&[&str; 3]| {
        let [anchor, positive, negative] = triplet.map(|text| encode(&model, text));
        cosine(&anchor, &positive) > cosine(&anchor, &negative)
    };
    let accuracy = TRIPLETS.iter().filter(nearer).count() as f64 / TRIPLETS.len() as f64;
    let theirs = figures["after"]["cosine"].as_f64().unwrap();
    assert!((accuracy - theirs).abs() < 1e-6, "{accuracy} here, {theirs} there");
    // The model was trained: three small steps change the vector of every text.
    let text = TRIPLETS[0][0];
    assert_ne!(encode(&model, text), encode(&open(base).unwrap(), text));
    assert!(std::fs::read_to_string(out.join("figures.svg")).unwrap().contains("</svg>"));
}
