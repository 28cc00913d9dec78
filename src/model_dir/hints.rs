//! Paths that lead to something other than a model directory, and the way from there to one.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::files::{MODULES_FILE, is_present};
use super::json::read_json_if_present;
use crate::error::{Error, Result, error};

const ADAPTER: &str = "adapter_config.json";
/// The most names that a sentence lists.
const NAMES_MAX: usize = 5;

/// The error for a path that is no directory.
pub(super) fn no_directory(path: &Path, e: &std::io::Error) -> Error {
    let text = path.to_string_lossy();
    let name = hub_name(&text);
    let way = match name {
        Some(name) => format!(
            "nothing is ever downloaded, so give the path of a directory; a model that the Hugging Face \
             hub calls {name} is fetched with `hf download {name} --local-dir {0}`, and then opened as {0}",
            name.rsplit('/').next().unwrap_or(name)
        ),
        None => "nothing is ever downloaded, so give the path of a directory".into(),
    };
    error!(ModelNotFound, "the model directory {path:?} cannot be read: {e}; {way}")
}

/// The name of a model on the Hugging Face hub, from its name or its address.
fn hub_name(text: &str) -> Option<&str> {
    let name = match text.split_once("://") {
        Some((_, address)) => address.split_once('/')?.1,
        None => text,
    };
    let end = name.match_indices('/').nth(1).map_or(name.len(), |(at, _)| at);
    let name = &name[..end];
    let is_plain = |part: &str| {
        let of_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        part.starts_with(|c: char| c.is_ascii_alphanumeric()) && part.chars().all(of_name)
    };
    let parts: Vec<&str> = name.split('/').collect();
    // A path with more parts, or one that begins with `.` or `/`, is meant as a path.
    let is_whole = text.contains("://") || end == text.len();
    (parts.len() == 2 && is_whole && parts.into_iter().all(is_plain)).then_some(name)
}

/// The error for a directory with neither `modules.json` nor an ONNX export.
pub(super) fn no_modules(dir: &Path) -> Error {
    let name = dir.join(MODULES_FILE);
    let name = name.display();
    if let Some(way) = hub_cache(dir) {
        return error!(ModelNotFound, "{name} does not exist; {way}");
    }
    if is_cross_encoder(dir) {
        return cross_encoder(dir);
    }
    let is_checkpoint = ["trainer_state.json", "training_args.bin", "optimizer.pt"]
        .iter()
        .any(|file| is_present(&dir.join(file)))
        || dir.file_name().is_some_and(|name| name.to_string_lossy().starts_with("checkpoint-"));
    if is_checkpoint && is_present(&dir.join("config.json")) {
        return error!(
            ModelNotFound,
            "{name} does not exist, so the pooling is unknown; {} is a checkpoint of a trainer, so copy \
             modules.json and the folders that it names, such as 1_Pooling, into it from the model that \
             was trained, and sentence_bert_config.json if there is one",
            dir.display()
        );
    }
    if is_present(&dir.join("config.json")) {
        return error!(
            ModelNotFound,
            "{name} does not exist, so the pooling is unknown; give a directory that \
             sentence-transformers has saved, or copy modules.json and the folders that it names, such as \
             1_Pooling, from the model that this one was made of"
        );
    }
    error!(
        ModelNotFound,
        "{name} does not exist, so the pooling is unknown; give a directory that \
         sentence-transformers has saved"
    )
}

/// The way from a folder of the Hugging Face cache to the model in it.
fn hub_cache(dir: &Path) -> Option<String> {
    let is_repository = |dir: &Path| dir.join("snapshots").is_dir();
    let repository = match dir.file_name().is_some_and(|name| name == "snapshots") {
        true => dir.parent().filter(|parent| is_repository(parent)),
        false => Some(dir).filter(|dir| is_repository(dir)),
    };
    if let Some(repository) = repository {
        let found = snapshots(repository);
        let Some(first) = found.first() else {
            return Some(format!(
                "{} is a repository in the cache of the Hugging Face hub, and has no snapshot: \
                 download it again",
                repository.display()
            ));
        };
        return Some(format!(
            "{} is a repository in the cache of the Hugging Face hub: give the path of its snapshot, {}",
            repository.display(),
            first.display()
        ));
    }
    let mut repositories = folders(dir);
    repositories.retain(|path| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        name.is_some_and(|name| name.starts_with("models--")) && is_repository(path)
    });
    let found: Vec<PathBuf> =
        repositories.iter().filter_map(|path| snapshots(path).into_iter().next()).collect();
    let listed: Vec<String> =
        found.iter().take(NAMES_MAX).map(|path| path.display().to_string()).collect();
    (!found.is_empty()).then(|| {
        format!(
            "{} is the cache of the Hugging Face hub: give the path of a snapshot in it, {}",
            dir.display(),
            listed.join(" or ")
        )
    })
}

