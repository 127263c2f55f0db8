//! The pickled part of a file that torch wrote, which says what tensors there are.
//!
//! A pickle is a program for a small machine. Here the machine knows only what a dictionary of tensors takes, and what
//! a program asks to call is compared with a few names and never called. Every value is small and stands for itself or
//! for a row of a table, so that no program makes more of them than it has steps.
//!
//! candle reads such files too, but copies a value each time that the program names it, and values lie within values:
//! a few bytes can ask for more memory than there is, or for a deeper stack.

use std::collections::{BTreeMap, HashMap};

/// What went wrong, in lower case, without a full stop.
type Problem = String;

/// More steps than any checkpoint takes, its optimizer included.
const MOST_STEPS: usize = 1 << 20;
/// More axes than any weight has.
const MOST_AXES: usize = 8;
/// Longer than any weight's name, in bytes.
const LONGEST_NAME: usize = 512;
/// Under these keys training scripts keep the weights, beside the state of the optimizer.
const INNER: [&str; 2] = ["model_state_dict", "state_dict"];
/// What torch's `DistributedDataParallel` puts before each name.
const WRAPPER: &str = "module.";

/// Where a tensor lies in the file. Nothing here was held against the file's length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    /// Name of the storage.
    pub storage: String,
    /// Kind of the storage: `FloatStorage`.
    pub kind: String,
    /// Where the tensor begins in its storage, in numbers.
    pub offset: usize,
    /// Its shape.
    pub shape: Vec<usize>,
    /// How many numbers further the next one along each axis stands.
    pub stride: Vec<usize>,
}

/// The tensors by name.
pub(super) fn tensors(program: &[u8]) -> Result<BTreeMap<String, Stored>, Problem> {
    let mut machine = Machine::default();
    let Value::Dict(outer) = machine.run(&mut Program(program))? else {
        return Err("it doesn't hold tensors by name".into());
    };
    let inner = machine.dicts[outer].iter().find_map(|(key, value)| match (key, value) {
        (Value::Text(key), Value::Dict(inner)) if INNER.contains(key) => Some(*inner),
        _ => None,
    });
    let mut found = BTreeMap::new();
    for (key, value) in &machine.dicts[inner.unwrap_or(outer)] {
        if let (Value::Text(name), Value::Tensor(tensor)) = (key, value) {
            if name.len() > LONGEST_NAME {
                return Err(format!("it names a tensor with {} letters", name.len()));
            }
            let name = name.strip_prefix(WRAPPER).unwrap_or(name);
            found.insert(name.to_owned(), machine.tensors[*tensor].clone());
        }
    }
    Ok(found)
}

/// One value on the stack. Values with contents are rows of the machine's tables.
#[derive(Clone, Copy, Debug)]
enum Value<'a> {
    /// Where a group of values begins.
    Mark,
    /// Something that no tensor needs: a list, a fraction, a truth value.
    Other,
    Whole(i64),
    Text(&'a str),
    /// Module and name.
    Class(&'a str, &'a str),
    /// Kind and name.
    Storage(&'a str, &'a str),
    Tuple(usize),
    Dict(usize),
    Tensor(usize),
}

#[derive(Default)]
struct Machine<'a> {
    stack: Vec<Value<'a>>,
    memo: HashMap<u32, Value<'a>>,
    tuples: Vec<Vec<Value<'a>>>,
    dicts: Vec<Vec<(Value<'a>, Value<'a>)>>,
    tensors: Vec<Stored>,
}

