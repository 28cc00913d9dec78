//! The programs in `examples`.

pub mod embeddings_server;
pub mod finetune;
pub mod first_program;
pub mod lucene;
pub mod uses;
