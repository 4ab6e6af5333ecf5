//! Writes protobuf messages: the little that two formats take, of which the whole definitions would
//! need a compiler of their own.

/// A message under construction. Fields are written in the order of the calls.
#[derive(Clone, Debug, Default)]
pub struct Message(Vec<u8>);

/// How a value is written.
#[derive(Clone, Copy)]
enum Wire {
    Varint = 0,
    EightBytes = 1,
    Length = 2,
    FourBytes = 5,
}

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn field(mut self, field: u64, wire: Wire, value: &[u8]) -> Self {
        self.varint(field << 3 | wire as u64);
        if matches!(wire, Wire::Length) {
            self.varint(value.len() as u64);
        }
        self.0.extend(value);
        self
    }

    /// A whole number (int32, int64, an enum's).
    #[must_use]
    pub fn int(self, field: u64, value: i64) -> Self {
        let mut number = Self::default();
        // Negative numbers take ten bytes.
        number.varint(value as u64);
        self.field(field, Wire::Varint, &number.0)
    }

    /// A float.
    #[must_use]
    pub fn float(self, field: u64, value: f32) -> Self {
        self.field(field, Wire::FourBytes, &value.to_le_bytes())
    }

    /// A double.
    #[must_use]
    pub fn double(self, field: u64, value: f64) -> Self {
        self.field(field, Wire::EightBytes, &value.to_le_bytes())
    }

    /// Bytes.
    #[must_use]
    pub fn bytes(self, field: u64, bytes: &[u8]) -> Self {
        self.field(field, Wire::Length, bytes)
    }

    /// A string.
    #[must_use]
    pub fn text(self, field: u64, text: &str) -> Self {
        self.bytes(field, text.as_bytes())
    }

    /// A message inside of this one.
    #[must_use]
    pub fn message(self, field: u64, message: &Self) -> Self {
        self.bytes(field, &message.0)
    }

    /// What `add` adds for each item.
    #[must_use]
    pub fn each<T>(self, items: &[T], add: impl Fn(Self, &T) -> Self) -> Self {
        items.iter().fold(self, add)
    }

    /// The message's bytes.
    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_protobuf() {
        // The encodings of 150, "testing" and 300 in protobuf's own documentation.
        assert_eq!(Message::default().int(1, 150).finish(), [0x08, 0x96, 0x01]);
        let text = Message::default().text(2, "testing").finish();
        assert_eq!(text, [&[0x12, 0x07], &b"testing"[..]].concat());
        assert_eq!(Message::default().int(1, 300).finish()[1..], [0xac, 0x02]);
        let inner = Message::default().int(1, 150);
        assert_eq!(Message::default().message(3, &inner).finish(), [0x1a, 3, 0x08, 0x96, 0x01]);
        assert_eq!(Message::default().float(2, 0.5).finish(), [0x15, 0, 0, 0, 0x3f]);
        assert_eq!(Message::default().double(1, 1.0).finish().len(), 9);
        assert_eq!(Message::default().int(1, -1).finish().len(), 11);
    }
}
