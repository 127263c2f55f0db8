//! What each command does.

use super::album::{AlbumState, Wanted};
use super::command::Command;
use super::learning::Learning;
use super::state::{AttentionState, MOST_GATES, MethodName};
use super::{App, AppState, PictureSource, lessons, session};
use crate::methods::Intervention;
use crate::world::Language;

/// Applies `command`.
pub(super) fn apply(app: &mut App, command: Command) {
    let before = app.state.clone();
    let gesture = command.gesture(&before);
    app.following = command.goes_on().unwrap_or(app.following);
    match command {
        Command::Undo => {
            if let Some(state) = app.history.undo(&before) {
                app.state = state;
            }
        }
        Command::Redo => {
            if let Some(state) = app.history.redo(&before) {
                app.state = state;
            }
        }
        command => {
            change(app, command);
            // Whatever a command holds, the state can be drawn.
            app.state.mend();
            if app.state != before {
                app.history.left(before.clone(), gesture);
            }
        }
    }
    app.forget_changed_columns(&before.extra_columns);
    // The help is that of a view that can be seen.
    if !super::layout::is_of(app.state.method.0, app.help) {
        app.help = super::layout::first_view(app.state.method.0).unwrap_or(app.help);
    }
    let after = &mut app.state;
    if before.picture != after.picture || before.checkpoints != after.checkpoints {
        // The pointer was over a patch of another picture, or of another grid.
        app.hovered = None;
    }
}