/// The snapshots of a repository: first the revision that the cache calls `main`, then the others
/// from the newest on.
fn snapshots(repository: &Path) -> Vec<PathBuf> {
    let main = std::fs::read_to_string(repository.join("refs/main")).unwrap_or_default();
    let mut found = folders(&repository.join("snapshots"));
    let changed = |path: &PathBuf| path.metadata().and_then(|kind| kind.modified()).ok();
    found.sort_by_cached_key(|path| {
        let is_main = path.file_name().is_some_and(|name| name == main.trim());
        std::cmp::Reverse((is_main, changed(path)))
    });
    found
}

fn folders(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut found: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    found.sort();
    found
}

#[derive(Default, Deserialize)]
struct Architectures {
    architectures: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
struct Task {
    transformer_task: Option<String>,
}

#[derive(Default, Deserialize)]
struct ModelType {
    model_type: Option<String>,
}

/// Whether a directory is that of a model that scores pairs of texts, according to any of its
/// files.
pub(super) fn is_cross_encoder(dir: &Path) -> bool {
    let config: Architectures = read_json_if_present(&dir.join("config.json")).unwrap_or_default();
    let sentence: Task =
        read_json_if_present(&dir.join("sentence_bert_config.json")).unwrap_or_default();
    let own: ModelType =
        read_json_if_present(&dir.join("config_sentence_transformers.json")).unwrap_or_default();
    let classifies = |class: &String| class.ends_with("ForSequenceClassification");
    config
        .architectures
        .is_some_and(|classes| !classes.is_empty() && classes.iter().all(classifies))
        || sentence.transformer_task.as_deref() == Some("sequence-classification")
        || own.model_type.as_deref() == Some("CrossEncoder")
}

pub(super) fn cross_encoder(dir: &Path) -> Error {
    error!(
        Unsupported,
        "{} holds a reranker (cross-encoder) or another classifier, which gives scores and no \
         embeddings; give the directory of an embedding model, such as BAAI/bge-m3",
        dir.display()
    )
}

#[derive(Default, Deserialize)]
struct AdapterJson {
    peft_type: Option<String>,
    base_model_name_or_path: Option<String>,
}

/// Refuses a directory, or the folder of its transformer, that holds an adapter: it needs the
/// weights that it was trained with, and would be missing from every vector.
pub(super) fn check_no_adapter(dirs: [&Path; 2]) -> Result<()> {
    let Some(file) = dirs.iter().map(|dir| dir.join(ADAPTER)).find(|file| is_present(file)) else {
        return Ok(());
    };
    let json: AdapterJson = read_json_if_present(&file).unwrap_or_default();
    let kind = json.peft_type.unwrap_or_else(|| "PEFT".into());
    let base = json.base_model_name_or_path.unwrap_or_else(|| "BASE".into());
    Err(error!(
        Unsupported,
        "{}: this is a {kind} adapter of {base}, which is not applied here; merge it in Python: `m = \
         SentenceTransformer({base:?}); m[0].auto_model = PeftModel.from_pretrained(m[0].auto_model, \
         {:?}).merge_and_unload(); m.save(\"merged\")`, and open that directory",
        file.display(),
        dirs[0].display().to_string()
    ))
}

#[cfg(test)]
mod tests {
    use super::hub_name;

    #[test]
    fn a_name_of_the_hub_is_told_from_a_path() {
        for (text, name) in [
            ("BAAI/bge-m3", "BAAI/bge-m3"),
            ("https://huggingface.co/BAAI/bge-m3", "BAAI/bge-m3"),
            ("https://huggingface.co/BAAI/bge-m3/tree/main", "BAAI/bge-m3"),
            ("hf://intfloat/multilingual-e5-small", ""),
        ] {
            assert_eq!(hub_name(text).unwrap_or_default(), name, "{text}");
        }
        for text in ["./bge-m3", "/models/bge-m3", "a/b/c", "bge-m3", "../x", "a b/c", "x/", ""] {
            assert_eq!(hub_name(text), None, "{text}");
        }
    }
}
