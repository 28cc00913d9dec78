//! Functions of the whole library: its version, its log, and the count of live objects.

use bge::{LogLevel, clear_log_sink, log_panics, set_log_sink};
use jni::objects::{JClass, JString};
use jni::sys::jint;
use jni::vm::JavaVM;
use jni::{EnvUnowned, JValue, jni_sig, jni_str};

use crate::boundary::{Failure, guard};
use crate::handles;

/// The first native method that Java calls after loading the library.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_libbge_Native_version<'l>(
    env: EnvUnowned<'l>,
    native: JClass<'l>,
) -> JString<'l> {
    guard(env, &native, |env| {
        log_panics();
        Ok(env.new_string(bge::VERSION)?)
    })
}

#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_libbge_Native_live<'l>(
    env: EnvUnowned<'l>,
    native: JClass<'l>,
) -> jint {
    guard(env, &native, |_| Ok(handles::live() as jint))
}

/// Levels are those of the header: 0 is off.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_libbge_Native_setLog<'l>(
    env: EnvUnowned<'l>,
    native: JClass<'l>,
    level: jint,
) {
    guard(env, &native, |env| {
        let Some(max_level) = u32::try_from(level).ok().and_then(LogLevel::up_to) else {
            clear_log_sink();
            return Ok(());
        };
        let vm = env.get_java_vm()?;
        let native = env.new_global_ref(&native)?;
        set_log_sink(max_level, move |level, line| {
            // `Native.log` throws nothing, so this fails only if the JVM is out of memory or ends,
            // and then there is no way to report it.
            let _ = log(&vm, &native, level.code().cast_signed(), line);
        });
        Ok(())
    });
}

fn log(vm: &JavaVM, native: &JClass<'_>, level: jint, line: &str) -> Result<(), Failure> {
    // Attached for the scope only: a thread that stays attached would keep the JVM from ending.
    vm.attach_current_thread_for_scope(|env| {
        let line = env.new_string(line)?;
        env.call_static_method(
            native,
            jni_str!("log"),
            jni_sig!("(ILjava/lang/String;)V"),
            &[JValue::Int(level), JValue::Object(&line)],
        )?;
        Ok(())
    })
}
