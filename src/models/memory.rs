//! How much memory a checkpoint needs, known before a weight is read, and how much there is.

use serde::Serialize;
use serde_json::Value;

use super::checkpoint::Checkpoint;
use super::runtime::{Precision, Runtime, free};
use super::weights::{Extent, extent};
use crate::error::{Error, Result};

/// What the program itself takes beside its code: measured of `alignscope trace` on a processor, in bytes. Where the system gives pages
/// of 2 MiB unasked, 35 to 40 MB more are taken that nothing fills (measured of two built-in checkpoints), which isn't counted.
const PROGRAM: u64 = 7 << 20;
/// Pages of the program's code that are in use, in bytes, more where it is built for tests. The system counts more or fewer as
/// it keeps the file in its cache, and takes them back when memory is short.
pub const CODE: u64 = if cfg!(debug_assertions) { 21 << 20 } else { 18 << 20 };
/// Words that a text is taken to have.
const WORDS: u64 = 32;
/// Bytes of an `f32`.
const FULL: u64 = 4;

/// What opening a checkpoint takes, and one pass over a picture and a text in which all patterns of attention are kept, in
/// bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Needed {
    /// The program without a model.
    pub program: u64,
    /// The weights, as long as the model is open.
    pub weights: u64,
    /// What the allocator keeps of what was freed while they were read, one after the other in 32 bits.
    pub kept: u64,
    /// While they are read: the largest of them once or twice more.
    pub reading: u64,
    /// What a pass computes with.
    pub pass: u64,
    /// The patterns of attention.
    pub patterns: u64,
}

impl Needed {
    /// The most that is taken at any time.
    #[must_use]
    pub fn peak(&self) -> u64 {
        self.with_patterns(self.patterns)
    }

    /// The same where patterns are kept of what is looked at alone, as the window does below its ceiling: less can't be.
    #[must_use]
    pub fn least(&self) -> u64 {
        self.with_patterns(0)
    }

    /// The most until it is open.
    fn opened(&self) -> u64 {
        self.program.saturating_add(self.weights).saturating_add(self.kept).saturating_add(self.reading)
    }

    fn with_patterns(&self, patterns: u64) -> u64 {
        let most = self.reading.max(self.pass.saturating_add(patterns));
        self.program.saturating_add(self.weights).saturating_add(self.kept).saturating_add(most)
    }

    /// What `checkpoint` needs where its weights are held as `precision` says.
    ///
    /// # Errors
    /// If its files can't be looked at.
    pub fn of(checkpoint: &Checkpoint, precision: Precision) -> Result<Self> {
        Ok(Self::with(&extent(&checkpoint.folder)?, &checkpoint.config, precision))
    }

    /// The same of files of which is known what they hold.
    #[must_use]
    pub fn with(extent: &Extent, config: &Value, precision: Precision) -> Self {
        let towers = towers(config);
        let weights = extent.held(precision);
        // Some threads widen a few rows each where weights are packed; else the largest matrix is turned.
        let pass = towers.iter().map(Tower::pass).max().unwrap_or(0);
        let patterns = towers.iter().map(Tower::patterns).fold(0, u64::saturating_add);
        Self {
            program: PROGRAM + CODE,
            weights,
            kept: extent.full / 16,
            reading: extent.largest.saturating_mul(2 * FULL),
            pass,
            patterns,
        }
    }
}

/// Blocks through which vectors go.
#[derive(Clone, Copy, Debug)]
struct Tower {
    layers: u64,
    heads: u64,
    positions: u64,
    width: u64,
    inner: u64,
}

impl Tower {
    /// Reads the sizes from a part of a config, whichever names they have there.
    fn read(config: &Value, positions: u64) -> Self {
        let size = |names: &[&str], usual: u64| {
            let found = names.iter().find_map(|name| config[*name].as_u64());
            // No sane model has more; an absurd config is refused when it is opened.
            found.unwrap_or(usual).min(1 << 20)
        };
        let width = size(&["hidden_size", "d_model", "embed_dim"], 768);
        Self {
            layers: size(&["num_hidden_layers", "num_layers", "n_layers"], 12),
            heads: size(&["num_attention_heads", "num_heads", "n_heads"], 12),
            inner: size(&["intermediate_size", "ffn_dim", "d_ff"], 4 * width),
            positions,
            width,
        }
    }

    /// What one of its blocks computes with: the stream, queries, keys and values, what stands inside the feed-forward part, and
    /// the attention's scores beside its pattern.
    fn pass(&self) -> u64 {
        let vectors = self.positions.saturating_mul(6 * self.width + 2 * self.inner);
        vectors.saturating_add(self.pattern().saturating_mul(2)).saturating_mul(FULL)
    }

    /// Numbers of the pattern of one block.
    fn pattern(&self) -> u64 {
        self.heads.saturating_mul(self.positions.saturating_mul(self.positions))
    }

    fn patterns(&self) -> u64 {
        self.layers.saturating_mul(self.pattern()).saturating_mul(FULL)
    }
}

