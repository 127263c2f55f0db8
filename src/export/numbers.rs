//! What a view shows, as plain numbers, and one table of all of them.

use csv::Writer;

use crate::error::{Error, Result};

/// The first and the last column of the table; no axis has these names.
const ARRAY: &str = "array";
const VALUE: &str = "value";

/// Without the byte order mark Excel takes UTF-8 for the local code page and garbles Chinese, silently. pandas and the
/// crate `csv` drop the mark unasked; Python's own `csv` needs the encoding `utf-8-sig`.
const BYTE_ORDER_MARK: &str = "\u{feff}";

/// An array with names along its axes: what a view shows, as plain numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Numbers {
    /// What the numbers are, in a word: `relevancy`.
    pub name: String,
    /// From the outermost to the innermost; none for a single number.
    pub axes: Vec<Axis>,
    /// Row-major: as many values as the product of the axes' lengths.
    pub values: Vec<f32>,
}

/// One axis of [`Numbers`], with a label for each place along it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Axis {
    /// What lies along it, in a word: `row`, `token`.
    pub name: String,
    /// One text a place, in order.
    pub labels: Vec<String>,
}

impl Axis {
    /// An axis whose places are counted from 1, as on the screen.
    pub fn numbered(name: impl Into<String>, length: usize) -> Self {
        Self::labelled(name, (1..=length).map(|place| place.to_string()))
    }

    /// An axis whose places have names.
    pub fn labelled(name: impl Into<String>, labels: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { name: name.into(), labels: labels.into_iter().map(Into::into).collect() }
    }
}

impl Numbers {
    /// An array with axes from the outermost to the innermost and row-major values. The writers check that they fit.
    pub fn new(name: impl Into<String>, axes: impl IntoIterator<Item = Axis>, values: Vec<f32>) -> Self {
        Self { name: name.into(), axes: axes.into_iter().collect(), values }
    }

    /// A single number.
    pub fn single(name: impl Into<String>, value: f32) -> Self {
        Self::new(name, [], vec![value])
    }

    /// The axes' lengths, from the outermost to the innermost.
    #[must_use]
    pub fn shape(&self) -> Vec<usize> {
        self.axes.iter().map(|axis| axis.labels.len()).collect()
    }

    /// Checks that the values fill the axes and that each axis can have a column of its own.
    ///
    /// # Errors
    /// If there are more or fewer values than places, or if an axis is named twice or as another column of the table.
    pub fn check(&self) -> Result<()> {
        let shape = self.shape();
        let places = shape.iter().try_fold(1_usize, |places, length| places.checked_mul(*length));
        let problem = if places != Some(self.values.len()) {
            format!("the array '{}' has {} values for axes of {shape:?}", self.name, self.values.len())
        } else if let Some(name) = self.ambiguous_axis() {
            format!("the array '{}' has an axis '{name}', and another column of that name", self.name)
        } else {
            return Ok(());
        };
        Err(Error::unusable(problem, "please report it"))
    }

    fn ambiguous_axis(&self) -> Option<&str> {
        let mut names = self.axes.iter().map(|axis| axis.name.as_str()).enumerate();
        let before = |at: usize, name: &str| self.axes.iter().take(at).any(|axis| axis.name == name);
        names.find(|&(at, name)| name == ARRAY || name == VALUE || before(at, name)).map(|(_, name)| name)
    }

    /// The labels of the value at `place`, one an axis.
    fn labels(&self, place: usize) -> impl Iterator<Item = &str> {
        let mut block = self.values.len();
        self.axes.iter().map(move |axis| {
            let within = place % block;
            block /= axis.labels.len();
            axis.labels[within / block].as_str()
        })
    }
}

/// One tidy table of all arrays as CSV: `array`, a column for each axis in order of first appearance, `value`.
///
/// An axis that an array doesn't have stays empty. Values are the shortest decimals that give the same f32 again. It is
/// UTF-8 with a byte order mark. An apostrophe goes before a text that a spreadsheet would run as a formula.
///
/// # Errors
/// As [`Numbers::check`].
pub fn csv(arrays: &[Numbers]) -> Result<Vec<u8>> {
    let failed = |error: &dyn std::error::Error| {
        Error::unusable(format!("the table can't be written ({error})"), "free some memory")
    };
    let mut columns: Vec<&str> = Vec::new();
    for array in arrays {
        array.check()?;
        for axis in &array.axes {
            if !columns.contains(&axis.name.as_str()) {
                columns.push(&axis.name);
            }
        }
    }
    let mut table = Writer::from_writer(BYTE_ORDER_MARK.as_bytes().to_vec());
    let header = std::iter::once(ARRAY).chain(columns.iter().copied()).chain([VALUE]);
    table.write_record(header.map(inert)).map_err(|error| failed(&error))?;
    let mut record = vec![String::new(); columns.len() + 2];
    for array in arrays {
        let places: Vec<_> =
            array.axes.iter().map(|axis| columns.iter().position(|column| *column == axis.name)).collect();
        record.fill(String::new());
        record[0] = inert(&array.name);
        for (place, value) in array.values.iter().enumerate() {
            for (column, label) in places.iter().zip(array.labels(place)) {
                if let Some(column) = column {
                    record[1 + column] = inert(label);
                }
            }
            record[1 + columns.len()] = value.to_string();
            table.write_record(&record).map_err(|error| failed(&error))?;
        }
    }
    table.into_inner().map_err(|error| failed(&error))
}

