//! Encoding, at once and asynchronously, and the switches that stop it.

use std::time::Duration;

use bge::{Cancel, EncodeOptions, Error, ErrorKind, Model, Outputs};
use jni::objects::{JByteArray, JClass, JObject, JObjectArray};
use jni::refs::Global;
use jni::sys::{jint, jlong};
use jni::{Env, EnvUnowned, JValue, jni_sig, jni_str};

use crate::boundary::{Failure, Result, guard, invalid, size, string, text, texts, write_direct};
use crate::handles::{CANCELS, Unfinished, model};
use crate::results::embeddings;

/// The options of a call as they come from Java.
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

/// With `buffer`, dense vectors are written there, from the float at `position` on, of which there
/// are `room`.
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

/// Where dense vectors go in a direct buffer, from which float on.
struct Room {
    position: usize,
}

impl Room {
    /// None: there is no buffer. Refused before any inference if it is too small.
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

/// The results as Java takes them, the dense vectors in the buffer if there is one.
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

/// Tells `call`, a `PendingCall`, how it ended; or throws, and never does. The buffer is as for
/// `encode`, and is written to before that.
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
            // For the scope, since a thread that stays attached would keep the JVM from ending.
            // What fails here is that the JVM ends.
            let _ = vm.attach_current_thread_for_scope(|env| waiting.end(env, results));
        })?;
        Ok(())
    });
}

/// Each text, or what is wrong with it.
fn checked(texts: &[Vec<u8>]) -> Vec<bge::Result<&str>> {
    texts.iter().enumerate().map(|(index, bytes)| text(index, bytes)).collect()
}

/// An asynchronous call as Java waits for it.
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
                // Neither results nor an exception: the JVM has no memory for either.
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

/// Does nothing if the switch was freed: its call has ended.
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
