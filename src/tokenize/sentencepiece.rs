//! Reads the pieces of a SentencePiece model, such as `sentencepiece.bpe.model`.

use prost::Message;

use crate::error::{Result, error};

/// Types of pieces that are matched as a whole.
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
/// The number of the algorithm Unigram.
const UNIGRAM: i32 = 1;

/// The parts of the file that decide tokens.
pub(super) struct SentencePiece {
    /// The pieces with their scores, by their ids.
    pub pieces: Vec<(String, f64)>,
    /// The symbols that are matched in a text before any other step, and whether they are special.
    pub symbols: Vec<(String, bool)>,
    /// The character map. Empty if there is none.
    pub charsmap: Vec<u8>,
}

#[derive(Message)]
struct ModelProto {
    #[prost(message, repeated, tag = "1")]
    pieces: Vec<Piece>,
    #[prost(message, optional, tag = "2")]
    trainer_spec: Option<TrainerSpec>,
    #[prost(message, optional, tag = "3")]
    normalizer_spec: Option<NormalizerSpec>,
}

#[derive(Message)]
struct Piece {
    #[prost(string, tag = "1")]
    piece: String,
    #[prost(float, tag = "2")]
    score: f32,
    #[prost(int32, optional, tag = "3")]
    kind: Option<i32>,
}

#[derive(Message)]
struct TrainerSpec {
    #[prost(int32, optional, tag = "3")]
    model_type: Option<i32>,
}

#[derive(Message)]
struct NormalizerSpec {
    #[prost(bytes = "vec", tag = "2")]
    precompiled_charsmap: Vec<u8>,
}

impl SentencePiece {
    /// Reads the model. Errors name the file by `file`.
    pub fn read(bytes: &[u8], file: &str) -> Result<Self> {
        let model = ModelProto::decode(bytes)
            .map_err(|e| error!(ModelInvalid, "{file} is not a model of SentencePiece: {e}"))?;
        let kind = model.trainer_spec.and_then(|spec| spec.model_type).unwrap_or(UNIGRAM);
        if kind != UNIGRAM {
            return Err(error!(
                Unsupported,
                "{file}: the model_type is {kind}; only {UNIGRAM}, Unigram, is supported"
            ));
        }
        let is_symbol = |piece: &&Piece| matches!(piece.kind, Some(CONTROL | USER_DEFINED));
        let symbols = model.pieces.iter().filter(is_symbol);
        let symbols =
            symbols.map(|piece| (piece.piece.clone(), piece.kind == Some(CONTROL))).collect();
        let charsmap = model.normalizer_spec.map(|spec| spec.precompiled_charsmap);
        let pieces = model.pieces.into_iter();
        Ok(Self {
            pieces: pieces.map(|piece| (piece.piece, f64::from(piece.score))).collect(),
            symbols,
            charsmap: charsmap.unwrap_or_default(),
        })
    }
}
