//! What transformers calls the tensors of GGUF files.

use super::header::{Header, Stored};

/// A tensor by the name that transformers gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// That name.
    pub name: String,
    /// What is stored.
    pub stored: Stored,
    /// Heads whose rows llama.cpp has in another order: it turns neighbouring numbers together, transformers the two halves.
    pub turned: Option<usize>,
}

/// The tensors of one of the files by the names of `LlavaForConditionalGeneration`. What has no such name is left out.
#[must_use]
pub fn named(file: &Header) -> Vec<Named> {
    let heads = |key| file.whole(key).ok().and_then(|heads| usize::try_from(heads).ok());
    let queries = heads("llama.attention.head_count");
    let keys = heads("llama.attention.head_count_kv").or(queries);
    let turned = |name: &str| match name.rsplit('.').nth(1) {
        Some("attn_q") if name.starts_with("blk.") => queries,
        Some("attn_k") if name.starts_with("blk.") => keys,
        _ => None,
    };
    // The first files had the two layers of the tower's feed-forward parts the wrong way round: what is called up narrows.
    let up = file.tensors.get("v.blk.0.ffn_up.weight").map(|stored| stored.shape.as_slice());
    let swapped = matches!(up, Some([rows, columns]) if rows < columns);
    let each = file.tensors.iter().filter_map(|(name, stored)| {
        Some(Named { name: full(name, swapped)?, stored: stored.clone(), turned: turned(name) })
    });
    each.collect()
}

fn full(name: &str, swapped: bool) -> Option<String> {
    let (stem, ending) = name.rsplit_once('.')?;
    let whole = match stem {
        "token_embd" => "language_model.model.embed_tokens",
        "output_norm" => "language_model.model.norm",
        "output" => "language_model.lm_head",
        "mm.0" => "multi_modal_projector.linear_1",
        "mm.2" => "multi_modal_projector.linear_2",
        "v" if ending == "class_embd" => return Some(format!("{TOWER}.embeddings.class_embedding")),
        "v.patch_embd" => return Some(format!("{TOWER}.embeddings.patch_embedding.{ending}")),
        "v.position_embd" => return Some(format!("{TOWER}.embeddings.position_embedding.{ending}")),
        "v.pre_ln" => return Some(format!("{TOWER}.pre_layrnorm.{ending}")),
        "v.post_ln" => return Some(format!("{TOWER}.post_layernorm.{ending}")),
        _ => return block(stem, ending, swapped),
    };
    Some(format!("{whole}.{ending}"))
}

const TOWER: &str = "vision_tower.vision_model";

fn block(stem: &str, ending: &str, swapped: bool) -> Option<String> {
    let (is_vision, rest) = match stem.strip_prefix("v.blk.") {
        Some(rest) => (true, rest),
        None => (false, stem.strip_prefix("blk.")?),
    };
    let (layer, part) = rest.split_once('.')?;
    layer.parse::<usize>().ok()?;
    let inner = match (is_vision, part) {
        (false, "attn_q") => "self_attn.q_proj",
        (false, "attn_k") => "self_attn.k_proj",
        (false, "attn_v") => "self_attn.v_proj",
        (false, "attn_output") => "self_attn.o_proj",
        (false, "attn_norm") => "input_layernorm",
        (false, "ffn_norm") => "post_attention_layernorm",
        (false, "ffn_gate") => "mlp.gate_proj",
        (false, "ffn_up") => "mlp.up_proj",
        (false, "ffn_down") => "mlp.down_proj",
        (true, "attn_q") => "self_attn.q_proj",
        (true, "attn_k") => "self_attn.k_proj",
        (true, "attn_v") => "self_attn.v_proj",
        (true, "attn_out") => "self_attn.out_proj",
        (true, "ln1") => "layer_norm1",
        (true, "ln2") => "layer_norm2",
        (true, "ffn_up" | "ffn_down") if (part == "ffn_up") != swapped => "mlp.fc1",
        (true, "ffn_up" | "ffn_down") => "mlp.fc2",
        _ => return None,
    };
    Some(if is_vision {
        format!("{TOWER}.encoder.layers.{layer}.{inner}.{ending}")
    } else {
        format!("language_model.model.layers.{layer}.{inner}.{ending}")
    })
}
