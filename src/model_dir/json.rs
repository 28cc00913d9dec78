//! JSON as model directories contain it: UTF-8, with the numbers that Python writes and JSON does
//! not have.

use std::borrow::Cow;
use std::path::Path;

use serde::de::DeserializeOwned;

use super::files::{is_present, read_file};
use crate::error::{Result, error};

/// The size limit of a JSON file, except those with tokens.
const BYTES_MAX: u64 = 4 << 20;
/// The files that list every added token: 25,000 of them take 5 MB.
const TOKENS: [&str; 2] = ["tokenizer_config.json", "added_tokens.json"];
const TOKENS_BYTES_MAX: u64 = 64 << 20;

/// Reads a JSON file of the model.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let is_large = path.file_name().is_some_and(|name| TOKENS.iter().any(|known| name == *known));
    let bytes = read_file(path, if is_large { TOKENS_BYTES_MAX } else { BYTES_MAX })?;
    check_encoding(path, &bytes)?;
    parse_json(&bytes)
        .map_err(|e| error!(ModelInvalid, "{} is not what it should be: {e}", path.display()))
}

/// Reads a JSON file that a model may lack.
pub(super) fn read_json_if_present<T: DeserializeOwned + Default>(path: &Path) -> Result<T> {
    if is_present(path) { read_json(path) } else { Ok(T::default()) }
}

/// Reports an encoding that an editor has caused, where a parser would only say that the file is no
/// JSON.
pub(super) fn check_encoding(path: &Path, bytes: &[u8]) -> Result<()> {
    let found = match bytes {
        [0xef, 0xbb, 0xbf, ..] => "begins with a byte order mark (BOM), which JSON must not",
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "is UTF-16, and JSON has to be UTF-8",
        _ => return Ok(()),
    };
    Err(error!(ModelInvalid, "{} {found}; save it as UTF-8 without BOM", path.display()))
}

/// Parses JSON. The error names the key at fault, and not only the line.
pub(super) fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let bytes = without_python_numbers(bytes);
    let mut parser = serde_json::Deserializer::from_slice(&bytes);
    let value = serde_path_to_error::deserialize(&mut parser).map_err(|e| e.to_string())?;
    parser.end().map_err(|e| e.to_string())?;
    Ok(value)
}

/// Replaces NaN and infinities, which Python writes and JSON does not have, by an empty list: no
/// key that matters may be a list.
fn without_python_numbers(bytes: &[u8]) -> Cow<'_, [u8]> {
    const NAMES: [&str; 3] = ["NaN", "-Infinity", "Infinity"];
    let has = |name: &str| bytes.windows(name.len()).any(|at| at == name.as_bytes());
    if !has(NAMES[0]) && !has(NAMES[2]) {
        return Cow::Borrowed(bytes);
    }
    let mut copy = Vec::with_capacity(bytes.len() + 64);
    let (mut rest, mut in_text) = (bytes, false);
    while let Some(&byte) = rest.first() {
        let name = NAMES.iter().find(|name| !in_text && rest.starts_with(name.as_bytes()));
        let length = match (name, byte) {
            (Some(name), _) => {
                copy.extend_from_slice(format!("[\"{name}\"]").as_bytes());
                rest = &rest[name.len()..];
                continue;
            }
            (None, b'\\') if in_text => rest.len().min(2),
            (None, b'"') => {
                in_text = !in_text;
                1
            }
            (None, _) => 1,
        };
        copy.extend_from_slice(&rest[..length]);
        rest = &rest[length..];
    }
    Cow::Owned(copy)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn numbers_of_python_are_lists_and_texts_stay_what_they_are() {
        let text = r#"{"a": NaN, "b": [-Infinity, Infinity], "NaN": "Infinity \" NaN", "c": "\\"}"#;
        let parsed: Value = parse_json(text.as_bytes()).unwrap();
        let expected = json!({
            "a": ["NaN"], "b": [["-Infinity"], ["Infinity"]], "NaN": "Infinity \" NaN", "c": "\\"
        });
        assert_eq!(parsed, expected);
        for broken in ["{\"a\": Nan}", "{\"a\": NaNa}", "{\"a\": \"NaN}", "NaN NaN", "\\NaN"] {
            parse_json::<Value>(broken.as_bytes()).unwrap_err();
        }
    }
}
