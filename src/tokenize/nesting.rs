//! How deeply the lists and objects of a part of a file are nested.

use crate::error::{Result, error};

/// The most levels. Parts of real files have 6. Each level takes some kilobytes of stack to read,
/// and a normalizer within a normalizer is two levels.
const DEPTH_MAX: usize = 24;

/// Refuses a part that would take more stack to read than `bge_open` documents. Whether it is valid
/// JSON is checked when it is read.
pub(super) fn check(json: &[u8], file: &str) -> Result<()> {
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for &byte in json {
        if in_text {
            in_text = escaped || byte != b'"';
            escaped = byte == b'\\' && !escaped;
            continue;
        }
        match byte {
            b'"' => in_text = true,
            b'[' | b'{' => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return Err(error!(
                        ModelInvalid,
                        "{file}: lists and objects lie in one another more than {DEPTH_MAX} deep; \
                         where a Sequence is in a Sequence, put its parts there"
                    ));
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_count_outside_of_texts_only() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        for fine in [
            nested(DEPTH_MAX),
            format!("{{\"a\": \"{}\", \"b\": {}}}", nested(100), nested(DEPTH_MAX - 1)),
            format!(r#"["\\", "\"{}", {}]"#, nested(100), nested(3)),
            "[]".repeat(100),
            "]".repeat(100),
        ] {
            check(fine.as_bytes(), "a").unwrap();
        }
        for deep in [nested(DEPTH_MAX + 1), format!(r#"["\\", {}"#, "{".repeat(DEPTH_MAX))] {
            let said = check(deep.as_bytes(), "a").unwrap_err().to_string();
            assert!(said.contains("more than 24 deep"), "{said}");
        }
    }
}
