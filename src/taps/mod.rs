//! Seeing and changing activations.
//!
//! One explicit handle, [`Taps`], is passed down the forward pass. Every block offers its activations at named
//! [`Site`]s; an [`Observer`] that wants a site gets the tensor and returns the one to go on with. Interventions are
//! put in front of observers, so that what is recorded is what the model really computed with.
//!
//! Taps cost nothing when nobody wants a site: attention then takes its fused path, which never forms the pattern.

mod grad_probe;
mod intervene;
mod recording;
mod site;

pub use grad_probe::GradProbe;
pub use intervene::{Change, Interventions, Notes, Places};
pub use recording::{Array, IdArray, Recorder, Recording};
pub use site::{Attn, Point, Site, SitePattern, Tower};

use candle_core::Tensor;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};

/// What is added to an attention score to forbid a key. Finite, so that a row with no allowed key becomes uniform, as in
/// the reference, instead of NaN; far below any score, so that a forbidden key gets exactly nothing.
pub const MASKED: f32 = -1e9;

/// Sees, and may replace, the activations of one forward pass.
pub trait Observer {
    /// Whether this observer asks for the activation at `site`; asked before the activation is formed.
    fn wants(&self, site: Site) -> bool;
    /// Gets the activation and returns the one to go on with (of the same shape).
    ///
    /// # Errors
    /// If the observer can't do with this activation what it was asked to do.
    fn observe(&mut self, site: Site, activation: Tensor) -> Result<Tensor>;
}

/// The handle that is passed down a forward pass.
#[derive(Default)]
pub struct Taps<'a> {
    interventions: Option<&'a Interventions>,
    observers: Vec<&'a mut dyn Observer>,
    cancel: Option<CancelToken>,
}

impl<'a> Taps<'a> {
    /// No observers: the fastest pass.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// A pass in which this is changed before anyone sees it.
    #[must_use]
    pub fn under(interventions: &'a Interventions) -> Self {
        Self { interventions: Some(interventions), ..Self::default() }
    }

    /// Adds an observer behind those already there.
    #[must_use]
    pub fn with(mut self, observer: &'a mut dyn Observer) -> Self {
        self.observers.push(observer);
        self
    }

    /// Lets the pass be cancelled from another thread, between blocks.
    #[must_use]
    pub fn cancelled_by(mut self, token: &CancelToken) -> Self {
        self.cancel = Some(token.clone());
        self
    }

    /// Whether any observer wants `site`.
    #[must_use]
    pub fn wants(&self, site: Site) -> bool {
        let changed = self.interventions.is_some_and(|interventions| interventions.want(site));
        changed || self.observers.iter().any(|observer| observer.wants(site))
    }

    /// Offers the activation at `site` to everyone who wants it, in order.
    ///
    /// # Errors
    /// [`Error::Cancelled`] if the pass was cancelled, or what an observer reports.
    pub fn tap(&mut self, site: Site, mut activation: Tensor) -> Result<Tensor> {
        if let Some(cancel) = &self.cancel {
            cancel.check()?;
        }
        if let Some(interventions) = self.interventions {
            activation = interventions.apply(site, activation)?;
        }
        for observer in &mut self.observers {
            if observer.wants(site) {
                activation = observer.observe(site, activation)?;
            }
        }
        Ok(activation)
    }
}

/// A flag that one thread sets and the computing thread looks at between steps.
#[derive(Clone, Debug, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// Asks the work that holds this token to stop.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody asked to stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// # Errors
    /// [`Error::Cancelled`] if somebody asked to stop.
    pub fn check(&self) -> Result<()> {
        if self.is_cancelled() {
            return Err(Error::Cancelled);
        }
        Ok(())
    }
}
