//! `alignscope trace`: writes everything that is seen in one pass to a file.

use anyhow::Result;
use clap::Args;
use clap::builder::PossibleValuesParser;
use image::RgbImage;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::attribution::hiding::{Fill, Hiding};
use crate::attribution::{ATTRIBUTIONS, Attribution, EXPLAINERS, Subject, explainer, named};
use crate::cli::output::{say, tell};
use crate::cli::runtime::Where;
use crate::error::Error;
use crate::export::trace::Trace;
use crate::methods::interventions::Ablation;
use crate::methods::maps::LOOKS;
use crate::methods::{Claim, Holder, Input, Intervention, MapKind, News, entry_of};
use crate::models::checkpoint::Checkpoint;
use crate::models::opened::Opened;
use crate::models::picture::Picture;
use crate::models::record::{Pass, Recordable, Wanted};
use crate::models::runtime::Runtime;
use crate::taps::{Array, CancelToken, Interventions, SitePattern};
use crate::world::Language;

/// Run a checkpoint once over pictures and texts, and write inputs, outputs and attention patterns to a file.
///
/// The file is a safetensors file in the layout of transformers' outputs; Python opens it with
/// safetensors.torch.load_file.
///
/// Any class that Alignscope opens: CLIP and SigLIP; BLIP's three, Flamingo as IDEFICS and OpenFlamingo; BLIP-2's two and
/// InstructBLIP; LLaVA. A model that writes takes one text, gives the logits of what follows each of its tokens, and then
/// writes on behind it (or behind the prompt), always with the likeliest token.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  alignscope trace --checkpoint my-clip --image cat.png \
    --text \"a cat\" --text \"a dog\" -o cat.safetensors\n\n\
    Sites are named <tower>.blocks.<i>.<point>, such as vision.blocks.0.self_attn.pattern or\n\
    qformer.blocks.2.cross_attn.pattern; --sites takes several names separated by commas, and * for\n\
    any run of characters. The map of an attribution is called attribution.<name>. In a text for\n\
    Flamingo <image> says where a picture stands; without it the picture stands before the text. A\n\
    text for LLaVA has to say it, unless --chat puts question and picture as the model was taught.")]
pub struct TraceCommand {
    /// Hugging Face folder with config.json and model.safetensors.
    #[arg(long, value_name = "FOLDER")]
    checkpoint: PathBuf,
    /// Picture; give the option again for a batch, or for Flamingo and LLaVA for a text with several.
    #[arg(long = "image", value_name = "FILE", required = true)]
    images: Vec<PathBuf>,
    /// Text; give the option again for a batch (CLIP, SigLIP, and the retrieval of BLIP and BLIP-2).
    #[arg(long = "text", value_name = "TEXT", required = true)]
    texts: Vec<String>,
    /// What a model that writes goes on from, or answers [default: the text].
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// Put text and prompt into the chat template of the checkpoint, pictures first (LLaVA).
    #[arg(long)]
    chat: bool,
    /// The longest text that is written, in tokens.
    #[arg(long, default_value_t = 12, value_name = "COUNT")]
    max_new_tokens: u16,
    /// File to write.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Which activations to keep.
    #[arg(long, default_value = "*.pattern", value_name = "NAMES")]
    sites: String,
    /// Change something in the model before; give the option again for more. Written as for 'alignscope board'; a model that
    /// reads pictures as words needs --chat for it or, where it has no chat template, the picture before the text.
    #[arg(long, value_name = "CHANGE")]
    change: Vec<Intervention>,
    #[command(flatten)]
    runtime: Where,
    /// Also write how much each patch has to do with the word. Of CLIP and SigLIP those from cosine to grad-cam; of models whose
    /// words look at the picture or stand beside it, where they look, raw or weighted by the gradient, at the position that
    /// reads the word or predicts it; of queries the one that is most like it; of all of them gradient-input,
    /// integrated-gradients, occlusion and sliding-occlusion, for which the model is asked many times.
    #[arg(long, value_name = "NAME", requires = "word", value_parser = PossibleValuesParser::new(names()))]
    attribution: Option<String>,
    /// Word or phrase of the attribution. Two encoders encode it as a text of its own; in all others it stands in the text.
    #[arg(long, requires = "attribution")]
    word: Option<String>,
}

