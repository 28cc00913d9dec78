//! The built library and the installed tree, as users and packagers get them.

pub mod artifact;
#[cfg(feature = "cli")]
pub mod install;
