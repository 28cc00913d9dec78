//! The folder of the engines of a model, whose name is a hash of all that they depend on.

use std::path::{Path, PathBuf};

use super::profile::{Profile, profiles};
use crate::device::ComputeType;
use crate::error::{Result, error};
use crate::fingerprint::hash_of_weights;
use crate::model_dir::EncoderParts;
use crate::runtime::gpu::cuda::{
    check_provider, folder, index_of, provider_library, unavailable_because,
};
use crate::runtime::gpu::nvidia::{self, Gpu};
use crate::runtime::library::version;
use crate::runtime::options::SessionOptions;

/// The version of the graph, and of the layout of the folder.
const VERSION: &str = "libbge engines 1";
/// The file that marks a folder as complete. It lists what the engines were built from.
const STAMP: &str = "prepared.txt";

pub(super) struct EngineDir {
    /// The folder for the engines of all models.
    pub parent: PathBuf,
    /// The first part of the names of these engines.
    pub key: String,
    /// The folder of these engines alone.
    pub folder: PathBuf,
    /// The timing cache that TensorRT keeps for this GPU, for all models.
    pub timing: PathBuf,
    pub profiles: Vec<Profile>,
    /// The options of the command that builds these engines.
    prepare: String,
    /// Everything that the engines depend on, in words.
    pub made_of: String,
}

impl EngineDir {
    /// Finds the folder of the engines. This reads all weights.
    pub fn new(
        parts: EncoderParts<'_>,
        compute_type: ComputeType,
        options: &SessionOptions,
    ) -> Result<Self> {
        let device = options.device;
        let Some(parent) = &options.cache_dir else {
            return Err(error!(
                InvalidArgument,
                "device is {device}, whose engines lie in a folder that cache_dir names, and it is \
                 not set"
            ));
        };
        // ONNX Runtime resolves the path from any working directory, and writes it into files.
        let parent = std::path::absolute(parent)
            .map_err(|e| error!(InvalidArgument, "cache_dir is {}: {e}", parent.display()))?;
        check_provider(device, &folder())?;
        let because = |why: String| unavailable_because(device, &why);
        let Gpu { name, capability: (major, minor), driver: _ } =
            nvidia::gpu(index_of(device)).map_err(because)?;
        let tensorrt = nvidia::tensorrt_version(&provider_library(device)).map_err(because)?;
        let profiles = profiles(options.max_tokens, options.max_batch_tokens);
        let shapes: Vec<String> =
            profiles.iter().map(|Profile { length, texts }| format!("{texts}x{length}")).collect();
        let made_of = format!(
            "{VERSION}\nGPU {name}, compute capability {major}.{minor}\nTensorRT {tensorrt}\n{}\n\
             computed in {}\ntexts and tokens {}\nweights {}\n",
            version(),
            compute_type.name(),
            shapes.join(" "),
            hash_of_weights(parts)?
        );
        let prepare = format!(
            "--device {device} --compute-type {} --max-tokens {} --max-batch-tokens {} --cache-dir {}",
            compute_type.name(),
            options.max_tokens,
            options.max_batch_tokens,
            parent.display()
        );
        let key = blake3::hash(made_of.as_bytes()).to_hex()[..32].to_string();
        Ok(Self {
            folder: parent.join(format!("{key}.bge-engines")),
            timing: parent.join(format!("tensorrt-{tensorrt}.bge-timing")),
            profiles,
            prepare,
            made_of,
            parent,
            key,
        })
    }

    pub fn is_prepared(&self) -> bool {
        self.folder.join(STAMP).is_file()
    }

    /// Fails if there are no engines to load.
    pub fn check_prepared(&self) -> Result<()> {
        if self.is_prepared() {
            return Ok(());
        }
        Err(error!(
            ModelNotFound,
            "TensorRT's engines are not prepared: there is no {}; run `bge prepare DIR {}` on this \
             machine. They would be for {}",
            self.folder.display(),
            self.prepare,
            self.made_of.trim().replace('\n', ", ")
        ))
    }

    /// Marks a folder of engines as complete.
    pub fn stamp(&self, folder: &Path) -> std::io::Result<()> {
        std::fs::write(folder.join(STAMP), &self.made_of)
    }
}
