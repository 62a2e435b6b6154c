//! AMF0, the values in RTMP's commands (Adobe AMF0 specification, 2007). Pure.
//!
//! Encoding keeps properties in the order given, because some servers care. Decoding is lenient and bounded: it hands out the
//! values up to the first one that it cannot read, goes no deeper than `MAX_DEPTH` and stops after `MAX_VALUES`; what a
//! server sends may be nonsense, and neither a panic nor an exhausted stack is an answer to it. References and AVM+ values
//! are not supported: nothing that a publisher must understand uses them.

const MAX_DEPTH: usize = 8;
const MAX_VALUES: usize = 1024;

const NUMBER: u8 = 0;
const BOOLEAN: u8 = 1;
const STRING: u8 = 2;
const OBJECT: u8 = 3;
const NULL: u8 = 5;
const UNDEFINED: u8 = 6;
const REFERENCE: u8 = 7;
const ECMA_ARRAY: u8 = 8;
const OBJECT_END: u8 = 9;
const STRICT_ARRAY: u8 = 10;
const DATE: u8 = 11;
const LONG_STRING: u8 = 12;
const UNSUPPORTED: u8 = 13;
const XML: u8 = 15;
const TYPED_OBJECT: u8 = 16;

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Number(f64),
    Boolean(bool),
    String(String),
    Object(Vec<(String, Value)>),
    /// The same as an object, but for the marker; `onMetaData` is one by custom.
    EcmaArray(Vec<(String, Value)>),
    Array(Vec<Value>),
    Null,
    Undefined,
}

impl Value {
    pub fn string(text: impl Into<String>) -> Self {
        Self::String(text.into())
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    pub fn as_number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// A property of an object.
    pub fn get(&self, name: &str) -> Option<&Value> {
        match self {
            Self::Object(properties) | Self::EcmaArray(properties) => {
                properties.iter().find(|(key, _)| key == name).map(|(_, value)| value)
            }
            _ => None,
        }
    }
}

pub fn encode(values: &[Value]) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    values.iter().for_each(|value| put(value, &mut out));
    out
}

fn put(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Number(number) => {
            out.push(NUMBER);
            out.extend(number.to_be_bytes());
        }
        Value::Boolean(truth) => out.extend([BOOLEAN, u8::from(*truth)]),
        Value::String(text) => put_string(text, out),
        Value::Object(properties) => {
            out.push(OBJECT);
            put_properties(properties, out);
        }
        Value::EcmaArray(properties) => {
            out.push(ECMA_ARRAY);
            out.extend((properties.len() as u32).to_be_bytes());
            put_properties(properties, out);
        }
        Value::Array(values) => {
            out.push(STRICT_ARRAY);
            out.extend((values.len() as u32).to_be_bytes());
            values.iter().for_each(|value| put(value, out));
        }
        Value::Null => out.push(NULL),
        Value::Undefined => out.push(UNDEFINED),
    }
}

fn put_string(text: &str, out: &mut Vec<u8>) {
    match u16::try_from(text.len()) {
        Ok(length) => {
            out.push(STRING);
            out.extend(length.to_be_bytes());
        }
        Err(_) => {
            out.push(LONG_STRING);
            out.extend((text.len() as u32).to_be_bytes());
        }
    }
    out.extend(text.as_bytes());
}

fn put_properties(properties: &[(String, Value)], out: &mut Vec<u8>) {
    // A name that is empty would end the object and one beyond 65535 bytes has no encoding: both are left out.
    for (name, value) in properties.iter().filter(|(name, _)| (1..=usize::from(u16::MAX)).contains(&name.len())) {
        out.extend((name.len() as u16).to_be_bytes());
        out.extend(name.as_bytes());
        put(value, out);
    }
    out.extend([0, 0, OBJECT_END]);
}

/// The values that can be read; the first one that cannot ends the list.
pub fn decode(bytes: &[u8]) -> Vec<Value> {
    let mut input = Input { bytes, values_left: MAX_VALUES };
    std::iter::from_fn(|| input.value(0)).collect()
}

struct Input<'a> {
    bytes: &'a [u8],
    values_left: usize,
}

impl<'a> Input<'a> {
    fn value(&mut self, depth: usize) -> Option<Value> {
        self.values_left = self.values_left.checked_sub(1)?;
        if depth > MAX_DEPTH {
            return None;
        }
        Some(match self.byte()? {
            NUMBER => Value::Number(self.number()?),
            BOOLEAN => Value::Boolean(self.byte()? != 0),
            STRING => Value::String(self.short_string()?),
            OBJECT => Value::Object(self.properties(depth)?),
            NULL => Value::Null,
            UNDEFINED | UNSUPPORTED => Value::Undefined,
            REFERENCE => self.take(2).map(|_| Value::Undefined)?,
            ECMA_ARRAY => self.take(4).and_then(|_| self.properties(depth)).map(Value::EcmaArray)?,
            STRICT_ARRAY => Value::Array(self.array(depth)?),
            DATE => {
                let milliseconds = self.number()?;
                self.take(2)?;
                Value::Number(milliseconds)
            }
            LONG_STRING | XML => Value::String(self.long_string()?),
            TYPED_OBJECT => self.short_string().and_then(|_| self.properties(depth)).map(Value::Object)?,
            _ => return None,
        })
    }

