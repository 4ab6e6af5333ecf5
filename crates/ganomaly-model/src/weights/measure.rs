//! Measures a pickle before it is interpreted: what candle's interpreter would build from it, how
//! deep, and which names it uses.
//!
//! It follows the interpreter operation by operation, with sizes in place of values. What it
//! accepts is well-formed, at most [`MAX_DEPTH`] deep (values are copied and freed recursively),
//! and takes no more memory than allowed.

use super::ReadLimits;
use candle_core::pickle::{Object, Stack};
use std::collections::HashMap;

/// Deepest nesting. A state dict is 7 deep.
const MAX_DEPTH: u32 = 64;
/// Bytes of a value without what it points to; an upper bound for the interpreter's values.
const VALUE: u64 = 80;

/// What the interpreter would do with a value.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Mark,
    List,
    Dict,
    /// The name of a dictionary type; calling it gives an empty one.
    DictName,
    Other,
}

#[derive(Clone, Copy)]
struct Value {
    kind: Kind,
    bytes: u64,
    depth: u32,
}

struct Machine<'a> {
    code: &'a [u8],
    at: usize,
    stack: Vec<Value>,
    memo: HashMap<u32, Value>,
    left: u64,
}

type Result<T> = std::result::Result<T, String>;

/// What the pickle at the start of `code` builds, and its length. It is rejected if it is malformed,
/// names anything that tensors do not need, or would take more memory than 16 times its limit.
pub(super) fn measured(code: &[u8], limits: &ReadLimits) -> Result<(Object, usize)> {
    let left = limits.header_bytes.saturating_mul(16);
    let mut machine = Machine { code, at: 0, stack: Vec::new(), memo: HashMap::new(), left };
    while machine.step()? {}
    let mut stack = Stack::empty();
    stack.read_loop(&mut &code[..machine.at]).map_err(|e| e.to_string())?;
    Ok((stack.finalize().map_err(|e| e.to_string())?, machine.at))
}

/// Names that a file of tensors uses. None of them is called.
fn is_known(module: &str, name: &str) -> bool {
    match module {
        "collections" => matches!(name, "OrderedDict" | "defaultdict"),
        "torch._utils" => matches!(name, "_rebuild_tensor_v2" | "_rebuild_parameter"),
        "torch._tensor" => name == "_rebuild_from_type_v2",
        "torch.nn.parameter" => name == "Parameter",
        "torch" => matches!(name, "Tensor" | "Size") || name.ends_with("Storage"),
        _ => false,
    }
}

