//! Everything that a person can ask for now, as a list: menus, keys, tooltips, the palette and the tests are made from it.

mod album;
mod files;

use egui::{Key, KeyboardShortcut, Modifiers};

use super::texts::{self, Text, faithful, four_ways, lesson, name_of, querying, what_if};
use super::views::{VIEWS, View};
use crate::app::layout;
use crate::app::state::{Colours, Drawn, MaskName, MethodName, Reading};
use crate::app::{App, Ask, Command, Layer, Scale, Theme};
use crate::attribution::ATTRIBUTIONS;
use crate::methods::queries::{QueryLook, QueryOrder};
use crate::methods::reading::{Place, Weighting};
use crate::reduction::REDUCTIONS;
use crate::world::Language;
pub use files::format_name;

/// A menu.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Menu {
    /// Files.
    File,
    /// What was given.
    Edit,
    /// What is shown.
    View,
    /// How maps are drawn.
    Map,
    /// Words that look at the picture.
    Fusion,
    /// Queries that look at the picture.
    Querying,
    /// The similarity matrix and the embedding space.
    Space,
    /// Lessons.
    Learn,
}

impl Menu {
    /// All menus, from left to right.
    pub const ALL: [Self; 8] =
        [Self::File, Self::Edit, Self::View, Self::Map, Self::Fusion, Self::Querying, Self::Space, Self::Learn];

    /// Its name.
    #[must_use]
    pub fn title(self) -> Text {
        match self {
            Self::File => texts::FILE,
            Self::Edit => texts::EDIT,
            Self::View => texts::VIEW,
            Self::Map => texts::MAPS,
            Self::Fusion => texts::FUSION,
            Self::Querying => querying::MENU,
            Self::Space => texts::SPACE,
            Self::Learn => lesson::LEARN,
        }
    }
}

/// A command with everything that is said of it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What is done.
    pub command: Command,
    /// Its name, in the present language.
    pub title: String,
    /// The menu in which it stands.
    pub menu: Menu,
    /// The menu inside of that.
    pub submenu: Option<String>,
    /// Its keys.
    pub keys: Option<KeyboardShortcut>,
    /// Whether it can be done now.
    pub enabled: bool,
    /// Why it can't, where that isn't plain.
    pub reason: Option<String>,
    /// For something that is one way or the other: whether it is this way.
    pub chosen: Option<bool>,
    /// Whether a line stands above it in the menu.
    pub apart: bool,
}

impl Entry {
    fn keys(mut self, modifiers: Modifiers, key: Key) -> Self {
        self.keys = Some(KeyboardShortcut::new(modifiers, key));
        self
    }

    fn within(mut self, submenu: impl Into<String>) -> Self {
        self.submenu = Some(submenu.into());
        self
    }

    fn chosen(mut self, chosen: bool) -> Self {
        self.chosen = Some(chosen);
        self
    }

    fn enabled(mut self, enabled: bool) -> Self {
        self.enabled = enabled;
        self
    }

    /// Can't be done, for this reason, if there is one.
    fn unless(mut self, reason: Option<&String>) -> Self {
        self.enabled &= reason.is_none();
        self.reason = reason.cloned();
        self
    }

    fn apart(mut self) -> Self {
        self.apart = true;
        self
    }
}

const CONTROL: Modifiers = Modifiers::COMMAND;
const CONTROL_SHIFT: Modifiers = Modifiers::COMMAND.plus(Modifiers::SHIFT);
/// Keys of the views, in their order.
const DIGITS: [Key; 9] =
    [Key::Num1, Key::Num2, Key::Num3, Key::Num4, Key::Num5, Key::Num6, Key::Num7, Key::Num8, Key::Num9];

/// The list.
#[must_use]
pub fn catalogue(app: &App) -> Vec<Entry> {
    let mut list = List { app, entries: Vec::new() };
    list.files();
    list.album();
    list.exports();
    list.edits();
    list.views();
    list.maps();
    list.fusion();
    list.querying();
    list.space();
    list.lessons();
    list.entries
}

