//! The standard output, which has results and nothing else.

use std::io::Write;

use crate::failure::Failure;

pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}
