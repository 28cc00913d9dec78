//! The part of Python's pickle that `torch.save` writes for a state dict, read without running it.
//!
//! A pickle is a program. This reads the instructions that describe a table of tensors, and refuses
//! every other instruction by its name.

use std::collections::HashMap;
use std::fmt;

use safetensors::tensor::Dtype;

/// `torch.save` writes a dict in parts of a thousand entries, two values each.
const STACK_MAX: usize = 1 << 16;
/// The most values that a pickle may store, since stored values are never freed. An encoder of a
/// thousand layers needs two thirds of them, some thirty for each tensor.
const KEPT_MAX: usize = 3 << 18;
/// The number of such values that a tensor takes, with its sizes.
const TENSOR_KEEPS: usize = 8;
/// No tensor of an encoder has more dimensions.
const DIMENSIONS_MAX: usize = 8;

/// A tensor as its entry in the state dict describes it. None of it has been checked against the
/// file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tensor<'a> {
    pub storage: Storage<'a>,
    /// An offset in numbers, not bytes. The strides are in numbers, too.
    pub offset: u64,
    pub shape: Vec<u64>,
    pub strides: Vec<u64>,
}

/// The storage of tensors, an entry `data/<key>` of the archive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Storage<'a> {
    pub key: &'a str,
    pub dtype: Dtype,
    pub numbers: u64,
}

/// Why a pickle was not read.
#[derive(Debug, PartialEq)]
pub(crate) enum Fault {
    /// It is no pickle, or damaged.
    Damaged(String),
    /// It contains an instruction that no table of tensors needs.
    Refused(String),
}

macro_rules! damaged {
    ($($message:tt)+) => { Fault::Damaged(format!($($message)+)) };
}

macro_rules! refused {
    ($($message:tt)+) => { Fault::Refused(format!($($message)+)) };
}

/// Reads the tensors of a state dict by name. Entries that are no tensors are ignored.
pub(crate) fn state_dict(bytes: &[u8]) -> Result<HashMap<&str, Tensor<'_>>, Fault> {
    let mut machine = Machine { bytes, ..Machine::default() };
    let dict = match machine.run()? {
        Value::Dict(dict) => dict,
        other => return Err(refused!("it holds {other}, not a state dict")),
    };
    let mut tensors = HashMap::new();
    for (key, value) in &machine.dicts[dict] {
        if let (Value::Text(name), Value::Tensor(index)) = (key, value) {
            tensors.insert(*name, machine.tensors[*index].clone());
        }
    }
    Ok(tensors)
}

/// The names that a pickle may use. None of them has to be called to know the result.
#[derive(Clone, Copy, PartialEq)]
enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Storage(Dtype),
}

impl Global {
    fn find(module: &str, name: &str) -> Result<Self, Fault> {
        let dtype = match (module, name) {
            ("collections", "OrderedDict") => return Ok(Self::OrderedDict),
            ("torch._utils", "_rebuild_tensor_v2") => return Ok(Self::RebuildTensor),
            ("torch._utils", "_rebuild_parameter") => return Ok(Self::RebuildParameter),
            ("torch", "FloatStorage") => Dtype::F32,
            ("torch", "HalfStorage") => Dtype::F16,
            ("torch", "BFloat16Storage") => Dtype::BF16,
            ("torch", "DoubleStorage") => Dtype::F64,
            ("torch", "LongStorage") => Dtype::I64,
            ("torch", "IntStorage") => Dtype::I32,
            ("torch", "ShortStorage") => Dtype::I16,
            ("torch", "CharStorage") => Dtype::I8,
            ("torch", "ByteStorage") => Dtype::U8,
            ("torch", "BoolStorage") => Dtype::BOOL,
            _ => {
                return Err(refused!(
                    "it names {module:?} {name:?}, which a table of tensors has no need of and \
                     which is never run"
                ));
            }
        };
        Ok(Self::Storage(dtype))
    }
}

