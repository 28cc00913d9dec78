//! The operators of the graph that are this library's own, run on ONNX Runtime's threads.

mod attention;
mod gelu;
mod linear;
mod norm;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use ort::operator::{ComputeContext, OperatorDomain};
use ort::value::{Shape, ValueRef, ValueRefMut};

use crate::graph::OWN_DOMAIN;
use crate::int8::PackedMatrix;

pub(super) use attention::STOPPED;

/// Answers whether somebody still waits for the run that is under way.
pub(crate) type Wanted = Arc<dyn Fn() -> bool + Send + Sync>;

pub(super) fn own_domain(
    wanted: Wanted,
    matrices: Vec<PackedMatrix>,
) -> ort::Result<OperatorDomain> {
    OperatorDomain::new(OWN_DOMAIN)?
        .add(attention::PackedAttention { wanted })?
        .add(norm::SkipLayerNorm)?
        .add(gelu::BiasGelu)?
        .add(linear::Int8Linear { matrices: matrices.into() })
}

fn input<'a>(context: &'a ComputeContext, index: usize) -> ort::Result<ValueRef<'a>> {
    context.input(index)?.ok_or_else(|| ort::Error::new("an input of an operator is missing"))
}

/// The one output, of the given shape.
fn output<'a>(context: &'a ComputeContext, shape: &Shape) -> ort::Result<ValueRefMut<'a>> {
    context
        .output(0, shape.to_vec())?
        .ok_or_else(|| ort::Error::new("the output of an operator is missing"))
}

/// Runs work for every index below a number on ONNX Runtime's threads, as many batches as items:
/// they differ in size, so each thread takes the next one. An item that panics or is left out is
/// noticed by whoever asked for it.
fn parallel_for(context: &ComputeContext) -> impl Fn(usize, &(dyn Fn(usize) + Sync)) {
    |items, work| {
        // Called from C++ too, like the operators themselves.
        let item = |index| {
            let _ = catch_unwind(AssertUnwindSafe(|| work(index)));
        };
        let _ = context.par_for(items, items, item);
    }
}

/// ONNX Runtime calls operators from C++, through which a panic must not pass.
fn guarded(compute: impl FnOnce() -> ort::Result<()>) -> ort::Result<()> {
    catch_unwind(AssertUnwindSafe(compute))
        .unwrap_or_else(|_| Err(ort::Error::new("an operator of libbge panicked")))
}
