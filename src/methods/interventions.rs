//! What a person changes in a model, and where in the model that is: heads switched off, routes of attention cut, patches
//! that nobody looks at.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::taps::{Array, Attn, Change, Interventions, Places, Point, Site, Tower};

/// The keys of all routes that a model may have.
pub const ROUTES: [&str; 10] = [
    "patches-to-patches",
    "class-to-patches",
    "words-to-words",
    "words-to-picture",
    "question-to-picture",
    "answer-to-picture",
    "answer-to-question",
    "queries-to-picture",
    "queries-to-words",
    "words-to-queries",
];

/// The last block, however many there are.
pub const LAST: usize = u16::MAX as usize;

/// What stands in the place of what a head gathers that is switched off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ablation {
    /// Zeros.
    #[default]
    Zero,
    /// What it gathers on average, over the positions of several pictures with their sentences: closer to what the rest of the
    /// model is used to.
    Mean,
}

/// Something that is changed in a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Intervention {
    /// A head gathers nothing, or always the same.
    HeadOff {
        /// Part of the model.
        tower: Tower,
        /// Which attention of its blocks.
        attn: Attn,
        /// The block, as in the checkpoint.
        layer: usize,
        /// The head.
        head: usize,
        /// What stands in the place of what it gathers.
        #[serde(default)]
        by: Ablation,
    },
    /// A route of attention is cut in some blocks.
    Cut {
        /// The key of the [`Route`].
        route: String,
        /// The first of these blocks.
        first: usize,
        /// The last of them.
        last: usize,
    },
    /// Nobody looks at these patches, which still look at others.
    Hidden {
        /// The patches, counted row by row.
        patches: Vec<usize>,
    },
    /// Something that no state holds.
    #[serde(skip)]
    Other(Change),
}

/// From the command line: `vision.blocks.3.self_attn:1` switches head 1 of an attention off, `words-to-picture:0-2` cuts a route
/// in blocks 0 to 2 (`:2` in one, without that in all), `patches:9,10` lets nobody look at patches; all counted from 0. With `:mean`
/// behind it a head gathers always the same.
impl FromStr for Intervention {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.trim().parse::<usize>().map_err(|_| format!("'{text}' is no number"));
        let (name, rest) = text.split_once(':').map_or((text, None), |(name, rest)| (name, Some(rest)));
        if name == "patches" {
            let patches = rest.unwrap_or_default().split(',').map(number).collect::<Result<Vec<_>, _>>()?;
            return Ok(Self::Hidden { patches });
        }
        if ROUTES.contains(&name) {
            let (first, last) = match rest {
                None => (0, LAST),
                Some(rest) => {
                    let (first, last) = rest.split_once('-').unwrap_or((rest, rest));
                    (number(first)?, number(last)?)
                }
            };
            return Ok(Self::Cut { route: name.to_owned(), first, last });
        }
        match (format!("{name}.z").parse::<Site>(), rest) {
            (Ok(Site { tower, layer, point: Point::Z(attn) }), Some(head)) => {
                let (head, by) = match head.strip_suffix(":mean") {
                    Some(head) => (head, Ablation::Mean),
                    None => (head, Ablation::Zero),
                };
                Ok(Self::HeadOff { tower, attn, layer: usize::from(layer), head: number(head)?, by })
            }
            _ => Err(format!(
                "'{text}' is no change; write an attention and a head as in vision.blocks.3.self_attn:1, one of the routes \
                 {}, or patches:9,10",
                ROUTES.join(", ")
            )),
        }
    }
}

/// As [`FromStr`] reads it.
impl fmt::Display for Intervention {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HeadOff { tower, attn, layer, head, by } => {
                let site = Site::new(*tower, *layer, Point::Z(*attn)).to_string();
                let by = if *by == Ablation::Mean { ":mean" } else { "" };
                write!(formatter, "{}:{head}{by}", site.trim_end_matches(".z"))
            }
            Self::Cut { route, first: 0, last: LAST } => formatter.write_str(route),
            Self::Cut { route, first, last } if first == last => write!(formatter, "{route}:{first}"),
            Self::Cut { route, first, last } => write!(formatter, "{route}:{first}-{last}"),
            Self::Hidden { patches } => {
                let patches: Vec<String> = patches.iter().map(usize::to_string).collect();
                write!(formatter, "patches:{}", patches.join(","))
            }
            Self::Other(_) => formatter.write_str("other"),
        }
    }
}

/// A way that attention takes, by which something gets from the keys to the queries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its name in the language files is `route-` with this behind it; it says who looks at whom.
    pub key: &'static str,
    /// Whose attention it is.
    pub tower: Tower,
    /// Which attention of its blocks.
    pub attn: Attn,
    /// The blocks that have it, as in the checkpoint.
    pub layers: Vec<usize>,
    /// Who looks.
    pub queries: Places,
    /// Who is looked at.
    pub keys: Places,
}

