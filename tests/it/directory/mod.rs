//! Model directories: which open, and what is said of those that do not.

pub mod broken_directory;
pub mod broken_json;
pub mod broken_modules;
pub mod broken_weights;
pub mod fuzz;
pub mod good_directory;
pub mod heads;
pub mod modules;
pub mod no_directory;
pub mod onnx_bombs;
pub mod onnx_exports;
pub mod torch_file;
pub mod torch_weights;
pub mod unusual_directory;
pub mod weights_of_16_bits;
