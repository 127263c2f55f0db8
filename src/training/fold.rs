//! BLIP's vision tower started from CLIP's: the same blocks, but no layer norm in front of them.

use candle_core::{D, Device, Tensor};
use std::collections::BTreeMap;

use crate::error::Result;
use crate::models::vision_tower::VisionTowerConfig;
use crate::nn::{Parameters, cut_into_patches};

/// The weights of a BLIP tower that does nearly what the CLIP tower in `clip` does, by name.
///
/// CLIP's first layer norm takes the mean away, which is linear and goes into the weights in front of it, and divides by
/// the deviation, for which each position gets the mean over `pixels` `[pictures, 3, height, width]`. The class token is
/// always the same, so there it is exact.
///
/// # Errors
/// If a weight is missing or has another shape.
pub fn blip_tower(
    clip: &dyn Parameters,
    config: &VisionTowerConfig,
    pixels: &Tensor,
) -> Result<BTreeMap<String, Tensor>> {
    let width = config.hidden_size;
    let (rows, columns) = config.grid();
    let (positions, patch) = (1 + rows * columns, config.patch_size);
    let get = |name: &str, shape: &[usize]| clip.get(&format!("vision_model.{name}"), shape);

    let class = get("embeddings.class_embedding", &[width])?;
    let position = get("embeddings.position_embedding.weight", &[positions, width])?;
    let patches = get("embeddings.patch_embedding.weight", &[width, 3, patch, patch])?;
    let (norm, bias) = (get("pre_layrnorm.weight", &[width])?, get("pre_layrnorm.bias", &[width])?);

    let flat = patches.reshape((width, ()))?; // [width, 3 * patch * patch]
    let centred_patches = flat.broadcast_sub(&flat.mean_keepdim(0)?)?;
    let centred = |x: &Tensor| -> Result<Tensor> { Ok(x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?) };
    let (class, position) = (centred(&class)?, centred(&position)?);

    // The deviations: of the class token, and on average of a patch.
    let deviation = |x: &Tensor| -> Result<Tensor> {
        Ok((x.sqr()?.mean_keepdim(D::Minus1)? + config.layer_norm_eps)?.sqrt()?) // [..., 1]
    };
    let of_class = deviation(&(&class + position.get(0)?)?)?; // [1]
    let cut = cut_into_patches(pixels, patch)?; // [pictures, patches, 3 * patch * patch]
    let embedded = cut.flatten(0, 1)?.matmul(&centred_patches.t()?)?.reshape((cut.dim(0)?, (), width))?;
    let of_patches = deviation(&embedded.broadcast_add(&position.narrow(0, 1, positions - 1)?)?)?.mean_all()?;

    let factor = norm.broadcast_div(&of_patches)?; // [width]
    let scaled = |x: &Tensor, factor: &Tensor| -> Result<Tensor> { Ok(x.broadcast_mul(factor)?) };
    let class_factor = norm.broadcast_div(&of_class)?;
    let class_and_place = scaled(&(&class + position.get(0)?)?, &class_factor)?.broadcast_add(&bias)?; // [width]
    let places = scaled(&position.narrow(0, 1, positions - 1)?, &factor)?.broadcast_add(&bias)?;
    let zeros = Tensor::zeros((1, width), places.dtype(), &Device::Cpu)?;

    let mut tower = BTreeMap::new();
    let mut put = |name: String, value: Tensor| tower.insert(format!("vision_model.{name}"), value);
    put("embeddings.class_embedding".into(), class_and_place);
    put("embeddings.position_embedding".into(), Tensor::cat(&[zeros, places], 0)?);
    put("embeddings.patch_embedding.weight".into(), centred_patches.broadcast_mul(&factor.unsqueeze(1)?)?);
    let inner = config.intermediate_size;
    for layer in 0..config.num_hidden_layers {
        let name = |part: &str| format!("encoder.layers.{layer}.{part}");
        for part in ["weight", "bias"] {
            let shape: &[usize] = if part == "weight" { &[width, width] } else { &[width] };
            let projection = |which: &str| get(&name(&format!("self_attn.{which}.{part}")), shape);
            let stacked = Tensor::cat(&[projection("q_proj")?, projection("k_proj")?, projection("v_proj")?], 0)?;
            put(name(&format!("self_attn.qkv.{part}")), stacked);
            put(name(&format!("self_attn.projection.{part}")), projection("out_proj")?);
            for norm in ["layer_norm1", "layer_norm2"] {
                put(name(&format!("{norm}.{part}")), get(&name(&format!("{norm}.{part}")), &[width])?);
            }
            let (first, second): (&[usize], &[usize]) =
                if part == "weight" { (&[inner, width], &[width, inner]) } else { (&[inner], &[width]) };
            put(name(&format!("mlp.fc1.{part}")), get(&name(&format!("mlp.fc1.{part}")), first)?);
            put(name(&format!("mlp.fc2.{part}")), get(&name(&format!("mlp.fc2.{part}")), second)?);
        }
    }
    for part in ["weight", "bias"] {
        put(format!("post_layernorm.{part}"), get(&format!("post_layernorm.{part}"), &[width])?);
    }
    Ok(tower)
}
