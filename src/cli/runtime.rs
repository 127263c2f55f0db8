//! Where to compute, as all commands that run a model ask for it.

use clap::Args;

use crate::models::runtime::{Precision, RuntimeName};

/// Device and precision.
#[derive(Clone, Debug, Args)]
pub struct Where {
    /// Where to compute: auto, cpu, cuda:N or metal.
    #[arg(long, default_value = "auto")]
    device: String,
    /// How the weights are held. In 16 bits they take half the memory; what is computed is f32 all the same, but for bf16 on a processor
    /// with AMX, which multiplies in it.
    #[arg(long, value_enum, default_value_t = Precision::F32)]
    precision: Precision,
}

impl Where {
    /// The runtime that is asked for.
    pub fn name(&self) -> RuntimeName {
        RuntimeName { device: self.device.clone(), precision: self.precision }
    }
}
