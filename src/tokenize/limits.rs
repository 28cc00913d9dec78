//! The limits of a tokenizer: far above those of any real one, and low enough that a hostile file
//! neither hangs a call nor takes all memory of its process.

use std::cell::Cell;

use regex::RegexBuilder;
use serde_json::Value;

use crate::error::{Result, error};

/// The most steps of a normalizer or a pre-tokenizer, nested ones included. XLM-RoBERTa's has
/// three.
const STEPS_MAX: usize = 16;
/// The most bytes of a replacement by a normalizer. The longest of XLM-RoBERTa's character map has
/// 33 bytes.
const REPLACEMENT_BYTES_MAX: usize = 64;
/// The most bytes of normalized text for each byte of a text. Compatibility forms of Unicode have
/// up to 11.
const GROWTH_MAX: usize = 16;
/// Bytes of normalized text that are allowed in addition, for short texts.
const GROWTH_BYTES: usize = 1024;
/// The most bytes of a compiled regular expression.
const REGEX_BYTES_MAX: usize = 1 << 20;
/// The most special tokens around a text.
const SPECIAL_TOKENS_MAX: usize = 64;
/// The most characters of a piece of the vocabulary, or of an added token. By default SentencePiece
/// makes none longer than 16.
const TOKEN_CHARS_MAX: usize = 256;

/// Refuses a step of a normalizer that could make a text much longer.
pub(super) fn check_normalizer(step: &Value, file: &str) -> Result<()> {
    check_steps(step, "normalizer", file)?;
    each_object(step, &mut |object| {
        for key in ["content", "prepend"] {
            let Some(text) = object.get(key).and_then(Value::as_str) else { continue };
            check_replacement(text.len(), key, file)?;
        }
        Ok(())
    })
}

/// Refuses a pre-tokenizer whose time is not linear in the length of a text.
pub(super) fn check_pre_tokenizer(part: &Value, file: &str) -> Result<()> {
    check_steps(part, "pre_tokenizer", file)?;
    // Each of these steps doubles the bytes of most letters.
    let mut byte_levels = 0;
    each_object(part, &mut |object| {
        byte_levels += usize::from(object.get("type").is_some_and(|kind| kind == "ByteLevel"));
        Ok(())
    })?;
    if byte_levels > 1 {
        return Err(error!(
            Unsupported,
            "{file}: the pre_tokenizer has {byte_levels} steps ByteLevel; at most one is supported"
        ));
    }
    Ok(())
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

/// Refuses a vocabulary with a token that is too long: reading a word takes time in the square of
/// the longest token's length.
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

/// Refuses a normalizer with a replacement of this many bytes, if they are too many.
pub(super) fn check_replacement(bytes: usize, key: &str, file: &str) -> Result<()> {
    if bytes <= REPLACEMENT_BYTES_MAX {
        return Ok(());
    }
    Err(error!(
        Unsupported,
        "{file}: {key} in the normalizer has a text of {bytes} bytes; at most \
         {REPLACEMENT_BYTES_MAX} are supported"
    ))
}

/// Refuses too many steps.
pub(super) fn check_step_count(steps: usize, name: &str, file: &str) -> Result<()> {
    if steps <= STEPS_MAX {
        return Ok(());
    }
    Err(error!(
        Unsupported,
        "{file}: the {name} has {steps} steps; at most {STEPS_MAX} are supported"
    ))
}

/// Checks the number of steps, which are objects with a type, and their regular expressions, whose
/// matching has to take time linear in the length of a text.
fn check_steps(part: &Value, name: &str, file: &str) -> Result<()> {
    let mut steps = 0;
    each_object(part, &mut |object| {
        let kind = object.get("type").and_then(Value::as_str);
        steps += usize::from(kind.is_some_and(|kind| kind != "Sequence"));
        let Some(pattern) = object.get("Regex").and_then(Value::as_str) else { return Ok(()) };
        let compiled = RegexBuilder::new(pattern).size_limit(REGEX_BYTES_MAX).build();
        compiled.map(drop).map_err(|e| {
            // The lines before the last one draw the position of the error.
            let why = e.to_string();
            let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ");
            error!(
                Unsupported,
                "{file}: the regular expression {pattern:?} in the {name} is not supported; those \
                 without look-around, back references and large counted repetitions are: {why}"
            )
        })
    })?;
    check_step_count(steps, name, file)
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

/// Why a normalizer failed.
#[derive(Clone, Copy)]
pub(super) enum Fault {
    /// The bytes of the text before, and after.
    Growth(usize, usize),
    NoMemory,
}

thread_local! {
    /// The fault of a normalizer on this thread, which the crate does not pass on.
    static FAULT: Cell<Option<Fault>> = const { Cell::new(None) };
}

/// Stores a fault of this thread until [`check_fault`] takes it.
pub(super) fn note(fault: Fault) {
    FAULT.set(Some(fault));
}

/// Returns the fault of this thread, if there was one, as an error.
pub(super) fn check_fault(file: &str) -> Result<()> {
    match FAULT.take() {
        None => Ok(()),
        Some(Fault::Growth(before, after)) => Err(error!(
            Unsupported,
            "{file}: the normalizer makes {after} bytes of {before}; at most {GROWTH_MAX} times as \
             many are supported"
        )),
        Some(Fault::NoMemory) => {
            Err(error!(OutOfMemory, "there is no memory to tokenize a text by {file}"))
        }
    }
}

/// The fault of a text that has grown too much.
pub(super) fn growth(before: usize, after: usize) -> Option<Fault> {
    let bytes_max = before.saturating_mul(GROWTH_MAX).saturating_add(GROWTH_BYTES);
    (after > bytes_max).then_some(Fault::Growth(before, after))
}
