//! Paths that are no model directory: the error says what they are, and the way on.

use std::os::unix::fs::symlink;
use std::path::Path;

use bge::ErrorKind::{ModelInvalid, ModelNotFound, Unsupported};
use serde_json::json;

use crate::directory::good_directory::hub_cache;
use crate::support::models::{
    CONFIG, Copy, JSON_FILES, MODULES, PROMPTS, SENTENCE, TOKENIZER, WEIGHTS, is_refused, open,
    vector,
};

const ADAPTER: &str = "adapter_config.json";

fn adapter(copy: &Copy) {
    let config = json!({"peft_type": "LORA", "base_model_name_or_path": "BAAI/bge-m3", "r": 8});
    copy.write(ADAPTER, config.to_string());
    copy.write("adapter_model.safetensors", "not looked at");
}

#[test]
fn an_adapter_is_said_to_be_one_with_the_way_to_merge_it() {
    let words = [
        "adapter_config.json: this is a LORA adapter of BAAI/bge-m3",
        "PeftModel.from_pretrained(m[0].auto_model,",
        "merge_and_unload()",
    ];
    // Beside all that a model needs, as people add it.
    let copy = Copy::of("mean");
    adapter(&copy);
    copy.is_refused("beside weights", Unsupported, &words);
    // As sentence-transformers saves it.
    copy.remove(WEIGHTS);
    copy.is_refused("without weights", Unsupported, &words);
    copy.remove(CONFIG);
    copy.is_refused("without config", Unsupported, &words);
    // As peft saves it.
    copy.remove(MODULES);
    copy.is_refused("alone", Unsupported, &words);
    copy.write(ADAPTER, "not JSON");
    copy.is_refused("damaged", Unsupported, &["adapter_config.json: this is a PEFT adapter"]);
    let copy = Copy::of("mean");
    std::fs::create_dir(copy.path("0")).unwrap();
    for file in [CONFIG, WEIGHTS, TOKENIZER] {
        std::fs::rename(copy.path(file), copy.path("0").join(file)).unwrap();
    }
    copy.json(MODULES, |v| v[0]["path"] = json!("0"));
    open(&copy.dir).unwrap();
    copy.write("0/adapter_config.json", "{}");
    copy.is_refused("in the transformer's folder", Unsupported, &["0/adapter_config.json"]);
}

#[test]
fn tensors_of_an_adapter_are_never_left_out() {
    for name in [
        "encoder.layer.0.attention.self.query.lora_A.default.weight",
        "encoder.layer.0.attention.self.query.lora_embedding_B",
        "encoder.layer.0.attention.self.value.ia3_l.default",
        "encoder.layer.0.output.adapters.tuned.adapter_up.weight",
        "base_model.model.encoder.layer.0.attention.self.query.base_layer.weight",
    ] {
        let copy = Copy::of("mean");
        copy.weights(WEIGHTS, |header, _| {
            header[name] = json!({"dtype": "F32", "shape": [0], "data_offsets": [0, 0]});
        });
        copy.is_refused(name, Unsupported, &[name, "adapter", "merge_and_unload"]);
    }
}

#[test]
fn folders_of_the_hub_s_cache_lead_to_the_snapshot() {
    let root = tempfile::tempdir().unwrap();
    let snapshot = hub_cache("mean", root.path());
    let repository = snapshot.parent().unwrap().parent().unwrap();
    std::fs::create_dir(repository.join("snapshots/another")).unwrap();
    std::fs::create_dir(repository.join("refs")).unwrap();
    let revision = snapshot.file_name().unwrap().to_str().unwrap();
    std::fs::write(repository.join("refs/main"), format!("{revision}\n")).unwrap();
    for dir in [repository, &repository.join("snapshots"), root.path()] {
        let words = ["hub", "give the path of", snapshot.to_str().unwrap()];
        is_refused(dir, &dir.display().to_string(), ModelNotFound, &words);
    }
    open(&snapshot).unwrap();
    let empty = root.path().join("models--a--b/snapshots");
    std::fs::create_dir_all(&empty).unwrap();
    is_refused(&empty, "empty", ModelNotFound, &["has no snapshot", "download it again"]);
    let link = root.path().join("link");
    symlink(repository, &link).unwrap();
    is_refused(&link, "link", ModelNotFound, &[revision]);
}

