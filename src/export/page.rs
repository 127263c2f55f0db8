//! The board as one HTML page that carries everything it shows: no script, and nothing is fetched from anywhere.

use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};

/// What stands on the page. Every text is plain text and is escaped, but for the help.
#[derive(Clone, Debug)]
pub struct Page<'a> {
    /// `en` or `zh`.
    pub language: &'a str,
    /// The heading, and the name of the browser's tab.
    pub title: &'a str,
    /// A sentence or two below the heading.
    pub summary: &'a str,
    /// What was looked at and with what: names and values.
    pub facts: Vec<(String, String)>,
    /// The whole board as PNG.
    pub board: &'a [u8],
    /// What the board shows, in words; also its caption.
    pub board_alt: &'a str,
    /// One a view, in order.
    pub sections: Vec<Section<'a>>,
    /// The text of the links to the numbers.
    pub numbers_label: &'a str,
    /// The last line.
    pub footer: &'a str,
}

/// One view on the page.
#[derive(Clone, Debug)]
pub struct Section<'a> {
    /// Its heading.
    pub title: String,
    /// The view as PNG.
    pub picture: Vec<u8>,
    /// What the picture shows, in words; also its caption.
    pub alt: String,
    /// How to read it, in Markdown.
    pub help: &'a str,
    /// Its numbers as CSV; without any there is no link.
    pub csv: Vec<u8>,
    /// The name that the CSV is saved under.
    pub file_name: String,
}

/// Nothing may be loaded or run, even if a text should ever get through as markup.
const POLICY: &str =
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// The colours are those of `ui/theme.rs`.
const STYLE: &str = "
:root { color-scheme: light dark; --ground: #f1f3f6; --card: #fff; --line: #d5dae3; --text: #2b313c; --strong: #000;
  --weak: #5a6373; --accent: #1f66d1; }
@media screen and (prefers-color-scheme: dark) { :root { --ground: #14161a; --card: #1c1f25; --line: #343944;
  --text: #d9dde4; --strong: #fff; --weak: #9da5b4; --accent: #5b9cf5; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--text); overflow-wrap: anywhere;
  font: 1.0625rem/1.6 Inter, system-ui, 'Noto Sans SC', 'PingFang SC', 'Microsoft YaHei', sans-serif; }
header, main, footer { max-width: 76rem; margin: 0 auto; padding: 0 2rem; }
h1, h2, h3, strong { color: var(--strong); font-weight: 650; }
h1 { margin: 3rem 0 0; font-size: 2.25rem; line-height: 1.2; letter-spacing: -.015em; }
h2 { margin: 0 0 1.25rem; font-size: 1.5rem; line-height: 1.3; }
h3, h4, h5, h6 { margin: 1.5em 0 .5em; font-size: 1.0625rem; }
header p { max-width: 46rem; margin: .75rem 0 0; color: var(--weak); font-size: 1.2rem; }
figure { margin: 0; }
img { display: block; max-width: 100%; height: auto; margin: 0 auto; border-radius: 10px; }
main > figure { margin: 2rem 0; }
main > figure img, dl { border: 1px solid var(--line); border-radius: 10px; }
figcaption { margin-top: .75rem; } figcaption, footer { color: var(--weak); font-size: .9375rem; line-height: 1.5; }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(24rem, 100%), 1fr)); column-gap: 3rem; margin: 0;
  padding: .75rem 1.5rem; background: var(--card); }
