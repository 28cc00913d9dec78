//! How the library that the JVM loads is linked.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        // The C functions of libbge are for C: what is not exported is not kept either.
        println!("cargo:rustc-cdylib-link-arg=-Wl,--exclude-libs,ALL");
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libbge_jni.so.0");
        // ONNX Runtime's threads and callbacks come back into this library at any time.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}
