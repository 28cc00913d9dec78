//! The pooling module: the modes by which sentence-transformers makes the vector of a text.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::files::is_present;
use super::json::read_json;
use crate::error::{Result, error};

/// A way to turn the rows of a text into one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PoolingMode {
    /// The first row.
    Cls,
    /// The greatest number of each column.
    Max,
    /// The average.
    Mean,
    /// The sum divided by the square root of the number of rows.
    MeanSqrtLen,
    /// The average, weighted by the position of each row, from 1 on.
    WeightedMean,
    /// The last row.
    LastToken,
}

/// The modes, in the order in which their results are concatenated if flags select several.
const MODES: [(PoolingMode, &str); 6] = [
    (PoolingMode::Cls, "cls"),
    (PoolingMode::Max, "max"),
    (PoolingMode::Mean, "mean"),
    (PoolingMode::MeanSqrtLen, "mean_sqrt_len_tokens"),
    (PoolingMode::WeightedMean, "weightedmean"),
    (PoolingMode::LastToken, "lasttoken"),
];

/// How the rows of a text become its vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pooling {
    /// The modes, whose results are concatenated. At least one.
    pub modes: Vec<PoolingMode>,
    /// Whether the rows of a prompt are read, too.
    pub include_prompt: bool,
}

impl Pooling {
    /// The names of the modes, as in `cls+mean`.
    pub fn name(&self) -> String {
        let name = |mode: &PoolingMode| {
            MODES.iter().find(|(known, _)| known == mode).map_or("", |(_, name)| name)
        };
        self.modes.iter().map(name).collect::<Vec<_>>().join("+")
    }

    /// Reads the `config.json` of the module. `hidden` is the length of a row.
    pub fn read(file: &Path, hidden: usize) -> Result<Self> {
        let name = file.display();
        if !is_present(file) {
            return Err(error!(
                ModelNotFound,
                "{name} does not exist, so the pooling is unknown; copy the folder of the pooling \
                 module too"
            ));
        }
        let json: PoolingJson = read_json(file)?;
        for (key, dim) in [
            ("word_embedding_dimension", json.word_embedding_dimension),
            ("embedding_dimension", json.embedding_dimension),
        ] {
            if let Some(dim) = dim.filter(|dim| *dim != hidden) {
                return Err(error!(
                    ModelInvalid,
                    "{name}: {key} is {dim}, but config.json has hidden_size {hidden}; the files are \
                     of different models"
                ));
            }
        }
        let names = json.mode_names(&name.to_string())?;
        let mode = |name: &&str| {
            MODES.iter().find(|(_, known)| known == name).map(|(mode, _)| *mode).ok_or_else(|| {
                error!(
                    Unsupported,
                    "{}: the pooling mode {name:?} is not supported; {} are",
                    file.display(),
                    MODES.map(|(_, name)| name).join(", ")
                )
            })
        };
        let modes = names.iter().map(mode).collect::<Result<Vec<_>>>()?;
        if modes.is_empty() {
            return Err(error!(ModelInvalid, "{name}: pooling_mode is an empty list"));
        }
        Ok(Self { modes, include_prompt: json.include_prompt.unwrap_or(true) })
    }
}

#[derive(Deserialize)]
struct PoolingJson {
    word_embedding_dimension: Option<usize>,
    embedding_dimension: Option<usize>,
    // Version 6 writes one key, a string or a list, instead of the flags below.
    pooling_mode: Option<ModeNames>,
    pooling_mode_cls_token: Option<bool>,
    pooling_mode_max_tokens: Option<bool>,
    pooling_mode_mean_tokens: Option<bool>,
    pooling_mode_mean_sqrt_len_tokens: Option<bool>,
    pooling_mode_weightedmean_tokens: Option<bool>,
    pooling_mode_lasttoken: Option<bool>,
    include_prompt: Option<bool>,
    #[serde(flatten)]
    others: BTreeMap<String, IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a string or a list of strings")]
enum ModeNames {
    One(String),
    Several(Vec<String>),
}

impl PoolingJson {
    fn mode_names(&self, file: &str) -> Result<Vec<&str>> {
        if let Some(key) = self.others.keys().find(|key| key.starts_with("pooling_mode")) {
            return Err(error!(Unsupported, "{file}: {key} is a mode that is not known"));
        }
        match &self.pooling_mode {
            Some(ModeNames::One(mode)) => return Ok(vec![mode]),
            Some(ModeNames::Several(modes)) => {
                return Ok(modes.iter().map(String::as_str).collect());
            }
            None => {}
        }
        let flags = [
            self.pooling_mode_cls_token,
            self.pooling_mode_max_tokens,
            self.pooling_mode_mean_tokens,
            self.pooling_mode_mean_sqrt_len_tokens,
            self.pooling_mode_weightedmean_tokens,
            self.pooling_mode_lasttoken,
        ];
        let on = |((_, name), flag): ((PoolingMode, &'static str), Option<bool>)| {
            flag.unwrap_or(false).then_some(name)
        };
        let modes: Vec<&str> = MODES.into_iter().zip(flags).filter_map(on).collect();
        match (modes.as_slice(), self.pooling_mode_mean_tokens) {
            // Version 6 uses the average. Earlier versions cannot run such a model.
            ([], _) => Ok(vec!["mean"]),
            // The average is on by default before version 6, and off since.
            (_, None) => Err(error!(
                ModelInvalid,
                "{file}: {modes:?} are on, but pooling_mode_mean_tokens is not there, which \
                 versions of sentence-transformers take differently; add it"
            )),
            _ => Ok(modes),
        }
    }
}
