//! How libbge.so is linked: under a soname with the ABI's major version, and to stay.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let variable = |name| std::env::var(name).unwrap_or_default();
    if variable("CARGO_CFG_TARGET_OS") == "linux" {
        let major = variable("CARGO_PKG_VERSION_MAJOR");
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libbge.so.{major}");
        // ONNX Runtime's threads and callbacks come back into this library at any time.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}
