//! How much of the attention goes to sinks: patches that stand out by their norm alone (Darcet et al. 2023, arXiv 2309.16588).

use super::Evidence;
use super::reading::Weighting;
use crate::taps::Tower;

impl Evidence {
    /// The share of attention that sinks get, by layer, from 0 to 1: of the patches in the vision tower of two encoders, else of the
    /// words or queries that look at the picture. Empty where there are no sinks, or that isn't known.
    #[must_use]
    pub fn share_on_sinks(&self) -> Vec<f32> {
        let sinks = self.sinks();
        let patches = self.grid.0 * self.grid.1;
        if sinks.is_empty() {
            return Vec::new();
        }
        if let Some(queries) = &self.queries {
            return by_layer(&queries.maps, (queries.layers.len(), queries.heads, patches), &sinks);
        }
        if let Some(reading) = &self.reading {
            let raw = |weighting: &Weighting| *weighting == Weighting::Raw;
            let maps = reading.lines.first().and_then(|line| line.maps.iter().find(|(_, how, _)| raw(how)));
            let shape = (reading.layers, reading.heads, patches);
            return maps.map(|(.., maps)| by_layer(maps, shape, &sinks)).unwrap_or_default();
        }
        let Some(stack) = self.attention_of(Tower::Vision) else { return Vec::new() };
        let keys: Vec<usize> = sinks.iter().map(|patch| patch + stack.leading).collect();
        by_layer(&stack.means, (stack.layers, stack.heads, stack.positions), &keys)
    }
}

/// Of `maps` `[any, layers, heads, keys]`, what these keys get together, mean over all but the layers.
fn by_layer(maps: &[f32], (layers, heads, keys): (usize, usize, usize), these: &[usize]) -> Vec<f32> {
    let row = (layers * heads * keys).max(1);
    let count = (maps.len() / row * heads).max(1) as f32;
    let mut shares = vec![0.0; layers];
    for (at, map) in maps.chunks_exact(keys.max(1)).enumerate() {
        let layer = at / heads.max(1) % layers.max(1);
        shares[layer] += these.iter().filter_map(|key| map.get(*key)).sum::<f32>() / count;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_means_over_heads_and_rows() {
        // Two rows, two layers, one head, three keys.
        let maps = [0.1, 0.2, 0.7, 0.5, 0.5, 0.0, 0.3, 0.4, 0.3, 0.1, 0.1, 0.8];
        let shares = by_layer(&maps, (2, 1, 3), &[0, 2]);
        assert!((shares[0] - 0.7).abs() < 1e-6 && (shares[1] - 0.7).abs() < 1e-6, "{shares:?}");
        let two_heads = by_layer(&maps, (1, 2, 3), &[1]);
        assert!((two_heads[0] - (0.2 + 0.5 + 0.4 + 0.1) / 4.0).abs() < 1e-6, "{two_heads:?}");
        assert_eq!(by_layer(&[], (2, 2, 3), &[0]), [0.0, 0.0]);
    }
}
