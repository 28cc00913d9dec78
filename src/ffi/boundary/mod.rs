//! All code that handles a raw pointer: checks of the arguments, the guard around every call, and
//! writes to memory of the caller.
//!
//! Soundness rests on the header's rules: a pointer that is not NULL points at as much memory as
//! the function says, until the call returns. All other mistakes are checked.

mod callbacks;
mod guard;
mod pointers;
mod rows;
mod structs;

pub(super) use callbacks::*;
pub(super) use guard::*;
pub(super) use pointers::*;
pub(super) use rows::*;
pub(super) use structs::*;
