//! Queries of NVIDIA's own libraries: which of them are missing, which GPU there is, and which
//! TensorRT.

use std::error::Error as _;
use std::ffi::{CStr, c_char, c_int, c_uint};
use std::path::Path;

use libloading::{Library, Symbol};

use crate::runtime::library::needed;

/// The library of the driver, which describes the GPUs.
const DRIVER: &str = "libcuda.so.1";
/// Numbers of `CUdevice_attribute`.
const CAPABILITY_MAJOR: c_int = 75;
const CAPABILITY_MINOR: c_int = 76;

/// A GPU, as its driver describes it.
#[derive(Clone, Debug)]
pub(in crate::runtime) struct Gpu {
    pub name: String,
    /// Major and minor number.
    pub capability: (c_int, c_int),
    /// The CUDA version that the driver is for, as `13.0`.
    pub driver: String,
}

/// The GPU with this number. The error is a clause that follows "but".
pub(in crate::runtime) fn gpu(index: u32) -> Result<Gpu, String> {
    let driver = load(DRIVER)
        .map_err(|e| format!("there is no NVIDIA driver: {DRIVER} cannot be loaded: {e}"))?;
    let driver = Driver { library: driver };
    driver.call("cuInit", |init: Fn1<c_uint>| {
        // SAFETY: the function of this name takes flags, which have to be 0.
        unsafe { init(0) }
    })?;
    let count = driver.number("cuDeviceGetCount")?;
    if i64::from(index) >= i64::from(count) {
        let ours = if count == 1 { "is one GPU, 0".into() } else { format!("are {count} GPUs") };
        return Err(format!("there {ours}; CUDA_VISIBLE_DEVICES may hide some"));
    }
    let mut device: c_int = 0;
    driver.call("cuDeviceGet", |get: Fn2<*mut c_int, c_int>| {
        // SAFETY: the function writes the handle of the device, a number, to its first argument.
        unsafe { get(&raw mut device, index as c_int) }
    })?;
    let mut name = [0_u8; 256];
    driver.call("cuDeviceGetName", |get: Fn3<*mut c_char, c_int, c_int>| {
        // SAFETY: the function writes at most as many bytes as the array has, a NUL among them.
        unsafe { get(name.as_mut_ptr().cast(), name.len() as c_int, device) }
    })?;
    let attribute = |attribute: c_int| {
        let mut value: c_int = 0;
        driver.call("cuDeviceGetAttribute", |get: Fn3<*mut c_int, c_int, c_int>| {
            // SAFETY: the function writes a number to its first argument.
            unsafe { get(&raw mut value, attribute, device) }
        })?;
        Ok::<_, String>(value)
    };
    let version = driver.number("cuDriverGetVersion")?;
    Ok(Gpu {
        name: CStr::from_bytes_until_nul(&name)
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default(),
        capability: (attribute(CAPABILITY_MAJOR)?, attribute(CAPABILITY_MINOR)?),
        driver: format!("{}.{}", version / 1000, version % 1000 / 10),
    })
}

type Fn1<A> = unsafe extern "C" fn(A) -> c_int;
type Fn2<A, B> = unsafe extern "C" fn(A, B) -> c_int;
type Fn3<A, B, C> = unsafe extern "C" fn(A, B, C) -> c_int;

struct Driver {
    library: Library,
}

impl Driver {
    /// Calls a function that returns zero if it succeeds. `F` has to be its type.
    fn call<F: Copy>(&self, name: &str, call: impl FnOnce(F) -> c_int) -> Result<(), String> {
        // SAFETY: the type is the one that cuda.h declares for the function of this name, which is
        // written where the function is called.
        let function: Symbol<F> = unsafe { self.library.get(name) }
            .map_err(|_| format!("the NVIDIA driver cannot be used: {DRIVER} has no {name}"))?;
        match call(*function) {
            0 => Ok(()),
            code => Err(format!("the NVIDIA driver answers {name} with {}", self.words(code))),
        }
    }

    fn number(&self, name: &str) -> Result<c_int, String> {
        let mut number: c_int = 0;
        self.call(name, |get: Fn1<*mut c_int>| {
            // SAFETY: the functions that this is used for write a number to their one argument.
            unsafe { get(&raw mut number) }
        })?;
        Ok(number)
    }

