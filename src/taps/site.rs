//! The names of the places in a model where activations can be seen and changed.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// One place in a model. Displayed as in a trace file: `qformer.blocks.3.cross_attn.pattern`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Site {
    /// Which part of the model.
    pub tower: Tower,
    /// Index of the block, as in the checkpoint; 0 for [`Point::Embed`].
    pub layer: u16,
    /// Where in the block.
    pub point: Point,
}

/// A part of a model with its own stack of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tower {
    /// The vision transformer.
    Vision,
    /// SigLIP's attention-pooling head over the vision tower.
    Pooler,
    /// The text encoder.
    Text,
    /// Flamingo's Perceiver resampler.
    Resampler,
    /// The querying transformer of BLIP-2 and InstructBLIP.
    QFormer,
    /// What a language model reads with before its decoder writes, if it has one (T5).
    Encoder,
    /// The language model that writes.
    Decoder,
}

/// A place in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Point {
    /// What enters the first block, `[batch, positions, width]`.
    Embed,
    /// The residual stream before a block, `[batch, positions, width]`.
    ResidPre,
    /// Attention scores before the softmax, scaled and masked, `[batch, heads, queries, keys]`.
    Scores(Attn),
    /// Attention after the softmax, `[batch, heads, queries, keys]`.
    Pattern(Attn),
    /// The values that each head offers, `[batch, heads, keys, head width]`.
    V(Attn),
    /// The values gathered by each head, `[batch, heads, queries, head width]`.
    Z(Attn),
    /// What the feed-forward part adds to the residual stream, `[batch, positions, width]`.
    MlpOut,
    /// What a gated cross-attention adds to the residual stream, tanh of its gate included, `[batch, positions, width]`.
    GateAttn,
    /// What the feed-forward part behind a gated cross-attention adds, tanh of its gate included, `[batch, positions,
    /// width]`.
    GateFfn,
    /// The residual stream after a block, `[batch, positions, width]`.
    ResidPost,
}

/// Which attention of a block. A direction is always said as query -> key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Attn {
    /// Queries and keys come from the same sequence.
    SelfAttn,
    /// Keys come from another sequence.
    CrossAttn,
}

impl Site {
    /// A site by its parts.
    #[must_use]
    pub fn new(tower: Tower, layer: usize, point: Point) -> Self {
        // A config with more than 65,535 layers is refused before a model is built.
        let layer = u16::try_from(layer).unwrap_or(u16::MAX);
        Self { tower, layer, point }
    }

    /// The self-attention pattern of a block.
    #[must_use]
    pub fn pattern(tower: Tower, layer: usize) -> Self {
        Self::new(tower, layer, Point::Pattern(Attn::SelfAttn))
    }
}

impl Tower {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Vision, Self::Pooler, Self::Text, Self::Resampler, Self::QFormer, Self::Encoder, Self::Decoder];
}

const TOWERS: [(Tower, &str); 7] = [
    (Tower::Vision, "vision"),
    (Tower::Pooler, "pooler"),
    (Tower::Text, "text"),
    (Tower::Resampler, "resampler"),
    (Tower::QFormer, "qformer"),
    (Tower::Encoder, "encoder"),
    (Tower::Decoder, "decoder"),
];

const POINTS: [(Point, &str); 13] = [
    (Point::ResidPre, "resid_pre"),
    (Point::Scores(Attn::SelfAttn), "self_attn.scores"),
    (Point::Pattern(Attn::SelfAttn), "self_attn.pattern"),
    (Point::V(Attn::SelfAttn), "self_attn.v"),
    (Point::Z(Attn::SelfAttn), "self_attn.z"),
    (Point::Scores(Attn::CrossAttn), "cross_attn.scores"),
    (Point::Pattern(Attn::CrossAttn), "cross_attn.pattern"),
    (Point::V(Attn::CrossAttn), "cross_attn.v"),
    (Point::Z(Attn::CrossAttn), "cross_attn.z"),
    (Point::MlpOut, "mlp_out"),
    (Point::GateAttn, "gate_attn"),
    (Point::GateFfn, "gate_ffn"),
    (Point::ResidPost, "resid_post"),
];

