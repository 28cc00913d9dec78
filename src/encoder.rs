//! What runs a model: its author's weights on packed rows, or an export on padded ones.

use crate::error::{Result, error};
use crate::heads::Missing;
use crate::model_dir::{EncoderConfig, Export, ModelDir, Network, Weights};
use crate::outputs::TextOutput;
use crate::runtime::{EncoderSession, ExportSession, Roles, SessionOptions, Wanted};
use crate::schedule::{PackedEncoder, PaddedEncoder, Request};
use crate::tokenize::Tokenizer;

/// Gives what is wanted of each text.
type Encode = Box<dyn FnMut(&[Request<'_>]) -> Result<Vec<Result<TextOutput>>> + Send>;

pub(crate) struct Encoder {
    pub encode: Encode,
    pub made: Made,
}

/// What an encoder makes of a text.
pub(crate) struct Made {
    pub dense_dim: usize,
    /// Zero: no token embeddings.
    pub token_dim: usize,
    /// Zero: no multi-vectors.
    pub multi_dim: usize,
    pub missing: Missing,
    /// Whether vectors are to be scaled to length 1.
    pub normalize: bool,
    /// Whether the pooling is part of the graph.
    pub is_pooled: bool,
    /// The longest text that it takes.
    pub length_max: Option<usize>,
    pub precision: &'static str,
}

impl Encoder {
    pub fn open(
        dir: &ModelDir,
        tokenizer: &Tokenizer,
        options: &SessionOptions,
        wanted: Wanted,
    ) -> Result<Self> {
        match &dir.network {
            Network::Weights { config, weights } => packed(dir, config, weights, options, wanted),
            Network::Export(export) => padded(dir, export, tokenizer, options, wanted),
        }
    }
}

fn packed(
    dir: &ModelDir,
    config: &EncoderConfig,
    weights: &Weights,
    options: &SessionOptions,
    wanted: Wanted,
) -> Result<Encoder> {
    let multi = dir.heads.multi.linear();
    let multi_dim = multi.map_or(0, |head| head.rows);
    let pooling = dir.pooling.ok_or_else(|| error!(Internal, "weights without a pooling"))?;
    let mut encoder = PackedEncoder {
        session: EncoderSession::open(config, weights, multi, options, wanted)?,
        pooling,
        hidden: config.hidden,
        numbering: config.numbering,
        sparse: dir.heads.sparse.linear().cloned(),
        multi_dim,
    };
    Ok(Encoder {
        encode: Box::new(move |texts| encoder.encode(texts)),
        made: Made {
            dense_dim: config.hidden,
            token_dim: config.hidden,
            multi_dim,
            missing: Missing::of(&dir.heads),
            normalize: dir.normalize,
            is_pooled: false,
            length_max: None,
            precision: "fp32",
        },
    })
}

fn padded(
    dir: &ModelDir,
    export: &Export,
    tokenizer: &Tokenizer,
    options: &SessionOptions,
    wanted: Wanted,
) -> Result<Encoder> {
    let file = export.file.display();
    let pad_id = export.config.pad_id().or_else(|| tokenizer.pad_id()).ok_or_else(|| {
        error!(
            ModelNotFound,
            "{file}: neither config.json nor the tokenizer says which token is padding; copy \
             config.json beside it"
        )
    })?;
    let session =
        ExportSession::open(export.graph()?, &export.file, pad_id.into(), options, wanted)?;
    let Roles { dense, hidden, sparse, multi } = session.roles();
    if dense.is_none() && dir.pooling.is_none() {
        return Err(error!(
            Unsupported,
            "{file} gives the states of tokens only, and without modules.json the pooling is \
             unknown; copy modules.json and 1_Pooling from the model that it was made of"
        ));
    }
    if let (Some(states), Some(said)) = (hidden, export.config.hidden())
        && states.width != said
    {
        return Err(error!(
            ModelInvalid,
            "{file} gives states of {} numbers, but config.json has hidden_size {said}; they do \
             not belong together",
            states.width
        ));
    }
    // Heads in files are of use to an export that gives states.
    let of_states = |head| hidden.and(head);
    let sparse_head = of_states(dir.heads.sparse.linear()).filter(|_| sparse.is_none());
    let multi_head = of_states(dir.heads.multi.linear()).filter(|_| multi.is_none());
    let missing = Missing::of_export(&export.file, &session.roles(), &dir.heads);
    let made = Made {
        dense_dim: dense.or(hidden).map_or(0, |rows| rows.width),
        token_dim: hidden.map_or(0, |rows| rows.width),
        multi_dim: multi.map_or(multi_head.map_or(0, |head| head.rows), |rows| rows.width),
        missing,
        // bge-m3 with all its heads is FlagEmbedding's, whose vectors have length 1 though not
        // every export scales them.
        normalize: dir.normalize || sparse.is_some() || multi.is_some(),
        is_pooled: dense.is_some(),
        length_max: session.fixed_length(),
        precision: export.precision,
    };
    let mut encoder = PaddedEncoder {
        session,
        pooling: dir.pooling,
        pad_id,
        numbering: export.config.numbering(pad_id),
        alone: export.alone,
        sparse: sparse_head.cloned(),
        multi: multi_head.cloned(),
    };
    Ok(Encoder { encode: Box::new(move |texts| encoder.encode(texts)), made })
}
