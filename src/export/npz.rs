//! The same numbers as numpy's `.npz`: a zip archive that isn't compressed, with an `.npy` file for each array.
//!
//! The zip crate is the one that candle brings. The head of an `.npy` is a single line, unchanged since 2007, so it is
//! written here: the crates for it bring a parser of Python's literals along, of which writing needs nothing.

use std::collections::HashSet;
use std::io::{Cursor, Write};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, System, ZipWriter};

use super::numbers::Numbers;
use crate::error::{Error, Result};

/// What an `.npy` file of version 1.0 starts with; the length of its head follows.
const PRELUDE: &[u8] = b"\x93NUMPY\x01\x00";

/// The arrays as the bytes of an `.npz` file.
///
/// Each array is `<f4` under its name; the labels of each axis are `<U…` under `<array>.<axis>`. What can't stand in a
/// file name becomes `_`, and a name that is taken already gets a number behind it. Labels are kept as they are, but
/// numpy drops zero characters at their end. The same arrays give the same bytes.
///
/// # Errors
/// As [`Numbers::check`], or if a file in the archive would exceed 4 GiB.
pub fn npz(arrays: &[Numbers]) -> Result<Vec<u8>> {
    let failed = |error: &dyn std::error::Error| {
        Error::unusable(format!("the numbers can't be stored ({error})"), "choose fewer of them")
    };
    // The time and the system would otherwise be those of the machine.
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(DateTime::default())
        .system(System::Unix);
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let mut taken = HashSet::new();
    let mut add = |name: String, content: Vec<u8>| -> Result<()> {
        archive.start_file(format!("{name}.npy"), options).map_err(|error| failed(&error))?;
        archive.write_all(&content).map_err(|error| failed(&error))
    };
    for array in arrays {
        array.check()?;
        let name = distinct(&mut taken, &file_safe(&array.name));
        add(name.clone(), npy("<f4", &array.shape(), array.values.iter().flat_map(|value| value.to_le_bytes())))?;
        for axis in &array.axes {
            let name = distinct(&mut taken, &format!("{name}.{}", file_safe(&axis.name)));
            add(name, texts(&axis.labels))?;
        }
    }
    let archive = archive.finish().map_err(|error| failed(&error))?;
    Ok(archive.into_inner())
}

/// Texts as an `.npy` file: each as many UTF-32 characters as the longest has, with zeros behind it.
fn texts(texts: &[String]) -> Vec<u8> {
    // To numpy `<U0` is a text of any length.
    let longest = texts.iter().map(|text| text.chars().count()).max().unwrap_or(0).max(1);
    let padded = texts.iter().flat_map(|text| text.chars().map(u32::from).chain(std::iter::repeat(0)).take(longest));
    npy(&format!("<U{longest}"), &[texts.len()], padded.flat_map(u32::to_le_bytes))
}

/// An `.npy` file, version 1.0: what `kind` of little-endian items, how many along each axis, the items themselves.
fn npy(kind: &str, shape: &[usize], items: impl Iterator<Item = u8>) -> Vec<u8> {
    let lengths: Vec<_> = shape.iter().map(usize::to_string).collect();
    // A Python tuple of one entry has a comma behind it.
    let comma = if lengths.len() == 1 { "," } else { "" };
    let shape = lengths.join(", ");
    let head = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({shape}{comma}), }}");
    // The items start at a multiple of 64 bytes, behind the prelude, the head and its line break.
    let start = (PRELUDE.len() + 2 + head.len() + 1).next_multiple_of(64);
    let length = start - PRELUDE.len() - 2;
    let mut file = PRELUDE.to_vec();
    file.extend((length as u16).to_le_bytes()); // numpy has at most 64 axes: a head is short
    file.extend(head.bytes());
    file.resize(start - 1, b' ');
    file.push(b'\n');
    file.extend(items);
    file
}

/// A name that can stand in a file name on every system; never a path.
fn file_safe(name: &str) -> String {
    let letter = |letter: char| if letter.is_alphanumeric() || "-_.".contains(letter) { letter } else { '_' };
    let safe: String = name.chars().map(letter).collect();
    match safe.trim_matches('.') {
        "" => "array".to_owned(),
        name => name.to_owned(),
    }
}

