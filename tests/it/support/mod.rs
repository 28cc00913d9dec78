//! Helpers that the tests share: paths, builds, copies of models, and Python environments.

pub mod build;
pub mod child;
pub mod models;
pub mod python;