/// A tooltip for a widget that does `command`: its name and its keys.
#[must_use]
pub fn tooltip(ctx: &egui::Context, app: &App, command: &Command) -> String {
    let entry = catalogue(app).into_iter().find(|entry| entry.command == *command);
    entry.map_or_else(String::new, |entry| match entry.keys {
        Some(keys) => format!("{} ({})", entry.title, ctx.format_shortcut(&keys)),
        None => entry.title,
    })
}

struct List<'a> {
    app: &'a App,
    entries: Vec<Entry>,
}

impl List<'_> {
    fn language(&self) -> Language {
        self.app.state.look.language
    }

    fn say(&self, text: Text) -> String {
        texts::say(self.language(), text.0).to_owned()
    }

    fn word(&self, key: &str) -> String {
        texts::say(self.language(), key).to_owned()
    }

    fn put(&mut self, menu: Menu, text: Text, command: Command, change: impl FnOnce(Entry) -> Entry) {
        let title = self.say(text);
        self.put_named(menu, title, command, change);
    }

    fn put_named(&mut self, menu: Menu, title: String, command: Command, change: impl FnOnce(Entry) -> Entry) {
        let (submenu, keys, enabled, reason, chosen, apart) = (None, None, true, None, None, false);
        self.entries.push(change(Entry { command, title, menu, submenu, keys, enabled, reason, chosen, apart }));
    }

    fn lessons(&mut self) {
        let app = self.app;
        let menu = Menu::Learn;
        let place = app.state.lesson.as_ref();
        for known in &app.lessons[app.language_index()] {
            let title = format!("{} · {}", self.say(lesson::OPEN), known.title);
            let chosen = place.is_some_and(|place| place.key == known.key);
            self.put_named(menu, title, Command::OpenLesson(known.key.clone()), |entry| entry.chosen(chosen));
        }
        let step = place.map_or(0, |place| place.step);
        let count = app.lesson().map_or(0, |(lesson, _)| lesson.steps.len());
        self.put(menu, lesson::NEXT_STEP, Command::ShowStep(step + 1), |entry| {
            entry.apart().keys(CONTROL, Key::ArrowRight).enabled(step + 1 < count)
        });
        self.put(menu, lesson::STEP_BEFORE, Command::ShowStep(step.saturating_sub(1)), |entry| {
            entry.keys(CONTROL, Key::ArrowLeft).enabled(step > 0 && count > 0)
        });
        self.put(menu, lesson::CLOSE_LESSON, Command::CloseLesson, |entry| entry.enabled(count > 0));
    }

    fn edits(&mut self) {
        let app = self.app;
        let menu = Menu::Edit;
        self.put(menu, texts::UNDO, Command::Undo, |entry| entry.keys(CONTROL, Key::Z).enabled(app.can_undo()));
        self.put(menu, texts::REDO, Command::Redo, |entry| entry.keys(CONTROL_SHIFT, Key::Z).enabled(app.can_redo()));
        self.put(menu, texts::SELECT_SENTENCE, Command::SelectSentence, |entry| {
            entry.apart().enabled(app.state.selected.words.is_some())
        });
        self.put(menu, texts::SELECT_NOTHING, Command::SelectNothing, |entry| entry.keys(Modifiers::NONE, Key::Escape));
        let (pinned, together) = (app.pinned.is_some(), app.state.method.0 == layout::SIDE_BY_SIDE);
        self.put(menu, four_ways::PIN_STATE, Command::Pin, |entry| {
            entry.apart().keys(CONTROL, Key::P).enabled(together && !app.columns.is_empty())
        });
        self.put(menu, four_ways::UNPIN_STATE, Command::Unpin, |entry| entry.enabled(pinned));
        let can_test = app.evidence.is_some() && !app.busy;
        self.put(menu, faithful::TEST_MAPS, Command::TestMaps, |entry| {
            entry.apart().keys(CONTROL, Key::T).enabled(can_test)
        });
        let in_column = app.state.method.0 != layout::SIDE_BY_SIDE;
        self.put(menu, what_if::MEASURE, Command::MeasureEffects, |entry| entry.enabled(can_test && in_column));
        let changes = app.changes_shown();
        self.put(menu, what_if::LEAVE_ALONE, Command::LeaveAlone, |entry| entry.enabled(changes > 0));
        self.put(menu, texts::ADD_PRESENT, Command::AddPresent, Entry::apart);
        self.put(menu, texts::ADD_PICTURES, Command::Ask(Ask::Compared), |entry| entry);
        self.put(menu, texts::RESET_COMPARISON, Command::ResetComparison, |entry| entry);
        self.put(menu, texts::CANCEL, Command::Cancel, |entry| entry.apart().enabled(app.busy));
        self.put(menu, texts::RECOMPUTE, Command::Recompute, |entry| entry.keys(Modifiers::NONE, Key::F5));
        self.put(menu, texts::PALETTE, Command::TogglePalette, |entry| entry.keys(CONTROL, Key::K).apart());
    }

    fn views(&mut self) {
        let app = self.app;
        let menu = Menu::View;
        let layout = &app.state.layout;
        for key in layout::keys() {
            let title = format!("{} · {}", self.say(texts::SHOW_METHOD), self.word(&format!("method-{key}")));
            let chosen = app.state.method.0 == key;
            let command = Command::SetMethod(MethodName(key));
            self.put_named(menu, title, command, |entry| entry.chosen(chosen));
        }
        // The digits are those of the column that is shown.
        let mut digits = DIGITS.into_iter();
        for view in VIEWS {
            let digit = if view.method() == app.state.method.0 { digits.next() } else { None };
            let title = format!("{} · {}", self.say(texts::SHOW), self.word(&title_key(*view)));
            let shown = layout.has(view.method(), view.key());
            self.put_named(menu, title, Command::ShowView(view.method(), view.key()), |entry| {
                let entry = entry.chosen(shown);
                match digit {
                    Some(digit) => entry.keys(CONTROL, digit),
                    None => entry,
                }
            });
        }
        for view in VIEWS {
            let name = self.word(&title_key(*view));
            let this = (view.method().to_owned(), view.key().to_owned());
            let large = layout.maximised.as_ref() == Some(&this);
            let submenu = self.say(texts::MAXIMISE);
            let title = format!("{} · {name}", self.say(if large { texts::RESTORE } else { texts::MAXIMISE }));
            let command = Command::ToggleMaximised(view.method(), view.key());
            self.put_named(menu, title, command, |entry| entry.within(submenu).chosen(large));
            let submenu = self.say(texts::CLOSE);
            let shown = layout.has(view.method(), view.key());
            let title = format!("{submenu} · {name}");
            let command = Command::CloseView(view.method(), view.key());
            self.put_named(menu, title, command, |entry| entry.within(submenu).enabled(shown));
            if view.method() == app.state.method.0 {
                let submenu = self.say(texts::HELP);
                let title = format!("{submenu} · {name}");
                let chosen = app.help == view.key();
                let command = Command::ShowHelp(view.key());
                self.put_named(menu, title, command, |entry| entry.within(submenu).chosen(chosen));
            }
        }
        self.put(menu, texts::RESET_LAYOUT, Command::ResetLayout, |entry| entry);
        let language = self.language();
        for (key, other) in [(Key::L, Language::English), (Key::J, Language::Chinese)] {
            let [_, name] = name_of(other);
            self.put_named(menu, name.to_owned(), Command::SetLanguage(other), |entry| {
                let entry = entry.chosen(language == other).keys(CONTROL_SHIFT, key);
                if other == Language::English { entry.apart() } else { entry }
            });
        }
        for (theme, text) in [(Theme::Light, texts::USE_LIGHT), (Theme::Dark, texts::USE_DARK)] {
            let chosen = app.state.look.theme == theme;
            self.put(menu, text, Command::SetTheme(theme), |entry| {
                let entry = entry.chosen(chosen);
                if theme == Theme::Light {
                    entry.apart().keys(CONTROL_SHIFT, Key::B)
                } else {
                    entry.keys(CONTROL_SHIFT, Key::D)
                }
            });
        }
        let zoom = app.state.look.zoom;
        let step = |by: f32| Command::SetZoom(((zoom + by) * 10.0).round() / 10.0);
        self.put(menu, texts::ZOOM_IN, step(0.1), |entry| entry.keys(CONTROL, Key::Plus).apart());
        self.put(menu, texts::ZOOM_OUT, step(-0.1), |entry| entry.keys(CONTROL, Key::Minus));
        self.put(menu, texts::ZOOM_RESET, Command::SetZoom(1.0), |entry| entry.keys(CONTROL, Key::Num0));
    }

    fn maps(&mut self) {
        let map = &self.app.state.map;
        let menu = Menu::Map;
        // Attributions are those of two encoders.
        let method = self.app.state.method.0;
        let here = ["contrastive", layout::SIDE_BY_SIDE].contains(&method);
        let reason = (!here).then(|| self.word(&format!("no-attribution-{method}")));
        for attribution in ATTRIBUTIONS {
            let title = self.word(&format!("attribution-{}", attribution.key));
            let chosen = map.layer.0 == attribution.key;
            self.put_named(menu, title, Command::SetLayer(Layer(attribution.key)), |entry| {
                entry.chosen(chosen).unless(reason.as_ref())
            });
        }
        let submenu = self.say(texts::BESIDE);
        self.put(menu, texts::NO_BESIDE, Command::SetBeside(None), |entry| {
            entry.within(&submenu).chosen(map.beside.is_none())
        });
        for attribution in ATTRIBUTIONS {
            let title = format!("{submenu} · {}", self.word(&format!("attribution-{}", attribution.key)));
            let layer = Some(Layer(attribution.key));
            self.put_named(menu, title, Command::SetBeside(layer), |entry| {
                entry.within(&submenu).chosen(map.beside == layer).unless(reason.as_ref())
            });
        }
        let submenu = self.say(texts::COLOURS);
        for colours in Colours::ALL {
            let title = self.word(colours_key(colours));
            self.put_named(menu, title, Command::SetColours(colours), |entry| {
                entry.within(&submenu).chosen(map.colours == colours)
            });
        }
        for (scale, text) in [(Scale::Shared, texts::SHARED_SCALE), (Scale::Own, texts::OWN_SCALE)] {
            self.put(menu, text, Command::SetScale(scale), |entry| {
                let entry = entry.chosen(map.scale == scale);
                if scale == Scale::Shared { entry.apart() } else { entry }
            });
        }
        for (smooth, text) in [(true, texts::SMOOTH), (false, texts::PATCHES)] {
            self.put(menu, text, Command::SetSmooth(smooth), |entry| {
                let entry = entry.chosen(map.smooth == smooth);
                if smooth { entry.apart() } else { entry }
            });
        }
        self.put(menu, texts::MARK_SINKS, Command::MarkSinks(!map.sinks), |entry| entry.chosen(map.sinks).apart());
    }

    /// Words that look at the picture.
    fn fusion(&mut self) {
        let app = self.app;
        let menu = Menu::Fusion;
        let reading = app.evidence.as_ref().and_then(|evidence| evidence.reading.as_ref());
        let state = &app.state.fusion;
        let steps = reading.map_or(0, |reading| reading.steps().count());
        let shown = reading.and_then(|reading| app.step(reading));
        let next = shown.map_or(0, |step| step + 1);
        self.put(menu, texts::NEXT_WORD, Command::SelectStep(Some(next)), |entry| {
            entry.keys(Modifiers::ALT, Key::ArrowRight).enabled(next < steps)
        });
        let before = shown.and_then(|step| step.checked_sub(1));
        self.put(menu, texts::WORD_BEFORE, Command::SelectStep(Some(before.unwrap_or(0))), |entry| {
            entry.keys(Modifiers::ALT, Key::ArrowLeft).enabled(before.is_some())
        });
        for (place, text) in [(Place::Predict, texts::WHILE_PREDICTED), (Place::Read, texts::WHILE_READ)] {
            self.put(menu, text, Command::SetPlace(place), |entry| {
                let entry = entry.chosen(state.place == place);
                if place == Place::Predict { entry.apart() } else { entry }
            });
        }
        for (weighting, text) in [(Weighting::Gradient, texts::WEIGHTED), (Weighting::Raw, texts::RAW)] {
            self.put(menu, text, Command::SetWeighting(weighting), |entry| {
                let entry = entry.chosen(state.weighting == weighting);
                if weighting == Weighting::Gradient { entry.apart() } else { entry }
            });
        }
        self.put(menu, texts::ALL_HEADS, Command::SelectFusionHead(None), |entry| {
            entry.chosen(state.head.is_none()).apart()
        });
        let gates = reading.map_or(0, |reading| reading.gates.len());
        self.put(menu, texts::CLOSE_GATES, Command::CloseGates(gates.max(1)), |entry| {
            entry.enabled(gates > 0 && state.closed.len() < gates).apart()
        });
        self.put(menu, texts::OPEN_GATES, Command::CloseGates(0), |entry| entry.enabled(!state.closed.is_empty()));
    }

    /// Queries that look at the picture.
    fn querying(&mut self) {
        let app = self.app;
        let menu = Menu::Querying;
        let queries = app.evidence.as_ref().and_then(|evidence| evidence.queries.as_ref());
        let state = &app.state.querying;
        let kept = queries.map_or_else(Vec::new, |queries| queries.kept.clone());
        let at = state.query.and_then(|query| kept.iter().position(|kept| *kept == query));
        let next = kept.get(at.map_or(0, |at| at + 1)).copied();
        self.put(menu, querying::NEXT_QUERY, Command::SelectQuery(next), |entry| {
            entry.keys(Modifiers::ALT, Key::ArrowDown).enabled(next.is_some())
        });
        let before = at.and_then(|at| at.checked_sub(1)).and_then(|at| kept.get(at)).copied();
        self.put(menu, querying::QUERY_BEFORE, Command::SelectQuery(before), |entry| {
            entry.keys(Modifiers::ALT, Key::ArrowUp).enabled(before.is_some())
        });
        let others = queries.and_then(|queries| Some(queries.others(state.query.filter(|one| *one < queries.count)?)));
        let can_drop = others.as_ref().is_some_and(|others| *others != state.dropped);
        let drop_others = Command::DropQueries(others.unwrap_or_default());
        self.put(menu, querying::DROP_OTHERS, drop_others, |entry| entry.enabled(can_drop).apart());
        self.put(menu, querying::TAKE_ALL_BACK, Command::DropQueries(Vec::new()), |entry| {
            entry.enabled(!state.dropped.is_empty())
        });
        for order in QueryOrder::ALL {
            self.put(menu, order_text(order), Command::SetQueryOrder(order), |entry| {
                let entry = entry.chosen(state.order == order);
                if order == QueryOrder::Index { entry.apart() } else { entry }
            });
        }
        let look = QueryLook::default();
        self.put(menu, querying::ALL_LAYERS, Command::SetQueryLook(look), |entry| {
            entry.chosen(state.look == look).apart()
        });
        self.put(menu, querying::ALL_BLOCKS, Command::SetQueryBlock(None), |entry| entry.chosen(state.block.is_none()));
        for mask in MaskName::ALL {
            let title = format!("{} · {}", self.say(querying::SHOW_MASK), self.say(mask_text(mask)));
            self.put_named(menu, title, Command::SetMask(mask), |entry| {
                let entry = entry.chosen(state.mask == mask);
                if mask == MaskName::Contrast { entry.apart() } else { entry }
            });
        }
        let sentence = app.state.sentence.trim();
        let this = Command::CompareInstruction(Some(sentence.to_owned()));
        let is_this = state.compared.as_deref() == Some(sentence);
        self.put(menu, querying::COMPARE_THIS, this, |entry| {
            entry.chosen(is_this).enabled(!sentence.is_empty()).apart()
        });
        self.put(menu, querying::COMPARE_NONE, Command::CompareInstruction(None), |entry| {
            entry.chosen(state.compared.is_none())
        });
    }

    fn space(&mut self) {
        let (space, matrix) = (&self.app.state.space, &self.app.state.matrix);
        let menu = Menu::Space;
        for reduction in REDUCTIONS {
            let title = format!("{} {}", self.say(texts::REDUCE_BY), reduction.name);
            let name = crate::app::state::ReductionName(reduction.key);
            let chosen = space.reduction == name;
            self.put_named(menu, title, Command::SetReduction(name), |entry| entry.chosen(chosen));
        }
        let seeded = crate::reduction::named(space.reduction.0).is_some_and(|reduction| reduction.seeded);
        let seed = Command::SetSeed(space.seed.wrapping_add(1));
        self.put(menu, texts::NEW_SEED, seed, |entry| entry.enabled(seeded));
        for drawn in Drawn::ALL {
            let title = self.say(drawn_text(drawn));
            let chosen = space.drawn == drawn;
            self.put_named(menu, title, Command::SetDrawn(drawn), |entry| {
                let entry = entry.chosen(chosen);
                if drawn == Drawn::Thumbnails { entry.apart() } else { entry }
            });
        }
        self.put(menu, texts::JOIN_PAIRS, Command::JoinPairs(!space.pairs), |entry| entry.chosen(space.pairs));
        let sigmoid = self.app.evidence.as_ref().is_some_and(|evidence| evidence.scores.bias.is_some());
        for reading in Reading::ALL {
            let Some(text) = reading_text(reading, sigmoid) else { continue };
            let chosen = matrix.reading == reading;
            self.put(menu, text, Command::SetReading(reading), |entry| {
                let entry = entry.chosen(chosen);
                if reading == Reading::Cosine { entry.apart() } else { entry }
            });
        }
        self.put(menu, texts::MODELS_FACTOR, Command::SetFactor(None), |entry| entry.enabled(matrix.factor.is_some()));
    }
}

