//! OPT (Zhang et al. 2022, arXiv 2205.01068): a language model under BLIP-2. Names and order of operations follow
//! transformers' `OPTForCausalLM`.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::causal::{mask, places};
use super::checkpoint::Checkpoint;
use super::generate::{Ends, Manner};
use super::language_model::{Begun, LanguageModel, check_alone, check_one, said, write_alone};
use crate::error::Result;
use crate::nn::{
    Activation, Attention, BlockCache, Embedding, FeedForward, LanguageBlock, LayerNorm, Linear, Mlp, Norm, Scope,
    Sight,
};
use crate::taps::{Taps, Tower};

/// OPT leaves its norms at torch's default.
const EPSILON: f64 = 1e-5;

/// Places in front of the first position: in the first one stands nothing, in the second one padding.
const OFFSET: u32 = 2;

/// `config.json` of an `OPTForCausalLM`. Keys that a file leaves out have the values that transformers gives them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct OptConfig {
    /// Number of known tokens.
    pub vocab_size: usize,
    /// Length of the vectors.
    pub hidden_size: usize,
    /// Length of the vectors of the tokens, before they enter and behind the last block; `hidden_size` unless it is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub word_embed_proj_dim: Option<usize>,
    /// Length of the vectors inside the feed-forward parts.
    pub ffn_dim: usize,
    /// Number of blocks.
    pub num_hidden_layers: usize,
    /// Heads of each attention.
    pub num_attention_heads: usize,
    /// The longest text, in tokens.
    pub max_position_embeddings: usize,
    /// Activation of the feed-forward parts.
    pub activation_function: Activation,
    /// Whether the norms stand before the parts of a block, or behind the sums.
    pub do_layer_norm_before: bool,
    /// Whether the norm behind the last block is left out; there is none anyway where the norms stand behind.
    #[serde(rename = "_remove_final_layer_norm")]
    pub remove_final_layer_norm: bool,
    /// Whether the maps inside the blocks have biases.
    pub enable_bias: bool,
    /// Whether the norms scale and shift.
    pub layer_norm_elementwise_affine: bool,
    /// Whether the output layer is the table of the input tokens.
    pub tie_word_embeddings: bool,
    /// The token that begins a text.
    pub bos_token_id: Option<u32>,
    /// The tokens that end a text.
    pub eos_token_id: Option<Ends>,
    /// The padding token, which the model doesn't need.
    pub pad_token_id: Option<i64>,
}

impl Default for OptConfig {
    fn default() -> Self {
        Self {
            vocab_size: 50272,
            hidden_size: 768,
            word_embed_proj_dim: None,
            ffn_dim: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            max_position_embeddings: 2048,
            activation_function: Activation::Relu,
            do_layer_norm_before: true,
            remove_final_layer_norm: false,
            enable_bias: true,
            layer_norm_elementwise_affine: true,
            tie_word_embeddings: true,
            bos_token_id: Some(2),
            eos_token_id: Some(Ends::One(2)),
            pad_token_id: Some(1),
        }
    }
}

impl OptConfig {
    /// Reads and checks `config`, which is the config of `checkpoint` or part of it.
    ///
    /// # Errors
    /// If a value has the wrong type or makes no sense.
    pub fn read(config: &Value, checkpoint: &Checkpoint) -> Result<Self> {
        let config: Self = checkpoint.parse(&said(config))?;
        checkpoint.check_sizes(&[
            ("vocab_size", config.vocab_size, 1 << 20),
            ("text hidden_size", config.hidden_size, 1 << 14),
            ("word_embed_proj_dim", config.word_width(), 1 << 14),
            ("ffn_dim", config.ffn_dim, 1 << 16),
            ("text num_hidden_layers", config.num_hidden_layers, 256),
            ("max_position_embeddings", config.max_position_embeddings, 1 << 17),
        ])?;
        checkpoint.check_block(config.hidden_size, config.num_attention_heads, EPSILON)?;
        Ok(config)
    }

    /// Length of the vectors of the tokens.
    #[must_use]
    pub fn word_width(&self) -> usize {
        self.word_embed_proj_dim.unwrap_or(self.hidden_size)
    }

    /// The norm called `name`.
    fn norm(&self, name: &str, scope: &Scope<'_>) -> Result<LayerNorm> {
        if self.layer_norm_elementwise_affine {
            LayerNorm::load(&scope.enter(name), self.hidden_size, EPSILON)
        } else {
            LayerNorm::without_weights(self.hidden_size, EPSILON, scope.device())
        }
    }

    /// The block under `scope`.
    fn block(&self, scope: &Scope<'_>) -> Result<LanguageBlock> {
        let (width, attention) = (self.hidden_size, scope.enter("self_attn"));
        let linear = |scope: &Scope<'_>, name: &str, input, output| {
            Linear::load_with(&scope.enter(name), input, output, self.enable_bias)
        };
        let square = |name| linear(&attention, name, width, width);
        let projections = [square("q_proj")?, square("k_proj")?, square("v_proj")?];
        let mlp = Mlp::new(
            linear(scope, "fc1", width, self.ffn_dim)?,
            linear(scope, "fc2", self.ffn_dim, width)?,
            self.activation_function,
        );
        let block = LanguageBlock::new(
            (
                Attention::new(projections, square("out_proj")?, self.num_attention_heads),
                Norm::Layer(self.norm("self_attn_layer_norm", scope)?),
            ),
            (FeedForward::Plain(mlp), Norm::Layer(self.norm("final_layer_norm", scope)?)),
        );
        Ok(if self.do_layer_norm_before { block } else { block.with_norms_behind() })
    }
}

