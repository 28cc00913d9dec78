//! What runs a model: its author's weights on packed rows, or an export on padded ones.

use std::sync::Arc;

use crate::device::{ComputeType, Device};
use crate::error::{Result, error};
use crate::heads::Missing;
use crate::kernels::linear;
use crate::log::{self, LogLevel};
use crate::model_dir::{
    EncoderConfig, Export, ModelDir, Module, Network, Pooling, SentenceModules, Weights,
};
use crate::runtime::{self, EncoderSession, ExportSession, Prepared, Roles, SessionOptions};
use crate::schedule::{BatchEncoder, PackedEncoder, PaddedEncoder};

pub(crate) struct Encoder {
    pub encoder: Arc<dyn BatchEncoder>,
    pub made: Made,
}

/// What an encoder makes of a text.
pub(crate) struct Made {
    /// The length of a vector that nothing is cut from.
    pub dense_dim: usize,
    /// Zero: no token embeddings.
    pub token_dim: usize,
    /// Zero: no multi-vectors.
    pub multi_dim: usize,
    pub missing: Missing,
    /// The pooling modes.
    pub pooling: String,
    /// Whether pooling reads the rows of a prompt, too.
    pub include_prompt: bool,
    /// The transformer, the pooling, and what follows, in words.
    pub modules: Vec<String>,
    /// Whether vectors have length 1.
    pub normalized: bool,
    /// The longest text that it takes.
    pub length_max: Option<usize>,
    pub precision: &'static str,
}

impl Encoder {
    /// On so many devices, the first of which the options have. `pad_id` is the padding of the
    /// tokenizer, which an export needs if config.json has none.
    pub fn open(
        dir: &ModelDir,
        pad_id: Option<u32>,
        options: &SessionOptions,
        devices: usize,
    ) -> Result<Self> {
        let sentence = dir.sentence.clone();
        match &dir.network {
            Network::Weights { config, weights } => {
                packed(dir, config, weights, sentence, options, devices)
            }
            Network::Export(export) => padded(dir, export, sentence, pad_id, options),
        }
    }
}

/// What is stored in integers is multiplied in integers, whatever was asked for.
pub(crate) fn computed_in(weights: &Weights, wanted: ComputeType) -> ComputeType {
    if weights.quantized { ComputeType::Int8 } else { wanted }
}

/// Refuses what a device cannot do.
fn check_device(
    weights: &Weights,
    compute_type: ComputeType,
    options: &SessionOptions,
) -> Result<()> {
    let SessionOptions { device, .. } = *options;
    match (device, compute_type) {
        (Device::Cpu, ComputeType::Fp16 | ComputeType::Tf32 | ComputeType::Bf16) => Err(error!(
            Unsupported,
            "compute_type is {}, which a GPU has and the CPU has not; set device, or take fp32 or int8",
            compute_type.name()
        )),
        (_, ComputeType::Int8) if device != Device::Cpu && weights.quantized => Err(error!(
            Unsupported,
            "{}: the weights are integers of 8 bits, which the CPU multiplies and {device} does not; \
             open the weights that they were made of",
            weights.folder
        )),
        (Device::Cuda(_), ComputeType::Int8) => Err(error!(
            Unsupported,
            "compute_type is int8, which the CPU has and {device} has not; take fp16, tf32 or fp32"
        )),
        (Device::Cuda(_), ComputeType::Bf16) => Err(error!(
            Unsupported,
            "compute_type is bf16, in which ONNX Runtime has no attention over packed rows; take fp16, \
             tf32 or fp32, or the device tensorrt"
        )),
        (Device::TensorRt(_), ComputeType::Int8 | ComputeType::Fp32 | ComputeType::Tf32) => {
            Err(error!(
                Unsupported,
                "compute_type is {}, but engines for {device} are built in fp16 or bf16; set \
                 compute_type, or take the device cuda",
                compute_type.name()
            ))
        }
        (Device::Cuda(_) | Device::TensorRt(_), _) if options.keep_weights_mapped => Err(error!(
            Unsupported,
            "small_memory leaves weights in their file, but {device} needs them in its own memory; \
             open without it"
        )),
        _ => Ok(()),
    }
}

/// The same options for each of so many devices.
fn on_each(
    options: &SessionOptions,
    devices: usize,
) -> impl Iterator<Item = SessionOptions> + use<'_> {
    let on = |place| SessionOptions { device: options.device.after(place), ..options.clone() };
    (0..devices).map(on)
}

