//! What a tokenizer may ask for, at most: far more than any real one does, and little enough that a
//! hostile file neither hangs a call nor takes the memory of its process.

use std::cell::Cell;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use regex::RegexBuilder;
use serde_json::Value;
use tokenizers::{NormalizedString, Normalizer, NormalizerWrapper};

use crate::error::{Result, error};

/// Steps of a normalizer or a pre-tokenizer, nested ones included. XLM-RoBERTa's has three.
const STEPS_MAX: usize = 16;
/// What a normalizer puts in the place of a match, or of a character: the longest of XLM-RoBERTa's
/// character map has 33 bytes.
const REPLACEMENT_BYTES_MAX: usize = 64;
/// How many times as long as a text its normal form may be. Compatibility forms of Unicode make up
/// to 11 bytes of one.
const GROWTH_MAX: usize = 16;
/// The same for short texts, in bytes.
const GROWTH_BYTES: usize = 1024;
/// Of a compiled regular expression.
const REGEX_BYTES_MAX: usize = 1 << 20;
/// Special tokens around a text.
const SPECIAL_TOKENS_MAX: usize = 64;
/// Characters of a piece of the vocabulary, or of a token that is looked for in the text itself.
/// SentencePiece makes none longer than 16 unless it is told to.
const TOKEN_CHARS_MAX: usize = 256;

/// Refuses a normalizer that could make very much of a text.
pub(super) fn check_normalizer(part: &Value, file: &str) -> Result<()> {
    check_steps(part, "normalizer", file)?;
    each_object(part, &mut |object| {
        for key in ["content", "prepend"] {
            let Some(text) = object.get(key).and_then(Value::as_str) else { continue };
            check_replacement(text.len(), key, file)?;
        }
        match object.get("precompiled_charsmap").and_then(Value::as_str) {
            Some(charsmap) => check_charsmap(charsmap, file),
            None => Ok(()),
        }
    })
}

/// Refuses a pre-tokenizer that takes more than time by the length of a text.
pub(super) fn check_pre_tokenizer(part: &Value, file: &str) -> Result<()> {
    check_steps(part, "pre_tokenizer", file)
}

/// Refuses more special tokens around a text than any model has.
pub(super) fn check_special_count(count: usize, file: &str) -> Result<()> {
    if count <= SPECIAL_TOKENS_MAX {
        return Ok(());
    }
    Err(error!(
        Unsupported,
        "{file}: the post_processor puts {count} special tokens around a text; at most \
         {SPECIAL_TOKENS_MAX} are supported"
    ))
}

/// Refuses a vocabulary with a token of that many characters, which takes time by its square.
pub(super) fn check_longest_token(chars: usize, file: &str) -> Result<()> {
    if chars <= TOKEN_CHARS_MAX {
        return Ok(());
    }
    Err(error!(
        Unsupported,
        "{file}: the vocabulary has a token of {chars} characters; at most {TOKEN_CHARS_MAX} are \
         supported"
    ))
}

/// Refuses a character map whose table is not where it says, or that makes very much of a character.
/// It is a number, a table of so many bytes, and texts that each end with a zero byte.
pub(super) fn check_charsmap_bytes(bytes: &[u8], file: &str) -> Result<()> {
    let texts = bytes.split_first_chunk::<4>().and_then(|(length, rest)| {
        let length = u32::from_le_bytes(*length) as usize;
        rest.split_at_checked(length).filter(|_| length > 0)
    });
    let Some((_, texts)) = texts else {
        return Err(error!(
            ModelInvalid,
            "{file} is not a tokenizer: the table of its precompiled_charsmap is cut short"
        ));
    };
    let longest = texts.split(|byte| *byte == 0).map(<[u8]>::len).max().unwrap_or(0);
    check_replacement(longest, "precompiled_charsmap", file)
}

fn check_charsmap(base64: &str, file: &str) -> Result<()> {
    let bytes = BASE64_STANDARD.decode(base64).map_err(|e| {
        error!(ModelInvalid, "{file} is not a tokenizer: its precompiled_charsmap: {e}")
    })?;
    check_charsmap_bytes(&bytes, file)
}