impl<'a> Machine<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let bytes = self.at.checked_add(n).and_then(|end| self.code.get(self.at..end));
        let bytes = bytes.ok_or("it ends in the middle of an operation")?;
        self.at += n;
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32> {
        let b = self.take(4)?;
        Ok(u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
    }

    fn line(&mut self) -> Result<&'a str> {
        let len = self.code[self.at..].iter().position(|&b| b == b'\n');
        let line = self.take(len.ok_or("it ends in the middle of a name")? + 1)?;
        std::str::from_utf8(&line[..line.len() - 1]).map_err(|_| "a name is not text".into())
    }

    fn spend(&mut self, bytes: u64) -> Result<()> {
        self.left = self.left.checked_sub(bytes).ok_or("it builds more than weights need")?;
        Ok(())
    }

    fn push(&mut self, kind: Kind, more: u64, depth: u32) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(format!("its values are nested more than {MAX_DEPTH} deep"));
        }
        self.spend(VALUE)?;
        self.stack.push(Value { kind, bytes: VALUE.saturating_add(more), depth });
        Ok(())
    }

    fn plain(&mut self, operand: usize) -> Result<()> {
        self.take(operand)?;
        self.push(Kind::Other, 0, 0)
    }

    fn pop(&mut self) -> Result<Value> {
        self.stack.pop().ok_or_else(|| "it takes from an empty stack".into())
    }

    /// Packs `n` values into one.
    fn pack(&mut self, n: usize) -> Result<()> {
        let mut all = (0, 0);
        for _ in 0..n {
            let value = self.pop()?;
            all = (value.bytes.saturating_add(all.0), value.depth.max(all.1));
        }
        self.push(Kind::Other, all.0, all.1 + 1)
    }

    /// Pops everything above the last mark, and the mark.
    fn above_mark(&mut self) -> Result<(usize, u64, u32)> {
        let (mut n, mut bytes, mut depth) = (0, 0u64, 0);
        loop {
            let value = self.pop()?;
            if value.kind == Kind::Mark {
                return Ok((n, bytes, depth));
            }
            (n, bytes, depth) = (n + 1, bytes.saturating_add(value.bytes), depth.max(value.depth));
        }
    }

    /// Puts values into the list or dictionary on top.
    fn fill(&mut self, kind: Kind, bytes: u64, depth: u32) -> Result<()> {
        // A vector may have twice the capacity it needs.
        self.spend(bytes)?;
        let top = self.stack.last_mut().filter(|top| top.kind == kind);
        let top = top.ok_or("it fills what is neither a list nor a dictionary")?;
        top.bytes = top.bytes.saturating_add(bytes);
        top.depth = top.depth.max(depth + 1);
        if top.depth > MAX_DEPTH {
            return Err(format!("its values are nested more than {MAX_DEPTH} deep"));
        }
        Ok(())
    }

    fn put(&mut self, id: u32) -> Result<()> {
        let value = *self.stack.last().ok_or("it remembers what is not there")?;
        self.spend(value.bytes)?;
        self.memo.insert(id, value);
        Ok(())
    }

    fn get(&mut self, id: u32) -> Result<()> {
        let value = *self.memo.get(&id).ok_or("it asks for what it never remembered")?;
        self.spend(value.bytes)?;
        self.stack.push(value);
        Ok(())
    }

    /// One operation; false after the last.
    fn step(&mut self) -> Result<bool> {
        let operation = self.take(1)?[0];
        match operation {
            0x80 => drop(self.take(1)?),
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                if !is_known(module, name) {
                    return Err(format!(
                        "it names {:?}, which no file of weights needs (it was not called: nothing in such a file is). \
                         Save the state dict alone",
                        format!("{module}.{name}")
                    ));
                }
                let kind = if module == "collections" { Kind::DictName } else { Kind::Other };
                let len = (module.len() + name.len()) as u64;
                self.spend(len)?;
                self.push(kind, len, 0)?;
            }
            b'X' => {
                let len = self.u32()?;
                let text = self.take(len as usize)?;
                std::str::from_utf8(text).map_err(|_| "a string is not text")?;
                self.spend(u64::from(len))?;
                self.push(Kind::Other, u64::from(len), 0)?;
            }
            0x8a => {
                let len = self.take(1)?[0];
                if len > 8 {
                    return Err(format!("a number has {len} bytes"));
                }
                self.plain(usize::from(len))?;
            }
            b'K' => self.plain(1)?,
            b'M' => self.plain(2)?,
            b'J' => self.plain(4)?,
            b'G' => self.plain(8)?,
            b'N' | 0x88 | 0x89 | b')' => self.plain(0)?,
            b'(' => self.push(Kind::Mark, 0, 0)?,
            b']' => self.push(Kind::List, 0, 0)?,
            b'}' => self.push(Kind::Dict, 0, 0)?,
            b't' => {
                let (_, bytes, depth) = self.above_mark()?;
                self.push(Kind::Other, bytes, depth + 1)?;
            }
            0x85 | b'Q' => self.pack(1)?,
            0x86 | 0x81 => self.pack(2)?,
            0x87 => self.pack(3)?,
            b'R' => {
                if self.stack.iter().nth_back(1).is_some_and(|f| f.kind == Kind::DictName) {
                    self.pack(2)?;
                    self.pop()?;
                    self.push(Kind::Dict, 0, 0)?;
                } else {
                    self.pack(2)?;
                }
            }
            b'b' => {
                if self.stack.iter().rev().take(2).all(|v| v.kind == Kind::Dict) {
                    let more = self.pop()?;
                    self.fill(Kind::Dict, more.bytes, more.depth)?;
                } else {
                    self.pack(2)?;
                }
            }
            b'a' => {
                let value = self.pop()?;
                self.fill(Kind::List, value.bytes, value.depth)?;
            }
            b'e' => {
                let (_, bytes, depth) = self.above_mark()?;
                self.fill(Kind::List, bytes, depth)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                let bytes = value.bytes.saturating_add(key.bytes);
                self.fill(Kind::Dict, bytes, value.depth.max(key.depth))?;
            }
            b'u' => {
                let (n, bytes, depth) = self.above_mark()?;
                if n % 2 != 0 {
                    return Err("a key of a dictionary has no value".into());
                }
                self.fill(Kind::Dict, bytes, depth)?;
            }
            b'h' => {
                let id = self.take(1)?[0];
                self.get(u32::from(id))?;
            }
            b'j' => {
                let id = self.u32()?;
                self.get(id)?;
            }
            b'q' => {
                let id = self.take(1)?[0];
                self.put(u32::from(id))?;
            }
            b'r' => {
                let id = self.u32()?;
                self.put(id)?;
            }
            b'.' => {
                self.pop()?;
                return Ok(false);
            }
            _ => return Err(format!("operation {operation:#04x} is none that weights need")),
        }
        Ok(true)
    }
}
