//! The pipeline of the crate `tokenizers`, with this library's Unigram model.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use tokenizers::models::TrainerWrapper;
use tokenizers::models::unigram::UnigramTrainer;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::{
    DecoderWrapper, Model, PostProcessorWrapper, PreTokenizerWrapper, Token, TokenizerImpl,
};

use super::normalizer::Normalizer;
use super::unigram::Unigram;

pub(super) type Pipeline =
    TokenizerImpl<Segmenter, Normalizer, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;

/// The model that divides words into tokens. Other models are not supported, since it is not known
/// how much text settles one of their tokens.
pub(super) enum Segmenter {
    Unigram(Unigram),
    WordPiece(WordPiece),
}

impl Segmenter {
    /// The highest id plus one, and the characters of the longest token.
    pub fn extent(&self) -> (usize, usize) {
        let length = |token: &str| token.chars().count();
        match self {
            Self::Unigram(model) => {
                let pieces = model.pieces();
                (pieces.len(), pieces.iter().map(length).max().unwrap_or(0))
            }
            Self::WordPiece(model) => {
                let vocab = model.get_vocab();
                let highest = vocab.values().max().map_or(0, |&id| id as usize + 1);
                (highest, vocab.keys().map(|token| length(token)).max().unwrap_or(0))
            }
        }
    }
}

impl Model for Segmenter {
    type Trainer = TrainerWrapper;

    fn tokenize(&self, word: &str) -> tokenizers::Result<Vec<Token>> {
        match self {
            Self::Unigram(model) => model.tokenize(word),
            Self::WordPiece(model) => model.tokenize(word),
        }
    }

    fn token_to_id(&self, token: &str) -> Option<u32> {
        match self {
            Self::Unigram(model) => model.id(token),
            Self::WordPiece(model) => model.token_to_id(token),
        }
    }

    fn id_to_token(&self, id: u32) -> Option<String> {
        match self {
            Self::Unigram(model) => model.pieces().get(id as usize).map(Into::into),
            Self::WordPiece(model) => model.id_to_token(id),
        }
    }

    fn get_vocab(&self) -> HashMap<String, u32> {
        match self {
            Self::Unigram(model) => {
                (0..).zip(model.pieces().iter()).map(|(id, p)| (p.into(), id)).collect()
            }
            Self::WordPiece(model) => model.get_vocab(),
        }
    }

    fn get_vocab_size(&self) -> usize {
        match self {
            Self::Unigram(model) => model.pieces().len(),
            Self::WordPiece(model) => model.get_vocab_size(),
        }
    }

    fn save(&self, _folder: &Path, _prefix: Option<&str>) -> tokenizers::Result<Vec<PathBuf>> {
        Err("a tokenizer is only read here".into())
    }

    fn get_trainer(&self) -> TrainerWrapper {
        UnigramTrainer::default().into()
    }
}
