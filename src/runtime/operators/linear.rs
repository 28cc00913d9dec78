//! The operator `bge.Linear`.

use std::sync::Arc;

use ort::operator::{ComputeContext, KernelContext, Operator, OperatorInput, OperatorOutput};
use ort::value::Shape;
use ort::value::TensorElementType::Float32;

use super::{Shared, SharedKernel, input, output, parallel_for};
use crate::graph::LINEAR_OPERATOR;
use crate::linear::{Activation, PackedMatrix};

pub(super) struct Linear {
    pub matrices: Arc<[PackedMatrix]>,
}

impl Operator for Linear {
    type Kernel<'attr> = Shared<LinearKernel>;

    fn name(&self) -> &str {
        LINEAR_OPERATOR
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
        context: &KernelContext<'attr>,
    ) -> ort::Result<Shared<LinearKernel>> {
        let number = |name: &str| {
            let number: Option<i64> = context.get(name);
            number.ok_or_else(|| ort::Error::new(format!("the attribute {name} is missing")))
        };
        Ok(Shared(LinearKernel {
            matrix: number("matrix")? as usize,
            gelu: number("gelu")? != 0,
            matrices: Arc::clone(&self.matrices),
        }))
    }
}

pub(super) struct LinearKernel {
    matrices: Arc<[PackedMatrix]>,
    matrix: usize,
    gelu: bool,
}

impl SharedKernel for LinearKernel {
    fn run(&self, context: &ComputeContext) -> ort::Result<()> {
        let matrix = self
            .matrices
            .get(self.matrix)
            .ok_or_else(|| ort::Error::new("the graph names a matrix that there is not"))?;
        let (rows, bias) = (input(context, 0)?, input(context, 1)?);
        let (shape, rows) = rows.try_extract_tensor::<f32>()?;
        let (_, bias) = bias.try_extract_tensor::<f32>()?;
        let count = shape.first().copied().unwrap_or_default();
        let mut product = output(context, &Shape::new([count, matrix.rows() as i64]))?;
        let (_, product) = product.try_extract_tensor_mut::<f32>()?;
        let activation = if self.gelu { Activation::Gelu } else { Activation::None };
        matrix
            .linear(rows, bias, activation, product, &parallel_for(context))
            .map_err(ort::Error::new)
    }
}
