//! An ONNX export of a model, loaded and run as it is: rows of equal length, padded.

mod limits;
mod roles;

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{RunOptions, Session, SessionInputValue};
use ort::value::{DynValue, Outlet, Shape, Tensor, TensorElementType, ValueType};
use parking_lot::Mutex;

use self::limits::Limits;
use self::roles::Output;
pub(crate) use self::roles::{Roles, Rows};
use super::budget::with_ceiling;
use super::concurrent_session::ConcurrentSession;
use super::errors::{kind_of, run_error};
use super::library::environment;
use super::options::{CREATING, SessionOptions};
use super::watchdog::Watchdog;
use crate::error::{Error, ErrorKind, Result, error};
use crate::model_dir::{Export, Graph};
use crate::stop::StillWanted;

/// The texts of the run that shows the shapes of the outputs, and the tokens of each: numbers that
/// are not the length of an embedding.
const PROBE_TEXTS: usize = 2;
const PROBE_LENGTH: usize = 7;

/// The inputs that a text provides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Input {
    Ids,
    Mask,
    Types,
    Positions,
}

/// The names that transformers gives to inputs, and every exporter keeps.
const INPUTS: [(&str, Input); 4] = [
    ("input_ids", Input::Ids),
    ("attention_mask", Input::Mask),
    ("token_type_ids", Input::Types),
    ("position_ids", Input::Positions),
];

/// Texts of one length, one after another.
#[derive(Clone, Debug, Default)]
pub(crate) struct PaddedInputs {
    pub texts: usize,
    pub length: usize,
    pub ids: Vec<i64>,
    pub mask: Vec<i64>,
    pub positions: Vec<i64>,
}

/// The results of a batch: all rows of each role that the graph has.
pub(crate) struct PaddedOutputs<'a> {
    values: Vec<Option<Cow<'a, [f32]>>>,
}

impl PaddedOutputs<'_> {
    /// The numbers of an output.
    pub fn of(&self, rows: Rows) -> &[f32] {
        self.values.get(rows.output).and_then(Option::as_deref).unwrap_or_default()
    }
}

/// The option that limits the results of operators that run while a graph is loaded. ONNX Runtime
/// computes their size before it runs them.
const FOLDED_BYTES_MAX: &str = "optimization.constant_folding_max_output_size_in_bytes";
/// The words of ONNX Runtime's error when an arena has reached its limit.
const OVER_THE_CEILING: &str = "is smaller than requested bytes";
/// The most tokens of a graph whose inputs have one fixed size.
const FIXED_TOKENS_MAX: usize = 1 << 20;

pub(crate) struct ExportSession {
    /// The file, for messages.
    name: PathBuf,
    limits: Limits,
    session: ConcurrentSession,
    /// Watchdogs that watch no batch at the moment.
    watches: Mutex<Vec<Watchdog>>,
    /// In the order of the graph.
    inputs: Vec<(Input, TensorElementType)>,
    roles: Roles,
    /// The one number of texts, or of tokens, that the graph takes.
    fixed_texts: Option<usize>,
    fixed_length: Option<usize>,
}

impl ExportSession {
    /// Loads the graph, and runs it once on the token `id` to learn its outputs.
    pub fn open(export: &Export, id: i64, options: &SessionOptions) -> Result<Self> {
        let (graph, name) = (export.graph()?, export.file.as_path());
        let limits = Limits::of(export.bytes, options);
        let environment = environment(options.library.as_deref())?;
        let pool = options.pool()?;
        let make = |mut builder: SessionBuilder| match &graph {
            Graph::File(path) => builder.commit_from_file(path),
            Graph::Memory { bytes, folder } => builder
                .with_config_entry("session.model_external_initializers_file_folder_path", folder)?
                .commit_from_memory(bytes),
        };
        let creating = CREATING.lock();
        let session = Session::builder(environment)
            .and_then(|builder| {
                let builder = options
                    .apply(builder, pool)?
                    .with_optimization_level(GraphOptimizationLevel::All)?
                    .with_config_entry(FOLDED_BYTES_MAX, limits.folded_bytes.to_string())?;
                with_ceiling(environment, limits.arena_bytes, builder, &creating, make)
            })
            .and_then(ConcurrentSession::new)
            .map_err(|e| cannot_load(name, &e))?;
        drop(creating);
        let inputs = inputs(&session, name)?;
        let dimension = |axis| fixed_dimension(&session, axis);
        let mut export = Self {
            limits,
            name: name.to_path_buf(),
            watches: Mutex::default(),
            inputs,
            roles: Roles::default(),
            fixed_texts: dimension(0),
            fixed_length: dimension(1),
            session,
        };
        export.roles = export.probe(id)?;
        Ok(export)
    }

