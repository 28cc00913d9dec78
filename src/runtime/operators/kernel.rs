//! What all operators of this library need to run as kernels of ONNX Runtime.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use ort::operator::{ComputeContext, Kernel};
use ort::value::{Shape, ValueRef, ValueRefMut};

use crate::stop::StillWanted;

thread_local! {
    /// Whether the batch under way on this thread is still wanted. ONNX Runtime calls the operators
    /// of a batch on the thread that started it.
    static STILL_WANTED: RefCell<Option<StillWanted>> = const { RefCell::new(None) };
}

/// Runs the graph on this thread. Its operators ask `still_wanted`.
pub(in crate::runtime) fn asking<T>(still_wanted: &StillWanted, run: impl FnOnce() -> T) -> T {
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

/// Whether any caller waits for the batch under way on this thread.
pub(in crate::runtime) fn run_is_wanted() -> bool {
    STILL_WANTED.with_borrow(|still_wanted| still_wanted.as_ref().is_none_or(|ask| ask()))
}

pub(in crate::runtime) fn input<'a>(
    context: &'a ComputeContext,
    index: usize,
) -> ort::Result<ValueRef<'a>> {
    context.input(index)?.ok_or_else(|| ort::Error::new("an input of an operator is missing"))
}

/// The first output, with the given shape.
pub(in crate::runtime) fn output<'a>(
    context: &'a ComputeContext,
    shape: &Shape,
) -> ort::Result<ValueRefMut<'a>> {
    output_at(context, 0, shape)
}

pub(in crate::runtime) fn output_at<'a>(
    context: &'a ComputeContext,
    index: usize,
    shape: &Shape,
) -> ort::Result<ValueRefMut<'a>> {
    context
        .output(index, shape.to_vec())?
        .ok_or_else(|| ort::Error::new("an output of an operator is missing"))
}

/// Runs work for every index below a number on ONNX Runtime's threads. Each thread takes one item
/// after another, since items differ in size. The caller has to notice an item that panicked or did
/// not run.
pub(in crate::runtime) fn parallel_for(
    context: &ComputeContext,
) -> impl Fn(usize, &(dyn Fn(usize) + Sync)) {
    |items, work| {
        // C++ code calls these items, too, as it calls the operators.
        let item = |index| {
            let _ = catch_unwind(AssertUnwindSafe(|| work(index)));
        };
        let _ = context.par_for(items, items, item);
    }
}

/// A kernel for a node of the graph, which any number of threads may run at once.
pub(in crate::runtime) trait SharedKernel: Send + Sync {
    fn run(&self, context: &ComputeContext) -> ort::Result<()>;
}

/// Makes a [`SharedKernel`] a kernel of `ort`, which borrows it mutably. Two batches may compute
/// the same node at once, so nothing is ever written through that reference. All kernels of this
/// library are of this type.
pub(in crate::runtime) struct Shared<K>(pub(in crate::runtime) K);

impl<K: SharedKernel> Kernel for Shared<K> {
    /// C++ code calls operators, and a panic must not unwind through it.
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let kernel = &self.0;
        catch_unwind(AssertUnwindSafe(|| kernel.run(context)))
            .unwrap_or_else(|_| Err(ort::Error::new("an operator of libbge panicked")))
    }
}
