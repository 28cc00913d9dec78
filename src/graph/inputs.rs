//! The inputs of a graph, by its device.

use super::onnx::{Dimension, INT32, ValueInfoProto, value_info};
use crate::device::Device;

/// `has_multi`: whether the graph has the head for multi-vectors.
pub(super) fn inputs(device: Device, has_multi: bool) -> Vec<ValueInfoProto> {
    let row = |name| Dimension::Name(name);
    let padded = [row("texts"), row("length")];
    let offsets = match device {
        Device::Cpu => value_info("row_offsets", INT32, &[row("boundaries")]),
        Device::Cuda(_) => value_info("token_offset", INT32, &[row("sequences"), row("longest")]),
        Device::TensorRt(_) => {
            let mut inputs = ["input_ids", "position_ids", "attention_mask"]
                .map(|name| value_info(name, INT32, &padded))
                .to_vec();
            inputs.push(value_info("rows", INT32, &[row("rows")]));
            if has_multi {
                inputs.push(value_info("multi_rows", INT32, &[row("multi_rows")]));
            }
            return inputs;
        }
    };
    vec![
        value_info("input_ids", INT32, &[row("tokens")]),
        value_info("position_ids", INT32, &[row("tokens")]),
        value_info("offsets", INT32, &[row("boundaries")]),
        value_info("rows", INT32, &[row("rows")]),
        offsets,
        value_info("multi_rows", INT32, &[row("multi_rows")]),
    ]
}
