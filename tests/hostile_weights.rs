//! Weights that mean harm: archives that unfold to more than they are, headers that lie, numbers that are none. Each gives
//! one sentence, within bounded memory and time.

use std::fs;
use std::path::Path;

use alignscope::models::inventory;
use alignscope::models::memory::available;
use alignscope::models::weights::{Weights, extent};
use alignscope::nn::Parameters;
use candle_core::Device;
use safetensors::tensor::{Dtype, TensorView};
use tempfile::TempDir;

#[path = "common/bounded.rs"]
mod bounded;
use bounded::{alone, refused, within};

/// A folder with one file.
fn folder(name: &str, content: &[u8]) -> TempDir {
    let folder = TempDir::new().expect("a folder");
    fs::write(folder.path().join(name), content).expect("a file");
    folder
}

/// What is said of weights, of which `name` is asked for.
fn said(file: &str, content: &[u8], name: &'static str, shape: &'static [usize]) -> String {
    let folder = folder(file, content);
    let path = folder.path().to_path_buf();
    let said = refused(300, move || Weights::open(&path, &Device::Cpu)?.get(name, shape));
    assert!(said.contains(&folder.path().display().to_string()), "{said}");
    said
}

/// A file in an archive, as its own header and the list at the end describe it.
#[derive(Clone)]
struct Entry<'a> {
    name: &'a str,
    /// 0 is stored, 8 deflated.
    method: u16,
    /// What the list says, before and after unfolding.
    sizes: [u32; 2],
    content: &'a [u8],
    /// Where the list says that it begins, if not where it does.
    at: Option<u32>,
}

impl<'a> Entry<'a> {
    fn stored(name: &'a str, content: &'a [u8]) -> Self {
        let length = u32::try_from(content.len()).expect("a short file");
        Self { name, method: 0, sizes: [length; 2], content, at: None }
    }
}

fn checksum(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
    })
}