fn check_replacement(bytes: usize, key: &str, file: &str) -> Result<()> {
    if bytes <= REPLACEMENT_BYTES_MAX {
        return Ok(());
    }
    Err(error!(
        Unsupported,
        "{file}: {key} in the normalizer has a text of {bytes} bytes; at most \
         {REPLACEMENT_BYTES_MAX} are supported"
    ))
}

/// Steps are objects with a type. Their regular expressions have to be such that matching takes
/// time by the length of a text alone.
fn check_steps(part: &Value, name: &str, file: &str) -> Result<()> {
    let mut steps = 0;
    let mut byte_levels = 0;
    each_object(part, &mut |object| {
        let kind = object.get("type").and_then(Value::as_str);
        steps += usize::from(kind.is_some_and(|kind| kind != "Sequence"));
        byte_levels += usize::from(kind == Some("ByteLevel"));
        let Some(pattern) = object.get("Regex").and_then(Value::as_str) else { return Ok(()) };
        let compiled = RegexBuilder::new(pattern).size_limit(REGEX_BYTES_MAX).build();
        compiled.map(drop).map_err(|e| {
            error!(
                Unsupported,
                "{file}: the regular expression {pattern:?} in the {name} is not supported; those \
                 without look-around, back references and large counted repetitions are: {e}"
            )
        })
    })?;
    if steps > STEPS_MAX {
        return Err(error!(
            Unsupported,
            "{file}: the {name} has {steps} steps; at most {STEPS_MAX} are supported"
        ));
    }
    if byte_levels > 1 {
        return Err(error!(
            Unsupported,
            "{file}: the {name} has {byte_levels} steps ByteLevel; at most one is supported"
        ));
    }
    Ok(())
}

fn each_object(
    value: &Value,
    check: &mut dyn FnMut(&serde_json::Map<String, Value>) -> Result<()>,
) -> Result<()> {
    match value {
        Value::Object(object) => {
            check(object)?;
            object.values().try_for_each(|value| each_object(value, check))
        }
        Value::Array(values) => values.iter().try_for_each(|value| each_object(value, check)),
        _ => Ok(()),
    }
}

thread_local! {
    /// The bytes of a text before and after a normalizer that made too much of it. The crate passes
    /// over what a normalizer says.
    static GROWTH: Cell<Option<(usize, usize)>> = const { Cell::new(None) };
}

/// Refuses what has been made of a text on this thread if its normal form was cut short.
pub(super) fn check_growth(file: &str) -> Result<()> {
    match GROWTH.take() {
        None => Ok(()),
        Some((before, after)) => Err(error!(
            Unsupported,
            "{file}: the normalizer makes {after} bytes of {before}; at most {GROWTH_MAX} times as \
             many are supported"
        )),
    }
}

/// The steps of a normalizer, one after another, as long as a text does not become too long.
pub(super) struct BoundedNormalizer {
    steps: Vec<NormalizerWrapper>,
}

impl From<NormalizerWrapper> for BoundedNormalizer {
    fn from(normalizer: NormalizerWrapper) -> Self {
        let mut steps = Vec::new();
        flatten(normalizer, &mut steps);
        Self { steps }
    }
}

fn flatten(normalizer: NormalizerWrapper, steps: &mut Vec<NormalizerWrapper>) {
    match normalizer {
        NormalizerWrapper::Sequence(sequence) => {
            sequence.as_ref().iter().for_each(|step| flatten(step.clone(), steps));
        }
        step => steps.push(step),
    }
}

impl Normalizer for BoundedNormalizer {
    fn normalize(&self, text: &mut NormalizedString) -> tokenizers::Result<()> {
        let before = text.len_original();
        let bytes_max = before.saturating_mul(GROWTH_MAX).saturating_add(GROWTH_BYTES);
        for step in &self.steps {
            step.normalize(text)?;
            let bytes = text.get().len();
            if bytes > bytes_max {
                GROWTH.set(Some((before, bytes)));
                return Err("the text has become too long".into());
            }
        }
        Ok(())
    }
}
