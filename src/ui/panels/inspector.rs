//! Numbers of what is under the pointer or selected, and the help of the views.

use egui::{CollapsingHeader, ComboBox, RichText, Role, ScrollArea, Ui, WidgetInfo};
use egui_commonmark::{CommonMarkCache, CommonMarkViewer};

use crate::app::layout::SIDE_BY_SIDE;
use crate::app::{Command, Thing};
use crate::attribution::ATTRIBUTIONS;
use crate::methods::pairs::Over;
use crate::methods::queries::figures::entropy;
use crate::methods::queries::{Queries, QueryLook};
use crate::methods::{Evidence, PointKind, named as named_method};
use crate::ui::catalogue::title_key;
use crate::ui::texts::{self, editor, querying};
use crate::ui::theme::title_font;
use crate::ui::views::{Brush, VIEWS, bar, best_words, faithful, head_facts, named, number};

/// Words and neighbours that are listed.
const LISTED: usize = 6;

/// Draws the inspector.
pub fn show(ui: &mut Ui, brush: &mut Brush<'_>, markdown: &mut CommonMarkCache) {
    ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
        let evidence = brush.app.evidence.clone();
        if let Some(evidence) = &evidence {
            title(ui, brush.say(texts::DETAILS));
            scores(ui, brush, evidence);
            sinks(ui, brush, evidence);
            details(ui, brush, evidence);
            if brush.app.shown_column(evidence) != SIDE_BY_SIDE && brush.app.landed(evidence.method).is_some() {
                title(ui, brush.say(texts::faithful::QUESTION));
                faithful::section(ui, brush, evidence.method);
            }
        }
        help(ui, brush, markdown);
        let index = brush.app.language_index();
        let method = evidence.as_ref().and_then(|evidence| named_method(evidence.method));
        if let (Some(method), Some(evidence)) = (method, &evidence) {
            CollapsingHeader::new(RichText::new(brush.say(texts::METHOD)).strong()).id_salt("method").show(ui, |ui| {
                CommonMarkViewer::new().show(ui, markdown, method.help[index]);
            });
            CollapsingHeader::new(RichText::new(brush.say(texts::LEDGER)).strong()).id_salt("ledger").show(ui, |ui| {
                for stage in &evidence.ledger {
                    row(ui, brush, &brush.word(&format!("stage-{}", stage.key)), &stage.shape);
                }
            });
        }
    });
}

fn title(ui: &mut Ui, text: &str) {
    ui.add_space(10.0);
    ui.label(RichText::new(text).font(title_font(14.0)));
    ui.add_space(2.0);
}

/// The help of one view, which can be chosen.
fn help(ui: &mut Ui, brush: &mut Brush<'_>, markdown: &mut CommonMarkCache) {
    let index = brush.app.language_index();
    title(ui, brush.say(texts::HELP));
    let Some(view) = named(brush.app.help) else { return };
    let name = brush.say(texts::HELP_OF);
    let response = ComboBox::from_id_salt("help")
        .selected_text(brush.word(&title_key(view)))
        .width((ui.available_width() - 8.0).max(20.0))
        .show_ui(ui, |ui| {
            for other in VIEWS.iter().filter(|other| other.method() == brush.app.state.method.0) {
                let chosen = other.key() == view.key();
                if ui.selectable_label(chosen, brush.word(&title_key(*other))).clicked() {
                    brush.commands.push(Command::ShowHelp(other.key()));
                }
            }
        });
    response.response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, name));
    ui.add_space(4.0);
    ui.push_id(view.key(), |ui| CommonMarkViewer::new().show(ui, markdown, view.help(brush.app)[index]));
    ui.add_space(8.0);
}

/// A name on the left, a number on the right.
fn row(ui: &mut Ui, brush: &Brush<'_>, name: &str, value: &str) {
    ui.horizontal(|ui| {
        ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
            ui.label(value);
            ui.with_layout(egui::Layout::left_to_right(egui::Align::Center), |ui| {
                ui.add(egui::Label::new(RichText::new(name).color(brush.palette().weak)).truncate());
            });
        });
    });
}

