//! The operator `bge.BiasGelu`.

use ort::operator::{ComputeContext, KernelContext, Operator, OperatorInput, OperatorOutput};
use ort::value::DynTensorValueType;
use ort::value::TensorElementType::Float32;

use super::kernel::{Shared, SharedKernel, input, output, parallel_for};
use crate::graph::GELU_OPERATOR;
use crate::kernels::gelu::add_and_gelu;

pub(super) struct BiasGelu;

impl Operator for BiasGelu {
    type Kernel<'attr> = Shared<BiasGeluKernel>;

    // The output shares the memory of the rows, whatever ONNX Runtime knows of their shape: no
    // other node of the graph reads the rows.
    const ALIASES: &[(u32, u32)] = &[(0, 0)];

    fn name(&self) -> &str {
        GELU_OPERATOR
    }

    // The default upper end does not fit into the int that ONNX Runtime reads.
    fn versions(&self) -> std::ops::RangeInclusive<u32> {
        1..=1
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [Float32; 2].map(OperatorInput::required)
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(Float32)]
    }

    fn create_kernel<'attr>(
        &self,
        _: &KernelContext<'attr>,
    ) -> ort::Result<Shared<BiasGeluKernel>> {
        Ok(Shared(BiasGeluKernel))
    }
}

pub(super) struct BiasGeluKernel;

impl SharedKernel for BiasGeluKernel {
    fn run(&self, context: &ComputeContext) -> ort::Result<()> {
        let (rows, bias) =
            (input(context, 0)?.downcast::<DynTensorValueType>()?, input(context, 1)?);
        let mut activated = output(context, rows.shape())?;
        let start = rows.data_ptr();
        let (_, activated) = activated.try_extract_tensor_mut::<f32>()?;
        // If both are the same memory, no slice of the rows may exist beside one of the output.
        if !std::ptr::eq(start, activated.as_ptr().cast()) {
            activated.copy_from_slice(rows.try_extract_tensor::<f32>()?.1);
        }
        let (_, bias) = bias.try_extract_tensor::<f32>()?;
        add_and_gelu(activated, bias, &parallel_for(context)).map_err(ort::Error::new)
    }
}