/// The model.
pub struct Opt {
    embed_tokens: Embedding,
    embed_positions: Embedding,
    project: Option<(Linear, Linear)>, // word width -> width, and width -> word width
    layers: Vec<LanguageBlock>,
    final_layer_norm: Option<LayerNorm>,
    lm_head: Linear,
    config: OptConfig,
}

impl Opt {
    /// Builds the model from weights with transformers' names.
    ///
    /// # Errors
    /// If a weight is missing or has another shape.
    pub fn load(config: OptConfig, scope: &Scope<'_>) -> Result<Self> {
        let decoder = scope.enter("model.decoder");
        let (width, word_width, tokens) = (config.hidden_size, config.word_width(), config.vocab_size);
        let places = config.max_position_embeddings + OFFSET as usize;
        let embed_tokens = Embedding::load(&decoder.enter("embed_tokens"), tokens, word_width)?;
        let head = if config.tie_word_embeddings {
            embed_tokens.weight().clone()
        } else {
            scope.enter("lm_head").matrix("weight", (tokens, word_width))?
        };
        let project = if word_width == width {
            None
        } else {
            let into = Linear::load_without_bias(&decoder.enter("project_in"), word_width, width)?;
            Some((into, Linear::load_without_bias(&decoder.enter("project_out"), width, word_width)?))
        };
        let layers = decoder.enter("layers");
        let has_norm = config.do_layer_norm_before && !config.remove_final_layer_norm;
        Ok(Self {
            embed_tokens,
            embed_positions: Embedding::load(&decoder.enter("embed_positions"), places, width)?,
            project,
            layers: (0..config.num_hidden_layers)
                .map(|layer| config.block(&layers.enter(layer)))
                .collect::<Result<_>>()?,
            final_layer_norm: has_norm.then(|| config.norm("final_layer_norm", &decoder)).transpose()?,
            lm_head: Linear::from_weight(head)?,
            config,
        })
    }

    /// The states after the last block, `[batch, new, hidden_size]`, of `embeds` `[batch, new, width]`, the last
    /// positions of texts. `attention` is the mask of the whole texts, of which the first `past` positions were seen in
    /// earlier passes.
    fn states(
        &self,
        embeds: &Tensor,
        attention: &[Vec<u32>],
        past: usize,
        caches: Option<&mut [BlockCache]>,
        taps: &mut Taps<'_>,
    ) -> Result<Tensor> {
        let (batch, new, _) = embeds.dims3()?;
        let mask = mask(attention, past, embeds.device())?;
        // Padding has no position, and the place before that of the first one.
        let at: Vec<u32> = attention
            .iter()
            .flat_map(|row| places(row).skip(past).map(|place| place.map_or(OFFSET - 1, |place| place + OFFSET)))
            .collect();
        let positions = self.embed_positions.forward(&Tensor::from_vec(at, (batch, new), embeds.device())?)?;
        let x = match &self.project {
            Some((into, _)) => (into.forward(embeds)? + positions)?,
            None => (embeds + positions)?,
        };
        let sight = Sight { mask: Some(&mask), ..Sight::default() };
        LanguageBlock::through(&self.layers, x, sight, caches, Tower::Decoder, taps)
    }

    /// From states `[batch, positions, hidden_size]` to scores `[batch, positions, tokens]`.
    fn head(&self, states: &Tensor) -> Result<Tensor> {
        let mut x = states.clone();
        if let Some(norm) = &self.final_layer_norm {
            x = norm.forward(&x)?;
        }
        if let Some((_, out)) = &self.project {
            x = out.forward(&x)?; // [batch, positions, word width]
        }
        self.lm_head.forward(&x)
    }
}

impl LanguageModel for Opt {
    fn words(&self) -> &Embedding {
        &self.embed_tokens
    }

    fn width(&self) -> usize {
        self.config.word_width()
    }

    fn depth(&self) -> usize {
        self.layers.len()
    }

    fn context(&self) -> usize {
        self.config.max_position_embeddings
    }

    fn begin(&self) -> Option<u32> {
        self.config.bos_token_id
    }

    fn ends(&self) -> Vec<u32> {
        self.config.eos_token_id.as_ref().map(Ends::ids).unwrap_or_default()
    }

    fn start(&self) -> Option<u32> {
        None
    }

    fn lens(&self, states: &Tensor) -> Result<Tensor> {
        self.head(states)
    }

    fn logits(
        &self,
        embeds: &Tensor,
        attention_mask: Option<&Tensor>,
        written: Option<&Tensor>,
        taps: &mut Taps<'_>,
    ) -> Result<Tensor> {
        let attention = check_alone(self, embeds, attention_mask, written)?;
        self.head(&self.states(embeds, &attention, 0, None, taps)?)
    }

    fn generate(
        &self,
        embeds: &Tensor,
        attention_mask: Option<&Tensor>,
        how: Manner,
        taps: &mut Taps<'_>,
        on_token: &mut dyn FnMut(u32) -> bool,
    ) -> Result<Vec<u32>> {
        let attention = check_one(self, embeds, attention_mask)?;
        write_alone(self, (&Begun::default(), &attention), embeds, how, taps, on_token)
    }

    fn reads_in_parts(&self, _positions: usize) -> bool {
        true
    }

    fn states_behind(
        &self,
        embeds: &Tensor,
        (attention, past): (&[Vec<u32>], usize),
        caches: &mut [BlockCache],
        taps: &mut Taps<'_>,
    ) -> Result<Tensor> {
        self.states(embeds, attention, past, Some(caches), taps)
    }
}