/// The text, with an apostrophe before it if a spreadsheet would take it for a formula: labels come from files that
/// anybody may have made. Numbers stay as they are, and so does a sign alone: it is a token often enough.
fn inert(text: &str) -> String {
    let start = text.trim_start_matches(|letter: char| letter.is_whitespace() || letter.is_control());
    let mut letters = start.chars();
    let signed = letters.next().is_some_and(|first| "=+-@＝＋－＠".contains(first)) && !letters.as_str().is_empty();
    let number = start.parse::<f64>().is_ok_and(f64::is_finite);
    if signed && !number { format!("'{text}") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Vec<Vec<String>> {
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(bytes);
        let rows = reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect());
        rows.collect()
    }

    #[test]
    fn a_table_of_arrays_with_different_axes() {
        let map =
            Numbers::new("map", [Axis::numbered("row", 2), Axis::numbered("column", 2)], vec![1., 0.1, -2., 1e-9]);
        let words =
            Numbers::new("words", [Axis::labelled("词", ["红, \"球\"", "🐶\n"])], vec![f32::NAN, f32::INFINITY]);
        let bytes = csv(&[map, Numbers::single("gap", 0.5), words]).unwrap();
        assert!(bytes.starts_with(BYTE_ORDER_MARK.as_bytes()));
        let expected = [
            ["array", "row", "column", "词", "value"],
            ["map", "1", "1", "", "1"],
            ["map", "1", "2", "", "0.1"],
            ["map", "2", "1", "", "-2"],
            ["map", "2", "2", "", "0.000000001"],
            ["gap", "", "", "", "0.5"],
            ["words", "", "", "红, \"球\"", "NaN"],
            ["words", "", "", "🐶\n", "inf"],
        ];
        assert_eq!(read(&bytes), expected);
    }

    #[test]
    fn values_come_back_to_the_bit() {
        let values = vec![f32::MIN_POSITIVE, f32::MAX, -0.0, 1.0 / 3.0, f32::from_bits(1), 16_777_217.0];
        let bytes = csv(&[Numbers::new("a", [Axis::numbered("n", values.len())], values.clone())]).unwrap();
        let back = read(&bytes).into_iter().skip(1).map(|row| row[2].parse::<f32>().unwrap().to_bits());
        assert!(back.eq(values.iter().map(|value| value.to_bits())));
    }

    #[test]
    fn the_last_axis_moves_fastest() {
        let axes = [Axis::labelled("a", ["x", "y"]), Axis::numbered("b", 3), Axis::labelled("c", ["p", "q"])];
        let array = Numbers::new("n", axes, (0..12).map(|value| value as f32).collect());
        assert!(array.labels(0).eq(["x", "1", "p"]));
        assert!(array.labels(7).eq(["y", "1", "q"]));
        assert!(array.labels(11).eq(["y", "3", "q"]));
    }

    #[test]
    fn nothing_is_a_table_too() {
        let empty = Numbers::new("none", [Axis::numbered("row", 3), Axis::numbered("column", 0)], Vec::new());
        assert_eq!(read(&csv(&[empty]).unwrap()), [["array", "row", "column", "value"]]);
        assert_eq!(read(&csv(&[]).unwrap()), [["array", "value"]]);
    }

    #[test]
    fn a_text_never_becomes_a_formula() {
        for text in ["=1+1", "+SUM(A1)", "-cmd|' /C calc'!A0", "@x", "\t=1+1", " =x", "＝1", "-1+1", "+inf"] {
            assert_eq!(inert(text), format!("'{text}"));
        }
        for text in ["", "a ball", "-", "=", "-1", "+1.5e3", "a=b", "'t"] {
            assert_eq!(inert(text), text);
        }
        let array = Numbers::new("=a", [Axis::labelled("token", ["=1+1"])], vec![1.0]);
        assert_eq!(read(&csv(&[array]).unwrap())[1], ["'=a", "'=1+1", "1"]);
    }

    #[test]
    fn what_does_not_fit_is_one_sentence() {
        let short = Numbers::new("map", [Axis::numbered("row", 2), Axis::numbered("column", 3)], vec![0.0; 5]);
        let said = csv(&[short]).unwrap_err().to_string();
        assert_eq!(said, "the array 'map' has 5 values for axes of [2, 3]; please report it");
        for names in [["row", "row"], ["row", "value"], ["array", "row"]] {
            let axes = names.map(|name| Axis::numbered(name, 1));
            let said = csv(&[Numbers::new("map", axes, vec![0.0])]).unwrap_err().to_string();
            assert!(said.contains("and another column of that name"), "{said}");
        }
    }
}
