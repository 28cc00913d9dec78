//! What the scheduler hands to an encoder: the texts of one batch.

use crate::embeddings::{Outputs, TextOutput};
use crate::error::Result;
use crate::stop::StillWanted;

/// A text of a batch, and the outputs that its call asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    pub ids: &'a [u32],
    /// Tokens of the prompt at the beginning of the text, which pooling does not read.
    pub prompt_tokens: usize,
    pub outputs: Outputs,
}

/// Runs the batches of a model.
pub(crate) trait BatchEncoder: Send + Sync {
    /// Runs one batch on one of the model's devices. Returns a result or an error for each text.
    /// Returns `Err` if the batch failed as a whole, which includes being stopped because no caller
    /// waits for it any more.
    fn encode(
        &self,
        device: usize,
        requests: &[Request<'_>],
        still_wanted: &StillWanted,
    ) -> Result<Vec<Result<TextOutput>>>;
}
