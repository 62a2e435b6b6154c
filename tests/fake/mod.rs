//! A server that answers as its script says, however odd that is. It reads what it is sent with a reader that is not the one
//! under test, keeps count of it, and judges nothing.

#![allow(dead_code, reason = "each test program uses its own part of it")]

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use md5::{Digest, Md5};
use onaird::publish::amf0::{Value, decode, encode};
use rml_rtmp::chunk_io::ChunkDeserializer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub const COMMAND: u8 = 20;
pub const AMF3_COMMAND: u8 = 17;
pub const DATA: u8 = 18;

/// When the server does something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cue {
    Accepted,
    /// The client's first half of the handshake is there.
    Hello,
    /// All of it is.
    Greeted,
    Command(&'static str),
    /// The first sound or picture.
    Media,
    /// The sound or picture of this number, counted from 1.
    Packet(usize),
}

#[derive(Clone, Debug)]
pub enum Act {
    Say(Vec<u8>),
    /// The same, so many bytes at a time.
    Dribble(Vec<u8>, usize),
    /// A command with the transaction number of the one that it answers, in a message of this type.
    Reply(u8, &'static str, Vec<Value>),
    /// Lets only this user in, by the challenge that `authmod=adobe` stands for; answers `connect`.
    Login(&'static str, &'static str),
    /// What this says, asked for the application that the client has named.
    Ask(fn(&str) -> Vec<Act>),
    /// Neither reads nor writes for so long.
    Pause(Duration),
    /// The end of the connection, with what is unread thrown away.
    Close,
    /// The end of the server's half only.
    HalfClose,
    Reset,
    /// Neither reads nor writes any more.
    Sleep,
}

use Act::*;
use Cue::*;

#[derive(Clone)]
pub struct Script(HashMap<Cue, Vec<Act>>);

impl Script {
    /// What the most usual server does.
    pub fn friendly() -> Self {
        let connected = status_object("NetConnection.Connect.Success");
        let script = [
            (Hello, vec![Say(handshake())]),
            (Command("connect"), vec![Reply(COMMAND, "_result", vec![Value::Null, connected])]),
            (Command("createStream"), vec![Reply(COMMAND, "_result", vec![Value::Null, Value::Number(1.0)])]),
            (Command("publish"), vec![Say(start())]),
        ];
        Self(script.into())
    }

    pub fn before(mut self, cue: Cue, act: Act) -> Self {
        self.0.entry(cue).or_default().insert(0, act);
        self
    }

    pub fn after(mut self, cue: Cue, act: Act) -> Self {
        self.0.entry(cue).or_default().push(act);
        self
    }

    /// Before every answer, and at the first picture.
    pub fn always(self, bytes: &[u8]) -> Self {
        let cues = [Command("connect"), Command("createStream"), Command("publish"), Media];
        cues.into_iter().fold(self, |script, cue| script.before(cue, Say(bytes.to_vec())))
    }

    pub fn instead(mut self, cue: Cue, acts: Vec<Act>) -> Self {
        self.0.insert(cue, acts);
        self
    }
}

/// What has come, on all connections.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub connections: usize,
    /// Connections that have not ended.
    pub open: usize,
    pub commands: Vec<String>,
    /// Applications as "connect" named them, with all that follows.
    pub apps: Vec<String>,
    /// Types of the messages with media or about it.
    pub media: Vec<u8>,
    pub fault: Option<String>,
}

/// A message with sound or picture.
#[derive(Clone)]
pub struct Sample {
    pub kind: u8,
    /// Time on the wire.
    pub millis: u32,
    pub body: Bytes,
}

pub struct Fake {
    pub port: u16,
    seen: Arc<Mutex<Seen>>,
    samples: Arc<Mutex<Vec<Sample>>>,
}

impl Fake {
    /// Listens until the test ends.
    pub async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fake = Self { port: listener.local_addr().unwrap().port(), seen: Arc::default(), samples: Arc::default() };
        let (seen, samples) = (fake.seen.clone(), fake.samples.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (script, seen, samples) = (script.clone(), seen.clone(), samples.clone());
                let play =
                    Play { stream, script, seen, samples, app: String::new(), packets: 0, chunks: ChunkDeserializer::new() };
                tokio::spawn(play.run());
            }
        });
        fake
    }

    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    /// All sounds and pictures of all connections, with their headers.
    pub fn samples(&self) -> Vec<Sample> {
        self.samples.lock().unwrap().clone()
    }
}