impl Route {
    /// The patches of a vision tower of so many blocks look at each other, behind so many leading positions.
    #[must_use]
    pub fn among_patches(depth: usize, leading: usize) -> Self {
        Self {
            key: "patches-to-patches",
            tower: Tower::Vision,
            attn: Attn::SelfAttn,
            layers: (0..depth).collect(),
            queries: Places::From(leading),
            keys: Places::Others,
        }
    }
}

/// Where patches are keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatchesAt {
    /// Whose attention looks at them.
    pub tower: Tower,
    /// Which attention of its blocks.
    pub attn: Attn,
    /// Where each patch stands among the keys.
    pub at: Vec<usize>,
}

impl PatchesAt {
    /// `patches` of them, behind so many other keys.
    #[must_use]
    pub fn behind(leading: usize, patches: usize, (tower, attn): (Tower, Attn)) -> Self {
        Self { tower, attn, at: (leading..leading + patches).collect() }
    }
}

/// Where in a model something can be changed, as it reads a picture and a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Anatomy {
    /// The ways that attention takes.
    pub routes: Vec<Route>,
    /// Where patches are keys.
    pub patches: Vec<PatchesAt>,
    /// The attention by which words reach patches, whose heads are said to ground.
    pub leads: Option<(Tower, Attn)>,
}

/// What heads gather on average, by the `z` sites of their attentions, `[heads * head width]` each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Means {
    sums: BTreeMap<Site, (Vec<f32>, usize, f32)>,
}

impl Means {
    /// Adds what was noted at `z` sites in a pass, `[batch, heads, queries, head width]` each.
    pub fn add(&mut self, noted: &BTreeMap<Site, Array>) {
        for (site, array) in noted {
            let [batch, heads, queries, width] = array.shape[..] else { continue };
            let (sums, head_width, count) =
                self.sums.entry(*site).or_insert_with(|| (vec![0.0; heads * width], width, 0.0));
            for (at, vector) in array.data.chunks_exact(width.max(1)).enumerate() {
                let head = at / queries.max(1) % heads.max(1);
                let sum = &mut sums[head * width..(head + 1) * width];
                sum.iter_mut().zip(vector).for_each(|(sum, value)| *sum += value);
            }
            (*head_width, *count) = (width, *count + (batch * queries) as f32);
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sums.is_empty()
    }

    /// What a head gathers on average, `[head width]`.
    fn of(&self, site: Site, head: usize) -> Option<Vec<f32>> {
        let (sums, width, count) = self.sums.get(&site)?;
        let sum = sums.get(head * width..(head + 1) * width)?;
        Some(sum.iter().map(|sum| sum / count.max(1.0)).collect())
    }

    /// `interventions`, with what heads gather on average in the place of those that are to gather that.
    #[must_use]
    pub fn put_into(&self, interventions: &[Intervention]) -> Vec<Intervention> {
        let put = |intervention: &Intervention| match intervention {
            Intervention::HeadOff { tower, attn, layer, head, by: Ablation::Mean } => {
                let site = Site::new(*tower, *layer, Point::Z(*attn));
                let mean = self.of(site, *head).map(|by| Change::HeadMean { site, head: *head, by: Arc::new(by) });
                mean.map_or_else(|| intervention.clone(), Intervention::Other)
            }
            other => other.clone(),
        };
        interventions.iter().map(put).collect()
    }
}

impl Anatomy {
    /// What `interventions` change. What this model doesn't have is left out.
    #[must_use]
    pub fn changes(&self, interventions: &[Intervention]) -> Interventions {
        Interventions(interventions.iter().flat_map(|intervention| self.of(intervention)).collect())
    }

    /// Puts what `interventions` change in the place of what is changed now, and says whether that is another: then the model
    /// is another, and nothing that it said before holds.
    pub(super) fn renew(&self, now: &mut Interventions, interventions: &[Intervention]) -> bool {
        let wanted = self.changes(interventions);
        let differs = *now != wanted;
        *now = wanted;
        differs
    }