/// The towers of a model, with the positions that a picture and a short text have in them.
fn towers(config: &Value) -> Vec<Tower> {
    let part = |name: &str| config.get(name).filter(|part| part.is_object());
    let vision = part("vision_config").cloned().unwrap_or(Value::Null);
    let side = |name: &str, usual: u64| vision[name].as_u64().unwrap_or(usual).clamp(1, 1 << 14);
    let (image, patch) = (side("image_size", 224), side("patch_size", 16));
    let patches = (image / patch).saturating_mul(image / patch) + 1;
    let queries = config["num_query_tokens"].as_u64().unwrap_or(32).min(1 << 12);
    let is = |start: &str| config["architectures"][0].as_str().is_some_and(|class| class.starts_with(start));
    // What stands beside the words in the row that the language model reads.
    let before = if is("Llava") {
        patches
    } else if part("qformer_config").is_some() {
        queries
    } else {
        0
    };
    let mut towers =
        vec![Tower::read(&vision, patches), Tower::read(part("text_config").unwrap_or(config), before + WORDS)];
    towers.extend(part("qformer_config").map(|config| Tower::read(config, queries + WORDS)));
    towers
}

/// Memory that programs can have now, in bytes; `None` where the system doesn't say.
#[must_use]
pub fn available() -> Option<u64> {
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    Some(system.available_memory()).filter(|bytes| *bytes > 0)
}

/// Refuses a checkpoint whose weights can't fit into the memory of its device, and says what would.
///
/// # Errors
/// If they can't fit, or its files can't be looked at.
pub fn check(checkpoint: &Checkpoint, runtime: &Runtime) -> Result<()> {
    let Some(free) = free(&runtime.device) else { return Ok(()) };
    let extent = extent(&checkpoint.folder)?;
    // A list that promises more numbers than its files have bits is wrong; reading them says which tensor.
    if extent.parameters as u64 > extent.bytes.saturating_mul(8) {
        return Ok(());
    }
    let needed = |precision| Needed::with(&extent, &checkpoint.config, precision).opened();
    if needed(runtime.precision) <= free {
        return Ok(());
    }
    let half = needed(Precision::F16);
    let remedy = if runtime.precision.half().is_none() && half <= free {
        format!("hold its weights in 16 bits (--precision f16), which takes {}", say(half))
    } else if checkpoint.gguf.is_some() {
        "use a file that is quantized to fewer bits, or close other programs".to_owned()
    } else {
        "use a quantized GGUF file of it, a smaller checkpoint, or close other programs".to_owned()
    };
    let problem = format!("the checkpoint needs about {}, and {} are free", say(needed(runtime.precision)), say(free));
    Err(Error::unusable(problem, remedy).at(&checkpoint.folder))
}

/// Refuses an open checkpoint over whose pictures no pass can be made in the memory that is left. Its config was found to make
/// sense by then, so that what is absurd in it has been named.
///
/// # Errors
/// If it can't.
pub fn check_pass(checkpoint: &Checkpoint, runtime: &Runtime) -> Result<()> {
    let Some(free) = free(&runtime.device) else { return Ok(()) };
    // It hangs on the config alone.
    let needed = Needed::with(&Extent::default(), &checkpoint.config, runtime.precision).pass;
    if needed <= free {
        return Ok(());
    }
    let problem = format!("a pass over a picture needs about {}, and {} are free", say(needed), say(free));
    Err(Error::unusable(problem, "use a smaller checkpoint, or close other programs").at(&checkpoint.folder))
}

fn say(bytes: u64) -> String {
    format!("{:.1} GB", bytes as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// By hand: LLaVA-1.5-7B, whose row has 577 + 32 positions.
    #[test]
    fn patterns_and_weights_are_counted() {
        let config = json!({
            "architectures": ["LlavaForConditionalGeneration"],
            "vision_config": {"hidden_size": 1024, "image_size": 336, "patch_size": 14, "num_attention_heads": 16,
                              "num_hidden_layers": 24, "intermediate_size": 4096},
            "text_config": {"hidden_size": 4096, "num_attention_heads": 32, "num_hidden_layers": 32,
                            "intermediate_size": 11008},
        });
        let extent = Extent { parameters: 7_000, bytes: 14_000, full: 28_000, half: 14_100, largest: 1_000 };
        let needed = Needed::with(&extent, &config, Precision::F32);
        assert_eq!(needed.patterns, 4 * (24 * 16 * 577 * 577 + 32 * 32 * 609 * 609));
        assert_eq!(needed.weights, 28_000);
        assert_eq!(Needed::with(&extent, &config, Precision::Bf16).weights, 14_100);
        assert_eq!(needed.peak() - needed.least(), needed.patterns);
        assert_eq!(needed.pass, 4 * (609 * (6 * 4096 + 2 * 11008) + 2 * 32 * 609 * 609));
    }

    #[test]
    fn absurd_configs_overflow_nothing() {
        let most = u64::MAX;
        let config = json!({
            "vision_config": {"image_size": most, "patch_size": 0, "hidden_size": most, "num_hidden_layers": most},
            "text_config": {"num_attention_heads": most, "intermediate_size": most}, "num_query_tokens": most,
            "qformer_config": {},
        });
        let extent = Extent { parameters: 1, bytes: 1, full: 1, half: 1, largest: most };
        let needed = Needed::with(&extent, &config, Precision::F32);
        assert!(needed.patterns > 0 && needed.pass > 0);
    }
}