/// `wanted`, or `wanted_2` and so on if it is taken; also where a file system makes no difference between `A` and `a`.
fn distinct(taken: &mut HashSet<String>, wanted: &str) -> String {
    let mut name = wanted.to_owned();
    let mut number = 1;
    while !taken.insert(name.to_lowercase()) {
        number += 1;
        name = format!("{wanted}_{number}");
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::numbers::Axis;
    use std::io::Read;
    use zip::ZipArchive;

    fn names(bytes: &[u8]) -> Vec<String> {
        let archive = ZipArchive::new(Cursor::new(bytes)).unwrap();
        archive.file_names().map(|name| name.unwrap().into_owned()).collect()
    }

    fn content(bytes: &[u8], name: &str) -> Vec<u8> {
        let mut archive = ZipArchive::new(Cursor::new(bytes)).unwrap();
        let mut content = Vec::new();
        archive.by_name(name).unwrap().read_to_end(&mut content).unwrap();
        content
    }

    /// What numpy.save of numpy 2.4.6 writes: the head filled up to 128 bytes, then the items.
    fn numpy(head: &str, items: &[u8]) -> Vec<u8> {
        [b"\x93NUMPY\x01\x00v\x00", format!("{head:117}\n").as_bytes(), items].concat()
    }

    #[test]
    fn every_byte_is_as_numpy_writes_it() {
        let values = (0..6).map(|value| value as f32).collect();
        let map = Numbers::new("map", [Axis::numbered("row", 2), Axis::labelled("词", ["a", "红球", "🐶!"])], values);
        let bytes = npz(&[map, Numbers::single("gap", 1.0)]).unwrap();
        assert_eq!(names(&bytes), ["map.npy", "map.row.npy", "map.词.npy", "gap.npy"]);

        let head = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";
        let items = b"\0\0\0\0\0\0\x80?\0\0\0@\0\0@@\0\0\x80@\0\0\xa0@";
        assert_eq!(content(&bytes, "map.npy"), numpy(head, items));
        let head = "{'descr': '<U2', 'fortran_order': False, 'shape': (3,), }";
        let items = b"a\0\0\0\0\0\0\0\xa2~\0\0\x03t\0\x006\xf4\x01\0!\0\0\0";
        assert_eq!(content(&bytes, "map.词.npy"), numpy(head, items));
        let head = "{'descr': '<f4', 'fortran_order': False, 'shape': (), }";
        assert_eq!(content(&bytes, "gap.npy"), numpy(head, b"\0\0\x80?"));
    }

    #[test]
    fn arrays_of_no_values() {
        let axes = [Axis::labelled("token", ["", ""]), Axis::numbered("row", 0)];
        let bytes = npz(&[Numbers::new("none", axes, Vec::new())]).unwrap();
        let head = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 0), }";
        assert_eq!(content(&bytes, "none.npy"), numpy(head, b""));
        let head = "{'descr': '<U1', 'fortran_order': False, 'shape': (2,), }";
        assert_eq!(content(&bytes, "none.token.npy"), numpy(head, &[0; 8]));
        let head = "{'descr': '<U1', 'fortran_order': False, 'shape': (0,), }";
        assert_eq!(content(&bytes, "none.row.npy"), numpy(head, b""));
        assert_eq!(names(&npz(&[]).unwrap()), [""; 0]);
    }

    #[test]
    fn names_are_distinct_and_never_paths() {
        let arrays = ["map", "map", "Map_2", "../../etc", "a/b:c", "..", "map.row"]
            .map(|name| Numbers::new(name, [Axis::numbered("row", 1)], vec![0.0]));
        let names = names(&npz(&arrays).unwrap());
        let arrays: Vec<_> = names.iter().step_by(2).map(String::as_str).collect();
        let expected = ["map", "map_2", "Map_2_2", "_.._etc", "a_b_c", "array", "map.row_2"];
        assert_eq!(arrays, expected.map(|name| format!("{name}.npy")));
        let distinct: HashSet<_> = names.iter().map(|name| name.to_lowercase()).collect();
        assert_eq!((names.len(), distinct.len()), (14, 14));
    }

    #[test]
    fn the_same_arrays_give_the_same_bytes() {
        let array = Numbers::new("map", [Axis::numbered("row", 2)], vec![f32::NAN, 1.0]);
        let bytes = npz(std::slice::from_ref(&array)).unwrap();
        assert_eq!(bytes, npz(&[array]).unwrap());
        let mut archive = ZipArchive::new(Cursor::new(bytes)).unwrap();
        assert_eq!(archive.by_index(0).unwrap().last_modified(), Some(DateTime::default()));
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let said = npz(&[Numbers::new("map", [Axis::numbered("row", 2)], vec![0.0])]).unwrap_err().to_string();
        assert_eq!(said, "the array 'map' has 1 values for axes of [2]; please report it");
    }
}