impl<'a> Machine<'a> {
    /// Goes through the whole program; gives the value that it leaves.
    fn run(&mut self, program: &mut Program<'a>) -> Result<Value<'a>, Problem> {
        for _ in 0..MOST_STEPS {
            match program.byte()? {
                // The version of the language.
                0x80 => {
                    program.byte()?;
                }
                b'c' => {
                    let (module, name) = (program.line()?, program.line()?);
                    self.stack.push(Value::Class(module, name));
                }
                // To the memo, and back.
                b'q' => {
                    let place = program.byte()?.into();
                    self.keep(place)?;
                }
                b'r' => {
                    let place = program.word()?;
                    self.keep(place)?;
                }
                b'h' => {
                    let place = program.byte()?.into();
                    self.recall(place)?;
                }
                b'j' => {
                    let place = program.word()?;
                    self.recall(place)?;
                }
                b'(' => self.stack.push(Value::Mark),
                b')' => self.tuple(Vec::new()),
                b't' => {
                    let items = self.group()?;
                    self.tuple(items);
                }
                count @ 0x85..=0x87 => {
                    let items = self.top(usize::from(count - 0x84))?;
                    self.tuple(items);
                }
                // Nothing, true, false, an empty list.
                b'N' | 0x88 | 0x89 | b']' => self.stack.push(Value::Other),
                b'G' => {
                    program.take(8)?;
                    self.stack.push(Value::Other);
                }
                b'K' => self.stack.push(Value::Whole(program.byte()?.into())),
                b'M' => self.stack.push(Value::Whole(program.number(2)?)),
                b'J' => self.stack.push(Value::Whole(program.number(4)?)),
                0x8a => {
                    let length = program.byte()?.into();
                    self.stack.push(Value::Whole(program.number(length)?));
                }
                b'X' => {
                    let length = program.word()?;
                    self.stack.push(Value::Text(text(program.take(length as usize)?)?));
                }
                b'}' => self.dict(),
                b's' => {
                    let items = self.top(2)?;
                    self.insert(&items)?;
                }
                b'u' => {
                    let items = self.group()?;
                    self.insert(&items)?;
                }
                // Onto a list, whose items no tensor needs.
                b'a' => {
                    self.top(1)?;
                }
                b'e' => {
                    self.group()?;
                }
                // Attributes of an object: torch notes versions there.
                b'b' => {
                    self.top(1)?;
                }
                b'R' => self.call()?,
                b'Q' => self.storage()?,
                b'.' => return self.pop(),
                other => return Err(format!("it has the instruction {other:#04x}, which tensors don't need")),
            }
        }
        Err("its list of tensors goes on and on".into())
    }

    fn pop(&mut self) -> Result<Value<'a>, Problem> {
        self.stack.pop().ok_or_else(ends_early)
    }