#[test]
fn a_name_of_the_hub_leads_to_its_command_line() {
    let way = "hf download BAAI/bge-m3 --local-dir bge-m3";
    for name in ["BAAI/bge-m3", "https://huggingface.co/BAAI/bge-m3"] {
        is_refused(
            Path::new(name),
            name,
            ModelNotFound,
            &[name, "nothing is ever downloaded", way],
        );
    }
}

#[test]
fn a_reranker_is_said_to_be_one() {
    let said = ["is a reranker (cross-encoder)", "holds a reranker (cross-encoder)"];
    // As transformers saves it.
    let copy = Copy::of("mean");
    copy.json(CONFIG, |v| v["architectures"] = json!(["XLMRobertaForSequenceClassification"]));
    // With the modules of an encoder it is one, whatever else its weights were for.
    open(&copy.dir).unwrap();
    copy.remove(MODULES);
    copy.is_refused("transformers", Unsupported, &said[1..]);
    // As CrossEncoder of sentence-transformers 6 does.
    for (file, key, value) in [
        (CONFIG, "architectures", json!(["XLMRobertaForSequenceClassification"])),
        (SENTENCE, "transformer_task", json!("sequence-classification")),
        (PROMPTS, "model_type", json!("CrossEncoder")),
    ] {
        let copy = Copy::of("mean");
        copy.json(file, |v| v[key] = value);
        copy.json(MODULES, |v| v.as_array_mut().unwrap().truncate(1));
        copy.is_refused(file, Unsupported, &said[1..]);
    }
}

#[test]
fn a_checkpoint_of_a_trainer_leads_to_what_it_lacks() {
    let copy = Copy::of("mean");
    copy.remove(MODULES);
    let words = ["modules.json does not exist", "copy modules.json and the folders", "1_Pooling"];
    copy.is_refused("as transformers saves", ModelNotFound, &words);
    for file in ["trainer_state.json", "optimizer.pt", "training_args.bin"] {
        copy.write(file, "{}");
        let words = [words.as_slice(), &["checkpoint of a trainer"]].concat();
        copy.is_refused(file, ModelNotFound, &words);
        copy.remove(file);
    }
    let checkpoint = copy.around().join("checkpoint-500");
    std::fs::rename(&copy.dir, &checkpoint).unwrap();
    is_refused(&checkpoint, "by its name", ModelNotFound, &["checkpoint of a trainer"]);
}

#[test]
fn what_an_editor_has_made_of_a_file_is_said() {
    for file in JSON_FILES {
        let copy = Copy::of("mean");
        let text = String::from_utf8(copy.read(file)).unwrap();
        copy.write(file, format!("\u{feff}{text}"));
        copy.is_refused(file, ModelInvalid, &[file, "byte order mark", "save it as UTF-8"]);
        let units: Vec<u8> = "\u{feff}"
            .chars()
            .chain(text.chars())
            .take(2000)
            .collect::<String>()
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        copy.write(file, units);
        copy.is_refused(file, ModelInvalid, &[file, "is UTF-16", "save it as UTF-8"]);
    }
}

#[test]
fn numbers_that_only_python_writes_do_no_harm_where_they_do_not_matter() {
    let copy = Copy::of("mean");
    let expected = vector(&copy.dir);
    for file in [CONFIG, SENTENCE, PROMPTS] {
        let text = String::from_utf8(copy.read(file)).unwrap();
        let more = "{\"unknown\": NaN, \"list\": [Infinity, {\"a\": -Infinity}], ";
        copy.write(file, text.replacen('{', more, 1));
    }
    assert_eq!(vector(&copy.dir), expected);
}
