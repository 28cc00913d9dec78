//! The pipeline that transformers builds from the files of a tokenizer.
//!
//! Before version 5 it runs `tokenizer.json`, or converts a vocabulary to one, and adds the tokens
//! of `tokenizer_config.json` and the files beside it. Since version 5 each class builds its
//! pipeline from the vocabulary and the character map alone. The steps below are those of
//! transformers 4.41 to 4.57 and of 5.23, in their order, since the order of additions decides ids.

mod source;
mod special_tokens;
mod vocabulary;

use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizers;
use tokenizers::pre_tokenizers::whitespace::WhitespaceSplit;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{NormalizerWrapper, PreTokenizerWrapper};

use super::file::{TokenizerFile, is_not_usable};
use super::limits;
use super::model::{Pipeline, Segmenter};
use super::normalizer::Normalizer;
use crate::error::{Error, Result, error};
use crate::model_dir::{
    TokenizerClass, Transformers, TransformersRules, Vocabulary, VocabularyFormat,
};
use source::{Source, UNKNOWN_ID, WORD_CHARS_MAX, bert_normalizer};
use special_tokens::SpecialTokens;
use vocabulary::{from_lines, from_sentencepiece};

/// Builds the pipeline. Returns also whether long texts are truncated at their beginning. Errors
/// name the vocabulary by `file`.
pub(super) fn pipeline(
    vocabulary: &Vocabulary,
    rules: &TransformersRules,
    file: &str,
) -> Result<(Pipeline, bool)> {
    let mut source = Source::read(vocabulary, rules, file)?;
    let cuts_left = rules.settings.cuts_left(&rules.config_file)?;
    let cuts_left = cuts_left.unwrap_or(source.file.cuts_left);
    let tokens = SpecialTokens::read(rules, &mut source)?;
    let pipeline = match (rules.version, rules.class) {
        (Transformers::Before5, _) | (_, TokenizerClass::Generic) => {
            source.into_pipeline(rules, file)?
        }
        (Transformers::Since5, TokenizerClass::Bert) => source.bert(rules, &tokens, file)?,
        (Transformers::Since5, TokenizerClass::XlmRoberta | TokenizerClass::Camembert) => {
            source.unigram(rules, &tokens, file)?
        }
    };
    let pipeline = finish(pipeline, vocabulary.format, rules, &tokens, file)?;
    Ok((pipeline, cuts_left))
}

/// Adds the special tokens, and the template that needs their ids.
fn finish(
    mut pipeline: Pipeline,
    format: VocabularyFormat,
    rules: &TransformersRules,
    tokens: &SpecialTokens,
    file: &str,
) -> Result<Pipeline> {
    let fault = |e: tokenizers::Error| is_not_usable(file, &e);
    let added = tokens.to_add(rules.version, &pipeline);
    for token in &added {
        limits::check_longest_token(token.content.chars().count(), file)?;
    }
    pipeline.add_tokens(added).map_err(fault)?;
    pipeline.set_encode_special_tokens(rules.settings.split_special_tokens == Some(true));
    let ends = match rules.class {
        TokenizerClass::Bert => ["cls_token", "sep_token"],
        TokenizerClass::XlmRoberta | TokenizerClass::Camembert => ["bos_token", "eos_token"],
        TokenizerClass::Generic => return Ok(pipeline),
    };
    if rules.version == Transformers::Before5 && format == VocabularyFormat::TokenizerJson {
        // The file has a template of its own, or none.
        return Ok(pipeline);
    }
    let [before, after] = ends.map(|name| tokens.named(name).unwrap_or_default().to_string());
    let id = |token: &str| {
        pipeline.token_to_id(token).ok_or_else(|| {
            error!(ModelInvalid, "{file}: the vocabulary lacks the special token {token:?}")
        })
    };
    let template = |before_id, after_id| {
        TemplateProcessing::builder()
            .try_single(vec![format!("{before}:0"), "$A:0".into(), format!("{after}:0")])
            .map_err(|e| e.to_string())?
            .special_tokens(vec![(before.clone(), before_id), (after.clone(), after_id)])
            .build()
            .map_err(|e| e.to_string())
    };
    let template = template(id(&before)?, id(&after)?)
        .map_err(|e| error!(ModelInvalid, "{file}: the special tokens around a text: {e}"))?;
    pipeline.with_post_processor(Some(template));
    Ok(pipeline)
}

