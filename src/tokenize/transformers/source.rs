//! The contents of the file with the vocabulary, before special tokens and rules are applied.

use tokenizers::normalizers::BertNormalizer;
use tokenizers::{AddedToken, NormalizerWrapper};

use crate::model_dir::{TransformersRules, VocabularyFormat};
use crate::tokenize::file::TokenizerFile;
use crate::tokenize::normalizer::Normalizer;

/// The id of the unknown token of every class that has a Unigram model, whatever a file says.
pub(super) const UNKNOWN_ID: u32 = 3;
pub(super) const WORD_CHARS_MAX: usize = 100;

/// The contents of the file with the vocabulary.
pub(super) struct Source {
    pub format: VocabularyFormat,
    pub file: TokenizerFile,
    /// The symbols that a SentencePiece model defines itself.
    pub symbols: Vec<AddedToken>,
}

/// The normalizer of BERT, with the settings of `tokenizer_config.json`.
pub(super) fn bert_normalizer(rules: &TransformersRules, clean_text: bool) -> Normalizer {
    let settings = &rules.settings;
    let step = BertNormalizer::new(
        clean_text,
        settings.tokenize_chinese_chars.unwrap_or(true),
        settings.strip_accents,
        settings.do_lower_case.unwrap_or(true),
    );
    NormalizerWrapper::from(step).into()
}
