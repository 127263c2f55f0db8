//! Where things are named in texts.

use std::ops::Range;

use super::language::{Language, segment};
use super::scene::Scene;
use super::thing::Thing;

impl Scene {
    /// Where [`Scene::full_caption`] names each of [`Scene::things`], in bytes, without article, number and measure word.
    pub fn named_in_full_caption(&self, language: Language) -> Vec<(Thing, Range<usize>)> {
        let caption = self.full_caption(language);
        let mut behind = 0;
        let mut named = Vec::new();
        for thing in self.things() {
            let counted = thing.counted(self.objects_that_are(thing).len(), language);
            let Some(start) = caption[behind..].find(&counted).map(|at| behind + at) else { continue };
            let name = match language {
                Language::English => counted.find(' ').map_or(0, |space| space + 1),
                Language::Chinese => counted.find(&thing.phrase(language)).unwrap_or(0),
            };
            behind = start + counted.len();
            named.push((thing, start + name..behind));
        }
        named
    }
}

/// The things that a text names, each once, in the order of their names; in English in the singular or the plural.
pub fn mentioned(text: &str, language: Language) -> Vec<Thing> {
    let words = segment(text, language);
    let names: Vec<(Thing, Vec<String>)> = Thing::all()
        .flat_map(|thing| {
            let mut forms = vec![thing.phrase(language)];
            if language == Language::English {
                forms.push(thing.plural());
            }
            forms.into_iter().map(move |form| (thing, segment(&form, language)))
        })
        .collect();
    let mut found = Vec::new();
    for start in 0..words.len() {
        let named = names.iter().filter(|(_, name)| words[start..].starts_with(name));
        if let Some((thing, _)) = named.max_by_key(|(_, name)| name.len())
            && !found.contains(thing)
        {
            found.push(*thing);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Split;

    #[test]
    fn captions_name_what_is_there() {
        for seed in 0..200 {
            let scene = Scene::random(Split::Test, seed);
            for language in Language::ALL {
                let caption = scene.full_caption(language);
                assert_eq!(mentioned(&caption, language), scene.things(), "{caption}");
                let named = scene.named_in_full_caption(language);
                assert_eq!(named.len(), scene.things().len());
                for (thing, range) in named {
                    assert_eq!(mentioned(&caption[range], language), [thing], "{caption}");
                }
            }
        }
    }
}