impl TraceCommand {
    pub fn run(&self) -> Result<()> {
        let runtime = self.runtime.name().find()?;
        let pictures = self.images.iter().map(|file| Picture::open(file)).collect::<crate::Result<Vec<_>>>()?;
        let pictures: Vec<&RgbImage> = pictures.iter().map(|picture| &picture.pixels).collect();
        let trace = crate::cli::on_deep_stack(|| {
            let opened = Recordable::open(&self.checkpoint, &runtime)?;
            self.check_attribution(&opened)?;
            let under = self.changes(&opened, &pictures, &runtime)?;
            let put = |text: &String| if self.chat { opened.asked(text, pictures.len()) } else { Ok(text.clone()) };
            let texts = self.texts.iter().map(put).collect::<crate::Result<Vec<_>>>()?;
            let prompt = self.prompt.as_ref().map(put).transpose()?;
            let pass = opened.record(&Wanted {
                pictures: &pictures,
                texts: &texts,
                sites: SitePattern::new(&self.sites),
                prompt: prompt.as_deref(),
                most: usize::from(self.max_new_tokens),
                under: under.clone(),
            })?;
            self.check(&pass)?;
            let mut trace = self.trace(&opened, (texts.as_slice(), prompt.as_deref()), pass)?;
            if let (Some(key), Some(word)) = (&self.attribution, &self.word) {
                trace.note("attribution.word", word);
                let maps = match (&opened, named(key)) {
                    (Recordable::DualEncoder(opened), Some(attribution)) => {
                        maps(opened, &pictures, (attribution, word), &under)?
                    }
                    _ => {
                        // It is opened once more, by what makes the maps in the window, too.
                        drop(opened);
                        self.looks(&pictures, &runtime, key, word)?
                    }
                };
                trace.floats(format!("attribution.{key}"), maps);
            }
            Ok(trace)
        })?;
        trace.write(&self.output)?;
        for (name, shape) in trace.shapes() {
            say(format!("{name:<40} {shape:?}"))?;
        }
        say(format!("Wrote {}", self.output.display()))
    }

    /// What is changed in the model. A change of something that it lacks would otherwise be one that does nothing.
    fn changes(&self, opened: &Recordable, pictures: &[&RgbImage], runtime: &Runtime) -> crate::Result<Interventions> {
        let (Some(picture), Some(text)) = (pictures.first(), self.texts.first()) else {
            return Ok(Interventions::default());
        };
        if self.change.is_empty() {
            return Ok(Interventions::default());
        }
        if let Recordable::Projector(opened) = opened {
            // The routes are those of the row as the window puts it: in the chat template or, without one, behind the picture.
            let leads = text.trim_start().starts_with("<image>");
            let (is_known, remedy) =
                if opened.converses() { (self.chat, "add --chat") } else { (leads, "begin the text with <image>") };
            if !is_known {
                return Err(Error::unusable("it isn't known where the picture stands in the text", remedy));
            }
        }
        let method = (entry_of(opened.checkpoint())?.open)(&self.checkpoint, runtime)?;
        let text = text.replace("<image>", "").trim().to_owned();
        let input = Input::new(Arc::new((*picture).clone()), text, Language::English);
        let anatomy = method.anatomy(&input)?;
        for change in &self.change {
            let is_mean = matches!(change, Intervention::HeadOff { by: Ablation::Mean, .. });
            if is_mean || anatomy.changes(std::slice::from_ref(change)).0.is_empty() {
                let routes: Vec<&str> = anatomy.routes.iter().map(|route| route.key).collect();
                return Err(Error::unusable(
                    format!("'{change}' can't be changed here"),
                    format!("name a head without its mean, patches, or one of the routes {}", routes.join(", ")),
                ));
            }
        }
        Ok(anatomy.changes(&self.change))
    }

    /// Refuses an attribution that the model hasn't, before the pass, which may take long.
    fn check_attribution(&self, opened: &Recordable) -> crate::Result<()> {
        let (Some(key), Some(word)) = (&self.attribution, &self.word) else { return Ok(()) };
        let class = opened.checkpoint().class();
        let encodes = matches!(opened, Recordable::DualEncoder(_));
        if encodes != named(key).is_some() && explainer(key).is_none() {
            let own: Vec<&str> = if encodes { ATTRIBUTIONS.iter().map(|a| a.key).collect() } else { LOOKS.to_vec() };
            let others = EXPLAINERS.iter().map(|explainer| explainer.key).filter(|key| !own.contains(key));
            let has: Vec<&str> = own.iter().copied().chain(others).collect();
            return Err(Error::unusable(
                format!("a '{class}' has no attribution '{key}'"),
                format!("name one of {}", has.join(", ")),
            ));
        }
        let within = self.texts.iter().all(|text| text.contains(word.as_str()));
        if !encodes && !within {
            return Err(Error::unusable(
                format!("the word '{word}' doesn't stand in the text"),
                "give --word a part of --text",
            ));
        }
        Ok(())
    }

