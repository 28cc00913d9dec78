//! Finding and renaming the external files of an ONNX file's tensors, without knowing the rest of
//! the file.
//!
//! An export may hold anything that ONNX allows, and `graph::onnx` describes little of it. So every
//! field that does not lead to a tensor is skipped, or copied byte by byte.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::onnx_operators::{Body, Operator};

/// Far deeper than any export nests its `Loop` and `If`.
const DEPTH_MAX: usize = 100;
/// `TensorProto.data_type`.
const FLOAT16: u64 = 10;

/// The messages that may contain a tensor, as onnx.proto defines them.
#[derive(Clone, Copy, PartialEq)]
enum Message {
    Model,
    Graph,
    Function,
    Node,
    Attribute,
    SparseTensor,
    Tensor,
    /// An entry of `TensorProto.external_data`.
    Entry,
    /// An output of the graph, or of a subgraph.
    Output,
}

impl Message {
    fn field(self, number: u64) -> Option<Self> {
        Some(match (self, number) {
            (Self::Model, 7) | (Self::Attribute, 6 | 11) => Self::Graph,
            (Self::Model, 25) => Self::Function,
            (Self::Graph, 1) | (Self::Function, 7) => Self::Node,
            (Self::Graph, 15) | (Self::Attribute, 22 | 23) => Self::SparseTensor,
            (Self::Graph, 5) | (Self::SparseTensor, 1 | 2) | (Self::Attribute, 5 | 10) => {
                Self::Tensor
            }
            (Self::Node, 5) => Self::Attribute,
            (Self::Tensor, 13) => Self::Entry,
            (Self::Graph, 12) => Self::Output,
            _ => return None,
        })
    }
}

/// The parts of an ONNX file that are checked before it is loaded.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Contents {
    /// The names of the files of its tensors, and the number of elements of the largest tensor in
    /// each.
    pub locations: BTreeMap<String, u64>,
    /// The operators of its graph and subgraphs.
    pub graph: Body,
    /// The functions that the file defines, and their operators.
    pub functions: BTreeMap<Operator, Body>,
    /// The names of its outputs.
    pub outputs: BTreeSet<String>,
    /// Whether it has tensors of 16-bit numbers.
    pub has_fp16: bool,
    /// Whether it has sparse tensors, which state their size and list only some elements.
    pub has_sparse: bool,
}

/// Reads the contents of a file.
pub(crate) fn contents(bytes: &[u8]) -> Result<Contents, &'static str> {
    let mut contents = Contents::default();
    let mut body = Body::new();
    let mut place = None;
    walk(bytes, Message::Model, 0, &mut |found| {
        match found {
            Found::Location(name) => place = Some(name.to_string()),
            Found::EndOfTensor(numbers) => {
                if let Some(name) = place.take() {
                    let largest = contents.locations.entry(name).or_default();
                    *largest = numbers.max(*largest);
                }
            }
            Found::Output(name) => drop(contents.outputs.insert(name.to_string())),
            Found::Type(FLOAT16) => contents.has_fp16 = true,
            Found::Sparse => contents.has_sparse = true,
            Found::Type(_) => {}
            Found::Node(domain, name) => {
                *body.entry((domain.to_string(), name.to_string())).or_default() += 1;
            }
            Found::EndOfGraph => {
                for (operator, times) in std::mem::take(&mut body) {
                    *contents.graph.entry(operator).or_default() += times;
                }
            }
            Found::EndOfFunction(domain, name) => {
                let name = (domain.to_string(), name.to_string());
                // If two functions have one name, the operators of both count.
                let function = contents.functions.entry(name).or_default();
                for (operator, times) in std::mem::take(&mut body) {
                    *function.entry(operator).or_default() += times;
                }
            }
        }
        None
    })?;
    Ok(contents)
}

/// A copy of a file in which the files of its tensors have other names.
pub(crate) fn renamed(
    bytes: &[u8],
    rename: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<u8>, &'static str> {
    let copy = walk(bytes, Message::Model, 0, &mut |found| match found {
        Found::Location(name) => rename(name),
        _ => None,
    })?;
    Ok(copy.into_owned())
}

impl Contents {
    /// Whether it has an operator of one of these names, in any domain.
    pub fn has(&self, kinds: &[&str]) -> bool {
        let mut bodies = self.functions.values().chain([&self.graph]);
        bodies.any(|body| body.keys().any(|(_, name)| kinds.contains(&name.as_str())))
    }
}