fn scores(ui: &mut Ui, brush: &Brush<'_>, evidence: &Evidence) {
    let scores = &evidence.scores;
    if let Some(queries) = &evidence.queries {
        if let Some((_, matching)) = &queries.matching {
            row(ui, brush, brush.say(texts::MATCHING), &format!("{:.1} %", matching * 100.0));
        }
        if let Some((_, cosine)) = queries.contrast_score() {
            row(ui, brush, brush.say(querying::CONTRAST_SCORE), &format!("{cosine:.2}"));
        }
        row(ui, brush, brush.say(querying::MENU), &format!("{} / {}", queries.kept.len(), queries.count));
        ui.separator();
        return;
    }
    if let Some(reading) = &evidence.reading {
        if let Some(matching) = reading.matching {
            row(ui, brush, brush.say(texts::MATCHING), &format!("{:.1} %", matching * 100.0));
        }
        if let Some(cosine) = reading.cosine {
            row(ui, brush, brush.say(texts::COSINE_TEXT), &number(cosine));
        }
        ui.separator();
        return;
    }
    let sentence = scores.own().last().copied().unwrap_or(0.0);
    row(ui, brush, brush.say(texts::COSINE_TEXT), &number(sentence));
    if brush.app.state.selected.words.is_some() {
        let name = format!("{} “{}”", brush.say(texts::COSINE_PHRASE), evidence.phrase);
        row(ui, brush, &name, &number(scores.phrase));
    }
    row(ui, brush, brush.say(texts::TEMPERATURE), &number(scores.factor));
    ui.separator();
}

/// Patches that stand out by their norm, and how much of the attention they get, layer by layer.
fn sinks(ui: &mut Ui, brush: &Brush<'_>, evidence: &Evidence) {
    let count = evidence.sinks().len();
    if count == 0 {
        return;
    }
    row(ui, brush, brush.say(texts::SINKS), &count.to_string());
    let shares: Vec<String> = evidence.share_on_sinks().iter().map(|share| format!("{:.0}", share * 100.0)).collect();
    if !shares.is_empty() {
        row(ui, brush, brush.say(texts::ON_SINKS), &format!("{} %", shares.join(" · ")));
    }
    ui.separator();
}

/// What the pointer is over, else what is selected.
fn details(ui: &mut Ui, brush: &Brush<'_>, evidence: &Evidence) {
    let selected = &brush.app.state.selected;
    let shown: Vec<Thing> = match brush.app.hovered {
        Some(thing) => vec![thing],
        None => {
            let query = brush.app.state.querying.query.filter(|_| evidence.queries.is_some());
            let patch = selected.patch.map(Thing::Patch);
            [query.map(Thing::Query), patch, selected.object.map(Thing::Object), selected.pair]
                .into_iter()
                .flatten()
                .collect()
        }
    };
    if shown.is_empty() {
        ui.label(RichText::new(brush.say(texts::NO_PATCH)).color(brush.palette().weak));
    }
    for thing in shown {
        match thing {
            Thing::Patch(patch) => self::patch(ui, brush, evidence, patch),
            Thing::Object(object) => self::object(ui, brush, object),
            Thing::Words(start, end) => words(ui, brush, evidence, start, end),
            Thing::Picture(pair) => point(ui, brush, evidence, (PointKind::Picture, pair)),
            Thing::Text(pair) => point(ui, brush, evidence, (PointKind::Text, pair)),
            Thing::Cell { picture, text } => cell(ui, brush, evidence, picture, text),
            Thing::Head { layer, head } => self::head(ui, brush, evidence, layer, head),
            Thing::Query(query) => {
                if let Some(queries) = &evidence.queries {
                    self::query(ui, brush, queries, query);
                }
            }
        }
        ui.add_space(6.0);
    }
}

fn small(ui: &mut Ui, brush: &Brush<'_>, text: &str) {
    ui.label(RichText::new(text).color(brush.palette().weak).small());
}