impl Source {
    fn read(vocabulary: &Vocabulary, rules: &TransformersRules, name: &str) -> Result<Self> {
        let bytes = &vocabulary.bytes;
        let (file, symbols) = match vocabulary.format {
            VocabularyFormat::TokenizerJson => (TokenizerFile::read(bytes, name)?, Vec::new()),
            VocabularyFormat::SentencePiece => from_sentencepiece(bytes, rules, name)?,
            VocabularyFormat::Lines => (from_lines(bytes, rules, name)?, Vec::new()),
        };
        Ok(Self { format: vocabulary.format, file, symbols })
    }

    /// The pipeline of the file. Only BERT's handling of case and accents comes from
    /// `tokenizer_config.json`.
    fn into_pipeline(mut self, rules: &TransformersRules, name: &str) -> Result<Pipeline> {
        let own = self.file.normalizer.as_ref().and_then(Normalizer::only_step);
        if let (TokenizerClass::Bert, Some(NormalizerWrapper::BertNormalizer(own))) =
            (rules.class, own)
        {
            self.file.normalizer = Some(bert_normalizer(rules, own.clean_text));
        }
        self.file.into_pipeline(name)
    }

    /// The pipeline of XLM-RoBERTa and CamemBERT since transformers 5: words are divided at white
    /// space, each with a mark before it.
    fn unigram(
        self,
        rules: &TransformersRules,
        tokens: &SpecialTokens,
        name: &str,
    ) -> Result<Pipeline> {
        let Segmenter::Unigram(unigram) = self.file.segmenter else {
            return Err(wrong_model(rules, "Unigram", name));
        };
        let unknown = match rules.class {
            TokenizerClass::Camembert => {
                let text = tokens.named("unk_token").unwrap_or("<unk>");
                unigram.pieces().iter().position(|piece| piece == text).unwrap_or(0) as u32
            }
            _ => UNKNOWN_ID,
        };
        let unigram = unigram.with_unknown(unknown).map_err(|e| {
            error!(ModelInvalid, "{name}: the unknown token has the id {unknown}, but {e}")
        })?;
        let scheme = match rules.settings.add_prefix_space.unwrap_or(true) {
            true => PrependScheme::Always,
            false => PrependScheme::Never,
        };
        let words: [PreTokenizerWrapper; 2] =
            [WhitespaceSplit.into(), Metaspace::new('▁', scheme, true).into()];
        let mut pipeline = Pipeline::new(Segmenter::Unigram(unigram));
        pipeline
            .with_normalizer(self.file.normalizer.and_then(Normalizer::char_map))
            .map_err(|e| is_not_usable(name, &e))?
            .with_pre_tokenizer(Some(PreTokenizers::new(words.into())));
        Ok(pipeline)
    }

    /// The pipeline of BERT since transformers 5.
    fn bert(
        self,
        rules: &TransformersRules,
        tokens: &SpecialTokens,
        name: &str,
    ) -> Result<Pipeline> {
        let Segmenter::WordPiece(mut words) = self.file.segmenter else {
            return Err(wrong_model(rules, "WordPiece", name));
        };
        words.unk_token = tokens.named("unk_token").unwrap_or("[UNK]").into();
        words.continuing_subword_prefix = "##".into();
        words.max_input_chars_per_word = WORD_CHARS_MAX;
        let mut pipeline = Pipeline::new(Segmenter::WordPiece(words));
        pipeline
            .with_normalizer(Some(bert_normalizer(rules, true)))
            .map_err(|e| is_not_usable(name, &e))?
            .with_pre_tokenizer(Some(BertPreTokenizer));
        Ok(pipeline)
    }
}

fn wrong_model(rules: &TransformersRules, wanted: &str, name: &str) -> Error {
    error!(
        Unsupported,
        "{name} does not hold the {wanted} model that the class of the tokenizer has; tokenizer_class \
         in {} may name another",
        rules.config_file.display()
    )
}
