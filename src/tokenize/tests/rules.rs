//! Compares ids with those of transformers before and since version 5, for the files of many
//! tokenizers.
//!
//! `tests/tiny/tokenizer_rules.py` writes the cases and the ids. `BGE_TEST_TOKENIZER_RULES` names
//! another file that it wrote.

use serde::Deserialize;

use super::*;
use crate::model_dir::TokenizerFiles;

#[derive(Deserialize)]
struct Rules {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    base: String,
    model_type: String,
    tokenizer_config: Value,
    edits: Vec<(String, Value)>,
    files: serde_json::Map<String, Value>,
    texts: Vec<String>,
    before_5: Option<Vec<Vec<u32>>>,
    since_5: Option<Vec<Vec<u32>>>,
}

impl Case {
    /// Writes the folder that transformers has read.
    fn write(&self, dir: &Path) {
        let tiny = root().join("tests/tiny");
        let write = |name: &str, value: &Value| {
            std::fs::write(dir.join(name), value.to_string()).unwrap();
        };
        if self.base.ends_with("tokenizer.json") {
            let mut json = json_of(&self.base);
            let first = json["normalizer"]["normalizers"][0].clone();
            for (pointer, value) in &self.edits {
                // A key that the file lacks is added to it.
                let (path, key) = pointer.rsplit_once('/').unwrap();
                json.pointer_mut(path).unwrap()[key] = with_first(value, &first);
            }
            write("tokenizer.json", &json);
        } else if self.base == "vocab.txt" {
            let json = json_of("bert-uncased/tokenizer.json");
            let vocab = json["model"]["vocab"].as_object().unwrap();
            let mut words: Vec<(&String, &Value)> = vocab.iter().collect();
            words.sort_by_key(|(_, id)| id.as_u64());
            let lines: String = words.iter().map(|(word, _)| format!("{word}\n")).collect();
            std::fs::write(dir.join("vocab.txt"), lines).unwrap();
        } else {
            let file = if self.base.starts_with('/') {
                self.base.as_str().into()
            } else {
                tiny.join(&self.base)
            };
            std::fs::copy(&file, dir.join(file.file_name().unwrap())).unwrap();
        }
        write("config.json", &json!({"model_type": self.model_type}));
        if self.tokenizer_config.as_object().is_some_and(|config| !config.is_empty()) {
            write("tokenizer_config.json", &self.tokenizer_config);
        }
        for (name, value) in &self.files {
            write(&format!("{}.json", name.strip_suffix("_json").unwrap()), value);
        }
    }

    fn max_tokens(&self) -> usize {
        self.tokenizer_config["model_max_length"].as_u64().unwrap_or(128).min(128) as usize
    }
}

/// Replaces a case's reference to the character map, which is long, by the map.
fn with_first(value: &Value, first: &Value) -> Value {
    match value {
        Value::Array(list) if *list == [json!("/normalizer/normalizers"), json!("first")] => {
            first.clone()
        }
        Value::Array(list) => list.iter().map(|item| with_first(item, first)).collect(),
        other => other.clone(),
    }
}

#[test]
fn ids_are_those_of_the_version_that_the_directory_names() {
    let file = std::env::var("BGE_TEST_TOKENIZER_RULES")
        .unwrap_or_else(|_| root().join("tests/tiny/tokenizer_rules.json").display().to_string());
    let rules: Rules = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    assert!(!rules.cases.is_empty());
    let mut wrong = Vec::new();
    for case in &rules.cases {
        let old = json!({"sentence_transformers": "3.0.1", "transformers": "4.41.2"});
        let new = json!({"sentence_transformers": "6.2.0", "transformers": "5.23.0"});
        for (version, expected) in [(old, &case.before_5), (new, &case.since_5)] {
            let dir = tempfile::tempdir().unwrap();
            case.write(dir.path());
            let versions = json!({"__version__": version}).to_string();
            std::fs::write(dir.path().join("config_sentence_transformers.json"), versions).unwrap();
            let name = format!("{} by {version}", case.name);
            let read = TokenizerFiles::read(&[dir.path().to_path_buf()], dir.path(), false);
            let tokenizer = read.and_then(|files| Tokenizer::open(&files));
            let (tokenizer, expected) = match (tokenizer, expected) {
                (Ok(tokenizer), Some(expected)) => (tokenizer, expected),
                // Settings that no version supports, or in which versions differ, are refused,
                // except for a class that had another name before.
                (Err(e), None) => {
                    assert_eq!(e.kind(), crate::ErrorKind::Unsupported, "{name}: {e}");
                    continue;
                }
                (Ok(_), None) if case.name == "backend" => continue,
                (Ok(_), None) => panic!("{name} is not refused"),
                (Err(e), Some(_)) => panic!("{name}: {e}"),
            };
            for (text, expected) in case.texts.iter().zip(expected) {
                let ids = tokenizer.encode(text, case.max_tokens(), &|| false).unwrap().ids;
                if ids != *expected {
                    wrong.push(format!("{name}: {text:?}: {ids:?}, not {expected:?}"));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of them:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(60)].join("\n")
    );
}
