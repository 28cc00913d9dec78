//! Whether the two files that say what happens to the letters of BERT say the same.
//!
//! transformers builds BERT's normaliser by `tokenizer_config.json`, whatever `tokenizer.json` says;
//! this library runs `tokenizer.json`. Where they differ, so would the vectors.

use std::path::Path;

use serde::Deserialize;

use super::{parse_json, read_json_if_present};
use crate::error::{Result, error};

#[derive(Default, Deserialize)]
struct TokenizerConfigJson {
    tokenizer_class: Option<String>,
    do_lower_case: Option<bool>,
    strip_accents: Option<bool>,
    tokenize_chinese_chars: Option<bool>,
}

#[derive(Deserialize)]
struct TokenizerJson {
    normalizer: Normalizer,
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum Normalizer {
    BertNormalizer {
        clean_text: bool,
        handle_chinese_chars: bool,
        strip_accents: Option<bool>,
        lowercase: bool,
    },
}

/// `tokenizer_json` is what `tokenizer_file` holds.
pub(super) fn check(dir: &Path, tokenizer_file: &Path, tokenizer_json: &[u8]) -> Result<()> {
    // Another normaliser, or no tokenizer at all: both are for others to judge.
    let Ok(TokenizerJson { normalizer }) = parse_json(tokenizer_json) else { return Ok(()) };
    let Normalizer::BertNormalizer { clean_text, handle_chinese_chars, strip_accents, lowercase } =
        normalizer;
    let file = dir.join("tokenizer_config.json");
    let said: TokenizerConfigJson = read_json_if_present(&file)?;
    let class = said.tokenizer_class.as_deref().unwrap_or("BertTokenizer");
    if !["BertTokenizer", "BertTokenizerFast"].contains(&class) {
        return Ok(());
    }
    // The defaults are those of transformers' BertTokenizer.
    let lower = said.do_lower_case.unwrap_or(true);
    let chinese = said.tokenize_chinese_chars.unwrap_or(true);
    let accents = (said.strip_accents.unwrap_or(lower), strip_accents.unwrap_or(lowercase));
    for (key, (said, found), name) in [
        ("do_lower_case", (lower, lowercase), "lowercase"),
        ("tokenize_chinese_chars", (chinese, handle_chinese_chars), "handle_chinese_chars"),
        ("strip_accents", accents, "strip_accents"),
        ("clean_text", (true, clean_text), "clean_text"),
    ] {
        if said != found {
            return Err(error!(
                ModelInvalid,
                "{}: {key} is {said}, as it is unless that file says otherwise, but {name} in {} \
                 is {found}; save the tokenizer again with one meaning",
                file.display(),
                tokenizer_file.display()
            ));
        }
    }
    Ok(())
}
