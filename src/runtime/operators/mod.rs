//! The operators of the graph that are this library's own, run on ONNX Runtime's threads.

mod attention;
mod gelu;
mod linear;
mod norm;

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use ort::operator::{ComputeContext, Kernel, OperatorDomain};
use ort::value::{Shape, ValueRef, ValueRefMut};

use crate::graph::OWN_DOMAIN;
use crate::kernels::linear::PackedMatrix;
use crate::stop::StillWanted;

pub(super) use attention::STOPPED;

thread_local! {
    /// Whether the run under way on this thread is still wanted. ONNX Runtime calls the operators of
    /// a run on the thread that started it.
    static STILL_WANTED: RefCell<Option<StillWanted>> = const { RefCell::new(None) };
}

/// Runs the graph on this thread. Its operators ask `still_wanted`.
pub(super) fn asking<T>(still_wanted: &StillWanted, run: impl FnOnce() -> T) -> T {
    struct Reset;
    impl Drop for Reset {
        fn drop(&mut self) {
            STILL_WANTED.set(None);
        }
    }
    STILL_WANTED.set(Some(Arc::clone(still_wanted)));
    let _reset = Reset;
    run()
}

/// Whether any caller waits for the run under way on this thread.
fn run_is_wanted() -> bool {
    STILL_WANTED.with_borrow(|still_wanted| still_wanted.as_ref().is_none_or(|ask| ask()))
}

pub(super) fn own_domain(matrices: Vec<PackedMatrix>) -> ort::Result<OperatorDomain> {
    OperatorDomain::new(OWN_DOMAIN)?
        .add(attention::PackedAttention)?
        .add(norm::SkipLayerNorm)?
        .add(gelu::BiasGelu)?
        .add(linear::Linear { matrices: matrices.into() })
}

pub(super) fn input<'a>(context: &'a ComputeContext, index: usize) -> ort::Result<ValueRef<'a>> {
    context.input(index)?.ok_or_else(|| ort::Error::new("an input of an operator is missing"))
}

/// The one output, of the given shape.
pub(super) fn output<'a>(
    context: &'a ComputeContext,
    shape: &Shape,
) -> ort::Result<ValueRefMut<'a>> {
    output_at(context, 0, shape)
}

pub(super) fn output_at<'a>(
    context: &'a ComputeContext,
    index: usize,
    shape: &Shape,
) -> ort::Result<ValueRefMut<'a>> {
    context
        .output(index, shape.to_vec())?
        .ok_or_else(|| ort::Error::new("an output of an operator is missing"))
}

/// Runs work for every index below a number on ONNX Runtime's threads, as many batches as items:
/// they differ in size, so each thread takes the next one. An item that panics or is left out is
/// noticed by whoever asked for it.
pub(super) fn parallel_for(context: &ComputeContext) -> impl Fn(usize, &(dyn Fn(usize) + Sync)) {
    |items, work| {
        // Called from C++ too, like the operators themselves.
        let item = |index| {
            let _ = catch_unwind(AssertUnwindSafe(|| work(index)));
        };
        let _ = context.par_for(items, items, item);
    }
}

/// What an operator does for a node of the graph, on any number of threads at once.
pub(super) trait SharedKernel: Send + Sync {
    fn run(&self, context: &ComputeContext) -> ort::Result<()>;
}

/// Lends a kernel to `ort`, which asks for it mutably. Two runs may compute the same node at once, so
/// nothing is ever written through that reference: there is no other `Kernel` in this library.
pub(super) struct Shared<K>(pub(super) K);

impl<K: SharedKernel> Kernel for Shared<K> {
    /// ONNX Runtime calls operators from C++, through which a panic must not pass.
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let kernel = &self.0;
        catch_unwind(AssertUnwindSafe(|| kernel.run(context)))
            .unwrap_or_else(|_| Err(ort::Error::new("an operator of libbge panicked")))
    }
}