    /// Takes the topmost values.
    fn top(&mut self, count: usize) -> Result<Vec<Value<'a>>, Problem> {
        let rest = self.stack.len().checked_sub(count).ok_or_else(ends_early)?;
        Ok(self.stack.split_off(rest))
    }

    /// Takes the values down to the mark, and the mark.
    fn group(&mut self) -> Result<Vec<Value<'a>>, Problem> {
        let mark = self.stack.iter().rposition(|value| matches!(value, Value::Mark)).ok_or_else(ends_early)?;
        let items = self.stack.split_off(mark + 1);
        self.stack.pop();
        Ok(items)
    }

    fn keep(&mut self, place: u32) -> Result<(), Problem> {
        let value = *self.stack.last().ok_or_else(ends_early)?;
        self.memo.insert(place, value);
        Ok(())
    }

    fn recall(&mut self, place: u32) -> Result<(), Problem> {
        let value = *self.memo.get(&place).ok_or_else(ends_early)?;
        self.stack.push(value);
        Ok(())
    }

    fn tuple(&mut self, items: Vec<Value<'a>>) {
        self.stack.push(Value::Tuple(self.tuples.len()));
        self.tuples.push(items);
    }

    fn dict(&mut self) {
        self.stack.push(Value::Dict(self.dicts.len()));
        self.dicts.push(Vec::new());
    }

    /// Keys and values, in turn, into the dictionary on top of the stack.
    fn insert(&mut self, items: &[Value<'a>]) -> Result<(), Problem> {
        match self.stack.last() {
            Some(Value::Dict(dict)) => {
                let pairs = items.chunks_exact(2).map(|pair| (pair[0], pair[1]));
                self.dicts[*dict].extend(pairs);
                Ok(())
            }
            Some(_) => Err("it puts names where there is no dictionary".into()),
            None => Err(ends_early()),
        }
    }

    /// What stands for the result of a call.
    fn call(&mut self) -> Result<(), Problem> {
        let (arguments, called) = (self.pop()?, self.pop()?);
        let (Value::Tuple(arguments), Value::Class(module, name)) = (arguments, called) else {
            return Err("it calls something without a name".into());
        };
        match (module, name) {
            ("collections", "OrderedDict" | "defaultdict") => self.dict(),
            ("torch._utils", "_rebuild_tensor_v2") => {
                let tensor = self.tensor(arguments)?;
                self.stack.push(Value::Tensor(self.tensors.len()));
                self.tensors.push(tensor);
            }
            ("torch._utils", "_rebuild_parameter") => {
                let tensor = self.tuples[arguments].first().copied();
                self.stack.push(tensor.unwrap_or(Value::Other));
            }
            _ => return Err(format!("it asks to run '{}', which isn't done", shown(&format!("{module}.{name}")))),
        }
        Ok(())
    }

    /// `('storage', class, name, device, length)` becomes a storage.
    fn storage(&mut self) -> Result<(), Problem> {
        let Value::Tuple(tuple) = self.pop()? else { return Err(ends_early()) };
        let [Value::Text("storage"), Value::Class(_, kind), Value::Text(name), ..] = self.tuples[tuple].as_slice()
        else {
            return Err("it has a storage of another kind than torch's".into());
        };
        self.stack.push(Value::Storage(kind, name));
        Ok(())
    }

    /// `(storage, offset, shape, stride, …)` as torch hands them to `_rebuild_tensor_v2`.
    fn tensor(&self, arguments: usize) -> Result<Stored, Problem> {
        let odd = || "it has a tensor without a shape".to_owned();
        let [Value::Storage(kind, storage), Value::Whole(offset), Value::Tuple(shape), Value::Tuple(stride), ..] =
            self.tuples[arguments].as_slice()
        else {
            return Err(odd());
        };
        let lengths = |tuple: usize| -> Result<Vec<usize>, Problem> {
            let lengths = &self.tuples[tuple];
            if lengths.len() > MOST_AXES {
                return Err(format!("it has a tensor with {} axes", lengths.len()));
            }
            let whole = |value: &Value<'_>| match value {
                Value::Whole(length) => usize::try_from(*length).ok(),
                _ => None,
            };
            lengths.iter().map(whole).collect::<Option<_>>().ok_or_else(odd)
        };
        Ok(Stored {
            storage: shown(storage),
            kind: shown(kind),
            offset: usize::try_from(*offset).map_err(|_| odd())?,
            shape: lengths(*shape)?,
            stride: lengths(*stride)?,
        })
    }
}

/// What is left of the program.
struct Program<'a>(&'a [u8]);

impl<'a> Program<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Problem> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(ends_early)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Problem> {
        Ok(self.take(1)?[0])
    }

    /// Four bytes without a sign.
    fn word(&mut self) -> Result<u32, Problem> {
        let bytes = self.take(4)?;
        Ok(bytes.iter().rev().fold(0, |number, byte| (number << 8) | u32::from(*byte)))
    }

    /// A number of `length` bytes; only two bytes come without a sign.
    fn number(&mut self, length: usize) -> Result<i64, Problem> {
        if length > 8 {
            return Err(format!("it has a number of {length} bytes"));
        }
        let bytes = self.take(length)?;
        let number = bytes.iter().rev().fold(0u64, |number, byte| (number << 8) | u64::from(*byte));
        let negative = length > 2 && bytes.last().is_some_and(|byte| *byte >= 0x80);
        let sign = if negative && length < 8 { u64::MAX << (8 * length) } else { 0 };
        Ok((number | sign).cast_signed())
    }

    /// The text up to the end of the line.
    fn line(&mut self) -> Result<&'a str, Problem> {
        let end = self.0.iter().position(|byte| *byte == b'\n').ok_or_else(ends_early)?;
        let line = text(self.take(end)?)?;
        self.byte()?;
        Ok(line)
    }
}

