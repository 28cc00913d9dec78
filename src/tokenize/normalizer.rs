//! The normalizer: the steps of the file that change a text before it is divided. They fail if a
//! text grows too much.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokenizers::{NormalizedString, NormalizerWrapper};

use super::char_map::CharMap;
use super::limits;
use crate::error::{Error, Result, error};

/// The steps of a normalizer, one after another.
pub(super) struct Normalizer {
    steps: Vec<Step>,
}

pub(super) enum Step {
    CharMap(CharMap),
    Other(Box<NormalizerWrapper>),
}

/// The parts of a step that are read before the crate reads it. Long ones are not copied.
#[derive(Deserialize)]
struct Description<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    precompiled_charsmap: Option<&'a RawValue>,
    #[serde(borrow, default)]
    normalizers: Option<Vec<&'a RawValue>>,
}

impl Normalizer {
    /// Reads the steps. Errors name the file by `file`.
    pub fn read(json: &RawValue, file: &str) -> Result<Self> {
        let mut steps = Vec::new();
        read_steps(json, file, &mut steps)?;
        limits::check_step_count(steps.len(), "normalizer", file)?;
        Ok(Self { steps })
    }

    pub fn new(steps: Vec<Step>) -> Self {
        Self { steps }
    }

    /// A normalizer of the character map alone, if there is one.
    pub fn char_map(self) -> Option<Self> {
        let map = self.steps.into_iter().find(|step| matches!(step, Step::CharMap(_)))?;
        Some(Self { steps: vec![map] })
    }

    /// The only step, if there is exactly one and it is not a character map.
    pub fn only_step(&self) -> Option<&NormalizerWrapper> {
        match self.steps.as_slice() {
            [Step::Other(step)] => Some(step),
            _ => None,
        }
    }
}

impl From<NormalizerWrapper> for Step {
    fn from(step: NormalizerWrapper) -> Self {
        Self::Other(Box::new(step))
    }
}

impl From<NormalizerWrapper> for Normalizer {
    fn from(step: NormalizerWrapper) -> Self {
        Self { steps: vec![step.into()] }
    }
}

fn read_steps(json: &RawValue, file: &str, steps: &mut Vec<Step>) -> Result<()> {
    let described = serde_json::from_str::<Description<'_>>(json.get());
    match described {
        Ok(Description { kind: Some(kind), normalizers: Some(parts), .. })
            if kind == "Sequence" =>
        {
            parts.into_iter().try_for_each(|part| read_steps(part, file, steps))
        }
        Ok(Description { kind: Some(kind), precompiled_charsmap: Some(map), .. })
            if kind == "Precompiled" =>
        {
            let text: Cow<'_, str> =
                match map.get().strip_prefix('"').and_then(|it| it.strip_suffix('"')) {
                    Some(text) if !text.contains('\\') => text.into(),
                    _ => serde_json::from_str::<String>(map.get())
                        .map_err(|e| no_step(file, &e))?
                        .into(),
                };
            steps.push(Step::CharMap(CharMap::from_base64(&text, file)?));
            Ok(())
        }
        _ => {
            let value: Value = serde_json::from_str(json.get()).map_err(|e| no_step(file, &e))?;
            limits::check_normalizer(&value, file)?;
            let step: NormalizerWrapper =
                serde_json::from_value(value).map_err(|e| no_step(file, &e))?;
            steps.push(step.into());
            Ok(())
        }
    }
}

fn no_step(file: &str, e: &serde_json::Error) -> Error {
    error!(ModelInvalid, "{file} is not a tokenizer: its normalizer: {e}")
}

impl tokenizers::Normalizer for Normalizer {
    fn normalize(&self, text: &mut NormalizedString) -> tokenizers::Result<()> {
        let before = text.len_original();
        for step in &self.steps {
            let fault = match step {
                Step::CharMap(map) => map.normalize(text).err(),
                Step::Other(step) => {
                    step.normalize(text)?;
                    None
                }
            };
            if let Some(fault) = fault.or_else(|| limits::growth(before, text.get().len())) {
                limits::note(fault);
                return Err("the text is left as it is".into());
            }
        }
        Ok(())
    }
}
