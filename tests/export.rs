//! Views and the board written into files.

mod common;
#[path = "common/interface.rs"]
mod interface;

use alignscope::app::{App, AppState, Command, Export, Format, Theme};
use alignscope::ui::export::write;
use alignscope::ui::views::VIEWS;
use alignscope::world::Language;
use interface::{app, app_of, state};

#[test]
fn every_view_is_written_as_a_picture_of_each_size_and_as_numbers() {
    let folder = tempfile::tempdir().expect("a folder");
    for view in VIEWS {
        let app = app_of(*view, AppState::first());
        let evidence = app.evidence.clone().expect("evidence");
        let mut sizes = Vec::new();
        for format in Format::ALL {
            if format == Format::Html || matches!(format, Format::Png(3 | 4)) && view.key() != "matrix" {
                continue;
            }
            let path = folder.path().join(format!("{}-{format:?}.{}", view.key(), format.ending()));
            write(&app, &Export { view: Some(view.key()), format }, &path).expect("a file");
            if let Format::Png(scale) = format {
                let picture = image::open(&path).expect("a picture").to_rgb8();
                sizes.push((picture.width() / u32::from(scale), picture.height() / u32::from(scale)));
                let colours: std::collections::BTreeSet<_> = picture.pixels().map(|pixel| pixel.0).collect();
                assert!(colours.len() > 100, "{} shows {} colours", view.key(), colours.len());
            }
        }
        assert!(sizes.len() >= 2 && sizes.iter().all(|size| *size == sizes[0]), "{}: {sizes:?}", view.key());
        let arrays = view.numbers(&evidence, &app);
        assert!(!arrays.is_empty() && arrays.iter().all(|array| array.check().is_ok()), "{}", view.key());
        let numbers: usize = arrays.iter().map(|array| array.values.len()).sum();
        let table = std::fs::read_to_string(folder.path().join(format!("{}-Csv.csv", view.key()))).expect("a table");
        let mut reader = csv::Reader::from_reader(table.trim_start_matches('\u{feff}').as_bytes());
        assert_eq!(reader.records().filter(Result::is_ok).count(), numbers, "{}", view.key());
        let archive = std::fs::File::open(folder.path().join(format!("{}-Npz.npz", view.key()))).expect("an archive");
        let archive = zip::ZipArchive::new(archive).expect("an archive");
        let names: Vec<String> = archive.file_names().map(|name| name.expect("a name").into_owned()).collect();
        assert!(names.iter().any(|name| *name == format!("{}.npy", arrays[0].name)), "{names:?}");
    }
}

#[test]
fn the_numbers_of_a_map_are_those_on_the_screen() {
    let app = app(AppState::first());
    let evidence = app.evidence.clone().expect("evidence");
    let heatmap = VIEWS.iter().find(|view| view.key() == "heatmap").expect("a view");
    let arrays = heatmap.numbers(&evidence, &app);
    let relevancy = arrays.iter().find(|array| array.name == "relevancy").expect("a map");
    assert_eq!(relevancy.values, evidence.maps[&evidence.phrase]["relevancy"].values);
    assert_eq!(relevancy.shape(), [evidence.grid.0, evidence.grid.1]);
}

#[test]
fn the_board_is_one_page_with_everything_in_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("board.html");
    let mut app = app(state(Theme::Light, Language::Chinese));
    app.apply(Command::SelectPatch(Some(5)));
    write(&app, &Export { view: None, format: Format::Html }, &path).expect("a page");
    let page = std::fs::read_to_string(&path).expect("a page");
    assert!(page.contains("lang=\"zh") && page.contains("嵌入空间") && page.trim_end().ends_with("</html>"));
    // A folder of pictures isn't open, and a view without anything has no place on the page.
    let views = VIEWS.iter().filter(|view| view.method() == "contrastive" && view.has_something(&app)).count();
    assert_eq!(views + 1, VIEWS.iter().filter(|view| view.method() == "contrastive").count());
    assert_eq!(page.matches("data:image/png;base64,").count(), views + 1);
    assert_eq!(page.matches("data:text/csv").count(), views);
    let outside = |quote: &str| ["src=", "url("].iter().any(|at| page.contains(&format!("{at}{quote}http")));
    assert!(!outside("\"") && !outside("") && !page.contains("<script"), "the page asks for something from outside");
}

#[test]
fn what_cannot_be_written_is_said_in_one_sentence() {
    let folder = tempfile::tempdir().expect("a folder");
    let empty = App::new(AppState::first());
    let export = Export { view: Some("heatmap"), format: Format::Png(1) };
    let error = write(&empty, &export, &folder.path().join("a.png")).expect_err("there is nothing yet").to_string();
    assert!(error.contains("nothing is computed yet") && !error.contains('\n'), "{error}");
    let full = app(AppState::first());
    let unknown = Export { view: Some("unheard-of"), format: Format::Csv };
    assert!(write(&full, &unknown, &folder.path().join("a.csv")).is_err());
    let elsewhere = Export { view: Some("words"), format: Format::Csv };
    let error = write(&full, &elsewhere, &folder.path().join("a.csv")).expect_err("another column").to_string();
    assert!(error.contains("another column"), "{error}");
    let error = write(&full, &export, folder.path()).expect_err("a folder is no file").to_string();
    assert!(error.contains(&folder.path().display().to_string()), "{error}");
}