    fn properties(&mut self, depth: usize) -> Option<Vec<(String, Value)>> {
        let mut properties = Vec::new();
        loop {
            let name = self.short_string()?;
            if name.is_empty() && self.bytes.first() == Some(&OBJECT_END) {
                self.byte();
                return Some(properties);
            }
            properties.push((name, self.value(depth + 1)?));
        }
    }

    fn array(&mut self, depth: usize) -> Option<Vec<Value>> {
        let count = self.long()?;
        (0..count).map(|_| self.value(depth + 1)).collect()
    }

    fn short_string(&mut self) -> Option<String> {
        let length = u16::from_be_bytes(self.take(2)?.try_into().ok()?);
        self.text(usize::from(length))
    }

    fn long_string(&mut self) -> Option<String> {
        let length = self.long()?;
        self.text(length as usize)
    }

    fn text(&mut self, length: usize) -> Option<String> {
        self.take(length).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    fn long(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_be_bytes)
    }

    fn number(&mut self) -> Option<f64> {
        self.take(8)?.try_into().ok().map(f64::from_be_bytes)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(count)?;
        self.bytes = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn info() -> Value {
        Value::Object(vec![("level".into(), Value::string("status")), ("code".into(), Value::string("NetStream.Publish.Start"))])
    }

    #[test]
    fn properties_keep_their_order() {
        let bytes = encode(&[Value::Object(vec![("b".into(), Value::Null), ("a".into(), Value::Boolean(true))])]);
        assert_eq!(bytes, [3, 0, 1, b'b', 5, 0, 1, b'a', 1, 1, 0, 0, 9]);
        let bytes = encode(&[Value::EcmaArray(vec![("a".into(), Value::Null)])]);
        assert_eq!(bytes, [8, 0, 0, 0, 1, 0, 1, b'a', 5, 0, 0, 9]);
    }

    #[test]
    fn what_follows_the_unreadable_is_left_out() {
        let mut bytes = encode(&[Value::string("onStatus"), Value::Number(0.0)]);
        bytes.extend([17, 1, 2, 3]);
        assert_eq!(decode(&bytes), [Value::string("onStatus"), Value::Number(0.0)]);
        let cut = encode(&[Value::string("onStatus"), info()]);
        assert_eq!(decode(&cut[..cut.len() - 1]), [Value::string("onStatus")]);
    }

    #[test]
    fn rare_markers_are_read() {
        let table: [(&[u8], Value); 6] = [
            (&[11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Value::Number(0.0)),
            (&[12, 0, 0, 0, 1, b'x'], Value::string("x")),
            (&[7, 0, 1], Value::Undefined),
            (&[13], Value::Undefined),
            (&[16, 0, 1, b'T', 0, 1, b'a', 5, 0, 0, 9], Value::Object(vec![("a".into(), Value::Null)])),
            (&[10, 0, 0, 0, 2, 5, 5], Value::Array(vec![Value::Null, Value::Null])),
        ];
        for (bytes, value) in table {
            assert_eq!(decode(bytes), [value]);
        }
    }

    #[test]
    fn depth_and_number_are_bounded() {
        let nested: Vec<u8> = [10, 0, 0, 0, 1].repeat(200_000);
        assert_eq!(decode(&nested), []);
        assert_eq!(decode(&vec![NULL; 1 << 20]).len(), MAX_VALUES);
        let endless = [10, 255, 255, 255, 255, 5, 5];
        assert_eq!(decode(&endless), []);
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            (-1e12..1e12).prop_map(Value::Number),
            any::<bool>().prop_map(Value::Boolean),
            ".{0,20}".prop_map(Value::String),
            Just(Value::Null),
            Just(Value::Undefined),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            let properties = prop::collection::vec(("[a-z]{1,8}", inner.clone()), 0..4);
            prop_oneof![
                properties.clone().prop_map(Value::Object),
                properties.prop_map(Value::EcmaArray),
                prop::collection::vec(inner, 0..4).prop_map(Value::Array),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(values in prop::collection::vec(value(), 0..5)) {
            prop_assert_eq!(decode(&encode(&values)), values);
        }

        #[test]
        fn no_bytes_can_hurt(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            decode(&bytes);
        }

        #[test]
        fn likely_markers_cannot_hurt(bytes in prop::collection::vec(0u8..18, 0..300)) {
            decode(&bytes);
        }
    }
}