    pub fn roles(&self) -> Roles {
        self.roles
    }

    /// The most texts of a batch.
    pub fn fixed_texts(&self) -> Option<usize> {
        self.fixed_texts
    }

    /// The tokens that every text has to be padded to.
    pub fn fixed_length(&self) -> Option<usize> {
        self.fixed_length
    }

    /// Whether the graph has an input that marks padding.
    pub fn takes_mask(&self) -> bool {
        self.inputs.iter().any(|(input, _)| *input == Input::Mask)
    }

    fn probe(&self, id: i64) -> Result<Roles> {
        let name = self.name.display();
        let texts = self.fixed_texts.unwrap_or(PROBE_TEXTS);
        let length = self.fixed_length.unwrap_or(PROBE_LENGTH);
        let tokens = texts.saturating_mul(length);
        if tokens > FIXED_TOKENS_MAX {
            return Err(error!(
                Unsupported,
                "{name}: it takes {texts} texts of {length} tokens and no others; at most \
                 {FIXED_TOKENS_MAX} tokens are supported"
            ));
        }
        let inputs = PaddedInputs {
            texts,
            length,
            ids: vec![id; tokens],
            mask: vec![1; tokens],
            positions: (0..tokens).map(|index| (index % length) as i64).collect(),
        };
        let started = Instant::now();
        let time = self.limits.probe_time;
        let in_time: StillWanted = Arc::new(move || started.elapsed() < time);
        let shapes = self.run_with(&inputs, &in_time, |outputs| {
            let shape = |index: usize| match outputs[index].dtype() {
                ValueType::Tensor { ty, shape, .. } if NUMBERS.contains(ty) => {
                    shape.iter().map(|&size| size as usize).collect()
                }
                // An output of another type is no embedding.
                _ => Vec::new(),
            };
            let output = |(index, outlet): (usize, &Outlet)| Output {
                name: outlet.name().to_string(),
                shape: shape(index),
            };
            Ok(self.session.outputs().iter().enumerate().map(output).collect::<Vec<_>>())
        });
        let shapes = shapes.map_err(|e| {
            if in_time() {
                return e;
            }
            error!(
                ModelInvalid,
                "{name}: a run of {tokens} tokens had not ended after {} s, where that of an encoder \
                 takes a fraction of one; the file is damaged, or was not made for embeddings",
                time.as_secs()
            )
        })?;
        Roles::find(&shapes, texts, length).map_err(|why| error!(Unsupported, "{name}: {why}"))
    }

    /// Runs the graph, and passes its outputs to `read`. A batch that is not `still_wanted` any
    /// more ends early with an error.
    pub fn run<T>(
        &self,
        inputs: &PaddedInputs,
        still_wanted: &StillWanted,
        read: impl FnOnce(PaddedOutputs<'_>) -> T,
    ) -> Result<T> {
        let Roles { dense, hidden, sparse, multi } = self.roles;
        let used: Vec<usize> =
            [dense, hidden, sparse, multi].into_iter().flatten().map(|rows| rows.output).collect();
        self.run_with(inputs, still_wanted, |outputs| {
            let values = (0..outputs.len())
                .map(|index| used.contains(&index).then(|| numbers(&outputs[index])).transpose());
            Ok(read(PaddedOutputs { values: values.collect::<ort::Result<_>>()? }))
        })
    }

    fn run_with<T>(
        &self,
        inputs: &PaddedInputs,
        still_wanted: &StillWanted,
        read: impl FnOnce(&[DynValue]) -> ort::Result<T>,
    ) -> Result<T> {
        let values = self.inputs.iter().map(|(input, number_type)| {
            let numbers = match input {
                Input::Ids => Cow::Borrowed(inputs.ids.as_slice()),
                Input::Mask => Cow::Borrowed(inputs.mask.as_slice()),
                Input::Types => Cow::Owned(vec![0; inputs.ids.len()]),
                Input::Positions => Cow::Borrowed(inputs.positions.as_slice()),
            };
            let shape = [inputs.texts, inputs.length];
            let value: SessionInputValue<'_> = if *number_type == TensorElementType::Int32 {
                let numbers: Vec<i32> = numbers.iter().map(|&number| number as i32).collect();
                Tensor::from_array((shape, numbers))?.into()
            } else {
                Tensor::from_array((shape, numbers.into_owned()))?.into()
            };
            Ok(value)
        });
        let values = values.collect::<ort::Result<Vec<_>>>().map_err(run_error)?;
        let idle = self.watches.lock().pop();
        let watch = match idle {
            Some(watch) => watch,
            None => Watchdog::start(RunOptions::new().map_err(run_error)?)?,
        };
        let run = |options: &RunOptions| read(&self.session.run(&values, options)?);
        let outcome = watch.over(still_wanted, run);
        self.watches.lock().push(watch);
        outcome.map_err(|e| self.run_failed(e, inputs))
    }

