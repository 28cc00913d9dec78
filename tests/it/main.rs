//! The tests of the library from outside, in one program: ONNX Runtime is linked once.

mod arrows;
mod artefact;
mod bad_directory;
mod bad_json;
mod bad_modules;
mod bad_weights;
mod bench;
mod beside;
mod built;
mod c;
#[cfg(feature = "cli")]
mod command;
#[cfg(feature = "cli")]
mod command_lines;
#[cfg(feature = "cli")]
mod command_scores;
mod compute_score;
mod cpp;
mod docs;
mod doors;
mod embeddings_server;
mod evaluate;
mod exports;
mod finetune;
mod first_program;
mod foreign_files;
mod fuzz;
mod golang;
mod golden;
mod good_directory;
#[cfg(feature = "cli")]
mod gpu;
mod half_weights;
mod header;
mod heads;
#[cfg(feature = "cli")]
mod installed;
mod int8;
#[cfg(feature = "cli")]
mod interrupted;
mod java;
mod lucene;
mod memory;
mod modules;
mod onnx_bombs;
mod outputs;
mod packed_cache;
mod panics;
mod quantize;
mod quantize_model;
mod quiet;
#[cfg(feature = "cli")]
mod readme;
mod runtime_library;
mod sandboxes;
mod schedule;
#[cfg(feature = "cli")]
mod selftest;
mod support;
mod text_faults;
mod tidy;
mod torch_file;
mod torch_weights;
mod uses;
mod venv;
mod wrong_directories;
