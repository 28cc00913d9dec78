//! `examples/go-embeddings-server`, asked by OpenAI's own client.

use std::path::Path;
use std::process::Command;

use bge::{EncodeOptions, Model, OpenOptions};
use serde_json::{Value, json};

use crate::packaging::artifact::{built, installable, make};
use crate::support::build::{empty_folder, root, run};
use crate::support::models::tiny_dir;
use crate::support::python::python_with;

#[test]
fn it_answers_openai_s_client() {
    if !installable() {
        return;
    }
    let folder = empty_folder("embeddings-server");
    let prefix = folder.join("installed");
    make("install", &built("server-to-install"), &[format!("PREFIX={}", prefix.display())]);
    let source = root().join("examples/go-embeddings-server");
    let go = |arguments: &[&str]| {
        Some(run(crate::bindings::go::go(&prefix)?.args(arguments).current_dir(&source)))
    };
    if go(&["vet", "."]).is_none() {
        return;
    }
    go(&["test", "-count=1", "."]);
    let server = folder.join("server");
    go(&["build", "-o", server.to_str().unwrap(), "."]);
    let Some(python) = python_with("venv-openai", "tests/openai/requirements.txt") else { return };
    let model = tiny_dir("long");
    let expected = folder.join("expected.json");
    std::fs::write(&expected, library_answers(&model).to_string()).unwrap();
    let said = run(Command::new(python)
        .arg("-B")
        .arg(root().join("tests/openai/embeddings.py"))
        .args([&server, &model, &expected, &folder.join("log")])
        .env("LD_LIBRARY_PATH", prefix.join("lib"))
        .env_remove("BGE_ORT_LIBRARY"));
    assert_eq!(said, "all passed\n");
}

/// The library's own vectors of the texts.
fn library_answers(model: &Path) -> Value {
    let texts = ["Orang-orang ada di luar.", "", "a", "Pria itu berdiri.", "NUL \0 and \u{1f600}"];
    let model = Model::open(model, &OpenOptions::default()).unwrap();
    let dense = |truncate_dim| {
        let options = EncodeOptions { normalize: true, truncate_dim, ..EncodeOptions::default() };
        let vectors = model.encode(&texts, &options).unwrap();
        vectors.dense.chunks(vectors.dim).map(<[f32]>::to_vec).collect::<Vec<_>>()
    };
    let tokens: Vec<_> = texts.iter().map(|text| model.count_tokens(text).unwrap()).collect();
    json!({ "texts": texts, "dense": dense(0), "dense5": dense(5), "tokens": tokens })
}
