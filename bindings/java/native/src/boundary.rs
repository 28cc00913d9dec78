//! The boundary between Java and Rust: the guard around every native method, errors as exceptions,
//! conversions of strings and arrays, and the memory of direct buffers.

use std::fmt::Display;

use bge::{Error, ErrorKind};
use jni::errors::{Error as JniError, ErrorPolicy, JniError as JniCode};
use jni::objects::{
    JByteArray, JByteBuffer, JClass, JFloatArray, JIntArray, JObject, JObjectArray, JThrowable,
};
use jni::refs::IntoAuto;
use jni::{Env, EnvUnowned, JValue, jni_sig, jni_str};

/// Why a native method fails.
pub enum Failure {
    Library(Error),
    /// An error of JNI, or a Java exception, which is then pending.
    Jni(JniError),
}

pub type Result<T, E = Failure> = std::result::Result<T, E>;

impl From<Error> for Failure {
    fn from(e: Error) -> Self {
        Self::Library(e)
    }
}

impl From<JniError> for Failure {
    fn from(e: JniError) -> Self {
        Self::Jni(e)
    }
}

impl Failure {
    /// The exception for this failure, not thrown yet.
    pub fn throwable<'l>(
        self,
        env: &mut Env<'l>,
        native: &JClass<'_>,
    ) -> jni::errors::Result<JThrowable<'l>> {
        if let Some(pending) = env.exception_occurred() {
            env.exception_clear();
            return Ok(pending);
        }
        let error = match self {
            Self::Library(e) => e,
            Self::Jni(JniError::CaughtJavaException { exception, .. }) => {
                return env.new_local_ref(&exception);
            }
            Self::Jni(JniError::JniCall(JniCode::NoMemory)) => {
                Error::new(ErrorKind::OutOfMemory, "the JVM has no memory for the results")
            }
            Self::Jni(e) => Error::new(ErrorKind::Internal, format!("a call of JNI failed: {e}")),
        };
        exception(env, native, &error)
    }
}

/// Runs the body of a native method. The only place that catches panics and throws.
pub fn guard<'l, T: Default>(
    mut env: EnvUnowned<'l>,
    native: &JClass<'l>,
    body: impl FnOnce(&mut Env<'l>) -> Result<T>,
) -> T {
    env.with_env(body).resolve_with::<Throw, _>(|| native)
}

struct Throw;

impl<T: Default> ErrorPolicy<T, Failure> for Throw {
    type Captures<'local: 'method, 'method> = &'method JClass<'local>;

    fn on_error<'local: 'method, 'method>(
        env: &mut Env<'local>,
        native: &mut Self::Captures<'local, 'method>,
        failure: Failure,
    ) -> jni::errors::Result<T> {
        let throwable = failure.throwable(env, native)?;
        // Its own result is that an exception is pending.
        let _ = env.throw(throwable);
        Ok(T::default())
    }

    fn on_panic<'local: 'method, 'method>(
        env: &mut Env<'local>,
        native: &mut Self::Captures<'local, 'method>,
        panic: Box<dyn std::any::Any + Send>,
    ) -> jni::errors::Result<T> {
        let words = panic
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no message");
        let bug = Error::new(ErrorKind::Internal, format!("a bug in libbge was caught: {words}"));
        Self::on_error(env, native, bug.into())
    }
}

/// A `BgeException`.
pub fn exception<'l>(
    env: &mut Env<'l>,
    native: &JClass<'_>,
    error: &Error,
) -> jni::errors::Result<JThrowable<'l>> {
    let code = env.new_string(error.kind().name())?;
    let message = env.new_string(error.to_string())?;
    let text = error.text_index().map_or(-1, |index| index as i32);
    let made = env.call_static_method(
        native,
        jni_str!("exception"),
        jni_sig!("(Ljava/lang/String;Ljava/lang/String;II)Ldev/libbge/BgeException;"),
        &[
            JValue::Object(&code),
            JValue::Object(&message),
            JValue::Int(text),
            JValue::Int(error.runtime_code()),
        ],
    )?;
    env.cast_local::<JThrowable>(made.l()?)
}

pub fn invalid(message: impl Display) -> Failure {
    Error::new(ErrorKind::InvalidArgument, message.to_string()).into()
}

/// A count, which must not be negative.
pub fn size(value: i32, name: &str) -> Result<usize> {
    usize::try_from(value).map_err(|_| invalid(format_args!("{name} is {value}, below 0")))
}

/// The value of an enum with this number, which is that of the enum of the same name in Java.
pub fn known<T>(name: &str, number: i32, from_code: impl FnOnce(u32) -> Option<T>) -> Result<T> {
    from_code(number.cast_unsigned())
        .ok_or_else(|| invalid(format_args!("{name} is {number}, which is not known")))
}

