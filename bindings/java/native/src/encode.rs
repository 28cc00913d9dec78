//! Blocking and asynchronous calls that encode, and the switches that stop them.

use std::time::Duration;

use bge::{Cancel, EncodeOptions, Error, ErrorKind, Model, Outputs};
use jni::objects::{JByteArray, JClass, JObject, JObjectArray};
use jni::refs::Global;
use jni::sys::{jint, jlong};
use jni::{Env, EnvUnowned, JValue, jni_sig, jni_str};

use crate::boundary::{Failure, Result, guard, invalid, size, string, text, texts, write_direct};
use crate::handles::{CANCELS, Unfinished, model};
use crate::results::embeddings;

/// The options of a call as Java passes them.
struct Given {
    outputs: jint,
    flags: jint,
    max_tokens: jint,
    timeout_ns: jlong,
    truncate_dim: jint,
    cancel: jlong,
}

impl Given {
    fn options(self, prompt: Option<String>, texts: usize) -> Result<EncodeOptions> {
        if self.outputs == 0 && texts != 0 {
            return Err(invalid("outputs is empty: nothing is asked for"));
        }
        let timeout = u64::try_from(self.timeout_ns).ok().filter(|&nanoseconds| nanoseconds > 0);
        Ok(EncodeOptions {
            max_tokens: size(self.max_tokens, "max_tokens")?,
            truncate_dim: size(self.truncate_dim, "truncate_dim")?,
            prompt,
            timeout: timeout.map(Duration::from_nanos),
            cancel: CANCELS.get(self.cancel),
            outputs: Outputs::from_bits(self.outputs.cast_unsigned())?,
            ..EncodeOptions::default().with_flags(self.flags.cast_unsigned())?
        })
    }
}

/// If `buffer` is not null, dense vectors are written to its `room` floats from `position` on.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_libbge_Native_encode<'l>(
    env: EnvUnowned<'l>,
    native: JClass<'l>,
    number: jlong,
    given: JObjectArray<'l, JByteArray<'l>>,
    outputs: jint,
    flags: jint,
    max_tokens: jint,
    timeout_ns: jlong,
    prompt: JByteArray<'l>,
    truncate_dim: jint,
    cancel: jlong,
    buffer: JObject<'l>,
    position: jint,
    room: jint,
) -> JObject<'l> {
    guard(env, &native, |env| {
        let model = model(number)?;
        let texts = texts(env, &given)?;
        let prompt = string(env, &prompt, "prompt")?;
        let given = Given { outputs, flags, max_tokens, timeout_ns, truncate_dim, cancel };
        let options = given.options(prompt, texts.len())?;
        let into = Room::check(&model, &buffer, position, room, texts.len(), &options)?;
        let results = model.encode_fallible(checked(&texts).into_iter(), &options)?;
        written(env, &native, &buffer, into, results)
    })
}

/// A direct buffer that has capacity for the dense vectors, from the float at `position` on.
struct Room {
    position: usize,
}

impl Room {
    /// `None` without a buffer. Refuses one that is too small, before inference.
    fn check(
        model: &Model,
        buffer: &JObject<'_>,
        position: jint,
        room: jint,
        count: usize,
        options: &EncodeOptions,
    ) -> Result<Option<Self>> {
        if buffer.is_null() {
            return Ok(None);
        }
        let room = size(room, "room")?;
        let needed = model.dense_dim(options)?.saturating_mul(count);
        if room < needed {
            let message =
                format!("the buffer has room for {room} floats, but {count} texts need {needed}");
            return Err(Error::new(ErrorKind::BufferTooSmall, message).into());
        }
        Ok(Some(Self { position: size(position, "position")? }))
    }
}

/// The results as an `Embeddings` of Java, with the dense vectors in the buffer if there is one.
fn written<'l>(
    env: &mut Env<'l>,
    native: &JClass<'_>,
    buffer: &JObject<'_>,
    into: Option<Room>,
    mut results: bge::Embeddings,
) -> Result<JObject<'l>> {
    if let Some(Room { position }) = into {
        write_direct(env, buffer, position, &results.dense)?;
        results.dense.clear();
    }
    embeddings(env, native, &results)
}