/// Builds beforehand what a device needs of a model. GPUs of one kind need the same.
pub(crate) fn prepare(
    dir: &ModelDir,
    options: &SessionOptions,
    devices: usize,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<Prepared>> {
    let Network::Weights { config, weights } = &dir.network else {
        return Err(error!(
            Unsupported,
            "an ONNX export runs on the CPU, for which nothing has to be prepared"
        ));
    };
    let compute_type = computed_in(weights, options.compute_type);
    check_device(weights, compute_type, options)?;
    let multi = dir.heads.multi.linear();
    on_each(options, devices)
        .map(|on| runtime::prepare(config, weights, multi, compute_type, &on, progress))
        .collect()
}

fn packed(
    dir: &ModelDir,
    config: &EncoderConfig,
    weights: &Weights,
    sentence: Option<SentenceModules>,
    options: &SessionOptions,
    devices: usize,
) -> Result<Encoder> {
    if !linear::int8_is_worth_it() {
        if weights.quantized {
            log::line(LogLevel::Warn, || {
                format!(
                    "{}: the weights are integers of 8 bits, and this processor has neither AVX-512 \
                     VNNI nor AVX2, so those that they were made of would be faster",
                    weights.folder
                )
            });
        } else if options.compute_type == ComputeType::Int8 {
            return Err(error!(
                Unsupported,
                "compute_type is int8, but this processor has neither AVX-512 VNNI nor AVX2, so it \
                 would be slower than fp32, the default"
            ));
        }
    }
    let compute_type = computed_in(weights, options.compute_type);
    check_device(weights, compute_type, options)?;
    if let (true, Some(name)) = (options.keep_weights_mapped, weights.of_16_bits()) {
        return Err(error!(
            Unsupported,
            "{}: small_memory leaves weights in their file, but {name} is stored in 16 bits and \
             computed in 32, so all of it would be in memory again; open without small_memory, or \
             store the model in fp32",
            weights.folder
        ));
    }
    let multi = dir.heads.multi.linear();
    let multi_dim = multi.map_or(0, |head| head.rows);
    let SentenceModules { pooling, modules, dim } =
        sentence.ok_or_else(|| error!(Internal, "weights without a pooling"))?;
    let made = Made {
        dense_dim: dim,
        token_dim: config.hidden,
        multi_dim,
        missing: Missing::of(&dir.heads),
        pooling: pooling.name(),
        include_prompt: pooling.include_prompt,
        modules: names(&modules),
        normalized: ends_normalized(&modules),
        length_max: None,
        precision: compute_type.name(),
    };
    let session = |on: SessionOptions| {
        let session = EncoderSession::open(config, weights, multi, compute_type, &on)?;
        Ok((on.device, session))
    };
    let encoder = PackedEncoder {
        sessions: on_each(options, devices).map(session).collect::<Result<_>>()?,
        pooling,
        modules,
        hidden: config.hidden,
        compute_type,
        numbering: config.numbering,
        sparse: dir.heads.sparse.linear().cloned(),
        multi_dim,
    };
    Ok(Encoder { encoder: Arc::new(encoder), made })
}

fn padded(
    dir: &ModelDir,
    export: &Export,
    sentence: Option<SentenceModules>,
    pad_id: Option<u32>,
    options: &SessionOptions,
) -> Result<Encoder> {
    let file = export.file.display();
    if options.device != Device::Cpu {
        return Err(error!(
            Unsupported,
            "{file}: device is {}, but an ONNX export runs on the CPU; open the weights that it was \
             made of",
            options.device
        ));
    }
    if options.compute_type != ComputeType::default() {
        return Err(error!(
            Unsupported,
            "{file}: compute_type is {}, but an ONNX export computes in what its author chose; leave \
             it at the default, or open the weights that it was made of",
            options.compute_type.name()
        ));
    }
    let pad_id = export.config.pad_id().or(pad_id).ok_or_else(|| {
        error!(
            ModelNotFound,
            "{file}: neither config.json nor the tokenizer says which token is padding; copy \
             config.json beside it"
        )
    })?;
    let session = ExportSession::open(export, pad_id.into(), options)?;
    let Roles { dense, hidden, sparse, multi } = session.roles();
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
    // bge-m3 with all its heads is FlagEmbedding's, whose vectors have length 1 though not every
    // export scales them.
    let scales = sparse.is_some() || multi.is_some();
    let (pooling, modules, dense_dim) = match (dense, sentence) {
        // What the graph gives has been through all modules. The last may have been forgotten.
        (Some(dense), sentence) => {
            let said = sentence.is_some_and(|sentence| ends_normalized(&sentence.modules));
            let modules = if said || scales { vec![Module::Normalize] } else { Vec::new() };
            (None, modules, dense.width)
        }
        (None, Some(SentenceModules { pooling, modules, dim })) => (Some(pooling), modules, dim),
        (None, None) => {
            return Err(error!(
                Unsupported,
                "{file} gives the states of tokens only, and the pooling is not known without \
                 modules.json and the hidden_size in config.json; copy both, and 1_Pooling, from \
                 the model that it was made of"
            ));
        }
    };
    // Heads in files are of use to an export that gives states.
    let of_states = |head| hidden.and(head);
    let sparse_head = of_states(dir.heads.sparse.linear()).filter(|_| sparse.is_none());
    let multi_head = of_states(dir.heads.multi.linear()).filter(|_| multi.is_none());
    let made = Made {
        dense_dim,
        token_dim: hidden.map_or(0, |rows| rows.width),
        multi_dim: multi.map_or(multi_head.map_or(0, |head| head.rows), |rows| rows.width),
        missing: Missing::of_export(&export.file, &session.roles(), &dir.heads),
        pooling: pooling.as_ref().map_or("onnx".into(), Pooling::name),
        include_prompt: pooling.as_ref().is_none_or(|pooling| pooling.include_prompt),
        modules: names(&modules),
        normalized: ends_normalized(&modules),
        length_max: session.fixed_length(),
        precision: export.precision,
    };
    let encoder = PaddedEncoder {
        session,
        pooling,
        modules,
        pad_id,
        numbering: export.config.numbering(pad_id),
        alone: export.alone,
        sparse: sparse_head.cloned(),
        multi: multi_head.cloned(),
    };
    Ok(Encoder { encoder: Arc::new(encoder), made })
}

fn names(modules: &[Module]) -> Vec<String> {
    let others = modules.iter().map(Module::name);
    ["transformer", "pooling"].map(String::from).into_iter().chain(others).collect()
}

fn ends_normalized(modules: &[Module]) -> bool {
    let last = modules.iter().rfind(|module| **module != Module::Dropout);
    last == Some(&Module::Normalize)
}
