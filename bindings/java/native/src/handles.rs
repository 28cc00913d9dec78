//! Models and switches, which Java holds by a number.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{LazyLock, PoisonError, RwLock};

use bge::{Cancel, Error, ErrorKind, Model};

/// Values by number. No number is used twice.
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

/// The number of models, switches and unfinished asynchronous calls.
pub fn live() -> usize {
    MODELS.len() + CANCELS.len() + UNFINISHED.load(Ordering::Relaxed)
}

/// The model with this number. The clone stays alive if another thread closes the model.
pub fn model(number: i64) -> bge::Result<Model> {
    MODELS.get(number).ok_or_else(|| Error::new(ErrorKind::Closed, "the model was closed"))
}
