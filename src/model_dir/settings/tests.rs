//! Sets every key of the table to another value, and compares the table with `docs/settings.md`.

use std::fmt::Write;
use std::path::PathBuf;

use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::model_dir::TokenizerFiles;
use crate::tokenize::Tokenizer;
use crate::{EncodeOptions, Model, OpenOptions};

/// In the order of the document.
const FILES: [&File; 9] =
    [&CONFIG, &SENTENCE, &PROMPTS, &MODULES, &POOLING, &DENSE, &LAYER_NORM, &NORMALIZE, &DROPOUT];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A model with a module of every kind.
struct Laid {
    dir: TempDir,
}

impl Laid {
    fn out() -> Self {
        let laid = Self { dir: tempfile::tempdir().unwrap() };
        for file in ["config.json", "sentence_bert_config.json", "model.safetensors"] {
            std::fs::copy(root().join("tests/tiny/cls").join(file), laid.path(file)).unwrap();
        }
        std::fs::copy(root().join("tests/tiny/tokenizer.json"), laid.path("tokenizer.json"))
            .unwrap();
        let kinds = ["Transformer", "Pooling", "Dense", "LayerNorm", "Dropout", "Normalize"];
        let modules: Vec<Value> = kinds
            .iter()
            .enumerate()
            .map(|(index, kind)| {
                let path = if index == 0 { String::new() } else { kind.to_string() };
                json!({"idx": index, "name": index.to_string(), "path": path,
                       "type": format!("sentence_transformers.models.{kind}")})
            })
            .collect();
        laid.write("modules.json", &json!(modules));
        for kind in &kinds[1..] {
            std::fs::create_dir(laid.path(kind)).unwrap();
        }
        laid.write(
            "config_sentence_transformers.json",
            &json!({"prompts": {"query": "di luar "}, "default_prompt_name": null}),
        );
        laid.write(
            "Pooling/config.json",
            &json!({"word_embedding_dimension": 32, "pooling_mode_cls_token": true,
                    "pooling_mode_mean_tokens": false}),
        );
        let identity = "torch.nn.modules.linear.Identity";
        laid.write(
            "Dense/config.json",
            &json!({"in_features": 32, "out_features": 32, "bias": true,
                    "activation_function": identity}),
        );
        laid.write("LayerNorm/config.json", &json!({"dimension": 32}));
        laid.write("Normalize/config.json", &json!({}));
        laid.write("Dropout/config.json", &json!({"dropout": 0.1}));
        let matrix = |at: usize| if at.is_multiple_of(33) { 1.0 } else { (at % 7) as f32 / 10.0 };
        let row = |at: usize| 1.0 + at as f32 / 32.0;
        laid.tensors("Dense", "linear", (0..1024).map(matrix).collect(), vec![32, 32]);
        laid.tensors("LayerNorm", "norm", (0..32).map(row).collect(), vec![32]);
        laid
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    fn write(&self, file: &str, value: &Value) {
        std::fs::write(self.path(file), value.to_string()).unwrap();
    }

    fn tensors(&self, folder: &str, name: &str, weight: Vec<f32>, shape: Vec<usize>) {
        let bytes =
            |numbers: &[f32]| numbers.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
        let (weight, bias) = (bytes(&weight), bytes(&[0.5; 32]));
        let tensors = [
            (format!("{name}.weight"), TensorView::new(Dtype::F32, shape, &weight).unwrap()),
            (format!("{name}.bias"), TensorView::new(Dtype::F32, vec![32], &bias).unwrap()),
        ];
        let file = safetensors::serialize(tensors, None).unwrap();
        std::fs::write(self.path(folder).join("model.safetensors"), file).unwrap();
    }

    /// All that a caller sees of the model: vectors without and with a prompt, and what is said of
    /// it.
    fn effect(&self) -> Result<(Vec<f32>, Vec<f32>, String)> {
        let model =
            Model::open(self.dir.path(), &OpenOptions { threads: 1, ..OpenOptions::default() })?;
        let encode = |prompt: Option<&str>| {
            let prompt = prompt.map(str::to_string);
            let options = EncodeOptions { prompt, ..EncodeOptions::default() };
            // The space at the end is a token before transformers 5.
            model.encode(&["Orang-orang ADA di luar </s> "], &options).unwrap().dense
        };
        Ok((encode(None), encode(Some("query")), format!("{:?}", model.info())))
    }
}

/// The file that has these settings, and whether they are those of its second entry.
fn place(file: &File) -> (String, bool) {
    match file.name.split_once(" of a ") {
        Some((name, module)) => (format!("{module}/{name}"), false),
        None => match file.name.split_once(',') {
            Some((name, _)) => (name.into(), true),
            None => (file.name.into(), false),
        },
    }
}

#[test]
fn no_setting_is_passed_over() {
    let laid = Laid::out();
    let usual = laid.effect().unwrap();
    for file in FILES {
        let (path, is_list) = place(file);
        let original: Value =
            serde_json::from_slice(&std::fs::read(laid.path(&path)).unwrap()).unwrap();
        let with = |key: &str, value: &str| {
            let mut changed = original.clone();
            let map = if is_list { &mut changed[1] } else { &mut changed };
            map[key] = serde_json::from_str(value).unwrap_or_else(|e| panic!("{key}: {e}"));
            laid.write(&path, &changed);
            laid.effect()
        };
        for Setting { key, fate, other, .. } in file.settings {
            let case = format!("{path}: {key} {other}");
            match (fate, with(key, other)) {
                (Honored, Ok(effect)) => assert!(effect != usual, "{case}"),
                (Honored, Err(e)) => {
                    let said = e.to_string();
                    // The shapes of tensors tell of a number, a path of the folder that it is, and
                    // a second mode of pooling makes vectors twice as long.
                    let bare = other.trim_matches('"');
                    let shapes = ["config.json makes it".into(), "vectors of 64 numbers".into()];
                    let words =
                        [(*key).into(), (*other).into(), format!("[{bare}, "), format!("/{bare}/")];
                    let told =
                        shapes.iter().chain(&words).any(|words: &String| said.contains(words));
                    assert!(told, "{case}: {e}");
                }
                (Only(_) | OnlyKeys(_), Err(e)) => {
                    assert!(e.to_string().contains(&format!("{path}: {key} ")), "{case}: {e}");
                }
                (Only(_) | OnlyKeys(_), Ok(_)) => panic!("{case}: opened"),
                (Harmless, effect) => {
                    assert_eq!(effect.unwrap_or_else(|e| panic!("{case}: {e}")), usual, "{case}");
                }
            }
            let harmless = match fate {
                Only([]) => vec!["null".into(), "[]".into(), "{}".into()],
                Only(values) => values.iter().map(|value| value.to_string()).collect(),
                OnlyKeys(keys) => {
                    let map: Map<String, Value> =
                        keys.iter().map(|key| (key.to_string(), json!("x"))).collect();
                    vec!["null".into(), "{}".into(), Value::Object(map).to_string()]
                }
                Honored | Harmless => Vec::new(),
            };
            for value in harmless {
                let effect = with(key, &value).unwrap_or_else(|e| panic!("{key} {value}: {e}"));
                assert_eq!(effect, usual, "{key} {value}");
            }
        }
        // And keys that nobody knows.
        assert_eq!(with("of_another_program", "[1]").unwrap(), usual, "{path}");
        laid.write(&path, &original);
    }
}

/// Texts in which each setting of a tokenizer shows.
fn tokens_of(dir: &Path) -> Result<(Vec<Vec<u32>>, usize)> {
    let files = TokenizerFiles::read(&[dir.to_path_buf()], dir, false)?;
    let tokenizer = Tokenizer::open(&files)?;
    let longest = crate::model_dir::config::TextRules::read(dir, None)?.max_tokens;
    let long = "di luar Orang ".repeat(40) + "ang";
    let texts = ["Orang-orang ADA <mask> di luar </s> ", "Résumé ÅNGSTRÖM 这是中文 [SEP]", &long];
    let ids = |text: &&str| Ok(tokenizer.encode(text, longest, &|| false)?.ids);
    Ok((texts.iter().map(ids).collect::<Result<_>>()?, longest))
}

#[test]
fn no_setting_of_a_tokenizer_is_passed_over() {
    for (base, file) in tokenizer::FILES {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for name in ["config.json", "tokenizer.json"] {
            std::fs::copy(root().join("tests/tiny").join(base).join(name), path(name)).unwrap();
        }
        std::fs::write(path("tokenizer_config.json"), r#"{"model_max_length": 100}"#).unwrap();
        let usual = tokens_of(dir.path()).unwrap();
        let name = file.name.split(' ').next().unwrap();
        let original: Value = std::fs::read(path(name))
            .map_or_else(|_| json!({}), |bytes| serde_json::from_slice(&bytes).unwrap());
        for Setting { key, fate, other, .. } in file.settings {
            let mut changed = original.clone();
            changed[key] = serde_json::from_str(other).unwrap_or_else(|e| panic!("{key}: {e}"));
            std::fs::write(path(name), changed.to_string()).unwrap();
            let case = format!("{}: {key} {other}", file.name);
            match (fate, tokens_of(dir.path())) {
                (Honored, Ok(tokens)) => assert!(tokens != usual, "{case}"),
                (Harmless, Ok(tokens)) => assert_eq!(tokens, usual, "{case}"),
                (Only(_) | OnlyKeys(_), Err(e)) => {
                    assert!(e.to_string().contains(key), "{case}: {e}")
                }
                (_, Ok(_)) => panic!("{case}: opened"),
                (_, Err(e)) => panic!("{case}: {e}"),
            }
        }
        if original == json!({}) {
            std::fs::remove_file(path(name)).unwrap();
        } else {
            std::fs::write(path(name), original.to_string()).unwrap();
        }
        assert_eq!(tokens_of(dir.path()).unwrap(), usual);
    }
}

#[test]
fn no_key_is_there_twice() {
    for file in FILES.into_iter().chain(tokenizer::FILES.map(|(_, file)| file)) {
        for (index, setting) in file.settings.iter().enumerate() {
            let twice = file.settings[..index].iter().any(|other| other.key == setting.key);
            assert!(!twice, "{}: {}", file.name, setting.key);
        }
    }
}

fn tables() -> String {
    let mut text = String::new();
    for file in FILES.into_iter().chain(tokenizer::FILES.map(|(_, file)| file)) {
        write!(text, "\n## {}\n\n| key | | |\n|---|---|---|\n", file.name).unwrap();
        for Setting { key, fate, note, .. } in file.settings {
            let list = |values: &[&str]| {
                values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>()
            };
            let fate = match fate {
                Honored => "honored".into(),
                Harmless => "cannot matter".into(),
                Only([]) => "refused".into(),
                Only(values) => format!("refused, but for {}", list(values).join(" or ")),
                OnlyKeys(keys) => format!("refused, but for {}", list(keys).join(", ")),
            };
            writeln!(text, "| `{key}` | {fate} | {note} |").unwrap();
        }
    }
    text
}

#[test]
fn the_document_has_the_table() {
    let file = root().join("docs/settings.md");
    let text = std::fs::read_to_string(&file).unwrap();
    let (begin, end) = ("<!-- Made of src/model_dir/settings.rs. -->\n", "\n<!-- By hand. -->");
    let (before, rest) = text.split_once(begin).unwrap();
    let (_, after) = rest.split_once(end).unwrap();
    let expected = [before, begin, &tables(), end, after].concat();
    if std::env::var_os("UPDATE_SETTINGS").is_some() {
        std::fs::write(&file, &expected).unwrap();
    }
    assert!(
        std::fs::read_to_string(&file).unwrap() == expected,
        "docs/settings.md is out of date: run UPDATE_SETTINGS=1 cargo test --release --lib settings"
    );
}
