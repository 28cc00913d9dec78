//! libbge.so: the functions of `include/bge.h`, which the crate `bge` defines in `src/ffi`.
//!
//! A package of its own, so that a program in Rust that uses the crate links no shared library of C
//! functions, and so that what is said to the linker for libbge.so, as its soname, does not reach
//! the libraries of others: cargo passes such words on to whatever depends on the package.

// Linked for its exported functions alone.
extern crate bge as _;
