//! Fixtures of LLaVA, opened.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::path::Path;

use alignscope::models::Model;
use alignscope::models::llava::Llava;
use alignscope::taps::Taps;
use candle_core::Tensor;

use crate::reference::{Reference, fixtures};

/// The folders of transformers' layout, of the authors', in the order of `CLASSES`, and of llama.cpp's.
pub const FAMILIES: [&str; 3] = ["llava", "llava-original", "gguf"];

/// Every fixture of a family.
pub fn family(name: &str) -> Vec<Reference> {
    let inside = |folder: &Path| folder.parent().and_then(Path::file_name).is_some_and(|family| family == name);
    let found: Vec<Reference> =
        fixtures().iter().filter(|folder| inside(folder)).map(|folder| Reference::read(folder)).collect();
    assert!(found.len() >= 4, "{name} has {} fixtures", found.len());
    found
}

pub fn model(reference: &Reference) -> Box<Llava> {
    match reference.model() {
        Model::Projector(model) => model,
        _ => panic!("{}: no LLaVA", reference.folder.display()),
    }
}

/// Every fixture of all layouts.
pub fn llavas() -> Vec<(Reference, Box<Llava>)> {
    let all = FAMILIES.into_iter().flat_map(family);
    let opened = all.map(|reference| {
        let model = model(&reference);
        (reference, model)
    });
    opened.collect()
}

/// A text that a fixture has: what it goes on from, its pictures for the language model, and how it goes on.
pub struct Text {
    pub ids: Tensor,
    pub projected: Tensor,
    pub expected: Vec<u32>,
}

pub fn written(reference: &Reference, model: &Llava) -> Text {
    let ids = reference.unsigned("prompt.input_ids").expect("ids");
    let row = |ids: &Tensor| ids.flatten_all().and_then(|ids| ids.to_vec1::<u32>()).expect("ids");
    let places = row(&ids).into_iter().filter(|id| *id == model.placeholder()).count();
    let pictures = places / model.config().positions();
    let pixels = reference.tensors["pixel_values"].narrow(0, 0, pictures).expect("pictures");
    let features = model.see(&pixels, &mut Taps::none()).expect("an image pass");
    let expected = row(&reference.unsigned("generated_ids").expect("ids"));
    Text { ids, projected: model.project(&features).expect("vectors"), expected }
}