    /// Where the word looks in each picture, `[pictures, rows, columns]`.
    fn looks(&self, pictures: &[&RgbImage], runtime: &Runtime, key: &str, word: &str) -> crate::Result<Array> {
        let mut method = (entry_of(&Checkpoint::open(&self.checkpoint)?)?.open)(&self.checkpoint, runtime)?;
        let (mut data, mut grid, mut seen) = (Vec::new(), (0, 0), [0.0; 4]);
        for (at, picture) in pictures.iter().enumerate() {
            let Some(text) = self.texts.get(at).or(self.texts.last()) else { continue };
            let text = text.replace("<image>", "").trim().to_owned();
            // Two encoders take the word as a text of its own.
            let text = if text.contains(word) { text } else { word.to_owned() };
            let start = text.find(word).unwrap_or(0);
            let span = (start, start + word.len());
            let picture = Arc::new((*picture).clone());
            let interventions = self.change.clone();
            let input = Input { selection: Some(span), interventions, ..Input::new(picture, text, Language::English) };
            let mut map = None;
            let mut there: Vec<&str> = Vec::new();
            // Most maps are there at once; some only with all of the evidence.
            for brief in [true, false] {
                if map.is_some() || (!brief && explainer(key).is_some()) {
                    break;
                }
                let input = Input { brief, ..input.clone() };
                method.evidence(&input, &CancelToken::default(), &mut |news| {
                    if let News::Evidence(evidence) = news {
                        (grid, seen) = (evidence.grid, evidence.seen);
                        there = evidence.map_kinds().into_iter().map(MapKind::key).collect();
                        let kind = evidence.map_kinds().into_iter().find(|kind| kind.key() == key);
                        map = kind.and_then(|kind| evidence.map_of(kind, span, None)).or(map.take());
                    }
                })?;
            }
            if let (None, Some(explainer)) = (&map, explainer(key)) {
                let hiding = Hiding::new(&input.picture, Fill::Mean, seen, grid);
                let stop = CancelToken::default();
                let about = (&input, Claim::Words(Some(span)));
                let mut holder = Holder::new(method.as_mut(), about, hiding, &stop);
                map = Some((explainer.map)(&mut holder, &mut |_| ())?);
            }
            data.extend(map.ok_or_else(|| {
                let remedy = format!("name one of {}", there.join(", "));
                Error::unusable(format!("this model has no map '{key}' of the word '{word}'"), remedy)
            })?);
        }
        Ok(Array { shape: vec![pictures.len(), grid.0, grid.1], data })
    }

    fn check(&self, pass: &Pass) -> crate::Result<()> {
        if pass.sites == 0 {
            return Err(Error::unusable(
                format!("the model has no site that fits '{}'", self.sites),
                "name one like vision.blocks.0.self_attn.pattern, or '*' for all",
            ));
        }
        for (text, tokens) in self.texts.iter().zip(&pass.tokens) {
            if tokens.cut {
                let (read, start) = (tokens.ids.len(), beginning(text));
                tell(format!("the text '{start}' is longer than the model reads and was cut to {read} tokens"));
            }
        }
        Ok(())
    }

    /// What is written, with the texts and the prompt as the model got them.
    fn trace(
        &self,
        opened: &Recordable,
        (texts, prompt): (&[String], Option<&str>),
        pass: Pass,
    ) -> crate::Result<Trace> {
        let mut trace = Trace::default();
        trace.note("class", opened.checkpoint().class());
        trace.note("checkpoint", opened.checkpoint().name());
        trace.note("program", concat!("alignscope ", env!("CARGO_PKG_VERSION")));
        trace.note_json("grid", &opened.grid())?;
        trace.note_json("images", &self.images.iter().map(|file| name(file)).collect::<Vec<_>>())?;
        trace.note_json("texts", &texts)?;
        trace.note_json("tokens", &pass.tokens.iter().map(|tokens| &tokens.texts).collect::<Vec<_>>())?;
        if let Some(prompt) = prompt {
            trace.note("prompt", prompt);
        }
        if let Some(written) = pass.written {
            trace.note("generated_text", written);
        }
        pass.floats.into_iter().for_each(|(name, array)| trace.floats(name, array));
        pass.ids.into_iter().for_each(|(name, array)| trace.ids(name, array));
        Ok(trace)
    }
}

/// The attribution's map of each picture, `[pictures, rows, columns]`.
fn maps(
    opened: &Opened,
    pictures: &[&RgbImage],
    (attribution, word): (&Attribution, &str),
    under: &Interventions,
) -> crate::Result<Array> {
    let pass = opened.probe_word(pictures, word, under)?;
    let model = opened.dual_encoder();
    let mut data = Vec::new();
    for row in 0..pictures.len() {
        let subject = Subject {
            recording: &pass.recording,
            row,
            patches: pass.patches.row(row),
            surgical: pass.surgical.row(row),
            text: pass.texts.row(row),
            neutral: &pass.neutral,
            class_tokens: model.class_tokens(),
            depth: model.depths().0,
        };
        data.extend((attribution.map)(&subject)?);
    }
    let (rows, columns) = model.grid();
    Ok(Array { shape: vec![pictures.len(), rows, columns], data })
}

/// The names of all attributions.
fn names() -> Vec<&'static str> {
    let all = ATTRIBUTIONS.iter().map(|attribution| attribution.key).chain(LOOKS);
    let others = EXPLAINERS.iter().map(|explainer| explainer.key).filter(|key| named(key).is_none());
    all.chain(others).collect()
}

fn name(file: &Path) -> String {
    file.file_name().unwrap_or(file.as_os_str()).to_string_lossy().into_owned()
}

/// The first words of a text that may be very long.
fn beginning(text: &str) -> String {
    let mut start: String = text.chars().take(40).collect();
    if start.len() < text.len() {
        start.push('…');
    }
    start
}
