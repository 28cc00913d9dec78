//! What Java holds by a number: models and switches.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{LazyLock, PoisonError, RwLock};

use bge::{Cancel, Error, ErrorKind, Model};

/// Values by number. A number is never used again.
pub struct Handles<T> {
    next: AtomicI64,
    values: LazyLock<RwLock<HashMap<i64, T>>>,
}

impl<T: Clone> Handles<T> {
    const fn new() -> Self {
        Self { next: AtomicI64::new(1), values: LazyLock::new(Default::default) }
    }

    pub fn add(&self, value: T) -> i64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.values.write().unwrap_or_else(PoisonError::into_inner).insert(number, value);
        number
    }

    pub fn get(&self, number: i64) -> Option<T> {
        self.values.read().unwrap_or_else(PoisonError::into_inner).get(&number).cloned()
    }

    pub fn take(&self, number: i64) -> Option<T> {
        self.values.write().unwrap_or_else(PoisonError::into_inner).remove(&number)
    }

    fn len(&self) -> usize {
        self.values.read().unwrap_or_else(PoisonError::into_inner).len()
    }
}

pub static MODELS: Handles<Model> = Handles::new();
pub static CANCELS: Handles<Cancel> = Handles::new();

static UNFINISHED: AtomicUsize = AtomicUsize::new(0);

/// Counts an asynchronous call for as long as it holds objects of Java.
pub struct Unfinished(());

impl Unfinished {
    pub fn new() -> Self {
        UNFINISHED.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        UNFINISHED.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How many models, switches and asynchronous calls there are.
pub fn live() -> usize {
    MODELS.len() + CANCELS.len() + UNFINISHED.load(Ordering::Relaxed)
}

/// The model of a number, which it keeps while a call uses it, whoever closes it meanwhile.
pub fn model(number: i64) -> bge::Result<Model> {
    MODELS.get(number).ok_or_else(|| Error::new(ErrorKind::Closed, "the model was closed"))
}
