//! The operator `bge.PackedAttention`, run on ONNX Runtime's own threads.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use ort::operator::{
    ComputeContext, Kernel, KernelContext, Operator, OperatorDomain, OperatorInput, OperatorOutput,
    ShapeInferenceContext,
};
use ort::value::TensorElementType;

use crate::attention::{self, Shape};
use crate::graph::{ATTENTION_DOMAIN, ATTENTION_OPERATOR};

/// Why a run ended that nobody waited for any more.
pub(super) const STOPPED: &str = "every call of this run was stopped";

/// Answers whether somebody still waits for the run that is under way.
pub(super) type Wanted = Arc<dyn Fn() -> bool + Send + Sync>;

pub(super) fn attention_domain(wanted: Wanted) -> ort::Result<OperatorDomain> {
    OperatorDomain::new(ATTENTION_DOMAIN)?.add(PackedAttention { wanted })
}

struct PackedAttention {
    wanted: Wanted,
}

impl Operator for PackedAttention {
    type Kernel<'attr> = PackedAttentionKernel;

    fn name(&self) -> &str {
        ATTENTION_OPERATOR
    }

    // The default upper end does not fit into the int that ONNX Runtime reads.
    fn versions(&self) -> std::ops::RangeInclusive<u32> {
        1..=1
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        use TensorElementType::{Float32, Int32};
        [Float32, Float32, Float32, Int32, Int32].map(OperatorInput::required)
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(TensorElementType::Float32)]
    }

    fn create_kernel<'attr>(
        &self,
        context: &KernelContext<'attr>,
    ) -> ort::Result<PackedAttentionKernel> {
        let heads: i64 = context
            .get("num_heads")
            .ok_or_else(|| ort::Error::new("the attribute num_heads is missing"))?;
        Ok(PackedAttentionKernel { heads: heads as usize, wanted: Arc::clone(&self.wanted) })
    }

    fn infer_shape(&self, context: &mut ShapeInferenceContext) -> ort::Result<()> {
        match context.inputs().first() {
            Some(query) => context.set_output(0, query),
            None => Ok(()),
        }
    }
}

struct PackedAttentionKernel {
    heads: usize,
    wanted: Wanted,
}

impl Kernel for PackedAttentionKernel {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        // ONNX Runtime calls this from C++, through which a panic must not pass.
        catch_unwind(AssertUnwindSafe(|| self.attend(context)))
            .unwrap_or_else(|_| Err(ort::Error::new("attention panicked")))
    }
}

impl PackedAttentionKernel {
    fn attend(&self, context: &ComputeContext) -> ort::Result<()> {
        // Once a layer is often enough to be rid of a run that nobody waits for.
        if !(self.wanted)() {
            return Err(ort::Error::new(STOPPED));
        }
        let input = |index| {
            context.input(index)?.ok_or_else(|| ort::Error::new("an input of attention is missing"))
        };
        let (query, key, value) = (input(0)?, input(1)?, input(2)?);
        let (query_offsets, key_offsets) = (input(3)?, input(4)?);
        let (shape, query) = query.try_extract_tensor::<f32>()?;
        let (_, key) = key.try_extract_tensor::<f32>()?;
        let (_, value) = value.try_extract_tensor::<f32>()?;
        let (_, query_offsets) = query_offsets.try_extract_tensor::<i32>()?;
        let (_, key_offsets) = key_offsets.try_extract_tensor::<i32>()?;
        let mut attended = context
            .output(0, shape.to_vec())?
            .ok_or_else(|| ort::Error::new("the output of attention is missing"))?;
        let (shape, attended) = attended.try_extract_tensor_mut::<f32>()?;
        let width = shape.last().copied().unwrap_or_default() as usize;
        let packed = Shape {
            heads: self.heads,
            head_dim: width / self.heads,
            q_offsets: query_offsets,
            k_offsets: key_offsets,
        };
        // As many batches as items: they differ in size, so each thread takes the next one. An item
        // that panics or is left out is noticed by `run`.
        let parallel_for = |items: usize, work: &(dyn Fn(usize) + Sync)| {
            let shared = SharedWork(work);
            let _ = context.par_for(items, items, move |item| shared.run(item));
        };
        attention::run(&packed, query, key, value, attended, &parallel_for).map_err(ort::Error::new)
    }
}

/// Work that ONNX Runtime's threads share. They call it from C++, through which no panic may pass.
struct SharedWork<'a>(&'a (dyn Fn(usize) + Sync));

impl SharedWork<'_> {
    fn run(&self, item: usize) {
        let _ = catch_unwind(AssertUnwindSafe(|| (self.0)(item)));
    }
}
