//! What a tokenizer may ask for, at most: far more than any real one does, and little enough that a
//! hostile file neither hangs a call nor takes the memory of its process.

use std::cell::Cell;

use regex::RegexBuilder;
use serde_json::Value;

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

/// Refuses a step of a normalizer that could make very much of a text.
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

/// Refuses a pre-tokenizer that takes more than time by the length of a text.
pub(super) fn check_pre_tokenizer(part: &Value, file: &str) -> Result<()> {
    check_steps(part, "pre_tokenizer", file)?;
    // Each makes twice as much of most letters.
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

/// Refuses a normalizer that puts a text of so many bytes in the place of a match.
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

/// Refuses more steps than any real tokenizer has.
pub(super) fn check_step_count(steps: usize, name: &str, file: &str) -> Result<()> {
    if steps <= STEPS_MAX {
        return Ok(());
    }
    Err(error!(
        Unsupported,
        "{file}: the {name} has {steps} steps; at most {STEPS_MAX} are supported"
    ))
}

/// Steps are objects with a type. Their regular expressions have to be such that matching takes
/// time by the length of a text alone.
fn check_steps(part: &Value, name: &str, file: &str) -> Result<()> {
    let mut steps = 0;
    each_object(part, &mut |object| {
        let kind = object.get("type").and_then(Value::as_str);
        steps += usize::from(kind.is_some_and(|kind| kind != "Sequence"));
        let Some(pattern) = object.get("Regex").and_then(Value::as_str) else { return Ok(()) };
        let compiled = RegexBuilder::new(pattern).size_limit(REGEX_BYTES_MAX).build();
        compiled.map(drop).map_err(|e| {
            // Above the last line there is a drawing of the place.
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

/// Why what a normalizer makes of a text is not all of it.
#[derive(Clone, Copy)]
pub(super) enum Fault {
    /// The text had so many bytes before, and after.
    Growth(usize, usize),
    NoMemory,
}

thread_local! {
    /// The crate passes over what a normalizer says.
    static FAULT: Cell<Option<Fault>> = const { Cell::new(None) };
}

/// Remembers a fault until [`check_fault`] asks for it.
pub(super) fn note(fault: Fault) {
    FAULT.set(Some(fault));
}

/// Refuses what has been made of a text on this thread if there was a fault.
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

/// Whether a normalizer makes too much of a text.
pub(super) fn growth(before: usize, after: usize) -> Option<Fault> {
    let bytes_max = before.saturating_mul(GROWTH_MAX).saturating_add(GROWTH_BYTES);
    (after > bytes_max).then_some(Fault::Growth(before, after))
}
