//! The encodings of input files and lines: UTF-8, or another that the error can name.

use std::borrow::Cow;

const BOM: &str = "\u{feff}";

/// The text without its byte order mark, or the end of a sentence that says why it is not UTF-8.
pub(crate) fn utf8(bytes: &[u8]) -> Result<&str, Cow<'static, str>> {
    if is_utf16(bytes) {
        return Err("is in UTF-16; convert it, as with iconv -f UTF-16 -t UTF-8".into());
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.strip_prefix(BOM).unwrap_or(text)),
        Err(e) => {
            let line = 1 + bytes[..e.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count();
            Err(format!("is not UTF-8 in line {line}").into())
        }
    }
}

/// The encoding that the byte order mark at the beginning stands for.
pub(crate) fn is_utf16(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF])
}

/// Parses a line of JSON in UTF-8, without a byte order mark.
pub(crate) fn line(bytes: &[u8], is_first: bool) -> &[u8] {
    match bytes.strip_prefix(BOM.as_bytes()) {
        Some(rest) if is_first => rest,
        _ => bytes,
    }
}