fn patch(ui: &mut Ui, brush: &Brush<'_>, evidence: &Evidence, patch: usize) {
    if patch >= evidence.grid.0 * evidence.grid.1 {
        return;
    }
    let (row_of, column_of) = (patch / evidence.grid.1 + 1, patch % evidence.grid.1 + 1);
    ui.label(RichText::new(format!("{} {row_of} · {column_of}", brush.say(texts::PATCH))).strong());
    if evidence.sinks().contains(&patch) {
        ui.label(RichText::new(brush.say(texts::IS_SINK)).color(brush.palette().warning));
    }
    if let Some(maps) = evidence.maps.get(brush.app.phrase(evidence)) {
        for attribution in ATTRIBUTIONS {
            if let Some(value) = maps.get(attribution.key).and_then(|map| map.values.get(patch)) {
                row(ui, brush, &brush.word(&format!("attribution-{}", attribution.key)), &number(*value));
            }
        }
    }
    if let Some(norm) = evidence.norms.get(patch) {
        row(ui, brush, brush.say(texts::NORM), &number(*norm));
    }
    ui.add_space(4.0);
    small(ui, brush, brush.say(texts::NEAREST_WORDS));
    let ranked = evidence.patch_words.ranked(patch);
    for (word, score) in ranked.into_iter().take(LISTED) {
        let own = word < evidence.patch_words.from_sentence;
        bar(ui, brush, &evidence.patch_words.words[word], score, &number(score), own);
    }
}

/// A sticker of the scene.
fn object(ui: &mut Ui, brush: &Brush<'_>, object: usize) {
    let Some(object) = brush.app.scene().and_then(|scene| scene.objects.get(object)) else { return };
    ui.label(RichText::new(object.thing.phrase(brush.app.state.look.language)).strong());
    row(ui, brush, "x · y", &format!("{} · {}", object.x, object.y));
    row(ui, brush, brush.say(editor::SIZE), &object.size.to_string());
}

fn words(ui: &mut Ui, brush: &Brush<'_>, evidence: &Evidence, start: usize, end: usize) {
    let Some(words) = brush.app.state.sentence.get(start..end).map(str::trim) else { return };
    ui.label(RichText::new(format!("{} “{words}”", brush.say(texts::THE_WORDS))).strong());
    let Some(maps) = evidence.maps.get(words) else { return };
    small(ui, brush, &format!("{} · {}", brush.say(texts::PEAK), brush.say(texts::MASS)));
    for attribution in ATTRIBUTIONS {
        if let Some(map) = maps.get(attribution.key) {
            let peak = map.peak().map_or(0.0, |(_, value)| value);
            let value = format!("{} · {}", number(peak), number(map.mass()));
            row(ui, brush, &brush.word(&format!("attribution-{}", attribution.key)), &value);
        }
    }
}

fn point(ui: &mut Ui, brush: &Brush<'_>, evidence: &Evidence, (kind, pair): (PointKind, usize)) {
    let points = &evidence.cloud.points;
    let Some(at) = points.iter().position(|point| point.kind == kind && point.pair == pair) else { return };
    let chosen = &points[at];
    small(ui, brush, brush.say(kind_text(kind)));
    ui.label(RichText::new(&chosen.label).strong());
    small(ui, brush, brush.say(texts::NEIGHBOURS));
    for (other, cosine) in evidence.cloud.neighbours(at).into_iter().take(LISTED) {
        let other = &points[other];
        let label = format!("{} · {}", brush.say(kind_text(other.kind)), other.label);
        bar(ui, brush, &label, cosine, &number(cosine), other.pair == chosen.pair);
    }
}

/// What a point of the cloud is called.
fn kind_text(kind: PointKind) -> texts::Text {
    match kind {
        PointKind::Picture => texts::A_PICTURE,
        PointKind::Text => texts::A_TEXT,
        PointKind::Patch => texts::PATCH,
        PointKind::Word => texts::THE_WORDS,
        PointKind::Query => querying::A_QUERY,
    }
}