    fn of(&self, intervention: &Intervention) -> Vec<Change> {
        match intervention {
            // What it gathers on average is put in before ([`Means`]); without that, zero stands for it.
            Intervention::HeadOff { tower, attn, layer, head, .. } => {
                vec![Change::HeadOff { site: Site::new(*tower, *layer, Point::Z(*attn)), head: *head }]
            }
            Intervention::Cut { route, first, last } => {
                let routes = self.routes.iter().filter(|known| known.key == route);
                let cut = |route: &Route| Change::Cut {
                    tower: route.tower,
                    attn: route.attn,
                    layers: (*first, *last),
                    queries: route.queries.clone(),
                    keys: route.keys.clone(),
                };
                routes.map(cut).collect()
            }
            Intervention::Hidden { patches } => {
                let hide = |keys: &PatchesAt| {
                    let mut at: Vec<usize> = patches.iter().filter_map(|patch| keys.at.get(*patch).copied()).collect();
                    at.sort_unstable();
                    // Where nothing of the picture is left, not even the class token is: it would hold what is the same for
                    // every picture, or what it saw before.
                    let nothing = at.len() == keys.at.len() && keys.attn == Attn::CrossAttn;
                    let keys_cut = if nothing { Places::All } else { Places::These(at) };
                    let (tower, attn) = (keys.tower, keys.attn);
                    Change::Cut { tower, attn, layers: (0, LAST), queries: Places::All, keys: keys_cut }
                };
                self.patches.iter().map(hide).collect()
            }
            Intervention::Other(change) => vec![change.clone()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anatomy() -> Anatomy {
        let cross = (Tower::Text, Attn::CrossAttn);
        Anatomy {
            routes: vec![Route {
                key: "words-to-picture",
                tower: Tower::Text,
                attn: Attn::CrossAttn,
                layers: vec![0, 1],
                queries: Places::All,
                keys: Places::All,
            }],
            patches: vec![PatchesAt::behind(1, 3, (Tower::Vision, Attn::SelfAttn)), PatchesAt::behind(1, 3, cross)],
            leads: Some(cross),
        }
    }

    #[test]
    fn what_a_model_lacks_changes_nothing() {
        let unknown = Intervention::Cut { route: "nowhere".into(), first: 0, last: 3 };
        assert_eq!(anatomy().changes(&[unknown]), Interventions::default());
        assert_eq!(anatomy().changes(&[]), Interventions::default());
    }

    #[test]
    fn changes_are_read_from_the_command_line() {
        let head = |by| Intervention::HeadOff { tower: Tower::QFormer, attn: Attn::CrossAttn, layer: 2, head: 3, by };
        assert_eq!("qformer.blocks.2.cross_attn:3".parse(), Ok(head(Ablation::Zero)));
        assert_eq!("qformer.blocks.2.cross_attn:3:mean".parse(), Ok(head(Ablation::Mean)));
        let cut = |first, last| Ok(Intervention::Cut { route: "words-to-picture".into(), first, last });
        assert_eq!("words-to-picture:1".parse(), cut(1, 1));
        assert_eq!("words-to-picture:0-2".parse(), cut(0, 2));
        assert_eq!("patches:9,10".parse(), Ok(Intervention::Hidden { patches: vec![9, 10] }));
        for text in [
            "qformer.blocks.2.cross_attn:3",
            "qformer.blocks.2.cross_attn:3:mean",
            "words-to-words",
            "words-to-words:1",
            "words-to-words:0-2",
            "patches:9,10",
        ] {
            assert_eq!(text.parse().map(|change: Intervention| change.to_string()), Ok(text.to_owned()));
        }
        for wrong in [
            "",
            "vision",
            "vision.blocks.3.self_attn",
            "vision.blocks.x.self_attn:1",
            "words:1",
            "patches:",
            "patches:x",
        ] {
            assert!(wrong.parse::<Intervention>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn heads_gather_what_they_do_on_average() {
        let site = Site::new(Tower::Text, 1, Point::Z(Attn::SelfAttn));
        // Two heads, two queries, two numbers each; then one query more.
        let first = Array { shape: vec![1, 2, 2, 2], data: vec![1.0, 2.0, 3.0, 4.0, 10.0, 20.0, 30.0, 40.0] };
        let second = Array { shape: vec![1, 2, 1, 2], data: vec![5.0, 6.0, 50.0, 60.0] };
        let mut means = Means::default();
        assert!(means.is_empty());
        means.add(&BTreeMap::from([(site, first)]));
        means.add(&BTreeMap::from([(site, second)]));
        let off = |head, by| Intervention::HeadOff { tower: Tower::Text, attn: Attn::SelfAttn, layer: 1, head, by };
        let mean = |head, by: [f32; 2]| Intervention::Other(Change::HeadMean { site, head, by: Arc::new(by.to_vec()) });
        let put = means.put_into(&[off(0, Ablation::Mean), off(1, Ablation::Mean), off(1, Ablation::Zero)]);
        assert_eq!(put, [mean(0, [3.0, 4.0]), mean(1, [30.0, 40.0]), off(1, Ablation::Zero)]);
        assert_eq!(means.put_into(&[off(2, Ablation::Mean)]), [off(2, Ablation::Mean)], "there is no such head");
    }

    #[test]
    fn hidden_patches_are_keys_of_nobody() {
        let keys = |hidden: Vec<usize>| -> Vec<Places> {
            let changes = anatomy().changes(&[Intervention::Hidden { patches: hidden }]).0;
            let keys = changes.into_iter().filter_map(|change| match change {
                Change::Cut { keys, .. } => Some(keys),
                _ => None,
            });
            keys.collect()
        };
        assert_eq!(keys(vec![2, 0, 9]), [Places::These(vec![1, 3]), Places::These(vec![1, 3])]);
        assert_eq!(keys(vec![0, 1, 2]), [Places::These(vec![1, 2, 3]), Places::All], "the class token goes with them");
    }
}
