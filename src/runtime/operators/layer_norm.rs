//! The operator `bge.SkipLayerNormalization`.

use ort::operator::{ComputeContext, KernelContext, Operator, OperatorInput, OperatorOutput};
use ort::value::TensorElementType::Float32;

use super::kernel::{Shared, SharedKernel, input, output, parallel_for};
use crate::graph::NORM_OPERATOR;
use crate::kernels::layer_norm::SkipNorm;

pub(super) struct SkipLayerNorm;

impl Operator for SkipLayerNorm {
    type Kernel<'attr> = Shared<SkipLayerNormKernel>;

    fn name(&self) -> &str {
        NORM_OPERATOR
    }

    // The default upper end does not fit into the int that ONNX Runtime reads.
    fn versions(&self) -> std::ops::RangeInclusive<u32> {
        1..=1
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [Float32; 5].map(OperatorInput::required)
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(Float32)]
    }

    fn create_kernel<'attr>(
        &self,
        context: &KernelContext<'attr>,
    ) -> ort::Result<Shared<SkipLayerNormKernel>> {
        let epsilon = context
            .get("epsilon")
            .ok_or_else(|| ort::Error::new("the attribute epsilon is missing"))?;
        Ok(Shared(SkipLayerNormKernel { epsilon }))
    }
}

pub(super) struct SkipLayerNormKernel {
    epsilon: f32,
}

impl SharedKernel for SkipLayerNormKernel {
    fn run(&self, context: &ComputeContext) -> ort::Result<()> {
        let (rows, skip) = (input(context, 0)?, input(context, 1)?);
        let (gain, shift, bias) = (input(context, 2)?, input(context, 3)?, input(context, 4)?);
        let (shape, rows) = rows.try_extract_tensor::<f32>()?;
        let mut normalized = output(context, shape)?;
        let norm = SkipNorm {
            gain: gain.try_extract_tensor::<f32>()?.1,
            shift: shift.try_extract_tensor::<f32>()?.1,
            bias: bias.try_extract_tensor::<f32>()?.1,
            epsilon: self.epsilon,
        };
        let (_, skip) = skip.try_extract_tensor::<f32>()?;
        let (_, normalized) = normalized.try_extract_tensor_mut::<f32>()?;
        norm.run(rows, skip, normalized, &parallel_for(context)).map_err(ort::Error::new)
    }
}
