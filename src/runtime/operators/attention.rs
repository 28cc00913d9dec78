//! The operator `bge.PackedAttention`.

use ort::operator::{ComputeContext, KernelContext, Operator, OperatorInput, OperatorOutput};
use ort::value::TensorElementType;

use super::kernel::{Shared, SharedKernel, input, output, parallel_for, run_is_wanted};
use crate::graph::ATTENTION_OPERATOR;
use crate::kernels::attention::{self, Shape};

/// The error that ends a batch nobody waits for any more.
pub(in crate::runtime) const STOPPED: &str = "every call of this run was stopped";

pub(super) struct PackedAttention;

impl Operator for PackedAttention {
    type Kernel<'attr> = Shared<PackedAttentionKernel>;

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
    ) -> ort::Result<Shared<PackedAttentionKernel>> {
        let heads: i64 = context
            .get("num_heads")
            .ok_or_else(|| ort::Error::new("the attribute num_heads is missing"))?;
        Ok(Shared(PackedAttentionKernel { heads: heads as usize }))
    }
}

pub(super) struct PackedAttentionKernel {
    heads: usize,
}

impl SharedKernel for PackedAttentionKernel {
    fn run(&self, context: &ComputeContext) -> ort::Result<()> {
        // Asking once a layer is often enough to stop a batch soon.
        if !run_is_wanted() {
            return Err(ort::Error::new(STOPPED));
        }
        let (query, key, value) = (input(context, 0)?, input(context, 1)?, input(context, 2)?);
        let (query_offsets, key_offsets) = (input(context, 3)?, input(context, 4)?);
        let (shape, query) = query.try_extract_tensor::<f32>()?;
        let (_, key) = key.try_extract_tensor::<f32>()?;
        let (_, value) = value.try_extract_tensor::<f32>()?;
        let (_, query_offsets) = query_offsets.try_extract_tensor::<i32>()?;
        let (_, key_offsets) = key_offsets.try_extract_tensor::<i32>()?;
        let mut attended = output(context, shape)?;
        let (shape, attended) = attended.try_extract_tensor_mut::<f32>()?;
        let width = shape.last().copied().unwrap_or_default() as usize;
        let packed = Shape {
            heads: self.heads,
            head_dim: width / self.heads,
            q_offsets: query_offsets,
            k_offsets: key_offsets,
        };
        attention::run(&packed, query, key, value, attended, &parallel_for(context))
            .map_err(ort::Error::new)
    }
}
