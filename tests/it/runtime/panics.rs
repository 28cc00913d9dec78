//! Whose panics the library hears: its own, and not those of a host that is a Rust program too.

use std::ffi::{CString, c_char, c_void};
use std::panic::{catch_unwind, panic_any, set_hook, take_hook};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;

use bge::{EncodeOptions, Model, OpenOptions};

use crate::support::build::{library, root};

const OURS: &str = "a panic of the host";
static HEARD: AtomicUsize = AtomicUsize::new(0);

fn panic_and_count() -> usize {
    let before = HEARD.load(SeqCst);
    catch_unwind(|| panic_any(OURS)).unwrap_err();
    HEARD.load(SeqCst) - before
}

/// Calls `bge_version_string` and `bge_cancel_new`. The second has the guard, which replaces the
/// panic hook of its own standard library.
fn call_the_shared_library() {
    let path = CString::new(library().to_str().unwrap()).unwrap();
    // SAFETY: the library and its functions are those of include/bge.h.
    unsafe {
        let handle = libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL);
        assert!(!handle.is_null());
        let find = |name: &std::ffi::CStr| {
            let found = libc::dlsym(handle, name.as_ptr());
            assert!(!found.is_null());
            found
        };
        let version = std::mem::transmute::<*mut c_void, extern "C" fn() -> *const c_char>(find(
            c"bge_version_string",
        ));
        assert!(!version().is_null());
        let new = std::mem::transmute::<*mut c_void, extern "C" fn() -> *mut c_void>(find(
            c"bge_cancel_new",
        ));
        let free = std::mem::transmute::<*mut c_void, extern "C" fn(*mut c_void)>(find(
            c"bge_cancel_free",
        ));
        free(new());
        libc::dlclose(handle);
    }
}

#[test]
fn the_hosts_panic_hook_stays() {
    let otherwise = take_hook();
    let own = thread::current().id();
    set_hook(Box::new(move |panic| {
        let message = panic.payload().downcast_ref::<&str>();
        if thread::current().id() == own && message == Some(&OURS) {
            HEARD.fetch_add(1, SeqCst);
        } else {
            otherwise(panic);
        }
    }));
    assert_eq!(panic_and_count(), 1);
    let model = Model::open(root().join("tests/tiny/cls"), &OpenOptions::default()).unwrap();
    model.encode(&["a"], &EncodeOptions::default()).unwrap();
    model.encode(&["a"], &EncodeOptions { max_tokens: 1, ..Default::default() }).unwrap_err();
    model.close();
    assert_eq!(panic_and_count(), 1, "after use as a crate");
    call_the_shared_library();
    assert_eq!(panic_and_count(), 1, "after use as a shared library");
}
