//! How the library that the JVM loads is linked.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        // The C functions of libbge are for C: what is not exported is not kept either. That the
        // library stays loaded, and its soname, cargo passes on from libbge's own build script; the
        // soname is another in the jar, by `carry.py`.
        println!("cargo:rustc-cdylib-link-arg=-Wl,--exclude-libs,ALL");
    }
}