/// A query: how much it looks at the picture and how widely, what it would say alone, and the words that it stands for.
fn query(ui: &mut Ui, brush: &Brush<'_>, queries: &Queries, query: usize) {
    if query >= queries.count {
        return;
    }
    ui.label(RichText::new(format!("{} {}", brush.say(querying::A_QUERY), query + 1)).strong());
    let Some(place) = queries.place_of(query) else {
        small(ui, brush, brush.say(querying::OFF));
        return;
    };
    // Another checkpoint may lack the layer or the head that was chosen.
    let look = brush.app.state.querying.look;
    if let Some(map) = queries.map(place, look).or_else(|| queries.map(place, QueryLook::default())) {
        let mass: f32 = map.iter().sum();
        row(ui, brush, brush.say(querying::ON_PATCHES), &format!("{:.1} %", mass * 100.0));
        let entropy = format!("{:.2} {}", entropy(&map), brush.say(texts::BITS));
        row(ui, brush, brush.say(texts::ENTROPY), &entropy);
    }
    if let Some(share) = queries.matching.as_ref().and_then(|(shares, _)| shares.get(place)) {
        row(ui, brush, brush.say(querying::HOLDS), &format!("{:.1} %", share * 100.0));
    }
    if let Some(moved) = queries.moved.as_ref().and_then(|moved| moved.get(place)) {
        row(ui, brush, brush.say(querying::MOVED), &number(*moved));
    }
    ui.add_space(4.0);
    let head = if queries.says.is_empty() { querying::SENTENCE_WORDS } else { querying::NEAREST_HEAD };
    small(ui, brush, brush.say(head));
    for (word, cosine) in best_words(brush.app, queries, place).into_iter().take(LISTED) {
        bar(ui, brush, word.trim(), cosine, &number(cosine), false);
    }
}

fn cell(ui: &mut Ui, brush: &Brush<'_>, evidence: &Evidence, picture: usize, text: usize) {
    let Some(figures) = &brush.app.figures else { return };
    let count = figures.count;
    let names = &evidence.scores.texts;
    let (Some(of_picture), Some(of_text)) = (names.get(picture), names.get(text)) else { return };
    if picture >= count || text >= count {
        return;
    }
    small(ui, brush, brush.say(texts::A_CELL));
    ui.label(RichText::new(format!("{} · {of_picture}", brush.say(texts::A_PICTURE))).strong());
    ui.label(RichText::new(format!("{} · {of_text}", brush.say(texts::A_TEXT))).strong());
    let at = picture * count + text;
    let cosine = figures.cosines[at];
    row(ui, brush, brush.say(texts::COSINE), &number(cosine));
    let bias = evidence.scores.bias;
    if bias.is_some() {
        row(ui, brush, brush.say(texts::READING_SIGMOID), &number(figures.shares(Over::Texts, bias)[at]));
    } else {
        row(ui, brush, brush.say(texts::READING_OVER_TEXTS), &number(figures.shares(Over::Texts, None)[at]));
        row(ui, brush, brush.say(texts::READING_OVER_PICTURES), &number(figures.shares(Over::Pictures, None)[at]));
    }
    let better =
        |others: &mut dyn Iterator<Item = usize>| others.filter(|at| figures.cosines[*at] > cosine).count() + 1;
    let in_row = better(&mut (0..count).map(|text| picture * count + text));
    let in_column = better(&mut (0..count).map(|picture| picture * count + text));
    row(ui, brush, brush.say(texts::RANK_IN_ROW), &format!("{in_row} / {count}"));
    row(ui, brush, brush.say(texts::RANK_IN_COLUMN), &format!("{in_column} / {count}"));
}

fn head(ui: &mut Ui, brush: &Brush<'_>, evidence: &Evidence, layer: usize, head: usize) {
    let tower = brush.app.state.attention.tower;
    let Some(stack) = evidence.attention_of(tower.tower()) else { return };
    let at = layer * stack.heads + head;
    let (Some(entropy), Some(distance)) = (stack.entropy.get(at), stack.distance.get(at)) else { return };
    let name = format!("{} {} · {} {}", brush.say(texts::LAYER), layer + 1, brush.say(texts::HEAD), head + 1);
    ui.label(RichText::new(name).strong());
    ui.label(head_facts(brush, tower, *entropy, *distance));
}
