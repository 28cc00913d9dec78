//! What a loaded encoder can compute, and the shapes of its outputs.

use std::path::Path;

use crate::embeddings::Outputs;
use crate::error::{Result, error};
use crate::model_dir::{Head, Heads, Module};
use crate::runtime::{Roles, Rows};

pub(crate) struct Capabilities {
    /// The length of a dense vector before any truncation.
    pub dense_dim: usize,
    /// The length of a token embedding. Zero: the model has none.
    pub token_dim: usize,
    /// The length of a row of a multi-vector. Zero: the model has none.
    pub multi_dim: usize,
    pub outputs: OutputSupport,
    /// The pooling modes.
    pub pooling: String,
    /// Whether pooling reads the rows of a prompt, too.
    pub include_prompt: bool,
    /// The transformer, the pooling and the modules after it, in words.
    pub modules: Vec<String>,
    /// Whether dense vectors have length 1.
    pub normalized: bool,
    /// The most tokens of a text, if the encoder limits them.
    pub tokens_max: Option<usize>,
    pub precision: &'static str,
}

/// Which outputs a model computes, and for each other one why not. Dense vectors are always
/// available.
pub(crate) struct OutputSupport {
    sparse: Result<(), String>,
    multi: Result<(), String>,
    tokens: Result<(), String>,
}

impl OutputSupport {
    pub fn of_weights(heads: &Heads) -> Self {
        let support = |head: &Head| match head {
            Head::Read { .. } => Ok(()),
            Head::Missing(reason) => Err(reason.clone()),
        };
        Self { sparse: support(&heads.sparse), multi: support(&heads.multi), tokens: Ok(()) }
    }

    /// An export may have heads of its own, and needs states for those in files.
    pub fn of_export(file: &Path, roles: &Roles, heads: &Heads) -> Self {
        let no_states = || {
            format!(
                "{} gives no states of tokens, and has no output for this either",
                file.display()
            )
        };
        let support = |own: Option<Rows>, head: &Head| match (own, roles.hidden, head) {
            (Some(_), ..) | (None, Some(_), Head::Read { .. }) => Ok(()),
            (None, Some(_), Head::Missing(reason)) => Err(reason.clone()),
            (None, None, _) => Err(no_states()),
        };
        Self {
            sparse: support(roles.sparse, &heads.sparse),
            multi: support(roles.multi, &heads.multi),
            tokens: roles.hidden.map(|_| ()).ok_or_else(no_states),
        }
    }

    pub fn available(&self) -> Outputs {
        Outputs {
            dense: true,
            sparse: self.sparse.is_ok(),
            multi: self.multi.is_ok(),
            tokens: self.tokens.is_ok(),
        }
    }

    /// Refuses outputs that the model does not compute.
    pub fn require(&self, outputs: Outputs) -> Result<()> {
        let support = [
            (outputs.sparse, &self.sparse),
            (outputs.multi, &self.multi),
            (outputs.tokens, &self.tokens),
        ];
        for (required, support) in support {
            if let (true, Err(reason)) = (required, support) {
                return Err(error!(Unsupported, "{reason}"));
            }
        }
        Ok(())
    }
}

/// All stages of an encoder in words, the `modules` after the pooling last.
pub(super) fn names(modules: &[Module]) -> Vec<String> {
    let after_pooling = modules.iter().map(Module::name);
    ["transformer", "pooling"].map(String::from).into_iter().chain(after_pooling).collect()
}

/// Whether these modules leave a vector of length 1.
pub(super) fn ends_normalized(modules: &[Module]) -> bool {
    let last = modules.iter().rfind(|module| **module != Module::Dropout);
    last == Some(&Module::Normalize)
}
