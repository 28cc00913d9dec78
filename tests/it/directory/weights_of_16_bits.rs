//! Weights of 16 bits: the vectors of the same numbers in 32.

use bge::ErrorKind::Unsupported;
use bge::{Model, OpenOptions};
use serde_json::json;

use crate::directory::torch_file::{Archive, TORCH, bare, form};
use crate::support::models::{Copy, WEIGHTS, fingerprint, join, open, split, tiny_dir, vector};

/// A number of 16 bits with 5 of exponent, by the definition of IEEE 754.
fn half(bits: u16) -> f32 {
    let fraction = f32::from(bits & 0x3ff);
    let magnitude = match bits >> 10 & 0x1f {
        0 => fraction * 2_f32.powi(-24),
        0x1f => unreachable!("the tiny models have finite numbers"),
        exponent => (1024.0 + fraction) * 2_f32.powi(i32::from(exponent) - 25),
    };
    if bits >> 15 == 0 { magnitude } else { -magnitude }
}

/// The upper half of a number of 32 bits.
fn brain(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// The same numbers, all of them in 32 bits.
pub fn widened(file: &[u8]) -> Vec<u8> {
    let (mut header, data) = split(file);
    let mut wide: Vec<u8> = Vec::new();
    for tensor in header.as_object_mut().unwrap().values_mut() {
        let Some(dtype) = tensor["dtype"].as_str().map(str::to_string) else { continue };
        let [begin, end]: [usize; 2] =
            serde_json::from_value(tensor["data_offsets"].clone()).unwrap();
        let bytes = &data[begin..end];
        let begin = wide.len();
        let shorts = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
        match dtype.as_str() {
            "F32" => wide.extend(bytes),
            "F16" => wide.extend(shorts.flat_map(|bits| half(bits).to_le_bytes())),
            "BF16" => wide.extend(shorts.flat_map(|bits| brain(bits).to_le_bytes())),
            other => panic!("{other}"),
        }
        tensor["dtype"] = json!("F32");
        tensor["data_offsets"] = json!([begin, wide.len()]);
    }
    join(&header.to_string(), &wide)
}

#[test]
fn weights_of_16_bits_give_the_vectors_of_the_same_numbers_in_32() {
    for name in ["f16", "bf16", "mixed"] {
        let copy = bare("mean");
        let file = form(&format!("mean-{name}.safetensors"));
        copy.write(WEIGHTS, widened(&file));
        let (wide, wide_fingerprint) = (vector(&copy.dir), fingerprint(&copy.dir));
        copy.write(WEIGHTS, file);
        assert_eq!(vector(&copy.dir), wide, "{name}");
        let narrow_fingerprint = fingerprint(&copy.dir);
        assert_ne!(narrow_fingerprint, wide_fingerprint, "{name}");
        assert_eq!(open(&copy.dir).unwrap().info().precision, "fp32");
        copy.remove(WEIGHTS);
        copy.write(TORCH, form(&format!("mean-{name}.bin")));
        assert_eq!(vector(&copy.dir), wide, "{name}.bin");
        assert_eq!(fingerprint(&copy.dir), narrow_fingerprint, "{name}.bin");
    }
}

#[test]
fn weights_of_16_bits_are_near_those_that_they_were_rounded_from() {
    let original = vector(&tiny_dir("mean"));
    for (name, most) in [("f16", 0.01), ("bf16", 0.08)] {
        let copy = bare("mean");
        copy.write(TORCH, form(&format!("mean-{name}.bin")));
        let rounded = vector(&copy.dir);
        let difference =
            original.iter().zip(&rounded).fold(0.0, |max: f32, (a, b)| max.max((a - b).abs()));
        assert!(difference > 0.0 && difference < most, "{name}: {difference}");
    }
}

/// Two types of 16 bits: the same bytes are other numbers.
#[test]
fn the_same_bytes_as_another_type_have_another_fingerprint() {
    let copy = Copy::of("mean");
    copy.write(WEIGHTS, form("mean-f16.safetensors"));
    let as_half = fingerprint(&copy.dir);
    copy.weights(WEIGHTS, |header, _| {
        for tensor in header.as_object_mut().unwrap().values_mut() {
            if tensor["dtype"] == json!("F16") {
                tensor["dtype"] = json!("BF16");
            }
        }
    });
    assert_ne!(fingerprint(&copy.dir), as_half);
}

#[test]
fn every_kind_of_number_of_16_bits_is_widened_exactly() {
    let shift = "encoder.layer.0.output.LayerNorm.bias";
    // The smallest, those around the end of the subnormal ones, and negative zero.
    let bits: [u16; 15] = [
        0, 1, 2, 0x3fe, 0x3ff, 0x400, 0x401, 0x7ff, 0x8000, 0x8001, 0x83ff, 0x8400, 0x3c00, 0x3555,
        0xb555,
    ];
    for name in ["f16", "bf16"] {
        let copy = Copy::of("mean");
        copy.write(WEIGHTS, form(&format!("mean-{name}.safetensors")));
        copy.weights(WEIGHTS, |header, data| {
            let begin = header[shift]["data_offsets"][0].as_u64().unwrap() as usize;
            let bytes: Vec<u8> = bits.iter().flat_map(|bits| bits.to_le_bytes()).collect();
            data[begin..begin + bytes.len()].copy_from_slice(&bytes);
        });
        let narrow = vector(&copy.dir);
        let wide = widened(&copy.read(WEIGHTS));
        copy.write(WEIGHTS, wide);
        assert_eq!(narrow, vector(&copy.dir), "{name}");
    }
}

#[test]
fn half_precision_storages_of_other_classes_are_refused() {
    let copy = bare("mean");
    let mut archive = Archive::of(&form("mean-f16.bin"));
    archive.patch(b"HalfStorage", b"ShortStorage");
    copy.write(TORCH, archive.bytes());
    copy.is_refused("integers", Unsupported, &[TORCH, "I16", "only F32, F16 and BF16"]);
}

#[test]
fn small_memory_is_for_weights_of_32_bits() {
    let small = |copy: &Copy| {
        let options = OpenOptions { small_memory: true, threads: 1, ..OpenOptions::default() };
        Model::open(&copy.dir, &options)
    };
    let copy = bare("mean");
    for name in ["f16", "bf16", "mixed"] {
        let file = form(&format!("mean-{name}.safetensors"));
        copy.write(WEIGHTS, &file);
        let e = small(&copy).err().unwrap();
        assert_eq!(e.kind(), Unsupported, "{name}: {e}");
        assert!(e.to_string().contains("small_memory"), "{name}: {e}");
        copy.write(WEIGHTS, widened(&file));
        small(&copy).unwrap();
    }
}
