//! Fixtures of BLIP-2 and InstructBLIP, opened.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::path::Path;

use alignscope::models::Model;
use alignscope::models::blip_2_retrieval::Blip2Retrieval;
use alignscope::models::q_former::QFormerText;
use alignscope::models::querying_writer::QueryingWriter;
use alignscope::taps::Taps;
use candle_core::{Device, Tensor};

use crate::reference::{Reference, fixtures};

/// The folders of the three classes, in the order of `CLASSES`.
pub const FAMILIES: [&str; 3] = ["blip2-retrieval", "blip2-generation", "instructblip"];

/// Every fixture of a family.
pub fn family(name: &str) -> Vec<Reference> {
    let inside = |folder: &Path| folder.parent().and_then(Path::file_name).is_some_and(|family| family == name);
    let found: Vec<Reference> =
        fixtures().iter().filter(|folder| inside(folder)).map(|folder| Reference::read(folder)).collect();
    assert!(found.len() >= 4, "{name} has {} fixtures", found.len());
    found
}

pub fn retrieval(reference: &Reference) -> Box<Blip2Retrieval> {
    match reference.model() {
        Model::QueryingRetrieval(model) => model,
        _ => panic!("{}: not BLIP-2's retrieval", reference.folder.display()),
    }
}

pub fn writer(reference: &Reference) -> Box<QueryingWriter> {
    match reference.model() {
        Model::QueryingWriter(model) => model,
        _ => panic!("{}: no model that writes", reference.folder.display()),
    }
}

pub fn retrievals() -> Vec<(Reference, Box<Blip2Retrieval>)> {
    let opened = family(FAMILIES[0]).into_iter().map(|reference| {
        let model = retrieval(&reference);
        (reference, model)
    });
    opened.collect()
}

pub fn writers() -> Vec<(Reference, Box<QueryingWriter>)> {
    let both = FAMILIES[1..].iter().flat_map(|name| family(name));
    let opened = both.map(|reference| {
        let model = writer(&reference);
        (reference, model)
    });
    opened.collect()
}

/// The texts of a fixture of retrieval, without the placeholders that the processor puts in front.
pub fn texts(reference: &Reference, model: &Blip2Retrieval) -> (Tensor, Option<Tensor>) {
    let config = model.base().config();
    let front = if config.image_token_index.is_some() { config.num_query_tokens } else { 0 };
    let words = |name: &str| {
        let all = reference.unsigned(name)?;
        let count = all.dim(1).expect("a matrix") - front;
        Some(all.narrow(1, front, count).and_then(|ids| ids.contiguous()).expect("words"))
    };
    (words("input_ids").expect("ids"), words("attention_mask"))
}

/// Whether words are as wide as what queries bring back. Where they aren't (OPT-350M), transformers 4.57.6 fills the
/// placeholders wrongly, and here it is refused.
pub fn fits(model: &QueryingWriter, projected: &Tensor) -> bool {
    let words = model.language().words().weight().dims().expect("a matrix").1;
    projected.dim(2).expect("vectors") == words
}

/// A text that a fixture has: what it goes on from, what the queries bring back, and how it goes on.
pub struct Text {
    pub ids: Tensor,
    pub projected: Tensor,
    pub expected: Vec<u32>,
}

fn row(reference: &Reference, name: &str) -> Vec<u32> {
    let ids = reference.unsigned(name).unwrap_or_else(|| panic!("{}: no {name}", reference.folder.display()));
    ids.flatten_all().and_then(|ids| ids.to_vec1()).expect("ids")
}

pub fn written(reference: &Reference, model: &QueryingWriter) -> Vec<Text> {
    let asked = reference.unsigned("prompt.qformer_input_ids");
    let instruction = asked.as_ref().map(|ids| QFormerText { ids, attention_mask: None });
    let projected = |at: usize| {
        let taps = &mut Taps::none();
        let pixels = reference.tensors["pixel_values"].narrow(0, at, 1).expect("a picture");
        let states = model.base().see(&pixels, taps).expect("an image pass");
        let queries = model.query(&states, instruction, None, taps).expect("queries");
        model.project(&queries).expect("vectors")
    };
    if !fits(model, &projected(0)) {
        return Vec::new();
    }
    let mut found = vec![Text {
        ids: reference.unsigned("prompt.input_ids").expect("ids"),
        projected: projected(0),
        expected: row(reference, "generated_ids"),
    }];
    if reference.tensors.contains_key("unprompted.generated_ids") {
        let begin = model.language().begin().expect("a token that begins a text");
        let ids = model.prompt(&[begin], model.base().config().num_query_tokens);
        let ids = Tensor::from_slice(&ids, (1, ids.len()), &Device::Cpu).expect("ids");
        found.push(Text { ids, projected: projected(1), expected: row(reference, "unprompted.generated_ids") });
    }
    found
}