impl fmt::Display for Tower {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = TOWERS.iter().find(|(tower, _)| tower == self);
        formatter.write_str(name.map_or("", |(_, name)| name))
    }
}

impl fmt::Display for Site {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.point == Point::Embed {
            return write!(formatter, "{}.embed", self.tower);
        }
        let name = POINTS.iter().find(|(point, _)| *point == self.point);
        let name = name.map_or("", |(_, name)| name);
        write!(formatter, "{}.blocks.{}.{name}", self.tower, self.layer)
    }
}

impl FromStr for Site {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = || format!("'{text}' is not the name of a site");
        let (tower, rest) = text.split_once('.').ok_or_else(unknown)?;
        let (tower, _) = TOWERS.iter().find(|(_, name)| *name == tower).ok_or_else(unknown)?;
        if rest == "embed" {
            return Ok(Self::new(*tower, 0, Point::Embed));
        }
        let rest = rest.strip_prefix("blocks.").ok_or_else(unknown)?;
        let (layer, point) = rest.split_once('.').ok_or_else(unknown)?;
        let layer: u16 = layer.parse().map_err(|_| unknown())?;
        let (point, _) = POINTS.iter().find(|(_, name)| *name == point).ok_or_else(unknown)?;
        Ok(Self { tower: *tower, layer, point: *point })
    }
}

/// Which sites are wanted, as on the command line: names with `*` for any run of characters, separated by commas
/// (`vision.blocks.*.self_attn.pattern,text.*`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SitePattern(Vec<String>);

impl SitePattern {
    /// Every attention pattern.
    #[must_use]
    pub fn patterns() -> Self {
        Self::new("*.pattern")
    }

    /// From the text on the command line.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.split(',').map(|part| part.trim().to_owned()).collect())
    }

    /// Whether the name of `site` fits one of the parts.
    #[must_use]
    pub fn matches(&self, site: Site) -> bool {
        let name = site.to_string();
        self.0.iter().any(|glob| fits(glob, &name))
    }
}

/// `*` stands for any run of characters. Greedy with one point of return, so linear in practice.
fn fits(glob: &str, name: &str) -> bool {
    let (glob, name) = (glob.as_bytes(), name.as_bytes());
    let (mut at_glob, mut at_name) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while at_name < name.len() {
        if at_glob < glob.len() && glob[at_glob] == b'*' {
            star = Some((at_glob, at_name));
            at_glob += 1;
        } else if at_glob < glob.len() && glob[at_glob] == name[at_name] {
            at_glob += 1;
            at_name += 1;
        } else if let Some((star_glob, star_name)) = star {
            star = Some((star_glob, star_name + 1));
            at_glob = star_glob + 1;
            at_name = star_name + 1;
        } else {
            return false;
        }
    }
    glob[at_glob..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_the_way_there_and_back() {
        for (tower, _) in TOWERS {
            for (point, _) in POINTS {
                let site = Site::new(tower, 7, point);
                assert_eq!(site.to_string().parse(), Ok(site));
            }
            let embed = Site::new(tower, 0, Point::Embed);
            assert_eq!(embed.to_string().parse(), Ok(embed));
        }
        assert_eq!(
            Site::new(Tower::QFormer, 3, Point::Pattern(Attn::CrossAttn)).to_string(),
            "qformer.blocks.3.cross_attn.pattern"
        );
        assert!("vision.blocks.x.mlp_out".parse::<Site>().is_err());
    }

    #[test]
    fn globs_choose_sites() {
        let site = Site::pattern(Tower::Vision, 11);
        assert!(SitePattern::patterns().matches(site));
        assert!(SitePattern::new("text.*,vision.blocks.1*").matches(site));
        assert!(!SitePattern::new("vision.blocks.1.*").matches(site));
        assert!(!SitePattern::new("").matches(site));
    }
}