dl div { display: flex; flex-wrap: wrap; column-gap: 1.5rem; padding: .4rem 0; }
dt { color: var(--weak); } dd { margin: 0 0 0 auto; color: var(--strong); }
section { margin-top: 3.5rem; padding-top: 2.5rem; border-top: 1px solid var(--line); }
.view { display: grid; gap: 1.75rem; }
@media (min-width: 60rem) { .beside { grid-template-columns: 5fr 4fr; gap: 2.5rem; } }
.help { max-width: 46rem; } .help > :first-child { margin-top: 0; }
.help table { border-collapse: collapse; } .help th, .help td { padding: .3rem .75rem; border: 1px solid var(--line); }
:lang(zh) { line-height: 1.75; } :lang(zh) em { font-style: normal; color: var(--strong); }
a { color: var(--accent); text-underline-offset: .2em; }
.numbers { margin: .5rem 0 0; } .numbers span { margin-left: .5rem; }
footer { margin-top: 4rem; padding-bottom: 3rem; }
@media print { @page { margin: 16mm; } :root { --ground: #fff; } body { font-size: 10.5pt; } h1 { margin-top: 0; }
  header, main, footer { max-width: none; padding: 0; } dl div { padding: .1rem 0; } img { max-height: 125mm; }
  figure, dl, section { break-inside: avoid; } section { border: 0; } .numbers { display: none; } }
";

/// The page as HTML.
#[must_use]
pub fn page(page: &Page<'_>) -> String {
    let language = if page.language == "zh" { "zh-Hans" } else { "en" };
    let title = escaped(page.title);
    let summary = paragraph(page.summary);
    let board = figure(page.board, page.board_alt, "");
    let facts = facts(&page.facts);
    let sections: String = page.sections.iter().map(|view| section(view, page.numbers_label)).collect();
    let footer = paragraph(page.footer);
    format!(
        "<!DOCTYPE html>\n<html lang=\"{language}\">\n<head>\n<meta charset=\"utf-8\">\n\
        <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
        <meta name=\"referrer\" content=\"no-referrer\">\n\
        <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
        <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
        <header>\n<h1>{title}</h1>\n{summary}</header>\n\
        <main>\n{board}{facts}{sections}</main>\n<footer>\n{footer}</footer>\n</body>\n</html>\n"
    )
}

fn facts(facts: &[(String, String)]) -> String {
    if facts.is_empty() {
        return String::new();
    }
    let rows =
        facts.iter().map(|(name, value)| format!("<div><dt>{}</dt><dd>{}</dd></div>\n", escaped(name), escaped(value)));
    format!("<dl>\n{}</dl>\n", rows.collect::<String>())
}

fn section(view: &Section<'_>, numbers_label: &str) -> String {
    let (name, csv, label) = (escaped(&view.file_name), base64::encode(&view.csv), escaped(numbers_label));
    let link = format!("<a download=\"{name}\" href=\"data:text/csv;base64,{csv}\">{label}</a>");
    let numbers = format!("<p class=\"numbers\">{link}<span>{name}</span></p>\n");
    let numbers = if view.csv.is_empty() { "" } else { &numbers };
    format!(
        "<section>\n<h2>{}</h2>\n<div class=\"view{}\">\n{}<div class=\"help\">\n{}</div>\n</div>\n</section>\n",
        escaped(&view.title),
        if is_wide(&view.picture) { "" } else { " beside" },
        figure(&view.picture, &view.alt, numbers),
        markdown(view.help),
    )
}

/// A picture with its words below it. A screen reader has them from the picture already.
fn figure(png: &[u8], words: &str, more: &str) -> String {
    let words = escaped(words);
    format!(
        "<figure>\n<img alt=\"{words}\" src=\"data:image/png;base64,{}\">\n\
        <figcaption><span aria-hidden=\"true\">{words}</span>\n{more}</figcaption>\n</figure>\n",
        base64::encode(png)
    )
}

/// Whether a picture needs the whole width: then its help stands below it instead of beside it.
fn is_wide(png: &[u8]) -> bool {
    // A PNG starts with its signature and the head of its first block; then come width and height.
    let side = |at: usize| png.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes);
    matches!((side(16), side(20)), (Some(width), Some(height)) if u64::from(width) * 2 > u64::from(height) * 3)
}

fn paragraph(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("<p>{}</p>\n", escaped(text)) }
}

/// Plain text as HTML, in an element or in a quoted attribute.
fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('"', "&quot;").replace('\'', "&#39;")
}