/// Starts a call and returns. When it has ended, and the buffer is written as by `encode`, the
/// `end` method of `call`, a `PendingCall`, is called. If this throws, `end` is never called.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_libbge_Native_encodeAsync<'l>(
    env: EnvUnowned<'l>,
    native: JClass<'l>,
    number: jlong,
    given: JObjectArray<'l, JByteArray<'l>>,
    outputs: jint,
    flags: jint,
    max_tokens: jint,
    timeout_ns: jlong,
    prompt: JByteArray<'l>,
    truncate_dim: jint,
    cancel: jlong,
    buffer: JObject<'l>,
    position: jint,
    room: jint,
    call: JObject<'l>,
) {
    guard(env, &native, |env| {
        let model = model(number)?;
        let texts = texts(env, &given)?;
        let prompt = string(env, &prompt, "prompt")?;
        let given = Given { outputs, flags, max_tokens, timeout_ns, truncate_dim, cancel };
        let options = given.options(prompt, texts.len())?;
        let into = Room::check(&model, &buffer, position, room, texts.len(), &options)?;
        let vm = env.get_java_vm()?;
        let waiting = Waiting {
            native: env.new_global_ref(&native)?,
            buffer: env.new_global_ref(&buffer)?,
            into,
            call: env.new_global_ref(&call)?,
            _counted: Unfinished::new(),
        };
        model.encode_async_fallible(checked(&texts).into_iter(), &options, move |results| {
            // Attached for the scope only: a thread that stays attached would keep the JVM from
            // ending. Attaching fails only while the JVM ends.
            let _ = vm.attach_current_thread_for_scope(|env| waiting.end(env, results));
        })?;
        Ok(())
    });
}

/// Each text, or its error.
fn checked(texts: &[Vec<u8>]) -> Vec<bge::Result<&str>> {
    texts.iter().enumerate().map(|(index, bytes)| text(index, bytes)).collect()
}

/// An asynchronous call, with references to the objects of Java that it needs in the end.
struct Waiting {
    native: Global<JClass<'static>>,
    /// Null without `into`.
    buffer: Global<JObject<'static>>,
    into: Option<Room>,
    call: Global<JObject<'static>>,
    _counted: Unfinished,
}

impl Waiting {
    fn end(self, env: &mut Env<'_>, results: bge::Result<bge::Embeddings>) -> Result<()> {
        let ended = match results {
            Ok(results) => written(env, &self.native, &self.buffer, self.into, results),
            Err(e) => Err(Failure::from(e)),
        };
        let (results, thrown) = match ended {
            Ok(results) => (results, JObject::null()),
            Err(failure) => match failure.throwable(env, &self.native) {
                Ok(thrown) => (JObject::null(), thrown.into()),
                // The JVM has no memory for an exception: `end` is called with neither.
                Err(_) => {
                    env.exception_clear();
                    (JObject::null(), JObject::null())
                }
            },
        };
        env.call_method(
            &self.call,
            jni_str!("end"),
            jni_sig!("(Ldev/libbge/Embeddings;Ljava/lang/Throwable;)V"),
            &[JValue::Object(&results), JValue::Object(&thrown)],
        )?;
        Ok(())
    }
}

#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_libbge_Native_newCancel<'l>(
    env: EnvUnowned<'l>,
    native: JClass<'l>,
) -> jlong {
    guard(env, &native, |_| Ok(CANCELS.add(Cancel::new())))
}

/// Triggers a switch. Does nothing if it was freed, which means that its call has ended.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_libbge_Native_cancel<'l>(
    env: EnvUnowned<'l>,
    native: JClass<'l>,
    number: jlong,
) {
    guard(env, &native, |_| {
        if let Some(cancel) = CANCELS.get(number) {
            cancel.trigger();
        }
        Ok(())
    });
}

#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_libbge_Native_freeCancel<'l>(
    env: EnvUnowned<'l>,
    native: JClass<'l>,
    number: jlong,
) {
    guard(env, &native, |_| {
        CANCELS.take(number);
        Ok(())
    });
}
