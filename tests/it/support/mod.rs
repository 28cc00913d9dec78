//! What the tests share: paths, builds, copies of models, and Pythons.

pub mod build;
pub mod models;
pub mod python;