    fn run_failed(&self, e: ort::Error, inputs: &PaddedInputs) -> Error {
        let PaddedInputs { texts, length, .. } = inputs;
        let (name, bytes) = (self.name.display(), self.limits.arena_bytes);
        if !e.message().contains(OVER_THE_CEILING) {
            return run_error(e);
        }
        let over = format!(
            "{name}: a run of {texts} texts of {length} tokens takes more than {bytes} bytes, which is \
             beyond what an encoder with files of this size needs"
        );
        if self.roles == Roles::default() {
            // Its outputs are not known yet.
            return error!(ModelInvalid, "{over}; it was not made for embeddings, or is damaged");
        }
        error!(
            OutOfMemory,
            "{over}; set a smaller max_tokens, or open the weights that it was made of"
        )
    }
}

/// The types of numbers that [`numbers`] reads.
const NUMBERS: [TensorElementType; 3] =
    [TensorElementType::Float32, TensorElementType::Float16, TensorElementType::Bfloat16];

/// The numbers of an output in 32 bits.
fn numbers(value: &DynValue) -> ort::Result<Cow<'_, [f32]>> {
    match value.dtype().tensor_type() {
        Some(TensorElementType::Float16) => {
            let (_, numbers) = value.try_extract_tensor::<half::f16>()?;
            Ok(numbers.iter().map(|number| number.to_f32()).collect())
        }
        Some(TensorElementType::Bfloat16) => {
            let (_, numbers) = value.try_extract_tensor::<half::bf16>()?;
            Ok(numbers.iter().map(|number| number.to_f32()).collect())
        }
        _ => Ok(Cow::Borrowed(value.try_extract_tensor::<f32>()?.1)),
    }
}

/// The inputs of a graph. All of them have to be known.
fn inputs(session: &ConcurrentSession, name: &Path) -> Result<Vec<(Input, TensorElementType)>> {
    let refused = |why: String| error!(Unsupported, "{}: {why}", name.display());
    let mut inputs = Vec::new();
    for outlet in session.inputs() {
        let input = INPUTS.iter().find(|(name, _)| *name == outlet.name());
        let number_type = outlet.dtype().tensor_type();
        match (input, number_type) {
            (
                Some((_, input)),
                Some(ty @ (TensorElementType::Int64 | TensorElementType::Int32)),
            ) if outlet.dtype().tensor_shape().is_some_and(|shape| shape.len() == 2) => {
                inputs.push((*input, ty));
            }
            (Some(_), _) => {
                return Err(refused(format!(
                    "its input {:?} is {}; it has to be a table of int64 or int32",
                    outlet.name(),
                    outlet.dtype()
                )));
            }
            (None, _) => {
                return Err(refused(format!(
                    "its input {:?} is unknown; {} can be given",
                    outlet.name(),
                    INPUTS.map(|(name, _)| name).join(", ")
                )));
            }
        }
    }
    if inputs.iter().all(|(input, _)| *input != Input::Ids) {
        return Err(refused("it has no input \"input_ids\", so it is no encoder of tokens".into()));
    }
    Ok(inputs)
}

/// The one size that every input has along an axis, unless it is free.
fn fixed_dimension(session: &ConcurrentSession, axis: usize) -> Option<usize> {
    let size = |shape: &Shape| shape.get(axis).and_then(|&size| usize::try_from(size).ok());
    let shapes = session.inputs().iter().filter_map(|outlet| match outlet.dtype() {
        ValueType::Tensor { shape, .. } => size(shape),
        _ => None,
    });
    shapes.max()
}

fn cannot_load(name: &Path, e: &ort::Error) -> Error {
    // ONNX Runtime quotes its sources over several lines.
    let why = e.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    let message = format!("{}: ONNX Runtime cannot load the export: {why}", name.display());
    Error::new(kind_of(e, ErrorKind::ModelInvalid), message).with_runtime_code(e.code() as i32)
}