/// The key of a view's title.
#[must_use]
pub fn title_key(view: &dyn View) -> String {
    format!("view-{}", view.key())
}

/// The key of a colour map's name.
#[must_use]
pub fn colours_key(colours: Colours) -> &'static str {
    match colours {
        Colours::Inferno => "colours-inferno",
        Colours::Magma => "colours-magma",
        Colours::Viridis => "colours-viridis",
        Colours::Cividis => "colours-cividis",
    }
}

/// What a way to draw points is called.
#[must_use]
pub fn drawn_text(drawn: Drawn) -> Text {
    match drawn {
        Drawn::Thumbnails => texts::DRAWN_THUMBNAILS,
        Drawn::Words => texts::DRAWN_WORDS,
        Drawn::Points => texts::DRAWN_POINTS,
    }
}

/// What an order of queries is called.
#[must_use]
pub fn order_text(order: QueryOrder) -> Text {
    match order {
        QueryOrder::Index => querying::ORDER_INDEX,
        QueryOrder::Mass => querying::ORDER_MASS,
        QueryOrder::Similarity => querying::ORDER_SIMILARITY,
    }
}

/// What a mask of the querying transformer is called.
#[must_use]
pub fn mask_text(mask: MaskName) -> Text {
    match mask {
        MaskName::Contrast => querying::MASK_CONTRAST,
        MaskName::Matching => querying::MASK_MATCHING,
        MaskName::Generation => querying::MASK_GENERATION,
    }
}

/// What a reading of the matrix is called; `None` where a model doesn't have it: a sigmoid knows no direction.
#[must_use]
pub fn reading_text(reading: Reading, sigmoid: bool) -> Option<Text> {
    match (reading, sigmoid) {
        (Reading::Cosine, _) => Some(texts::READING_COSINE),
        (Reading::OverTexts, false) => Some(texts::READING_OVER_TEXTS),
        (Reading::OverPictures, false) => Some(texts::READING_OVER_PICTURES),
        (Reading::OverTexts, true) => Some(texts::READING_SIGMOID),
        (Reading::OverPictures, true) => None,
    }
}
