//! Files and lines as people write them: in UTF-8, or in something else that can be named.

use std::borrow::Cow;

const BOM: &str = "\u{feff}";

/// A text without the byte order mark that it may begin with; or what is wrong with it, as the end of a
/// sentence.
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

/// As the mark says that stands at the beginning.
pub(crate) fn is_utf16(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF])
}

/// A line of JSON in UTF-8, without a mark.
pub(crate) fn line(bytes: &[u8], is_first: bool) -> &[u8] {
    match bytes.strip_prefix(BOM.as_bytes()) {
        Some(rest) if is_first => rest,
        _ => bytes,
    }
}