/// A container holds the indexes of its values, so no value is nested deeper than another.
#[derive(Clone, Copy)]
enum Value<'a> {
    None,
    Bool,
    Int(i64),
    Text(&'a str),
    /// The first index in `Machine::items`, and the number of values.
    Tuple(usize, usize),
    Dict(usize),
    Global(Global),
    Storage(Storage<'a>),
    Tensor(usize),
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Bool => f.write_str("a truth value"),
            Self::Int(number) => write!(f, "the number {number}"),
            Self::Text(text) => write!(f, "the text {text:?}"),
            Self::Tuple(_, count) => write!(f, "a tuple of {count}"),
            Self::Dict(_) => f.write_str("a dict"),
            Self::Global(_) => f.write_str("a class"),
            Self::Storage(_) => f.write_str("a storage"),
            Self::Tensor(_) => f.write_str("a tensor"),
        }
    }
}

#[derive(Default)]
struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Value<'a>>,
    /// The heights of the stack at which a `MARK` was set.
    marks: Vec<usize>,
    memo: HashMap<u32, Value<'a>>,
    items: Vec<Value<'a>>,
    dicts: Vec<Vec<(Value<'a>, Value<'a>)>>,
    tensors: Vec<Tensor<'a>>,
    /// The values in memo, items, dicts and tensors together.
    kept: usize,
}