/// An archive; `count` is how many files it says it has, if not those that it has.
fn archive(entries: &[Entry<'_>], count: Option<u16>) -> Vec<u8> {
    let (mut out, mut list) = (Vec::new(), Vec::new());
    for entry in entries {
        let start = entry.at.unwrap_or(u32::try_from(out.len()).expect("a short archive"));
        let name = u16::try_from(entry.name.len()).expect("a short name");
        let mut about = vec![20, 0, 0, 0];
        about.extend(entry.method.to_le_bytes());
        about.extend([0; 4]);
        about.extend(checksum(entry.content).to_le_bytes());
        about.extend(entry.sizes.iter().flat_map(|size| size.to_le_bytes()));
        about.extend(name.to_le_bytes());
        about.extend([0; 2]);
        if entry.at.is_none() {
            out.extend(b"PK\x03\x04");
            out.extend(&about);
            out.extend(entry.name.bytes());
            out.extend(entry.content);
        }
        list.extend(b"PK\x01\x02\x14\0");
        list.extend(&about);
        list.extend([0; 10]);
        list.extend(start.to_le_bytes());
        list.extend(entry.name.bytes());
    }
    let count = count.unwrap_or(u16::try_from(entries.len()).unwrap_or(u16::MAX)).to_le_bytes();
    let start = u32::try_from(out.len()).expect("a short archive").to_le_bytes();
    let length = u32::try_from(list.len()).expect("a short list").to_le_bytes();
    out.extend(list);
    out.extend([&b"PK\x05\x06\0\0\0\0"[..], &count, &count, &length, &start, &[0; 2]].concat());
    out
}

/// The pickle of `{name: tensor}`, each of four numbers in the storage of that name.
fn pickle(tensors: &[(&str, &str)]) -> Vec<u8> {
    let text =
        |text: &str| [&b"X"[..], &u32::try_from(text.len()).expect("short").to_le_bytes(), text.as_bytes()].concat();
    let mut program = b"\x80\x02}".to_vec();
    for (name, storage) in tensors {
        program.extend(text(name));
        program.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        program.extend([text("storage"), b"ctorch\nFloatStorage\n".to_vec(), text(storage), text("cpu")].concat());
        program.extend(b"K\x04tQK\0K\x04\x85K\x01\x85\x89)tRs");
    }
    program.push(b'.');
    program
}

#[test]
fn an_ordinary_archive_is_read() {
    let _alone = alone();
    let pickle = pickle(&[("w", "0")]);
    let whole = archive(&[Entry::stored("a/data.pkl", &pickle), Entry::stored("a/data/0", &[0; 16])], None);
    let folder = folder("pytorch_model.bin", &whole);
    let weights = Weights::open(folder.path(), &Device::Cpu).expect("weights");
    assert_eq!(weights.get("w", &[4]).and_then(|w| Ok(w.to_vec1::<f32>()?)).expect("numbers"), [0.0; 4]);
}

#[test]
fn archives_that_unfold() {
    let _alone = alone();
    let pickle = pickle(&[("w", "0"), ("v", "../../0"), ("u", "/etc/passwd")]);
    let list = Entry::stored("a/data.pkl", &pickle);
    let storage = Entry::stored("a/data/0", &[0; 16]);
    let with = |entry: Entry<'_>| archive(&[list.clone(), entry], None);
    let ask = |whole: &[u8]| said("pytorch_model.bin", whole, "w", &[4]);
    // Compressed: a thousand times as much, as the list says.
    let squeezed = ask(&with(Entry { method: 8, sizes: [16, 16 << 20], ..storage.clone() }));
    assert!(squeezed.contains("compressed"), "{squeezed}");
    let squeezed = ask(&archive(&[Entry { method: 8, ..list.clone() }, storage.clone()], None));
    assert!(squeezed.contains("compressed"), "{squeezed}");
    // Stored, and longer than the file.
    ask(&with(Entry { sizes: [u32::MAX - 1; 2], ..storage.clone() }));
    ask(&with(Entry { sizes: [16, u32::MAX - 1], ..storage.clone() }));
    ask(&with(Entry { sizes: [0; 2], ..storage.clone() }));
    // On each other, and on the list of tensors.
    ask(&with(Entry { at: Some(0), ..storage.clone() }));
    ask(&with(Entry { at: Some(u32::MAX), ..storage.clone() }));
    // More files than there are, and fewer.
    for count in [0, 1, 3, u16::MAX] {
        let whole = archive(&[list.clone(), storage.clone()], Some(count));
        let folder = folder("pytorch_model.bin", &whole);
        within(100, move || {
            Weights::open(folder.path(), &Device::Cpu).and_then(|weights| weights.get("w", &[4])).is_ok()
        });
    }
    // Names that lead out of the archive are names in it and nothing else.
    let whole = archive(&[list, storage, Entry::stored("../../../etc/passwd", &[0; 16])], None);
    for name in ["v", "u"] {
        let outside = said("pytorch_model.bin", &whole, name, &[4]);
        assert!(outside.contains(&format!("of the tensor '{name}'")), "{outside}");
    }
}

#[test]
fn archives_of_very_many_files() {
    let _alone = alone();
    // One file in two hundred thousand places.
    let pickle = pickle(&[("w", "0")]);
    let names: Vec<String> = (0..60_000).map(|number| format!("a/data/{number}")).collect();
    let mut entries = vec![Entry::stored("a/data.pkl", &pickle), Entry::stored("a/data/0", &[0; 16])];
    entries.extend(names.iter().skip(1).map(|name| Entry { at: Some(0), ..Entry::stored(name, &[0; 16]) }));
    let folder = folder("pytorch_model.bin", &archive(&entries, None));
    within(200, move || Weights::open(folder.path(), &Device::Cpu).map(|weights| weights.get("w", &[4]))).ok();
}

#[test]
fn a_storage_that_many_tensors_share_is_never_there_twice() {
    let _alone = alone();
    let names: Vec<String> = (0..200).map(|number| format!("w{number}")).collect();
    let tensors: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "0")).collect();
    let pickle = pickle(&tensors);
    let large = vec![0; 32 << 20];
    let whole = archive(&[Entry::stored("a/data.pkl", &pickle), Entry::stored("a/data/0", &large)], None);
    let folder = folder("pytorch_model.bin", &whole);
    within(200, move || {
        let weights = Weights::open(folder.path(), &Device::Cpu).expect("weights");
        let all: Vec<_> = names.iter().take(8).map(|name| weights.get(name, &[4]).expect("numbers")).collect();
        assert_eq!(all.len(), 8);
    });
}

