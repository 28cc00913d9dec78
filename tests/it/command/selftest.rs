//! `bge selftest`: its comparisons, its lines and its exit codes.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::command::streams::{assert_failed, assert_succeeded, bge, stderr, stdout, tiny};
use crate::encode::sparse_and_multi::{OfText, golden};
use crate::support::models::{Copy, open, tiny_dir};

const A: usize = 3;
const B: usize = 13;

/// A file of reference values.
struct File(TempDir);

impl File {
    fn of(reference: &Value) -> Self {
        Self::of_bytes(reference.to_string())
    }

    fn of_bytes(bytes: impl AsRef<[u8]>) -> Self {
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("values.json"), bytes).unwrap();
        Self(folder)
    }

    fn path(&self) -> String {
        self.0.path().join("values.json").to_str().unwrap().to_string()
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

/// A value of each kind that FlagEmbedding computed with the tiny model.
fn values() -> Vec<Value> {
    let rows = golden("heads");
    let (a, b): (OfText, OfText) = (rows[A].reference(), rows[B].reference());
    let (text_a, text_b) = (&rows[A].text, &rows[B].text);
    let model = open(&tiny_dir("heads")).unwrap();
    let tokens: BTreeMap<String, f32> = b
        .sparse
        .iter()
        .map(|(&id, &weight)| {
            let token = model.token_text(id).unwrap().to_str().unwrap();
            (token.trim_start_matches('\u{2581}').to_string(), weight)
        })
        .collect();
    assert_eq!(tokens.len(), b.sparse.len());
    let some: BTreeMap<_, _> = b.sparse.iter().take(1).collect();
    let shared = a.sparse.iter().filter_map(|(id, a)| Some(dot(&[*a], &[*b.sparse.get(id)?])));
    let shared: f64 = shared.sum();
    assert!(shared > 0.01);
    let rows_of = |text: &OfText| text.multi.chunks(8).map(<[f32]>::to_vec).collect::<Vec<_>>();
    let (rows_a, rows_b) = (rows_of(&a), rows_of(&b));
    let best = |a: &Vec<f32>| rows_b.iter().map(|b| dot(a, b)).fold(f64::MIN, f64::max);
    let multi_dot = rows_a.iter().map(best).sum::<f64>() / rows_a.len() as f64;
    let sum: f64 = a.dense.iter().copied().map(f64::from).sum();
    let first_rows: Vec<_> = rows_a[..3].iter().map(|row| &row[..3]).collect();
    let checks = [
        json!({"dense": {"text": text_a, "first": a.dense[..4], "last": a.dense[29..]}}),
        json!({"dense_dot": {"a": text_a, "b": text_b, "value": dot(&a.dense, &b.dense)}}),
        json!({"dense_sum": {"text": text_a, "value": sum}}),
        json!({"sparse": {"text": text_b, "weights": b.sparse, "complete": true}}),
        json!({"sparse": {"text": text_b, "weights": some, "complete": false}}),
        json!({"sparse_tokens": {"text": text_b, "weights": tokens, "complete": true}}),
        json!({"sparse_dot": {"a": text_a, "b": text_b, "value": shared}}),
        json!({"sparse_count": {"texts": [text_a, text_b],
               "value": a.sparse.len() + b.sparse.len()}}),
        json!({"multi": {"text": text_a, "rows": first_rows}}),
        json!({"multi_dot": {"a": text_a, "b": text_b, "value": multi_dot}}),
        json!({"multi_count": {"text": text_a, "value": rows_a.len()}}),
    ];
    let value = |check| json!({"check": check, "tolerance": 2e-5, "source": "here"});
    checks.into_iter().map(value).collect()
}

fn reference(values: &[Value]) -> Value {
    json!({
        "name": "tiny",
        "model": {"dense_dim": 32, "vocab_size": 1501, "layers": 2, "pooling": "cls", "normalize": true},
        "sources": {"here": {"where": "tests/tiny/heads/golden.json", "license": "MIT"}},
        "values": values,
    })
}

/// The exit code, and the verdict of each value.
fn verdicts(values: &[Value]) -> (i32, Vec<String>) {
    let file = File::of(&reference(values));
    let output = bge(&["selftest", &tiny("heads"), "--json", "--reference", &file.path()]);
    let all: Value = serde_json::from_str(stdout(&output)).unwrap();
    let said = all["values"].as_array().unwrap();
    let verdict = |value: &Value| value["verdict"].as_str().unwrap().to_string();
    assert_eq!(output.status.code() == Some(0), stderr(&output).is_empty());
    (output.status.code().unwrap(), said.iter().map(verdict).collect())
}

#[test]
fn values_of_the_reference_pass() {
    let values = values();
    let (code, verdicts) = verdicts(&values);
    assert_eq!((code, verdicts), (0, vec!["pass".to_string(); values.len()]));
    let file = File::of(&reference(&values));
    let output = bge(&["selftest", &tiny("heads"), "--reference", &file.path()]);
    assert_succeeded(&output);
    let lines: Vec<&str> = stdout(&output).lines().collect();
    assert_eq!(lines.len(), values.len() + 2);
    for (line, value) in lines.iter().zip(&values) {
        let kind = value["check"].as_object().unwrap().keys().next().unwrap();
        for word in ["pass", kind, "ours", "theirs", "allowed 2.0e-5", "\"", "[here]"] {
            assert!(line.contains(word), "{line:?} does not say {word:?}");
        }
    }
    assert_eq!(lines[values.len()], "[here] tests/tiny/heads/golden.json (MIT)");
    assert_eq!(lines[values.len() + 1], "tiny: 11 passed, 0 failed, 0 in doubt, 0 skipped");
}

/// Adds to the numbers of a value, one at a time.
fn changes(value: &Value) -> Vec<Value> {
    fn numbers(value: &Value, path: &str, found: &mut Vec<String>) {
        match value {
            Value::Number(_) => found.push(path.to_string()),
            Value::Array(items) => (items.iter().enumerate())
                .for_each(|(index, item)| numbers(item, &format!("{path}/{index}"), found)),
            Value::Object(entries) => entries
                .iter()
                .for_each(|(key, item)| numbers(item, &format!("{path}/{key}"), found)),
            _ => {}
        }
    }
    let mut paths = Vec::new();
    numbers(&value["check"], "/check", &mut paths);
    let changed = paths.iter().map(|path| {
        let mut changed = value.clone();
        let number = changed.pointer_mut(path).unwrap();
        *number = json!(number.as_f64().unwrap() + 1e-4);
        changed
    });
    changed.collect()
}

#[test]
fn every_number_of_a_value_counts() {
    let good = values();
    let changed: Vec<Value> = good.iter().flat_map(changes).collect();
    assert!(changed.len() > 25, "{}", changed.len());
    let (code, verdicts) = verdicts(&changed);
    assert_eq!((code, verdicts), (6, vec!["fail".to_string(); changed.len()]));
    // One among good ones, in words.
    let mut values = good;
    values[1] = changes(&values[1]).remove(0);
    let file = File::of(&reference(&values));
    let output = bge(&["selftest", &tiny("heads"), "--reference", &file.path()]);
    assert_failed(&output, 6, "bge: 1 of 11 values are not within their tolerance");
    let failed: Vec<&str> = stdout(&output).lines().filter(|l| l.starts_with("FAIL ")).collect();
    assert!(failed.len() == 1 && failed[0].contains("dense_dot"), "{failed:?}");
    assert!(failed[0].contains("off by 1.0e-4  allowed 2.0e-5"), "{failed:?}");
    assert!(stdout(&output).ends_with("tiny: 10 passed, 1 failed, 0 in doubt, 0 skipped\n"));
}

#[test]
fn what_one_side_lacks_counts_where_the_list_is_complete() {
    let good = values();
    let mut cases = Vec::new();
    for kind in ["sparse", "sparse_tokens"] {
        for (complete, verdict) in [(true, "fail"), (false, "pass")] {
            let value = good.iter().find(|v| v["check"][kind]["complete"] == true).unwrap();
            let mut value = value.clone();
            value["check"][kind]["complete"] = complete.into();
            let weights = value["check"][kind]["weights"].as_object_mut().unwrap();
            let first = weights.keys().next().unwrap().clone();
            weights.remove(&first);
            cases.push((value.clone(), verdict));
            let weights = value["check"][kind]["weights"].as_object_mut().unwrap();
            weights.insert("77".into(), json!(0.5));
            cases.push((value, "fail"));
        }
    }
    // More than a vector has, and the query on the wrong side.
    let mut long = good[0].clone();
    long["check"]["dense"]["first"] = json!(vec![0.0; 33]);
    cases.push((long, "fail"));
    let mut rows = good[8].clone();
    rows["check"]["multi"]["rows"] = json!(vec![Vec::<f64>::new(); 99]);
    rows["check"]["multi"]["rows"][98] = json!([0.0]);
    cases.push((rows, "fail"));
    let mut turned = good[9].clone();
    let texts = turned["check"]["multi_dot"].as_object_mut().unwrap();
    let (a, b) = (texts["a"].clone(), texts["b"].clone());
    texts.extend([("a".to_string(), b), ("b".to_string(), a)]);
    cases.push((turned, "fail"));
    let (values, expected): (Vec<Value>, Vec<&str>) = cases.into_iter().unzip();
    assert_eq!(verdicts(&values).1, expected);
}

#[test]
fn a_value_of_a_doubtful_source_decides_nothing() {
    let mut values = values();
    values[0]["unsure"] = "of another machine".into();
    assert_eq!(verdicts(&values).0, 0);
    let mut changed = changes(&values[0]).remove(0);
    values[0] = changed.clone();
    let (code, said) = verdicts(&values);
    assert_eq!((code, said[0].as_str(), said[1].as_str()), (0, "doubt", "pass"));
    assert_eq!(verdicts(&values[..1]).0, 6);
    changed["unsure"] = Value::Null;
    assert_eq!(verdicts(&[changed]).0, 6);
}

#[test]
fn what_a_model_cannot_give_is_skipped() {
    let values = values();
    let copy = Copy::of("heads");
    copy.remove("sparse_linear.safetensors");
    copy.remove("colbert_linear.safetensors");
    let dir = copy.dir.to_str().unwrap();
    let file = File::of(&reference(&values));
    let output = bge(&["selftest", dir, "--reference", &file.path()]);
    assert_succeeded(&output);
    let last = "tiny: 3 passed, 0 failed, 0 in doubt, 8 skipped\n";
    assert!(stdout(&output).ends_with(last), "{}", stdout(&output));
    assert!(
        stdout(&output).contains("skip   sparse_dot     the model does not give sparse weights")
    );
    let file = File::of(&reference(&values[3..]));
    let output = bge(&["selftest", dir, "--reference", &file.path()]);
    assert_failed(&output, 6, "not one value was compared");
    // With heads from elsewhere, all of them pass.
    let heads = tiny("heads-forms/f32");
    let output = bge(&["selftest", dir, "--heads", &heads, "--reference", &file.path()]);
    assert_succeeded(&output);
    let mut long = values[2].clone();
    long["check"]["dense_sum"]["text"] = "di ".repeat(200).into();
    assert_eq!(verdicts(&[long, values[2].clone()]), (0, vec!["skip".into(), "pass".into()]));
}

#[test]
fn another_model_is_told_from_a_wrong_one() {
    let output = bge(&["selftest", &tiny("heads")]);
    assert_failed(&output, 7, "the values are of BAAI/bge-m3, and this is another model");
    assert!(stderr(&output).contains("dense_dim is 32, not 1024, vocabulary is 1501, not 250002"));
    assert_eq!(stdout(&output), "");
    for (key, value) in [
        ("dense_dim", json!(33)),
        ("vocab_size", json!(1502)),
        ("layers", json!(3)),
        ("pooling", json!("mean")),
        ("normalize", json!(false)),
    ] {
        let mut reference = reference(&values());
        reference["model"][key] = value;
        let file = File::of(&reference);
        let output = bge(&["selftest", &tiny("heads"), "--reference", &file.path()]);
        assert_failed(&output, 7, "nothing was compared");
    }
}

#[test]
fn a_file_that_is_not_what_it_should_be_is_refused() {
    type Fault = fn(&mut Value);
    let faults: [(&str, Fault); 12] = [
        ("no values", |f| f["values"] = json!([])),
        ("unknown field `more`", |f| f["more"] = 1.into()),
        ("unknown field `tolerence`", |f| f["values"][0]["tolerence"] = 1.into()),
        ("unknown field `lats`", |f| f["values"][0]["check"]["dense"]["lats"] = json!([])),
        ("missing field `tolerance`", |f| {
            f["values"][0].as_object_mut().unwrap().remove("tolerance");
        }),
        ("unknown variant `norm`", |f| f["values"][0]["check"] = json!({"norm": {}})),
        ("missing field `value`", |f| f["values"][0]["check"] = json!({"dense_sum": {"text": ""}})),
        ("value 2 (dense_dot) has the source \"there\"", |f| {
            f["values"][1]["source"] = "there".into();
        }),
        ("value 1 (dense) has the tolerance -1", |f| f["values"][0]["tolerance"] = json!(-1)),
        ("value 1 (dense) compares nothing", |f| {
            f["values"][0]["check"]["dense"] = json!({"text": "a"});
        }),
        ("value 9 (multi) compares nothing", |f| {
            f["values"][8]["check"]["multi"]["rows"] = json!([[]]);
        }),
        ("expected key to be a number", |f| {
            f["values"][3]["check"]["sparse"]["weights"] = json!({"a": 1})
        }),
    ];
    // Found before the model is opened.
    let refuses = |file: &File, code, words: &str| {
        let output = bge(&["selftest", "/no such model", "--reference", &file.path()]);
        assert_failed(&output, code, words);
        assert!(stderr(&output).contains("values.json"), "{}", stderr(&output));
    };
    for (words, fault) in faults {
        let mut reference = reference(&values());
        fault(&mut reference);
        refuses(&File::of(&reference), 1, words);
    }
    let whole = reference(&values()).to_string();
    refuses(&File::of_bytes(""), 1, "not a file of reference values");
    refuses(&File::of_bytes(&whole[..whole.len() - 1]), 1, "not a file of reference values");
    refuses(&File::of_bytes(whole.clone() + "x"), 1, "trailing characters");
    refuses(&File::of_bytes(b"\xff"), 1, "not UTF-8");
    let gone = File::of_bytes("");
    std::fs::remove_file(gone.path()).unwrap();
    refuses(&gone, 4, "No such file");
}

#[test]
fn the_values_of_bge_m3_are_all_there_with_their_sources() {
    let text = include_str!("../../../src/bin/bge/selftest/bge-m3.json");
    let mut all: Value = serde_json::from_str(text).unwrap();
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    let mut used: Vec<&str> = Vec::new();
    for value in all["values"].as_array().unwrap() {
        let kind = value["check"].as_object().unwrap().keys().next().unwrap();
        *kinds.entry(kind.clone()).or_default() += 1;
        used.push(value["source"].as_str().unwrap());
    }
    let expected = [
        ("dense", 13),
        ("dense_dot", 16),
        ("dense_sum", 4),
        ("multi", 1),
        ("multi_count", 5),
        ("multi_dot", 4),
        ("sparse", 3),
        ("sparse_count", 2),
        ("sparse_dot", 4),
        ("sparse_tokens", 3),
    ];
    assert_eq!(kinds, expected.map(|(kind, count)| (kind.to_string(), count)).into());
    used.sort_unstable();
    used.dedup();
    let sources = all["sources"].as_object().unwrap();
    assert_eq!(sources.keys().map(String::as_str).collect::<Vec<_>>(), used);
    for source in sources.values() {
        let said = |key: &str| source[key].as_str().is_some_and(|text| !text.is_empty());
        assert!(said("where") && said("license"), "{source}");
    }
    // The command takes all of them, if it may run them on a model that is another.
    all["model"] = json!({});
    let file = File::of(&all);
    let output = bge(&["selftest", &tiny("heads"), "--json", "--reference", &file.path()]);
    assert_failed(&output, 6, "of 55 values are not within their tolerance");
    let said: Value = serde_json::from_str(stdout(&output)).unwrap();
    assert_eq!(said["values"].as_array().unwrap().len(), 55);
}