/// Markdown as HTML: raw HTML becomes text, a picture its words, a link to anything but the web its text.
fn markdown(text: &str) -> String {
    let mut kept = Vec::new();
    let tame = |event| match &event {
        Event::Start(Tag::Link { dest_url, .. }) => {
            kept.push(dest_url.starts_with("https://") || dest_url.starts_with("http://"));
            kept.last()?.then_some(event)
        }
        Event::End(TagEnd::Link) => kept.pop()?.then_some(event),
        Event::Start(Tag::Image { .. }) | Event::End(TagEnd::Image) => None,
        Event::Html(raw) | Event::InlineHtml(raw) => Some(Event::Text(raw.clone())),
        Event::Start(Tag::HtmlBlock) => Some(Event::Start(Tag::Paragraph)),
        Event::End(TagEnd::HtmlBlock) => Some(Event::End(TagEnd::Paragraph)),
        Event::Start(Tag::Heading { level, .. }) => Some(Event::Start(heading(*level))),
        Event::End(TagEnd::Heading(level)) => Some(Event::End(heading(*level).to_end())),
        _ => Some(event),
    };
    let events = Parser::new_ext(text, Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH).filter_map(tame);
    let mut page = String::new();
    html::push_html(&mut page, events);
    page
}

/// A heading two levels down: the page and the view have the first two.
fn heading(level: HeadingLevel) -> Tag<'static> {
    let level = HeadingLevel::try_from(level as usize + 2).unwrap_or(HeadingLevel::H6);
    Tag::Heading { level, id: None, classes: Vec::new(), attrs: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "</title><script>\"'&";

    fn hostile() -> String {
        let section = Section {
            title: HOSTILE.to_owned(),
            picture: vec![1, 2, 3],
            alt: HOSTILE.to_owned(),
            help: "# Map\n<script>alert(1)</script>\n\n\
                See <b>[this](https://c.d) [that](javascript:x) ![pic](https://e.f)",
            csv: b"array,value\n".to_vec(),
            file_name: HOSTILE.to_owned(),
        };
        page(&Page {
            language: "zh",
            title: HOSTILE,
            summary: HOSTILE,
            facts: vec![(HOSTILE.to_owned(), HOSTILE.to_owned())],
            board: &[4, 5, 6],
            board_alt: HOSTILE,
            sections: vec![section.clone(), Section { csv: Vec::new(), ..section }],
            numbers_label: HOSTILE,
            footer: HOSTILE,
        })
    }

    #[test]
    fn texts_stay_texts() {
        let html = hostile();
        assert!(!html.contains("<script") && !html.contains("<b>") && !html.contains(HOSTILE));
        let escaped = "&lt;/title&gt;&lt;script&gt;&quot;&#39;&amp;";
        // Title twice, summary, fact twice, board twice, footer; a section's title, picture twice; one link's three.
        assert_eq!(html.matches(escaped).count(), 8 + 2 * 3 + 3);
        assert!(html.contains(&format!("download=\"{escaped}\" href=\"data:text/csv;base64,YXJyYXksdmFsdWUK\"")));
        assert_eq!(html.matches("download=").count(), 1);
    }

    #[test]
    fn nothing_is_fetched() {
        let html = hostile();
        assert!(html.contains(POLICY) && html.contains("lang=\"zh-Hans\"") && html.contains("<h3>Map</h3>"));
        assert!(html.contains("<a href=\"https://c.d\">this</a> that pic"));
        assert_eq!(html.matches("=\"http").count(), 2 /* the links of the two sections */);
        let sources: Vec<_> = html.split("src=\"").skip(1).collect();
        assert!(sources.iter().all(|source| source.starts_with("data:image/png;base64,")));
        let pictures = ["BAUG", "AQID", "AQID"];
        assert!(sources.iter().zip(pictures).all(|(source, picture)| source[22..].starts_with(picture)));
        assert_eq!(sources.len(), pictures.len());
        assert!(!html.contains("url(") && !html.contains("@import"));
    }

    #[test]
    fn a_wide_picture_takes_the_whole_width() {
        let png = |width: u32, height: u32| [&[0; 16][..], &width.to_be_bytes(), &height.to_be_bytes()].concat();
        assert!(is_wide(&png(1600, 1000)) && !is_wide(&png(620, 720)) && !is_wide(&[]));
    }
}
