//! Vocabularies without a `tokenizer.json`, as transformers converts them.

use ahash::AHashMap;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::replace::ReplacePattern;
use tokenizers::normalizers::{Replace, Strip};
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::{AddedToken, NormalizerWrapper};

use super::source::{UNKNOWN_ID, WORD_CHARS_MAX, bert_normalizer};
use super::special_tokens::{Token, named_by_config};
use crate::error::{Result, error};
use crate::model_dir::{TokenizerClass, Transformers, TransformersRules};
use crate::tokenize::char_map::CharMap;
use crate::tokenize::file::{TokenizerFile, is_not_usable, vocabulary_error};
use crate::tokenize::model::Segmenter;
use crate::tokenize::normalizer::{Normalizer, Step};
use crate::tokenize::sentencepiece::SentencePiece;
use crate::tokenize::unigram::{Unigram, Vocab};

/// The pieces of the vocabulary with fairseq's ids: its own special tokens first, `<mask>` last.
pub(super) fn from_sentencepiece(
    bytes: &[u8],
    rules: &TransformersRules,
    name: &str,
) -> Result<(TokenizerFile, Vec<AddedToken>)> {
    let model = SentencePiece::read(bytes, name)?;
    let init = named_by_config(rules);
    let text = |key: &str, default: &str| match (rules.version, init.get(key)) {
        (Transformers::Since5, Some(token)) => token.content().to_string(),
        _ => default.to_string(),
    };
    let (first, skipped) = match rules.class {
        TokenizerClass::Camembert => (
            vec![
                ("<s>NOTUSED".into(), 0.0),
                (text("pad_token", "<pad>"), 0.0),
                ("</s>NOTUSED".into(), 0.0),
                (text("unk_token", "<unk>"), 0.0),
                ("<unk>NOTUSED".into(), -100.0),
            ],
            1,
        ),
        _ => (
            vec![
                (text("bos_token", "<s>"), 0.0),
                (text("pad_token", "<pad>"), 0.0),
                (text("eos_token", "</s>"), 0.0),
                (text("unk_token", "<unk>"), 0.0),
            ],
            3,
        ),
    };
    let mask = (text("mask_token", "<mask>"), 0.0);
    let mut vocab = Vocab::default();
    for (piece, score) in first.iter().chain(model.pieces.iter().skip(skipped)).chain([&mask]) {
        vocab.push(piece, *score).map_err(|e| vocabulary_error(name, e))?;
    }
    let unigram = Unigram::new(vocab, Some(UNKNOWN_ID as usize), false)
        .map_err(|e| vocabulary_error(name, e))?;
    let mut steps = Vec::new();
    if !model.charsmap.is_empty() {
        steps.push(Step::CharMap(CharMap::new(model.charsmap, name)?));
    }
    steps.push(NormalizerWrapper::from(Strip::new(false, true)).into());
    let spaces = Replace::new(ReplacePattern::Regex(" {2,}".into()), "▁");
    let spaces = spaces.map_err(|e| is_not_usable(name, &e))?;
    steps.push(NormalizerWrapper::from(spaces).into());
    let symbol = |(text, special): &(String, bool)| {
        AddedToken::from(text.clone(), *special).normalized(false) //
    };
    let file = TokenizerFile {
        segmenter: Segmenter::Unigram(unigram),
        normalizer: Some(Normalizer::new(steps)),
        pre_tokenizer: Some(Metaspace::new('▁', PrependScheme::Always, true).into()),
        post_processor: None,
        added_tokens: Vec::new(),
        cuts_left: false,
    };
    Ok((file, model.symbols.iter().map(symbol).collect()))
}

/// The vocabulary of BERT's first files: one token on each line.
pub(super) fn from_lines(
    bytes: &[u8],
    rules: &TransformersRules,
    name: &str,
) -> Result<TokenizerFile> {
    let text = std::str::from_utf8(bytes)
        .map_err(|e| error!(ModelInvalid, "{name} is not UTF-8, from byte {}", e.valid_up_to()))?;
    let token = |line: &str| match rules.version {
        Transformers::Before5 => line.to_string(),
        Transformers::Since5 => line.trim_end().to_string(),
    };
    let words: AHashMap<String, u32> =
        text.lines().zip(0..).map(|(line, id)| (token(line), id)).collect();
    let init = named_by_config(rules);
    let words = WordPiece::builder()
        .vocab(words)
        .unk_token(init.get("unk_token").map_or("[UNK]", Token::content).into())
        .max_input_chars_per_word(WORD_CHARS_MAX)
        .build()
        .map_err(|e| is_not_usable(name, &e))?;
    Ok(TokenizerFile {
        segmenter: Segmenter::WordPiece(words),
        normalizer: Some(bert_normalizer(rules, true)),
        pre_tokenizer: Some(BertPreTokenizer.into()),
        post_processor: None,
        added_tokens: Vec::new(),
        cuts_left: false,
    })
}