/// A string that `Native.utf8` encoded, or `None` for null.
pub fn string(env: &mut Env<'_>, bytes: &JByteArray<'_>, name: &str) -> Result<Option<String>> {
    if bytes.is_null() {
        return Ok(None);
    }
    let bytes = env.convert_byte_array(bytes)?;
    Ok(Some(unicode(&bytes, name)?.to_string()))
}

/// Texts that `Native.utf8` encoded.
pub fn texts(env: &mut Env<'_>, texts: &JObjectArray<'_, JByteArray<'_>>) -> Result<Vec<Vec<u8>>> {
    (0..texts.len(env)?)
        .map(|index| {
            let text = texts.get_element(env, index)?.auto();
            Ok(env.convert_byte_array(&*text)?)
        })
        .collect()
}

/// One of [`texts`], checked to be UTF-8.
pub fn text(index: usize, bytes: &[u8]) -> bge::Result<&str> {
    unicode(bytes, &format!("texts[{index}]")).map_err(|e| e.at_text(index))
}

/// A string of Java that is not Unicode ends with a byte that is not UTF-8: see `Native.utf8`.
fn unicode<'a>(bytes: &'a [u8], name: &str) -> bge::Result<&'a str> {
    std::str::from_utf8(bytes).map_err(|e| {
        let before = String::from_utf8_lossy(&bytes[..e.valid_up_to()]);
        let index = before.encode_utf16().count();
        let message =
            format!("{name} is not Unicode: its char {index} is half of a surrogate pair");
        Error::new(ErrorKind::InvalidUtf8, message)
    })
}

pub fn floats(env: &Env<'_>, array: &JFloatArray<'_>) -> Result<Vec<f32>> {
    let mut numbers = vec![0.0; array.len(env)?];
    array.get_region(env, 0, &mut numbers)?;
    Ok(numbers)
}

pub fn ints(env: &Env<'_>, array: &JIntArray<'_>) -> Result<Vec<u32>> {
    let mut numbers = vec![0; array.len(env)?];
    array.get_region(env, 0, &mut numbers)?;
    Ok(numbers.into_iter().map(i32::cast_unsigned).collect())
}

pub fn to_floats<'l>(env: &mut Env<'l>, numbers: &[f32]) -> Result<JFloatArray<'l>> {
    let array = JFloatArray::new(env, numbers.len())?;
    array.set_region(env, 0, numbers)?;
    Ok(array)
}

pub fn to_ints<'l>(env: &mut Env<'l>, numbers: impl Iterator<Item = u32>) -> Result<JIntArray<'l>> {
    let numbers: Vec<i32> = numbers.map(u32::cast_signed).collect();
    let array = JIntArray::new(env, numbers.len())?;
    array.set_region(env, 0, &numbers)?;
    Ok(array)
}

/// A `float[][]` with `count` rows of `dim` numbers.
pub fn to_rows<'l>(
    env: &mut Env<'l>,
    numbers: &[f32],
    count: usize,
    dim: usize,
) -> Result<JObjectArray<'l, JFloatArray<'l>>> {
    let rows = JObjectArray::<JFloatArray>::new(env, count, JFloatArray::null())?;
    for index in 0..count {
        let row = to_floats(env, &numbers[index * dim..(index + 1) * dim])?.auto();
        rows.set_element(env, index, &*row)?;
    }
    Ok(rows)
}

/// Writes numbers into a direct buffer of Java, beginning at the float at `position`.
pub fn write_direct(
    env: &Env<'_>,
    buffer: &JObject<'_>,
    position: usize,
    numbers: &[f32],
) -> Result<()> {
    // SAFETY: the two functions that are called with it, GetDirectBufferAddress and
    // GetDirectBufferCapacity, take any java.nio.Buffer, and answer for one that is not direct.
    let buffer = unsafe { env.as_cast_unchecked::<JByteBuffer>(buffer) };
    let address = env.get_direct_buffer_address(&buffer)?;
    let capacity = env.get_direct_buffer_capacity(&buffer)?;
    let end = position.checked_add(numbers.len());
    if end.is_none_or(|end| end > capacity) {
        return Err(invalid(format_args!(
            "the buffer has {capacity} floats, too few for {} at {position}",
            numbers.len()
        )));
    }
    // SAFETY: the floats from `position` on are within the capacity of the buffer, as was just
    // checked, and the caller's reference keeps the buffer alive; they are written as bytes, which
    // need no alignment, and through no reference, since other threads of Java may read them.
    // `numbers` is memory of Rust, which does not overlap the buffer.
    unsafe {
        std::ptr::copy_nonoverlapping(
            numbers.as_ptr().cast::<u8>(),
            address.add(position * size_of::<f32>()),
            size_of_val(numbers),
        );
    }
    Ok(())
}
