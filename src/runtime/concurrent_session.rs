//! A session that several threads run at once.

use std::ffi::CString;
use std::ptr::{self, NonNull};

use ort::AsPointer;
use ort::session::{RunOptions, Session, SessionInputValue};
use ort::value::{DynValue, Outlet};

/// A session with the names of its inputs and outputs as C strings.
///
/// `ort` allows one run of a session at a time, because not every execution provider supports more.
/// ONNX Runtime documents that any number of threads may call `Run` with the same session, and its
/// execution provider for the CPU does support it. A session on a GPU has one thread that runs it.
pub(super) struct ConcurrentSession {
    session: Session,
    inputs: Vec<CString>,
    outputs: Vec<CString>,
}

impl ConcurrentSession {
    pub fn new(session: Session) -> ort::Result<Self> {
        let names = |outlets: &[Outlet]| {
            let names = outlets.iter().map(|outlet| CString::new(outlet.name()));
            names.collect::<Result<Vec<_>, _>>().map_err(ort::Error::wrap)
        };
        let (inputs, outputs) = (names(session.inputs())?, names(session.outputs())?);
        Ok(Self { session, inputs, outputs })
    }

    pub fn session(&self) -> &Session {
        &self.session
    }

    pub fn inputs(&self) -> &[Outlet] {
        self.session.inputs()
    }

    pub fn outputs(&self) -> &[Outlet] {
        self.session.outputs()
    }

    /// Takes a value for each input, and returns one for each output.
    pub fn run(
        &self,
        values: &[SessionInputValue<'_>],
        options: &RunOptions,
    ) -> ort::Result<Vec<DynValue>> {
        if values.len() != self.inputs.len() {
            let (given, wanted) = (values.len(), self.inputs.len());
            return Err(ort::Error::new(format!("{given} inputs were given, not {wanted}")));
        }
        let pointers = |names: &[CString]| names.iter().map(|name| name.as_ptr()).collect();
        let (inputs, outputs): (Vec<_>, Vec<_>) = (pointers(&self.inputs), pointers(&self.outputs));
        let given: Vec<_> = values.iter().map(|value| value.ptr()).collect();
        let mut made = vec![ptr::null_mut(); outputs.len()];
        // SAFETY: there are as many names as values on both sides, and all of them, the session and
        // the options outlive the call. Only ONNX Runtime writes to the session, and it allows
        // `Run` on several threads at once.
        unsafe {
            let status = (ort::api().Run)(
                self.session.ptr().cast_mut(),
                options.ptr(),
                inputs.as_ptr(),
                given.as_ptr(),
                given.len(),
                outputs.as_ptr(),
                outputs.len(),
                made.as_mut_ptr(),
            );
            ort::Error::result_from_status(status)?;
        }
        let values = made.into_iter().map(|value| {
            let value = NonNull::new(value)?;
            // SAFETY: the run has just created this output, and nothing else owns it.
            Some(unsafe { DynValue::from_ptr(value, Some(self.session.allocator())) })
        });
        let missing = || ort::Error::new("the run left out an output");
        values.collect::<Option<_>>().ok_or_else(missing)
    }
}