fn change(app: &mut App, command: Command) {
    let state = &mut app.state;
    match command {
        Command::Ask(ask) => app.asks.push(ask),
        Command::OpenSample(key) => {
            show(state, PictureSource::Sample(key.clone()));
            state.fusion.step = None;
            app.take_caption(&key);
        }
        Command::OpenPicture(path) => {
            let path = super::checkpoints::one_name(path);
            app.desk.remember(&path);
            show(state, PictureSource::File(path));
        }
        Command::SetScene { scene, .. } => {
            state.picture = PictureSource::Scene(scene);
            state.changes.clear();
        }
        Command::SelectObject(object) => state.selected.object = object,
        Command::ChangePicture { change, .. } => state.changes.push(change),
        Command::ForgetChanges => state.changes.clear(),
        Command::SetCheckpoint(folder) => {
            app.set_checkpoint(folder);
            // Heads of one model aren't those of another.
            app.state.interventions.remove(app.state.method.0);
        }
        Command::SetRuntime(method, runtime) => {
            state.runtimes.insert(method.0.to_owned(), runtime);
        }
        Command::AddColumn(column) => app.add_column(column),
        Command::SetColumn(number, column) => {
            if let Some(known) = state.extra_columns.get_mut(&number) {
                *known = column;
            }
        }
        Command::RemoveColumn(number) => {
            state.extra_columns.remove(&number);
        }
        Command::OpenSession(path) => match session::read(&path) {
            Ok(opened) => {
                app.state = opened;
                app.list_chosen();
            }
            Err(error) => app.problem = Some(error.to_string()),
        },
        Command::SaveSession(path) => match session::write(&path, state) {
            Ok(()) => app.news = Some(path.display().to_string()),
            Err(error) => app.problem = Some(error.to_string()),
        },
        // These change nothing themselves: what they bring about is done around here.
        Command::Undo | Command::Redo | Command::Recompute => {}
        Command::SetSentence(sentence) => {
            if state.sentence != sentence {
                state.sentence = sentence;
                state.selected.words = None;
                state.fusion.step = None;
            }
        }
        Command::SelectWords { start, end, extend } => {
            let kept = state.selected.words.filter(|_| extend);
            let (from, to) = kept.unwrap_or((start, end));
            let words = (from.min(start), to.max(end));
            // Only what can be cut out of the sentence is a selection.
            let can_be_cut = state.sentence.get(words.0..words.1).is_some_and(|text| !text.trim().is_empty());
            state.selected.words = can_be_cut.then_some(words);
            state.fusion.step = None;
        }
        Command::SelectSentence => {
            state.selected.words = None;
            state.fusion.step = None;
        }
        Command::SelectPatch(patch) => state.selected.patch = patch,
        Command::SelectPair(thing) => state.selected.pair = thing,
        Command::SelectNothing => {
            state.selected = Default::default();
            state.fusion.step = None;
            state.querying.query = None;
        }
        Command::Hover(thing) => app.hovered = thing,
        Command::SetLayer(layer) => state.map.layer = layer,
        Command::SetBeside(layer) => state.map.beside = layer,
        Command::SetOpacity(opacity) => state.map.opacity = opacity,
        Command::SetSmooth(smooth) => state.map.smooth = smooth,
        Command::SetScale(scale) => state.map.scale = scale,
        Command::SetColours(colours) => state.map.colours = colours,
        Command::MarkSinks(mark) => state.map.sinks = mark,
        Command::SetReading(reading) => state.matrix.reading = reading,
        Command::SetFactor(factor) => state.matrix.factor = factor,
        Command::SetReduction(reduction) => state.space.reduction = reduction,
        Command::SetSeed(seed) => state.space.seed = seed,
        Command::SetDrawn(drawn) => state.space.drawn = drawn,
        Command::JoinPairs(join) => state.space.pairs = join,
        Command::SetShift(shift) => state.space.shift = shift,
        Command::OpenAlbum(folder) => {
            state.album.folder = Some(super::checkpoints::one_name(folder));
            state.album.wanted = Wanted::default();
            state.method = MethodName("contrastive");
            state.layout.show("contrastive", "album");
        }
        Command::CloseAlbum => state.album = AlbumState::default(),
        Command::SearchAlbum(wanted) => state.album.wanted = wanted,
        Command::ReduceAlbum(reduction) => state.album.reduction = reduction,
        Command::StopAlbum => app.stop_album(),
        // The thread that reads it is started anew.
        Command::ReadAlbum => app.album = None,
        Command::SetMethod(method) => state.method = method,
        Command::SelectStep(step) => state.fusion.step = step,
        Command::SelectLook { step, words, patch } => {
            state.fusion.step = Some(step);
            state.selected.words = words.or(state.selected.words);
            state.selected.patch = patch.or(state.selected.patch);
        }
        Command::SetPlace(place) => state.fusion.place = place,
        Command::SetWeighting(weighting) => state.fusion.weighting = weighting,
        Command::SelectFusionHead(head) => state.fusion.head = head,
        Command::ToggleGate(gate) => toggle(&mut state.fusion.closed, gate),
        Command::CloseGates(count) => state.fusion.closed = (0..count.min(MOST_GATES)).collect(),
        Command::SetHiddenLayer(layer) => state.fusion.layer = layer,
        Command::SelectQuery(query) => state.querying.query = query,
        Command::SelectQueryWith { query, patch, step, words } => {
            state.querying.query = Some(query);
            state.selected.patch = patch.or(state.selected.patch);
            state.selected.words = words.or(state.selected.words);
            state.fusion.step = step.or(state.fusion.step);
        }
        Command::SetQueryBlock(block) => state.querying.block = block,
        Command::SetQueryLook(look) => state.querying.look = look,
        Command::SetQueryOrder(order) => state.querying.order = order,
        Command::ToggleQuery(query) => toggle(&mut state.querying.dropped, query),
        Command::DropQueries(queries) => state.querying.dropped = queries,
        Command::CompareInstruction(instruction) => state.querying.compared = instruction,
        Command::SetMask(mask) => state.querying.mask = mask,
        Command::SetPatchReading(reading) => state.projector.reading = reading,
        Command::SetTower(tower) => {
            if state.attention.tower != tower {
                let ceiling = state.attention.ceiling;
                state.attention = AttentionState { tower, layer: None, head: 0, ceiling };
            }
        }
        Command::SetAttentionCeiling(megabytes) => state.attention.ceiling = megabytes,
        Command::SelectHead { layer, head } => {
            state.attention.layer = Some(layer);
            state.attention.head = head;
        }
        Command::AddCompared(compared) => state.comparison.push(compared),
        Command::AddPresent => app.add_present(),
        Command::RemoveCompared(at) => {
            if at < state.comparison.len() {
                state.comparison.remove(at);
                state.selected.pair = None;
            }
        }
        Command::SetCaption(at, caption) => {
            if let Some(compared) = state.comparison.get_mut(at) {
                compared.caption = Some(caption);
            }
        }
        Command::ResetComparison => {
            state.comparison = AppState::first().comparison;
            state.selected.pair = None;
        }
        Command::Arrange { method, column, .. } => state.layout.set_column(&method, *column),
        Command::ShowView(method, view) => {
            state.method = MethodName(method);
            state.layout.show(method, view);
        }
        Command::CloseView(method, view) => state.layout.close(method, view),
        Command::ToggleMaximised(method, view) => {
            state.method = MethodName(method);
            let this = (method.to_owned(), view.to_owned());
            let is_this = state.layout.maximised.as_ref() == Some(&this);
            if !is_this && !state.layout.has(method, view) {
                state.layout.show(method, view);
            }
            state.layout.maximised = (!is_this).then_some(this);
        }
        Command::ResetLayout => state.layout.reset(),
        Command::SetLanguage(language) => set_language(app, language),
        Command::SetTheme(theme) => state.look.theme = theme,
        Command::SetZoom(zoom) => state.look.zoom = zoom,
        Command::SetDesk { inputs, inspector, window } => {
            app.desk.inputs_width = inputs;
            app.desk.inspector_width = inspector;
            app.desk.window = window.or(app.desk.window);
            app.desk.mend();
        }
        Command::TestMaps => app.test_maps(),
        Command::TestMap(column, kind) => app.test_map(column, kind),
        Command::TestExplanations => app.test_explanations(),
        Command::ToggleExplanation(key) => app.toggle_explanation(key),
        Command::Explain => app.explain(),
        Command::SetFill(fill) => app.state.fill = fill,
        Command::Intervene(intervention) => {
            let changed = state.interventions.entry(state.method.0.to_owned()).or_default();
            match changed.iter().position(|known| *known == intervention) {
                Some(at) => {
                    changed.remove(at);
                }
                None => changed.push(intervention),
            }
        }
        Command::HidePatches(patches) => {
            let changed = state.interventions.entry(state.method.0.to_owned()).or_default();
            changed.retain(|known| !matches!(known, Intervention::Hidden { .. }));
            changed.extend((!patches.is_empty()).then_some(Intervention::Hidden { patches }));
        }
        Command::LeaveAlone => {
            let method = state.method.0;
            state.interventions.retain(|key, _| method != super::layout::SIDE_BY_SIDE && key != method);
        }
        Command::MeasureEffects => app.measure_effects(),
        Command::MeasureHeads => app.measure_heads(),
        Command::SetAblation(ablation) => state.ablation = ablation,
        Command::Pin => {
            // Of what was pinned before, nothing is kept.
            app.pinned = None;
            app.pinned = (!app.columns.is_empty()).then(|| Box::new(app.still()));
        }
        Command::Unpin => app.pinned = None,
        Command::Learn(setting) => app.learn(setting),
        Command::ShowRecording(name) => app.show_recording(&name),
        Command::EndLearning => app.learning = None,
        Command::RunLearning(runs) => app.change_learning(|learning| learning.set_running(runs)),
        Command::StepLearning => app.change_learning(Learning::step),
        Command::SetLearningRate(rate) => app.change_learning(|learning| learning.set_rate(rate)),
        Command::SetLearningTemperature(temperature) => {
            app.change_learning(|learning| learning.set_temperature(temperature));
        }
        Command::ShowLook(look) => app.change_learning(|learning| learning.shown = look),
        Command::OpenLesson(key) => lessons::set_the_stage(app, &key, 0, &mut change),
        Command::ShowStep(step) => {
            if let Some(place) = app.state.lesson.clone() {
                lessons::set_the_stage(app, &place.key, step, &mut change);
            }
        }
        Command::Guess(option) => {
            if let Some(place) = &mut state.lesson {
                place.guess = Some(option);
            }
        }
        Command::CloseLesson => state.lesson = None,
        Command::ShowHelp(view) => app.help = view,
        Command::TogglePalette => app.palette_is_open = !app.palette_is_open,
        Command::ToggleDownloads => app.toggle_downloads(),
        Command::AskHub(name) => app.ask_hub(name),
        Command::Download(name) => app.download(name),
        Command::StopDownload => app.downloads.stop(),
        Command::Settle => app.history.settle(),
        Command::Cancel => app.cancel(),
        Command::Complain(problem) => {
            app.problem = Some(problem);
            app.failed = false;
        }
        Command::Tell(news) => app.news = Some(news),
        Command::DismissProblem => {
            app.warning = None;
            app.problem = None;
            app.news = None;
        }
    }
}

/// Shows another picture: what was selected in the old one isn't there.
fn show(state: &mut AppState, picture: PictureSource) {
    state.picture = picture;
    state.changes.clear();
    state.selected.patch = None;
    state.selected.object = None;
}

/// Takes `number` out of `numbers`, or puts it in.
fn toggle(numbers: &mut Vec<usize>, number: usize) {
    match numbers.iter().position(|known| *known == number) {
        Some(at) => {
            numbers.remove(at);
        }
        None => numbers.push(number),
    }
}

fn set_language(app: &mut App, language: Language) {
    let caption = match &app.state.picture {
        PictureSource::Sample(key) => {
            let sample = app.samples.iter().find(|sample| sample.key == *key);
            let caption = sample.map(|sample| &sample.captions[app.language_index()]);
            (caption == Some(&app.state.sentence)).then(|| key.clone())
        }
        PictureSource::File(_) | PictureSource::Scene(_) => None,
    };
    app.state.look.language = language;
    if let Some(key) = caption {
        app.take_caption(&key);
    }
}