impl<'a> Machine<'a> {
    fn run(&mut self) -> Result<Value<'a>, Fault> {
        loop {
            let begin = self.at;
            let opcode = self.byte()?;
            match opcode {
                b'.' => return self.pop(),
                0x80 => match self.byte()? {
                    2..=5 => {}
                    version => return Err(refused!("it is of pickle's protocol {version}")),
                },
                // A frame is only a hint of how far to read ahead.
                0x95 => {
                    self.take(8)?;
                }
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.push(Value::Global(Global::find(module, name)?))?;
                }
                0x93 => {
                    let (name, module) = (self.pop()?, self.pop()?);
                    let (Value::Text(module), Value::Text(name)) = (module, name) else {
                        return Err(damaged!("it names {module} of {name}"));
                    };
                    self.push(Value::Global(Global::find(module, name)?))?;
                }
                b'N' => self.push(Value::None)?,
                0x88 | 0x89 => self.push(Value::Bool)?,
                b'J' => {
                    let number = i32::from_le_bytes(self.array()?);
                    self.push(Value::Int(number.into()))?;
                }
                b'K' => {
                    let number = self.byte()?;
                    self.push(Value::Int(number.into()))?;
                }
                b'M' => {
                    let number = u16::from_le_bytes(self.array()?);
                    self.push(Value::Int(number.into()))?;
                }
                0x8a => self.long()?,
                b'X' => {
                    let length = u32::from_le_bytes(self.array()?);
                    self.text(length as usize)?;
                }
                0x8c => {
                    let length = self.byte()?;
                    self.text(length.into())?;
                }
                b'q' => {
                    let slot = self.byte()?;
                    self.remember(slot.into())?;
                }
                b'r' => {
                    let slot = u32::from_le_bytes(self.array()?);
                    self.remember(slot)?;
                }
                0x94 => self.remember(self.memo.len() as u32)?,
                b'h' => {
                    let slot = self.byte()?;
                    self.recall(slot.into())?;
                }
                b'j' => {
                    let slot = u32::from_le_bytes(self.array()?);
                    self.recall(slot)?;
                }
                b'(' => {
                    if self.marks.len() >= STACK_MAX {
                        return Err(damaged!("it sets more than {STACK_MAX} marks"));
                    }
                    self.marks.push(self.stack.len());
                }
                b')' => self.push(Value::Tuple(0, 0))?,
                b't' => {
                    let values = self.pop_to_mark()?;
                    self.tuple(&values)?;
                }
                0x85..=0x87 => {
                    let count = usize::from(opcode - 0x84);
                    let values = self.pop_many(count)?;
                    self.tuple(&values)?;
                }
                b'}' => self.dict()?,
                b's' => {
                    let pair = self.pop_many(2)?;
                    self.set_items(&pair)?;
                }
                b'u' => {
                    let pairs = self.pop_to_mark()?;
                    self.set_items(&pairs)?;
                }
                b'Q' => self.storage()?,
                b'R' => self.call()?,
                // The state that is set on an OrderedDict holds the versions of the modules.
                b'b' => match (self.pop()?, self.stack.last()) {
                    (Value::Dict(_), Some(Value::Dict(_))) => {}
                    _ => return Err(refused!("it sets the state of what is no dict")),
                },
                other => {
                    return Err(refused!(
                        "byte {begin} is the instruction {:?} ({other:#04x}), which a table of \
                         tensors has no need of",
                        char::from(other)
                    ));
                }
            }
        }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let end = self.at.checked_add(count);
        let taken = end
            .and_then(|end| self.bytes.get(self.at..end))
            .ok_or_else(|| damaged!("it ends at byte {}, before its end mark", self.bytes.len()))?;
        self.at += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        Ok(self.array::<1>()?[0])
    }

    fn line(&mut self) -> Result<&'a str, Fault> {
        let length = self.bytes[self.at..].iter().position(|&byte| byte == b'\n');
        let line = self.take(length.unwrap_or(usize::MAX))?;
        self.take(1)?;
        utf8(line)
    }

    fn text(&mut self, length: usize) -> Result<(), Fault> {
        let text = utf8(self.take(length)?)?;
        self.push(Value::Text(text))
    }

    /// A signed integer, as long as its bytes.
    fn long(&mut self) -> Result<(), Fault> {
        let length = usize::from(self.byte()?);
        let bytes = self.take(length)?;
        if length > 8 {
            return Err(damaged!("it has a number of {length} bytes; at most 8 are allowed"));
        }
        let fill = if bytes.last().is_some_and(|&last| last >= 0x80) { 0xff } else { 0 };
        let mut wide = [fill; 8];
        wide[..length].copy_from_slice(bytes);
        self.push(Value::Int(i64::from_le_bytes(wide)))
    }

    fn push(&mut self, value: Value<'a>) -> Result<(), Fault> {
        if self.stack.len() >= STACK_MAX {
            return Err(damaged!("its stack is higher than {STACK_MAX}"));
        }
        self.stack.push(value);
        Ok(())
    }

    fn pop(&mut self) -> Result<Value<'a>, Fault> {
        Ok(self.pop_many(1)?[0])
    }

    fn pop_many(&mut self, count: usize) -> Result<Vec<Value<'a>>, Fault> {
        // Values below a mark belong to the instruction that takes the mark.
        let floor = self.marks.last().copied().unwrap_or_default();
        match self.stack.len().checked_sub(count) {
            Some(height) if height >= floor => Ok(self.stack.split_off(height)),
            _ => Err(damaged!("byte {} takes more values than there are", self.at - 1)),
        }
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Value<'a>>, Fault> {
        let mark = self.marks.pop().ok_or_else(|| damaged!("byte {} has no mark", self.at - 1))?;
        Ok(self.stack.split_off(mark))
    }

    /// Counts values before they are stored.
    fn keep(&mut self, count: usize) -> Result<(), Fault> {
        self.kept += count;
        match self.kept {
            ..=KEPT_MAX => Ok(()),
            _ => Err(damaged!(
                "it stores more than {KEPT_MAX} values, which no table of weights does"
            )),
        }
    }

    fn remember(&mut self, slot: u32) -> Result<(), Fault> {
        self.keep(1)?;
        let value = self.pop()?;
        self.memo.insert(slot, value);
        self.push(value)
    }

    fn recall(&mut self, slot: u32) -> Result<(), Fault> {
        let value = self.memo.get(&slot).copied();
        self.push(value.ok_or_else(|| damaged!("it recalls {slot}, which it never stored"))?)
    }

    fn tuple(&mut self, values: &[Value<'a>]) -> Result<(), Fault> {
        self.keep(values.len())?;
        let begin = self.items.len();
        self.items.extend_from_slice(values);
        self.push(Value::Tuple(begin, values.len()))
    }

    fn items(&self, value: Value<'a>, what: &str) -> Result<&[Value<'a>], Fault> {
        match value {
            Value::Tuple(begin, count) => Ok(&self.items[begin..begin + count]),
            other => Err(damaged!("{what} is {other}, not a tuple")),
        }
    }

    fn dict(&mut self) -> Result<(), Fault> {
        self.keep(1)?;
        self.dicts.push(Vec::new());
        self.push(Value::Dict(self.dicts.len() - 1))
    }

    fn set_items(&mut self, values: &[Value<'a>]) -> Result<(), Fault> {
        let dict = match self.stack.last() {
            Some(Value::Dict(dict)) if values.len().is_multiple_of(2) => *dict,
            _ => return Err(damaged!("byte {} sets entries of what is no dict", self.at - 1)),
        };
        self.keep(values.len())?;
        self.dicts[dict].extend(values.chunks_exact(2).map(|pair| (pair[0], pair[1])));
        Ok(())
    }

    /// `('storage', class, key, device, numbers)`, where the device does not matter.
    fn storage(&mut self) -> Result<(), Fault> {
        let id = self.pop()?;
        let storage = match self.items(id, "the name of a storage")? {
            &[
                Value::Text("storage"),
                Value::Global(Global::Storage(dtype)),
                Value::Text(key),
                Value::Text(_),
                Value::Int(numbers),
            ] => Storage { key, dtype, numbers: positive(numbers, "the size of a storage")? },
            _ => return Err(damaged!("byte {} names no storage of torch", self.at - 1)),
        };
        self.push(Value::Storage(storage))
    }

    fn call(&mut self) -> Result<(), Fault> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let arguments = self.items(arguments, "the arguments of a call")?;
        match (function, arguments) {
            (Value::Global(Global::OrderedDict), []) => self.dict(),
            // Then follow `requires_grad` and hooks.
            (
                Value::Global(Global::RebuildTensor),
                &[Value::Storage(storage), Value::Int(offset), shape, strides, _, _],
            ) => {
                let tensor = Tensor {
                    storage,
                    offset: positive(offset, "the offset of a tensor")?,
                    shape: self.sizes(shape, "the size of a tensor")?,
                    strides: self.sizes(strides, "the stride of a tensor")?,
                };
                if tensor.shape.len() != tensor.strides.len() {
                    return Err(damaged!(
                        "a tensor of the size {:?} has the strides {:?}",
                        tensor.shape,
                        tensor.strides
                    ));
                }
                self.keep(TENSOR_KEEPS)?;
                self.tensors.push(tensor);
                self.push(Value::Tensor(self.tensors.len() - 1))
            }
            (Value::Global(Global::RebuildParameter), &[tensor @ Value::Tensor(_), _, _]) => {
                self.push(tensor)
            }
            (function, arguments) => {
                Err(refused!("it calls {function} with {} arguments", arguments.len()))
            }
        }
    }

    fn sizes(&self, tuple: Value<'a>, what: &str) -> Result<Vec<u64>, Fault> {
        let values = self.items(tuple, what)?;
        if values.len() > DIMENSIONS_MAX {
            return Err(damaged!("{what} has {} dimensions", values.len()));
        }
        let size = |value: &Value<'a>| match value {
            Value::Int(number) => positive(*number, what),
            other => Err(damaged!("{what} has {other}, not a number")),
        };
        values.iter().map(size).collect()
    }
}

fn positive(number: i64, what: &str) -> Result<u64, Fault> {
    u64::try_from(number).map_err(|_| damaged!("{what} is {number}, less than 0"))
}

fn utf8(bytes: &[u8]) -> Result<&str, Fault> {
    std::str::from_utf8(bytes).map_err(|_| damaged!("it has a text that is not UTF-8"))
}

#[cfg(test)]
mod tests;
