//! The settings of a tokenizer's files.

use super::Fate::{Harmless, Honored, Only};
use super::{File, setting};

/// The settings of XLM-RoBERTa's classes. Those of BERT's have three more.
pub(crate) const TOKENIZER_CONFIG: File = File {
    name: "tokenizer_config.json",
    settings: &[
        setting("tokenizer_class", Honored, r#""PreTrainedTokenizerFast""#, ""),
        setting("model_max_length", Honored, "77", "unless the module says max_seq_length"),
        setting("add_prefix_space", Honored, "false", "since transformers 5"),
        setting("split_special_tokens", Honored, "true", "refused before transformers 5"),
        setting("truncation_side", Honored, r#""left""#, ""),
        setting("bos_token", Honored, r#""ang""#, ""),
        setting("eos_token", Honored, r#""ang""#, ""),
        setting("unk_token", Honored, r#""ang""#, ""),
        setting("sep_token", Honored, r#""ang""#, ""),
        setting("pad_token", Honored, r#""ang""#, ""),
        setting("cls_token", Honored, r#""ang""#, ""),
        setting("mask_token", Honored, r#""ang""#, ""),
        setting("image_token", Honored, r#""ang""#, "as any name that ends in _token"),
        setting("additional_special_tokens", Honored, r#"["ang"]"#, ""),
        setting("extra_special_tokens", Honored, r#"["ang"]"#, "refused before transformers 5"),
        setting(
            "added_tokens_decoder",
            Honored,
            r#"{"9": {"content": "ang", "lstrip": true, "normalized": false}}"#,
            "",
        ),
        setting("from_slow", Only(&["false"]), "true", "another conversion"),
        setting("init_inputs", Only(&[]), r#"["a"]"#, "arguments by their places"),
        setting(
            "auto_map",
            Only(&[]),
            r#"{"AutoTokenizer": ["m.A", null]}"#,
            "code of the author's own",
        ),
        setting("padding_side", Harmless, r#""left""#, "texts are not padded"),
        setting("padding", Harmless, "true", "texts are not padded"),
        setting("pad_to_multiple_of", Harmless, "64", "texts are not padded"),
        setting("pad_token_type_id", Harmless, "1", "texts are not padded"),
        setting("max_length", Harmless, "5", "the module decides"),
        setting("truncation", Harmless, "false", "the module decides"),
        setting("truncation_strategy", Harmless, r#""only_first""#, "of pairs"),
        setting("stride", Harmless, "3", "of what is cut off"),
        setting("add_bos_token", Harmless, "false", "of other classes"),
        setting("add_eos_token", Harmless, "false", "of other classes"),
        setting(
            "do_basic_tokenize",
            Harmless,
            "false",
            "refused beside vocab.txt before transformers 5",
        ),
        setting(
            "never_split",
            Harmless,
            r#"["a"]"#,
            "refused beside vocab.txt before transformers 5",
        ),
        setting("sp_model_kwargs", Harmless, r#"{"enable_sampling": true}"#, "of slow tokenizers"),
        setting("keep_accents", Harmless, "true", "of other classes"),
        setting("clean_up_tokenization_spaces", Harmless, "true", "of decoding"),
        setting("chat_template", Harmless, r#""a""#, "of chats"),
        setting("model_input_names", Harmless, r#"["input_ids"]"#, "the graph decides"),
        setting("processor_class", Harmless, r#""a""#, "of pipelines"),
        setting("name_or_path", Harmless, r#""a""#, "where it came from"),
        setting("tokenizer_file", Harmless, r#""a""#, "where it came from"),
        setting("special_tokens_map_file", Harmless, r#""a""#, "where it came from"),
        setting("use_fast", Harmless, "false", "an argument of a call"),
        setting("legacy", Harmless, "false", "of other classes"),
        setting("backend", Harmless, r#""a""#, "what wrote it"),
        setting("is_local", Harmless, "true", "where it came from"),
        setting("local_files_only", Harmless, "true", "where it came from"),
        setting("do_lower_case", Harmless, "true", "but for BERT"),
        setting("strip_accents", Harmless, "true", "but for BERT"),
        setting("tokenize_chinese_chars", Harmless, "true", "but for BERT"),
    ],
};

#[cfg(test)]
pub(crate) const OF_BERT: File = File {
    name: "tokenizer_config.json for BERT",
    settings: &[
        setting("do_lower_case", Honored, "false", ""),
        setting("strip_accents", Honored, "false", ""),
        setting("tokenize_chinese_chars", Honored, "false", ""),
        setting("cls_token", Honored, r#""[SEP]""#, ""),
        setting("sep_token", Honored, r#""[CLS]""#, ""),
        setting("add_prefix_space", Harmless, "false", "of other classes"),
    ],
};

/// Ignored if `tokenizer_config.json` has `added_tokens_decoder`.
#[cfg(test)]
pub(crate) const SPECIAL_TOKENS_MAP: File = File {
    name: "special_tokens_map.json",
    settings: &[
        setting(
            "bos_token",
            Honored,
            r#"{"content": "ang", "lstrip": true, "normalized": false}"#,
            "",
        ),
        setting("eos_token", Honored, r#""ang""#, ""),
        setting("unk_token", Honored, r#""ang""#, ""),
        setting("sep_token", Honored, r#""ang""#, ""),
        setting("pad_token", Honored, r#""ang""#, ""),
        setting("cls_token", Honored, r#""ang""#, ""),
        setting("mask_token", Honored, r#""ang""#, ""),
        setting("additional_special_tokens", Honored, r#"["ang"]"#, ""),
    ],
};

#[cfg(test)]
pub(crate) const ADDED_TOKENS: File = File {
    name: "added_tokens.json",
    settings: &[setting("ang", Honored, "9", "as any other token with its id")],
};

/// The file may be missing, as it mostly is.
#[cfg(test)]
pub(crate) const TOKENIZER_JSON: File = File {
    name: "tokenizer.json",
    settings: &[
        setting("version", Only(&[r#""1.0""#, "null"]), r#""2.0""#, ""),
        setting(
            "truncation",
            Honored,
            r#"{"direction": "Left", "max_length": 5, "strategy": "LongestFirst", "stride": 0}"#,
            "its direction; the module decides the rest",
        ),
        setting(
            "padding",
            Harmless,
            r#"{"strategy": {"Fixed": 99}, "direction": "Left", "pad_to_multiple_of": null, "pad_id": 1, "pad_type_id": 0, "pad_token": "<pad>"}"#,
            "texts are not padded",
        ),
        setting("decoder", Harmless, "null", "of decoding"),
    ],
};

/// The files that have these settings, each for a model of the tests.
#[cfg(test)]
pub(super) const FILES: [(&str, &File); 5] = [
    ("cls", &TOKENIZER_CONFIG),
    ("bert-uncased", &OF_BERT),
    ("cls", &SPECIAL_TOKENS_MAP),
    ("cls", &ADDED_TOKENS),
    ("cls", &TOKENIZER_JSON),
];
