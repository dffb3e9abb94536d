//! Layers that must stay because something in this process is about to use them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::image::Digest;

/// How many [`Pin`]s hold each layer.
#[derive(Debug, Default)]
pub(super) struct Pins(Mutex<BTreeMap<Digest, usize>>);

/// Holds layers until it is dropped.
#[derive(Debug)]
pub(crate) struct Pin {
    pins: Arc<Pins>,
    layers: Vec<Digest>,
}

impl Pins {
    pub(super) fn pin(self: &Arc<Self>, layers: impl IntoIterator<Item = Digest>) -> Pin {
        let layers: Vec<Digest> = layers.into_iter().collect();
        let mut counts = self.counts();
        for layer in &layers {
            *counts.entry(*layer).or_default() += 1;
        }
        drop(counts);
        Pin { pins: Arc::clone(self), layers }
    }

    pub(super) fn pinned(&self) -> Vec<Digest> {
        self.counts().keys().copied().collect()
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<Digest, usize>> {
        // Each change under the lock is one step: a panic elsewhere leaves the counts whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut counts = self.pins.counts();
        for layer in &self.layers {
            if let Some(count) = counts.get_mut(layer) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(layer);
                }
            }
        }
    }
}