enum Found<'a> {
    Location(&'a str),
    Output(&'a str),
    Type(u64),
    Sparse,
    /// The number of elements of the tensor whose location was found last.
    EndOfTensor(u64),
    /// The domain and the name of an operator.
    Node(&'a str, &'a str),
    /// The nodes since the last end are those of the graph or of a function.
    EndOfGraph,
    EndOfFunction(&'a str, &'a str),
}

/// Passes what it finds to `visit`, and returns the message with the locations that `visit`
/// returned.
fn walk<'a>(
    bytes: &'a [u8],
    message: Message,
    depth: usize,
    visit: &mut dyn FnMut(Found<'_>) -> Option<String>,
) -> Result<Cow<'a, [u8]>, &'static str> {
    if depth > DEPTH_MAX {
        return Err("its graphs are nested too deeply");
    }
    let mut copy: Option<Vec<u8>> = None;
    let mut is_location = false;
    let (mut domain, mut name) = ("", "");
    let mut numbers = 1_u64;
    let mut rest = bytes;
    while !rest.is_empty() {
        let field_start = bytes.len() - rest.len();
        let key = varint(&mut rest)?;
        let (number, wire_type) = (key >> 3, key & 7);
        let mut changed: Option<Cow<'_, [u8]>> = None;
        match wire_type {
            0 => {
                let value = varint(&mut rest)?;
                match (message, number) {
                    (Message::Tensor, 1) => numbers = numbers.saturating_mul(value),
                    (Message::Tensor, 2) => drop(visit(Found::Type(value))),
                    _ => {}
                }
            }
            1 => drop(take(&mut rest, 8)?),
            5 => drop(take(&mut rest, 4)?),
            2 => {
                let length = usize::try_from(varint(&mut rest)?).map_err(|_| TRUNCATED)?;
                let value = take(&mut rest, length)?;
                if let Some(inner) = message.field(number) {
                    let walked = walk(value, inner, depth + 1, visit)?;
                    changed = Some(walked).filter(|walked| matches!(walked, Cow::Owned(_)));
                } else if let (Message::Node, 4) | (Message::Function, 1) = (message, number) {
                    name = text(value)?;
                } else if let (Message::Node, 7) | (Message::Function, 10) = (message, number) {
                    domain = text(value)?;
                } else if message == Message::Output && number == 1 && depth == 2 {
                    visit(Found::Output(text(value)?));
                } else if message == Message::Tensor && number == 1 {
                    let mut sizes = value;
                    while !sizes.is_empty() {
                        numbers = numbers.saturating_mul(varint(&mut sizes)?);
                    }
                } else if message == Message::Entry && number == 1 {
                    is_location = value == b"location";
                } else if message == Message::Entry && number == 2 && is_location {
                    let name = visit(Found::Location(text(value)?));
                    changed = name.map(|name| Cow::Owned(name.into_bytes()));
                }
            }
            _ => return Err("a field has a type that protobuf does not have"),
        }
        let field = &bytes[field_start..bytes.len() - rest.len()];
        match (&mut copy, changed) {
            (None, None) => {}
            (Some(copy), None) => copy.extend_from_slice(field),
            (copy, Some(value)) => {
                let copy = copy.get_or_insert_with(|| bytes[..field_start].to_vec());
                put_varint(copy, key);
                put_varint(copy, value.len() as u64);
                copy.extend_from_slice(&value);
            }
        }
    }
    match (message, depth) {
        (Message::Node, _) => drop(visit(Found::Node(domain, name))),
        (Message::SparseTensor, _) => drop(visit(Found::Sparse)),
        (Message::Tensor, _) => drop(visit(Found::EndOfTensor(numbers))),
        (Message::Function, _) => drop(visit(Found::EndOfFunction(domain, name))),
        (Message::Graph, 1) => drop(visit(Found::EndOfGraph)),
        _ => {}
    }
    Ok(copy.map_or(Cow::Borrowed(bytes), Cow::Owned))
}

const TRUNCATED: &str = "it ends in the middle of a field";

fn text(bytes: &[u8]) -> Result<&str, &'static str> {
    std::str::from_utf8(bytes).map_err(|_| "a name is not UTF-8")
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8], &'static str> {
    let (taken, rest) = bytes.split_at_checked(length).ok_or(TRUNCATED)?;
    *bytes = rest;
    Ok(taken)
}

fn varint(bytes: &mut &[u8]) -> Result<u64, &'static str> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err("a number has more than 64 bits")
}

fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A field that holds bytes.
    fn field(number: u64, value: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_varint(&mut bytes, number << 3 | 2);
        put_varint(&mut bytes, value.len() as u64);
        bytes.extend(value);
        bytes
    }

    fn tensor(location: &str) -> Vec<u8> {
        let entry = |key: &str, value: &str| {
            field(13, &[field(1, key.as_bytes()), field(2, value.as_bytes())].concat())
        };
        // Dimensions, the type, and raw data that looks like an entry.
        let mut tensor = vec![1 << 3, 5, 2 << 3, 10];
        tensor.extend(entry("offset", "location"));
        tensor.extend(entry("location", location));
        tensor.extend(field(9, &entry("location", "no")));
        tensor
    }

    fn model(location: &str) -> Vec<u8> {
        let attribute = field(5, &field(5, &tensor(location)));
        let node = [field(4, b"Constant"), attribute].concat();
        let graph = [field(1, &node), field(5, &tensor("weights")), vec![0x4d, 1, 2, 3, 4]];
        let graph = graph.concat();
        let nested = field(1, &field(5, &field(6, &graph)));
        [vec![1 << 3, 9], field(7, &[graph, nested].concat()), vec![5 << 3, 1]].concat()
    }

    #[test]
    fn tensors_are_found_wherever_they_lie() {
        let contents = contents(&model("Constant_7")).unwrap();
        let five = |name: &str| (name.to_string(), 5);
        assert_eq!(contents.locations, ["Constant_7", "weights"].map(five).into());
        // One of the graph, and one of a graph within.
        let constant = (String::new(), "Constant".to_string());
        assert_eq!(contents.graph, Body::from([(constant, 2), (Operator::default(), 1)]));
        assert!(contents.has(&["Constant"]) && !contents.has(&["constant"]));
        assert!(contents.has_fp16 && !contents.has_sparse);
        let sparse = |graph: Vec<u8>| super::contents(&field(7, &graph)).unwrap().has_sparse;
        assert!(sparse(field(15, &[])) && sparse(field(1, &field(5, &field(22, &[])))));
    }

    #[test]
    fn functions_are_told_from_the_graph_and_from_each_other() {
        let node = |domain: &str, name: &str| {
            field(1, &[field(7, domain.as_bytes()), field(4, name.as_bytes())].concat())
        };
        let function = |domain: &str, name: &str, calls: &[&str]| {
            let nodes = calls.iter().flat_map(|call| field(7, &field(4, call.as_bytes())));
            let ends = [field(1, name.as_bytes()), field(10, domain.as_bytes())].concat();
            field(25, &nodes.chain(ends).collect::<Vec<_>>())
        };
        let output = field(12, &field(1, b"logits"));
        let graph = field(7, &[node("own", "f"), node("", "Add"), output].concat());
        let model = [function("own", "f", &["Mul", "Mul"]), graph, function("own", "g", &[])];
        let contents = contents(&model.concat()).unwrap();
        let operator = |domain: &str, name: &str| (domain.to_string(), name.to_string());
        assert_eq!(
            contents.graph,
            Body::from([(operator("own", "f"), 1), (operator("", "Add"), 1)])
        );
        assert_eq!(
            contents.functions,
            BTreeMap::from([
                (operator("own", "f"), Body::from([(operator("", "Mul"), 2)])),
                (operator("own", "g"), Body::new()),
            ])
        );
        assert_eq!(contents.outputs, ["logits".to_string()].into());
    }

    #[test]
    fn a_name_may_become_longer_and_nothing_else_changes() {
        let other = "a/folder/".repeat(30);
        let rename = |name: &str| (name == "Constant_7").then(|| other.clone());
        assert_eq!(renamed(&model("Constant_7"), &rename), Ok(model(&other)));
        assert_eq!(renamed(&model("Constant_7"), &|_| None), Ok(model("Constant_7")));
    }

    #[test]
    fn what_is_damaged_is_an_error() {
        let whole = model("Constant_7");
        for length in [1, 3, whole.len() / 2, whole.len() - 1] {
            assert_eq!(contents(&whole[..length]), Err(TRUNCATED), "{length}");
        }
        contents(&[7]).unwrap_err();
        contents(&[0xff; 11]).unwrap_err();
        let mut graph = Vec::new();
        (0..200).for_each(|_| graph = field(1, &field(5, &field(6, &graph))));
        contents(&field(7, &graph)).unwrap_err();
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = contents(&bytes);
            if let Ok(copy) = renamed(&bytes, &|_| None) {
                prop_assert_eq!(copy, bytes);
            }
        }
    }
}
