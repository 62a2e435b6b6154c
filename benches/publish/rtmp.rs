//! As much of an RTMP server as a publisher needs to begin: after that nobody reads what it sends.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use onaird::publish::amf0::{Value, decode, encode};
use onaird::publish::chunk_reader::{ChunkReader, Message};
use onaird::publish::wire::kind;

const HANDSHAKE: usize = 1536;

/// What we announce, as servers do: some publishers then use chunks of this size themselves, and would else send them of 128
/// bytes each.
const CHUNK: u32 = 60_000;

/// A publisher that has been told to start.
pub struct Accepted {
    /// May hold the first media already.
    pub reader: ChunkReader,
    /// After so many bytes it wants to hear of them; 0: it wants nothing.
    pub window: u64,
}

pub fn accept(stream: &mut TcpStream) -> io::Result<Accepted> {
    stream.set_nodelay(true)?;
    shake_hands(stream)?;
    let mut accepted = Accepted { reader: ChunkReader::default(), window: 0 };
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        accepted.reader.feed(&buffer[..count]);
        while let Some(message) = accepted.reader.message().map_err(io::Error::other)? {
            if accepted.answer(&message, stream)? {
                return Ok(accepted);
            }
        }
    }
}

fn shake_hands(stream: &mut TcpStream) -> io::Result<()> {
    let mut hello = [0; 1 + HANDSHAKE];
    stream.read_exact(&mut hello)?;
    let mut answer = vec![3];
    answer.extend([0; HANDSHAKE]);
    answer.extend(&hello[1..]);
    stream.write_all(&answer)?;
    stream.read_exact(&mut hello[1..])
}

impl Accepted {
    /// True once the publisher has been told to start.
    fn answer(&mut self, message: &Message, stream: &mut TcpStream) -> io::Result<bool> {
        match (message.kind, &message.payload[..]) {
            (kind::WINDOW, &[a, b, c, d]) => self.window = u32::from_be_bytes([a, b, c, d]).into(),
            (kind::COMMAND, payload) => return command(&decode(payload), stream),
            _ => {}
        }
        Ok(false)
    }
}

fn command(values: &[Value], stream: &mut TcpStream) -> io::Result<bool> {
    let transaction = Value::Number(values.get(1).and_then(Value::as_number).unwrap_or(0.0));
    let result = |values: [Value; 2]| [vec![Value::string("_result"), transaction], values.into()].concat();
    match values.first().and_then(Value::as_str) {
        Some("connect") => {
            control(stream, kind::SET_CHUNK_SIZE, CHUNK)?;
            let properties = Value::Object(vec![("fmsVer".to_owned(), Value::string("FMS/3,0,1,123"))]);
            say(stream, 0, &result([properties, info("NetConnection.Connect.Success")]))?;
        }
        Some("createStream") => say(stream, 0, &result([Value::Null, Value::Number(1.0)]))?,
        Some("publish") => {
            let start = info("NetStream.Publish.Start");
            say(stream, 1, &[Value::string("onStatus"), Value::Number(0.0), Value::Null, start])?;
            return Ok(true);
        }
        _ => {}
    }
    Ok(false)
}

fn info(code: &str) -> Value {
    let properties = [("level", "status"), ("code", code), ("description", "")];
    Value::Object(properties.map(|(name, value)| (name.to_owned(), Value::string(value))).into())
}

fn say(stream: &mut TcpStream, message_stream: u8, values: &[Value]) -> io::Result<()> {
    send(stream, 3, kind::COMMAND, message_stream, &encode(values))
}

pub fn acknowledge(stream: &mut TcpStream, total: u64) -> io::Result<()> {
    control(stream, kind::ACKNOWLEDGEMENT, total as u32)
}

fn control(stream: &mut TcpStream, kind: u8, number: u32) -> io::Result<()> {
    send(stream, 2, kind, 0, &number.to_be_bytes())
}

/// In one chunk: whatever is longer than the 128 bytes that both sides start with is said after [`CHUNK`] has been announced.
fn send(stream: &mut TcpStream, chunk_stream: u8, kind: u8, message_stream: u8, body: &[u8]) -> io::Result<()> {
    let length = (body.len() as u32).to_be_bytes();
    let mut bytes = vec![chunk_stream, 0, 0, 0, length[1], length[2], length[3], kind, message_stream, 0, 0, 0];
    bytes.extend(body);
    stream.write_all(&bytes)
}
