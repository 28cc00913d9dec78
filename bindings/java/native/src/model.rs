//! Opening, describing and closing models.

use bge::{ComputeType, Device, Model, OpenOptions};
use jni::objects::{JByteArray, JClass, JIntArray, JLongArray, JObject, JObjectArray, JString};
use jni::sys::{jboolean, jint, jlong};
use jni::{EnvUnowned, JValue, jni_sig, jni_str};

use crate::boundary::{Result, guard, invalid, known, size, string, text, texts, to_ints};
use crate::handles::{MODELS, model};

#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_libbge_Native_open<'l>(
    env: EnvUnowned<'l>,
    native: JClass<'l>,
    path: JByteArray<'l>,
    runtime_library: JByteArray<'l>,
    device: jint,
    device_index: jint,
    device_count: jint,
    threads: jint,
    max_tokens: jint,
    max_batch_tokens: jint,
    queue_capacity: jint,
    heads_dir: JByteArray<'l>,
    onnx_file: JByteArray<'l>,
    compute_type: jint,
    max_run_bytes: jlong,
    cache_dir: JByteArray<'l>,
    small_memory: jboolean,
    raw_tokenizer: jboolean,
) -> jlong {
    guard(env, &native, |env| {
        let path = string(env, &path, "path")?.ok_or_else(|| invalid("path is null"))?;
        let device_index = size(device_index, "device_index")? as u32;
        let device = Device::from_code(device.cast_unsigned(), device_index)?;
        let mut file = |bytes: &JByteArray<'_>, name| -> Result<_> {
            Ok(string(env, bytes, name)?.map(Into::into))
        };
        let options = OpenOptions {
            runtime_library: file(&runtime_library, "runtime_library")?,
            threads: size(threads, "threads")?,
            max_tokens: size(max_tokens, "max_tokens")?,
            max_batch_tokens: size(max_batch_tokens, "max_batch_tokens")?,
            queue_capacity: size(queue_capacity, "queue_capacity")?,
            heads_dir: file(&heads_dir, "heads_dir")?,
            onnx_file: file(&onnx_file, "onnx_file")?,
            device,
            device_count: size(device_count, "device_count")?,
            compute_type: known("compute_type", compute_type, ComputeType::from_code)?,
            max_run_bytes: u64::try_from(max_run_bytes)
                .map_err(|_| invalid(format_args!("max_run_bytes is {max_run_bytes}, below 0")))?,
            cache_dir: file(&cache_dir, "cache_dir")?,
            small_memory,
            raw_tokenizer,
        };
        Ok(MODELS.add(Model::open(path, &options)?))
    })
}

/// Ends the calls that are under way, and waits for the callbacks of asynchronous ones.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_libbge_Native_close<'l>(
    env: EnvUnowned<'l>,
    native: JClass<'l>,
    number: jlong,
) {
    guard(env, &native, |_| {
        if let Some(model) = MODELS.take(number) {
            model.close();
        }
        Ok(())
    });
}

#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_libbge_Native_info<'l>(
    env: EnvUnowned<'l>,
    native: JClass<'l>,
    number: jlong,
) -> JObject<'l> {
    guard(env, &native, |env| {
        let model = model(number)?;
        let info = model.info();
        let pooling = env.new_string(&info.pooling)?;
        let precision = env.new_string(info.precision)?;
        let device = env.new_string(&info.device)?;
        let runtime = env.new_string(&info.runtime)?;
        let made = env.call_static_method(
            &native,
            jni_str!("describe"),
            jni_sig!(
                "(IIIIIIIILjava/lang/String;Ljava/lang/String;Ljava/lang/String;Ljava/lang/String;I)\
                 Ldev/libbge/ModelInfo;"
            ),
            &[
                JValue::Int(info.outputs.bits().cast_signed()),
                JValue::Int(info.dense_dim as jint),
                JValue::Int(info.multi_dim as jint),
                JValue::Int(info.token_dim as jint),
                JValue::Int(info.vocab_size as jint),
                JValue::Int(info.max_tokens as jint),
                JValue::Int(info.threads as jint),
                JValue::Int(info.max_batch_tokens as jint),
                JValue::Object(&pooling),
                JValue::Object(&precision),
                JValue::Object(&device),
                JValue::Object(&runtime),
                JValue::Int(info.similarity.code().cast_signed()),
            ],
        )?;
        Ok(made.l()?)
    })
}

/// The counters, in the order of the members of `ModelStats`.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_libbge_Native_stats<'l>(
    env: EnvUnowned<'l>,
    native: JClass<'l>,
    number: jlong,
) -> JLongArray<'l> {
    guard(env, &native, |env| {
        let stats = model(number)?.stats();
        let numbers = [
            stats.queue_depth as jlong,
            stats.calls as jlong,
            stats.failures as jlong,
            stats.cancellations as jlong,
            stats.texts as jlong,
            stats.tokens as jlong,
            stats.batches as jlong,
            stats.tokenize_time.as_nanos() as jlong,
            stats.inference_time.as_nanos() as jlong,
            stats.not_finite as jlong,
            stats.dropped as jlong,
        ];
        let array = JLongArray::new(env, numbers.len())?;
        array.set_region(env, 0, &numbers)?;
        Ok(array)
    })
}

#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_libbge_Native_fingerprint<'l>(
    env: EnvUnowned<'l>,
    native: JClass<'l>,
    number: jlong,
) -> JString<'l> {
    guard(env, &native, |env| Ok(env.new_string(model(number)?.fingerprint()?)?))
}

/// The text of a token, or null if there is no such token.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_libbge_Native_tokenText<'l>(
    env: EnvUnowned<'l>,
    native: JClass<'l>,
    number: jlong,
    id: jint,
) -> JString<'l> {
    guard(env, &native, |env| {
        let model = model(number)?;
        let text = u32::try_from(id).ok().and_then(|id| model.token_text(id));
        Ok(match text {
            Some(text) => env.new_string(text.to_string_lossy())?,
            None => JString::default(),
        })
    })
}

#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_libbge_Native_countTokens<'l>(
    env: EnvUnowned<'l>,
    native: JClass<'l>,
    number: jlong,
    given: JObjectArray<'l, JByteArray<'l>>,
) -> JIntArray<'l> {
    guard(env, &native, |env| {
        let model = model(number)?;
        let given = texts(env, &given)?;
        let counts = given
            .iter()
            .enumerate()
            .map(|(index, bytes)| {
                let tokens = model.count_tokens(text(index, bytes)?);
                tokens.map(|tokens| tokens as u32).map_err(|e| e.at_text(index))
            })
            .collect::<bge::Result<Vec<u32>>>()?;
        to_ints(env, counts.into_iter())
    })
}