/// One connection.
struct Play {
    stream: TcpStream,
    script: Script,
    seen: Arc<Mutex<Seen>>,
    samples: Arc<Mutex<Vec<Sample>>>,
    app: String,
    packets: usize,
    chunks: ChunkDeserializer,
}

impl Play {
    /// Errors are the client's leaving, which is its right.
    async fn run(mut self) {
        let seen = self.seen.clone();
        {
            let mut seen = seen.lock().unwrap();
            (seen.connections, seen.open) = (seen.connections + 1, seen.open + 1);
        }
        let ended = self.play().await;
        drop(self);
        let mut seen = seen.lock().unwrap();
        seen.open -= 1;
        if let Err(error) = ended
            && error.kind() == io::ErrorKind::InvalidData
        {
            seen.fault = Some(error.to_string());
        }
    }

    async fn play(&mut self) -> io::Result<()> {
        self.act(Accepted, 0.0).await?;
        self.stream.read_exact(&mut [0; 1537]).await?;
        self.act(Hello, 0.0).await?;
        self.stream.read_exact(&mut [0; 1536]).await?;
        self.act(Greeted, 0.0).await?;
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = self.stream.read(&mut buffer).await?;
            if count == 0 {
                return Ok(());
            }
            self.read(&buffer[..count]).await?;
        }
    }

    async fn read(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let invalid = |error: &dyn std::fmt::Debug| io::Error::new(io::ErrorKind::InvalidData, format!("{error:?}"));
        while let Some(message) = self.chunks.get_next_message(bytes).map_err(|error| invalid(&error))? {
            bytes = &[];
            match (message.type_id, &message.data[..]) {
                (1, &[a, b, c, d]) => {
                    let size = u32::from_be_bytes([a, b, c, d]) as usize;
                    self.chunks.set_max_chunk_size(size).map_err(|error| invalid(&error))?;
                }
                (COMMAND, data) => {
                    self.command(data).await?;
                }
                (kind @ (8 | 9), _) => {
                    let (millis, body) = (message.timestamp.value, message.data.clone());
                    self.samples.lock().unwrap().push(Sample { kind, millis, body });
                    self.media(kind).await?;
                }
                (DATA, _) => self.media(DATA).await?,
                _ => {}
            }
        }
        Ok(())
    }

    async fn command(&mut self, data: &[u8]) -> io::Result<()> {
        let length = usize::from(u16::from_be_bytes([data[1], data[2]]));
        let name = String::from_utf8_lossy(&data[3..3 + length]).into_owned();
        let number: [u8; 8] = data[4 + length..12 + length].try_into().unwrap();
        if name == "connect" {
            let app = decode(data).get(2).and_then(|value| value.get("app")?.as_str().map(str::to_owned)).unwrap_or_default();
            self.app.clone_from(&app);
            self.seen.lock().unwrap().apps.push(app);
        }
        self.seen.lock().unwrap().commands.push(name.clone());
        let cue = self.script.0.keys().copied().find(|cue| matches!(cue, Command(of) if *of == name));
        match cue {
            Some(cue) => self.act(cue, f64::from_be_bytes(number)).await,
            None => Ok(()),
        }
    }

    async fn media(&mut self, kind: u8) -> io::Result<()> {
        self.seen.lock().unwrap().media.push(kind);
        if kind == DATA {
            return Ok(());
        }
        self.packets += 1;
        if self.packets == 1 {
            self.act(Media, 0.0).await?;
        }
        self.act(Packet(self.packets), 0.0).await
    }

    async fn act(&mut self, cue: Cue, transaction: f64) -> io::Result<()> {
        let mut acts: VecDeque<Act> = self.script.0.get(&cue).cloned().unwrap_or_default().into();
        while let Some(act) = acts.pop_front() {
            match act {
                Ask(answer) => answer(&self.app).into_iter().rev().for_each(|act| acts.push_front(act)),
                Login(user, password) => {
                    let answer = judge_login(&self.app, user, password, transaction);
                    self.stream.write_all(&answer).await?;
                }
                act => self.do_it(act, transaction).await?,
            }
        }
        Ok(())
    }

    async fn do_it(&mut self, act: Act, transaction: f64) -> io::Result<()> {
        match act {
            Say(bytes) => self.stream.write_all(&bytes).await?,
            Dribble(bytes, size) => self.dribble(&bytes, size).await?,
            Reply(kind, name, values) => {
                let head = [Value::string(name), Value::Number(transaction)];
                self.stream.write_all(&message(3, kind, &encode(&[&head[..], &values].concat()))).await?;
            }
            Pause(time) => tokio::time::sleep(time).await,
            Close => return Err(io::ErrorKind::ConnectionAborted.into()),
            HalfClose => self.stream.shutdown().await?,
            Reset => {
                socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO))?;
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            Sleep => std::future::pending().await,
            Ask(_) | Login(..) => {}
        }
        Ok(())
    }

    async fn dribble(&mut self, bytes: &[u8], size: usize) -> io::Result<()> {
        self.stream.set_nodelay(true)?;
        for part in bytes.chunks(size) {
            self.stream.write_all(part).await?;
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

fn reply(kind: u8, name: &str, transaction: f64, values: &[Value]) -> Vec<u8> {
    let head = [Value::string(name), Value::Number(transaction)];
    message(3, kind, &encode(&[&head[..], values].concat()))
}

/// The answer to a connect with this `app`: asks for a name, then for an answer to a challenge, then lets in or not.
fn judge_login(app: &str, user: &str, password: &str, transaction: f64) -> Vec<u8> {
    let query: HashMap<&str, &str> =
        app.split_once('?').map_or("", |(_, query)| query).split('&').filter_map(|part| part.split_once('=')).collect();
    let hash = |text: String| STANDARD.encode(Md5::digest(text));
    let answer = |ours: &str| hash(format!("{}b3BhcXVl{ours}", hash(format!("{user}c2FsdA=={password}"))));
    let reject = "[ AccessManager.Reject ] : [";
    let words = match (query.get("response"), query.get("challenge"), query.get("user")) {
        (Some(response), Some(ours), _) if *response == answer(ours) => {
            return reply(COMMAND, "_result", transaction, &[Value::Null, status_object("NetConnection.Connect.Success")]);
        }
        (Some(_), ..) => format!("{reject} authmod=adobe ] : ?reason=authfailed&opaque=b3BhcXVl"),
        (None, _, Some(user)) => {
            format!("{reject} authmod=adobe ] : ?reason=needauth&user={user}&salt=c2FsdA==&challenge=Y2g=&opaque=b3BhcXVl")
        }
        _ => format!("{reject} code=403 need auth; authmod=adobe ] : "),
    };
    let info = object(&[("level", "error"), ("code", "NetConnection.Connect.Rejected"), ("description", &words)]);
    reply(COMMAND, "_error", transaction, &[Value::Null, info])
}

/// S0, S1 and S2, plain.
pub fn handshake() -> Vec<u8> {
    let mut bytes = vec![3; 1 + 2 * 1536];
    bytes[1..9].fill(0);
    bytes
}

/// A message in chunks of the usual 128 bytes.
pub fn message(chunk_stream: u8, kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(chunk_stream, kind, payload.len());
    for (index, part) in payload.chunks(128).enumerate() {
        if index > 0 {
            bytes.push(0xC0 | chunk_stream);
        }
        bytes.extend(part);
    }
    bytes
}

/// A full header.
pub fn header(chunk_stream: u8, kind: u8, length: usize) -> Vec<u8> {
    let [_, a, b, c] = (length as u32).to_be_bytes();
    vec![chunk_stream, 0, 0, 0, a, b, c, kind, 0, 0, 0, 0]
}

pub fn command(values: &[Value]) -> Vec<u8> {
    message(3, COMMAND, &encode(values))
}

pub fn control(kind: u8, payload: &[u8]) -> Vec<u8> {
    message(2, kind, payload)
}

pub fn status_object(code: &str) -> Value {
    object(&[("level", "status"), ("code", code)])
}

pub fn object(properties: &[(&str, &str)]) -> Value {
    Value::Object(properties.iter().map(|(name, value)| ((*name).to_owned(), Value::string(*value))).collect())
}

pub fn on_status(info: Value) -> Vec<u8> {
    encode(&[Value::string("onStatus"), Value::Number(0.0), Value::Null, info])
}

pub fn start() -> Vec<u8> {
    message(3, COMMAND, &on_status(status_object("NetStream.Publish.Start")))
}