    /// The name of an error of the driver.
    fn words(&self, code: c_int) -> String {
        let mut text: *const c_char = std::ptr::null();
        // SAFETY: the function of this name has this type, and stores the address of a text that
        // lives as long as the library, or null.
        unsafe {
            let function: Result<Symbol<Fn2<c_int, *mut *const c_char>>, _> =
                self.library.get("cuGetErrorString");
            if let Ok(get) = function {
                get(code, &raw mut text);
            }
            match text.is_null() {
                true => format!("error {code}"),
                false => format!("error {code}, {}", CStr::from_ptr(text).to_string_lossy()),
            }
        }
    }
}

/// The libraries that a library needs and the system's loader does not find, each with the product
/// that it belongs to.
pub(in crate::runtime) fn missing_libraries(of: &Path) -> Vec<String> {
    let missing = needed(of).into_iter().filter(|name| load(name).is_err());
    missing
        .map(|name| match belongs_to(&name) {
            Some(whose) => format!("{name} ({whose})"),
            None => name,
        })
        .collect()
}

fn belongs_to(name: &str) -> Option<&'static str> {
    const WHOSE: [(&str, &str); 5] = [
        ("libcuda.", "NVIDIA driver"),
        ("libcudnn", "cuDNN"),
        ("libcu", "CUDA"),
        ("libnvinfer", "TensorRT"),
        ("libnvonnxparser", "TensorRT"),
    ];
    WHOSE.iter().find(|(start, _)| name.starts_with(start)).map(|(_, whose)| *whose)
}

/// The version of the TensorRT that a library needs, as `10.14.1`.
pub(in crate::runtime) fn tensorrt_version(provider: &Path) -> Result<String, String> {
    let name = needed(provider)
        .into_iter()
        .find(|name| name.starts_with("libnvinfer.so"))
        .ok_or_else(|| format!("{} does not say which TensorRT it needs", provider.display()))?;
    let library = load(&name).map_err(|e| format!("{name} cannot be loaded: {e}"))?;
    // SAFETY: the function of this name takes nothing and returns a number, in every version.
    let version = unsafe {
        let get: Symbol<unsafe extern "C" fn() -> c_int> = library
            .get("getInferLibVersion")
            .map_err(|_| format!("{name} has no getInferLibVersion"))?;
        get()
    };
    std::mem::forget(library);
    Ok(version_of(version))
}

/// From version 10 on, the number is 10000 times the major number, plus 100 times the minor one,
/// plus the patch. Before, it was 1000 times the major number.
fn version_of(number: c_int) -> String {
    let major = if number >= 100_000 { 10_000 } else { 1_000 };
    format!("{}.{}.{}", number / major, number % major / 100, number % 100)
}

fn load(name: &str) -> Result<Library, String> {
    // SAFETY: loading runs the library's initializers. The administrator of the machine has
    // installed it, and ONNX Runtime is about to load the same.
    unsafe { Library::new(name) }
        .map_err(|e| e.source().map_or_else(|| e.to_string(), |source| source.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_they_are_counted() {
        assert_eq!(version_of(101_401), "10.14.1");
        assert_eq!(version_of(8_601), "8.6.1");
    }

    #[test]
    fn a_library_that_is_there_is_not_missing() {
        let own = std::env::current_exe().unwrap();
        assert!(needed(&own).iter().any(|name| name.starts_with("libc.so")));
        assert_eq!(missing_libraries(&own), [""; 0]);
        assert_eq!(needed(Path::new("/dev/null")), [""; 0]);
    }

    #[test]
    fn who_a_library_belongs_to_is_told() {
        for (name, whose) in [
            ("libcuda.so.1", Some("NVIDIA driver")),
            ("libcudart.so.13", Some("CUDA")),
            ("libcudnn.so.9", Some("cuDNN")),
            ("libnvinfer.so.10", Some("TensorRT")),
            ("libc.so.6", None),
        ] {
            assert_eq!(belongs_to(name), whose, "{name}");
        }
    }
}
