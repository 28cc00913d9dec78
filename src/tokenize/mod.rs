//! Stand-in.
use crate::error::{Result, error};
use once_cell::sync::OnceCell;
use std::ffi::{CStr, CString};

pub(crate) struct Tokenizer {
    inner: tokenizers::Tokenizer,
    vocab: usize,
    eos: u32,
    texts: OnceCell<Vec<CString>>,
}
pub(crate) struct Tokens {
    pub ids: Vec<u32>,
    pub truncated: bool,
}
impl Tokenizer {
    pub fn from_bytes(bytes: &[u8], name: &str) -> Result<Self> {
        let mut inner = tokenizers::Tokenizer::from_bytes(bytes)
            .map_err(|e| error!(ModelInvalid, "{name} is not a tokenizer: {e}"))?;
        inner.with_truncation(None).map_err(|e| error!(ModelInvalid, "{name}: {e}"))?;
        inner.with_padding(None);
        let vocab = inner.get_vocab(true).values().max().map_or(0, |x| *x as usize + 1);
        let eos = *inner
            .encode("", true)
            .map_err(|e| error!(ModelInvalid, "{name}: {e}"))?
            .get_ids()
            .last()
            .unwrap();
        Ok(Self { inner, vocab, eos, texts: OnceCell::new() })
    }
    pub fn encode(&self, text: &str, max_tokens: usize) -> Result<Tokens> {
        let mut ids = self
            .inner
            .encode_fast(text, true)
            .map_err(|e| error!(Internal, "{e}"))?
            .get_ids()
            .to_vec();
        let truncated = ids.len() > max_tokens;
        if truncated {
            ids.truncate(max_tokens - 1);
            ids.push(self.eos);
        }
        Ok(Tokens { ids, truncated })
    }
    pub fn count(&self, text: &str) -> Result<usize> {
        Ok(self.encode(text, usize::MAX)?.ids.len())
    }
    pub fn token_text(&self, id: u32) -> Option<&CStr> {
        self.texts
            .get_or_init(|| {
                (0..self.vocab as u32)
                    .map(|i| {
                        CString::new(self.inner.id_to_token(i).unwrap_or_default())
                            .unwrap_or_default()
                    })
                    .collect()
            })
            .get(id as usize)
            .map(|x| x.as_c_str())
    }
    pub fn vocab_size(&self) -> usize {
        self.vocab
    }
}
pub(crate) fn strip(text: &str) -> &str {
    text.trim()
}