fn text(bytes: &[u8]) -> Result<&str, Problem> {
    std::str::from_utf8(bytes).map_err(|_| "it has a name that isn't text".to_owned())
}

fn ends_early() -> Problem {
    "its list of tensors is damaged".into()
}

/// At most 80 letters of a text, none of which disturbs a sentence.
fn shown(text: &str) -> String {
    text.escape_debug().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `{"w": tensor}` as torch 2 writes it, with `calls` in the place of the function that makes the tensor.
    fn file(calls: &str) -> Vec<u8> {
        let mut program = b"\x80\x02}q\0X\x01\0\0\0wq\x01".to_vec();
        program.extend(format!("c{calls}\nq\x02((X\x07\0\0\0storageq\x03ctorch\nFloatStorage\nq\x04").bytes());
        program.extend(b"X\x01\0\0\x000q\x05X\x03\0\0\0cpuq\x06K\x06tq\x07QK\0K\x02K\x03\x86q\x08K\x03K\x01\x86q\x09");
        program.extend(b"\x89ccollections\nOrderedDict\nq\x0a)Rq\x0btq\x0cRq\x0ds.");
        program
    }

    #[test]
    fn a_dictionary_of_tensors() {
        let found = tensors(&file("torch._utils\n_rebuild_tensor_v2")).unwrap();
        let expected = Stored {
            storage: "0".into(),
            kind: "FloatStorage".into(),
            offset: 0,
            shape: vec![2, 3],
            stride: vec![3, 1],
        };
        assert_eq!(found, BTreeMap::from([("w".to_owned(), expected)]));
    }

    #[test]
    fn nothing_else_is_called() {
        let said = tensors(&file("os\nsystem")).unwrap_err();
        assert_eq!(said, "it asks to run 'os.system', which isn't done");
        let said = tensors(&file(&format!("{}\nx\r", "o".repeat(10_000)))).unwrap_err();
        assert!(said.len() < 200 && !said.contains('\r'), "{said}");
    }

    #[test]
    fn every_damage_is_an_error_or_harmless() {
        let whole = file("torch._utils\n_rebuild_tensor_v2");
        for length in 0..whole.len() {
            assert!(tensors(&whole[..length]).is_err(), "{length} bytes");
        }
        for at in 0..whole.len() {
            for byte in 0..=u8::MAX {
                let mut damaged = whole.clone();
                damaged[at] = byte;
                let _ = tensors(&damaged);
            }
        }
    }

    #[test]
    fn programs_that_grow_without_end() {
        // A value within a value within a value; a pair of pairs of pairs; tuples that are copied again and again.
        let nested = [&[b')'][..], &[0x85; 1_000_000], b"."].concat();
        assert!(tensors(&nested).is_err());
        let pairs = [&b")q\0"[..], &b"h\0h\0\x86q\0".repeat(100_000), b"."].concat();
        assert!(tensors(&pairs).is_err());
        assert!(tensors(&b"}".repeat(3_000_000)).is_err());
        assert!(tensors(&b"(".repeat(2_000_000)).is_err());
        assert!(tensors(b"\x80\x02X\xff\xff\xff\xffx.").is_err());
        assert!(tensors(b"\x80\x02\x8a\xff.").is_err());
    }

    #[test]
    fn numbers() {
        let number = |bytes: &[u8]| Program(bytes).number(bytes.len());
        assert_eq!(number(&[0xff, 0xff]), Ok(65_535));
        assert_eq!(number(&[0xfe, 0xff, 0xff, 0xff]), Ok(-2));
        assert_eq!(number(&[0, 0, 0, 0x80, 0]), Ok(1 << 31));
        assert_eq!(number(&[0xff; 8]), Ok(-1));
        assert_eq!(number(&[]), Ok(0));
        assert!(number(&[0; 9]).is_err());
    }
}