/// A safetensors file with this header and so many bytes behind it.
fn headed(header: &str, data: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; data]].concat()
}

#[test]
fn headers_that_lie() {
    let _alone = alone();
    let tensor = |name: &str, dtype: &str, shape: &str, from: usize, to: usize| {
        format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{from},{to}]}}"#)
    };
    let w = tensor("w", "F32", "[4]", 0, 16);
    let cases = [
        // On each other, with a hole, backwards, beyond the end, twice by one name.
        (format!("{{{w},{}}}", tensor("v", "F32", "[4]", 0, 16)), 16),
        (format!("{{{w},{}}}", tensor("v", "F32", "[4]", 8, 24)), 24),
        (format!("{{{w},{}}}", tensor("v", "F32", "[4]", 20, 36)), 36),
        (format!("{{{}}}", tensor("w", "F32", "[4]", 16, 0)), 16),
        (format!("{{{}}}", tensor("w", "F32", "[4]", 0, 32)), 16),
        (format!("{{{w},{}}}", tensor("w", "F32", "[4]", 16, 32)), 32),
        // Products of axes that a number can't hold.
        (format!("{{{}}}", tensor("w", "F32", "[4294967296,4294967296,4]", 0, 16)), 16),
        (format!("{{{}}}", tensor("w", "F32", "[18446744073709551615,18446744073709551615]", 0, 4)), 4),
        (format!("{{{}}}", tensor("w", "F32", "[1e3]", 0, 16)), 16),
        (format!("{{{}}}", tensor("w", "F31", "[4]", 0, 16)), 16),
        (format!("{{{}}}", tensor("w", "F\\n\\u001b[31m32", "[4]", 0, 16)), 16),
        (format!(r#"{{"__metadata__":{{"a":{{}}}},{w}}}"#), 16),
        (format!("{}{w}", "[".repeat(1 << 20)), 16),
        (r#"{"a":"#.repeat(1 << 20), 16),
    ];
    for (header, data) in cases {
        let said = said("model.safetensors", &headed(&header, data), "w", &[4]);
        assert!(said.contains("fetch it again"), "{said}");
    }
}

#[test]
fn long_headers_take_no_more_than_their_share() {
    let _alone = alone();
    // As long as the format allows: names without numbers, notes, and brackets.
    let nothing = (0..1_000_000)
        .map(|number| format!(r#""{number}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#))
        .collect::<Vec<_>>()
        .join(",");
    let notes = (0..3_000_000).map(|number| format!(r#""{number}":"""#)).collect::<Vec<_>>().join(",");
    let brackets = vec!["[0]"; 8_000_000].join(",");
    let zeros = vec!["0"; 16_000_000].join(",");
    let headers = [
        format!("{{{nothing}}}"),
        format!(r#"{{"__metadata__":{{{notes}}}}}"#),
        format!(r#"{{"__metadata__":{{"a":[{brackets}]}}}}"#),
        format!(r#"{{"a":{{"b":[{brackets}]}}}}"#),
        format!(r#"{{"a":{{"dtype":"F32","shape":[{zeros}],"data_offsets":[0,0]}}}}"#),
    ];
    for header in headers {
        let folder = folder("model.safetensors", &headed(&header, 0));
        drop(header);
        within(700, move || Weights::open(folder.path(), &Device::Cpu).is_ok());
    }
}

#[test]
fn numbers_that_no_weight_has() {
    let _alone = alone();
    let bytes = [0_u8; 64];
    for dtype in [
        Dtype::BOOL,
        Dtype::U8,
        Dtype::I8,
        Dtype::F8_E4M3,
        Dtype::F8_E5M2,
        Dtype::I16,
        Dtype::I32,
        Dtype::I64,
        Dtype::U64,
        Dtype::F4,
    ] {
        let data = &bytes[..16 * dtype.bitsize() / 8 / 2];
        let view = TensorView::new(dtype, vec![8], data).expect("a tensor");
        let whole = safetensors::serialize([("w", view)], None).expect("a file");
        let said = said("model.safetensors", &whole, "w", &[8]);
        assert!(said.contains(&format!("is stored as {dtype:?}")), "{said}");
    }
    let odd = [
        (Dtype::F32, f32::NAN.to_le_bytes().to_vec()),
        (Dtype::F32, f32::NEG_INFINITY.to_le_bytes().to_vec()),
        (Dtype::F64, f64::NAN.to_le_bytes().to_vec()),
        // Finite, but not as f32.
        (Dtype::F64, 1e300_f64.to_le_bytes().to_vec()),
        (Dtype::F16, 0x7C00_u16.to_le_bytes().to_vec()),
        (Dtype::F16, 0x7E01_u16.to_le_bytes().to_vec()),
        (Dtype::BF16, 0xFF80_u16.to_le_bytes().to_vec()),
        (Dtype::BF16, 0x7FC1_u16.to_le_bytes().to_vec()),
    ];
    for (dtype, number) in odd {
        let size = number.len();
        let data = [vec![0; size * 3], number].concat();
        let view = TensorView::new(dtype, vec![4], &data).expect("a tensor");
        let whole = safetensors::serialize([("w", view)], None).expect("a file");
        let said = said("model.safetensors", &whole, "w", &[4]);
        assert!(said.contains("aren't finite"), "{dtype:?}: {said}");
    }
}

#[test]
fn weights_that_the_machine_cannot_hold_are_not_read() {
    let _alone = alone();
    // True in themselves, and empty: a file with a hole of four terabytes.
    let header = r#"{"w":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}"#;
    let folder = folder("model.safetensors", &headed(header, 0));
    let path = folder.path().join("model.safetensors");
    let length = fs::metadata(&path).expect("a file").len() + (4 << 40);
    if fs::OpenOptions::new().write(true).open(&path).and_then(|file| file.set_len(length)).is_err() {
        return; // not on a file system of this kind
    }
    assert_eq!(extent(folder.path()).expect("an extent").parameters, 1 << 40);
    if available().is_some() {
        let path = folder.path().to_path_buf();
        let said = refused(10, move || Weights::open(&path, &Device::Cpu)?.get("w", &[1 << 40]));
        assert!(said.contains("memory"), "{said}");
    }
}

#[test]
fn what_is_in_the_cache_is_counted_however_absurd() {
    let _alone = alone();
    let huge = b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f";
    let list = String::from_utf8_lossy(&pickle(&[("w", "0")])).into_owned();
    assert!(list.contains('w'));
    let mut program = pickle(&[("w", "0")]);
    let at = program.windows(3).position(|window| window == b"K\x04\x85").expect("a shape");
    program.splice(at..at + 3, [&huge[..], huge, b"\x86"].concat());
    let at = program.windows(3).position(|window| window == b"K\x01\x85").expect("a stride");
    program.splice(at..at + 3, *b"K\x01K\x01\x86");
    let cache = TempDir::new().expect("a folder");
    let snapshot = cache.path().join("models--org--huge/snapshots/abc");
    fs::create_dir_all(&snapshot).expect("a folder");
    fs::write(snapshot.join("config.json"), r#"{"architectures": ["CLIPModel"]}"#).expect("a file");
    let whole = archive(&[Entry::stored("a/data.pkl", &program), Entry::stored("a/data/0", &[0; 16])], None);
    fs::write(snapshot.join("pytorch_model.bin"), whole).expect("a file");
    let entry = inventory::Entry::look(false, "org/huge".into(), snapshot, Some(1 << 30));
    assert_eq!(entry.fits, Some(false), "{entry:?}");
    assert_eq!(Path::new(&entry.name), Path::new("org/huge"));
}
