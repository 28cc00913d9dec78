//! The operator `bge.Linear`.

use std::sync::Arc;

use ort::operator::{ComputeContext, KernelContext, Operator, OperatorInput, OperatorOutput};
use ort::value::Shape;
use ort::value::TensorElementType::Float32;

use super::kernel::{Shared, SharedKernel, input, output_at, parallel_for};
use crate::graph::LINEAR_OPERATOR;
use crate::kernels::linear::{Activation, PackedMatrix, Product, linear};

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
        [OperatorInput::required(Float32), OperatorInput::variadic(1).homogenous(Float32)]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::variadic(1).homogenous(Float32)]
    }

    fn create_kernel<'attr>(
        &self,
        context: &KernelContext<'attr>,
    ) -> ort::Result<Shared<LinearKernel>> {
        let missing = |name: &str| ort::Error::new(format!("the attribute {name} is missing"));
        let gelu: Option<i64> = context.get("gelu");
        let matrices: Option<Vec<i64>> = context.get("matrices");
        let matrices = matrices.ok_or_else(|| missing("matrices"))?;
        Ok(Shared(LinearKernel {
            matrices: matrices.into_iter().map(|matrix| matrix as usize).collect(),
            gelu: gelu.ok_or_else(|| missing("gelu"))? != 0,
            all: Arc::clone(&self.matrices),
        }))
    }
}

pub(super) struct LinearKernel {
    /// The indexes of its matrices among all matrices of the session.
    matrices: Vec<usize>,
    gelu: bool,
    all: Arc<[PackedMatrix]>,
}

impl SharedKernel for LinearKernel {
    fn run(&self, context: &ComputeContext) -> ort::Result<()> {
        let rows = input(context, 0)?;
        let (shape, rows) = rows.try_extract_tensor::<f32>()?;
        let count = shape.first().copied().unwrap_or_default();
        let mut layers = Vec::with_capacity(self.matrices.len());
        for (index, &matrix) in self.matrices.iter().enumerate() {
            let matrix = self
                .all
                .get(matrix)
                .ok_or_else(|| ort::Error::new("the graph names a matrix that there is not"))?;
            let shape = Shape::new([count, matrix.rows() as i64]);
            layers.push((matrix, input(context, 1 + index)?, output_at(context, index, &shape)?));
        }
        let activation = if self.gelu { Activation::Gelu } else { Activation::None };
        let mut products = Vec::with_capacity(layers.len());
        for &mut (matrix, ref bias, ref mut product) in &mut layers {
            let (_, bias) = bias.try_extract_tensor::<f32>()?;
            let (_, y) = product.try_extract_tensor_mut::<f32>()?;
            products.push(Product { matrix, bias, activation, y });
        }
        linear(rows, products, &parallel_for(context)).map_err(ort::Error::new)
    }
}
