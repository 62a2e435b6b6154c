//! A session and its server, both played by the test.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::media::packet::{AudioFormat, Track, VideoFormat};
use crate::publish::amf0::{Value, decode, encode};
use crate::publish::chunk_writer::{ChunkWriter, Header};
use crate::publish::command::RefusalKind;
use crate::publish::outbox::{Outbox, tests::drain};
use crate::publish::speech::MAX_ANSWERS;
use crate::units::{BitRate, FrameRate, MediaTime};

pub fn session() -> Session {
    let (app, url) = ("live".to_owned(), "rtmp://example.com/live".to_owned());
    let (key, device) = (Secret::new("secret-key"), "onair".to_owned());
    Session::new(Target { app, url, key, device, started_at: None, authorization: None }).unwrap()
}

/// S0, S1 and S2 of a server with the plain handshake.
pub fn server_handshake() -> Vec<u8> {
    let mut bytes = vec![3; 1 + 2 * 1536];
    bytes[1..9].fill(0);
    bytes
}

pub fn said(kind: u8, payload: &[u8]) -> Vec<u8> {
    let (mut out, header) = (Outbox::default(), Header { chunk_stream: 3, kind, stream: 0, time: 0 });
    ChunkWriter::default().write(header, payload, &Bytes::new(), &mut out).unwrap();
    drain(&mut out, 4)
}

pub fn said_command(values: &[Value]) -> Vec<u8> {
    said(kind::COMMAND, &encode(values))
}

pub fn result(transaction: f64, value: Value) -> Vec<u8> {
    said_command(&[Value::string("_result"), Value::Number(transaction), Value::Null, value])
}

pub fn status(level: &str, code: &str) -> Vec<u8> {
    let info = [("level", level), ("code", code), ("description", "secret-key")]
        .map(|(name, value)| (name.to_owned(), Value::string(value)));
    said_command(&[Value::string("onStatus"), Value::Number(0.0), Value::Null, Value::Object(info.into())])
}

/// All that a friendly server says up to `Ready`.
fn welcome() -> Vec<Vec<u8>> {
    vec![
        server_handshake(),
        said(kind::WINDOW, &5_000_000u32.to_be_bytes()),
        said(6, &[0, 0x4C, 0x4B, 0x40, 2]),
        result(1.0, Value::Null),
        said_command(&[Value::string("onBWDone"), Value::Number(0.0)]),
        result(2.0, Value::Number(1.0)),
    ]
}

/// And from there on.
fn consent() -> Vec<Vec<u8>> {
    let info = Value::Object(vec![("code".into(), Value::string("no"))]);
    vec![
        said_command(&[Value::string("_error"), Value::Number(3.0), Value::Null, info]),
        said_command(&[Value::string("onFCPublish"), Value::Number(0.0)]),
        status("status", "NetStream.Publish.Start"),
    ]
}

pub fn ready() -> Session {
    let mut session = session();
    welcome().iter().for_each(|bytes| session.receive(bytes).unwrap());
    assert_eq!(session.event(), Some(Event::Ready));
    session.sent(usize::MAX);
    session
}

pub fn publishing() -> Session {
    let mut session = ready();
    session.publish().unwrap();
    session.sent(usize::MAX);
    session
}

pub fn live() -> Session {
    let mut session = publishing();
    consent().iter().for_each(|bytes| session.receive(bytes).unwrap());
    assert_eq!(session.event(), Some(Event::Publishing));
    session.sent(usize::MAX);
    session
}

/// A session in each of its steps.
pub fn everywhere() -> [Session; 6] {
    let after = |count| {
        let mut session = session();
        welcome()[..count].iter().for_each(|bytes| session.receive(bytes).unwrap());
        session.sent(usize::MAX);
        session
    };
    let all = [after(0), after(1), after(4), ready(), publishing(), live()];
    let steps = [Step::Handshake, Step::Connect, Step::CreateStream, Step::Ready, Step::Publish, Step::Live];
    assert_eq!(all.each_ref().map(Session::step), steps);
    all
}

pub fn events(session: &mut Session) -> Vec<Event> {
    std::iter::from_fn(|| session.event()).collect()
}

/// What the session has written, read as a server would.
pub fn written(session: &mut Session, reader: &mut ChunkReader) -> Vec<Message> {
    reader.feed(&session.speech.drain());
    session.sent(0);
    std::iter::from_fn(|| reader.message().unwrap()).collect()
}

pub fn command_names(messages: &[Message]) -> Vec<String> {
    let commands = messages.iter().filter(|message| message.kind == kind::COMMAND);
    commands.map(|message| decode(&message.payload)[0].as_str().unwrap().to_owned()).collect()
}

#[test]
fn walks_from_handshake_to_live() {
    let mut session = session();
    let mut server = ChunkReader::default();
    assert_eq!(session.speech.drain().len(), 1537);
    session.receive(&server_handshake()).unwrap();
    assert_eq!(session.step(), Step::Connect);
    session.sent(1536);
    assert_eq!(command_names(&written(&mut session, &mut server)), ["connect"]);
    session.receive(&result(1.0, Value::Null)).unwrap();
    let messages = written(&mut session, &mut server);
    assert_eq!(messages[0], Message { kind: kind::WINDOW, payload: WINDOW.to_be_bytes().to_vec() });
    assert_eq!(command_names(&messages), ["createStream"]);
    session.receive(&result(2.0, Value::Number(7.0))).unwrap();
    assert_eq!((session.step(), events(&mut session)), (Step::Ready, vec![Event::Ready]));
    assert!(!session.has_pending(), "an armed session does not touch the key");
    session.publish().unwrap();
    assert_eq!(command_names(&written(&mut session, &mut server)), ["releaseStream", "FCPublish", "publish"]);
    session.receive(&status("status", "NetStream.Publish.Start")).unwrap();
    assert_eq!((session.step(), events(&mut session)), (Step::Live, vec![Event::Publishing]));
    session.close().unwrap();
    assert_eq!(command_names(&written(&mut session, &mut server)), ["FCUnpublish", "deleteStream"]);
}

#[test]
fn publish_has_its_one_place() {
    for mut session in everywhere() {
        let is_ready = session.step() == Step::Ready;
        assert_eq!(session.publish().is_ok(), is_ready);
    }
}

#[test]
fn a_good_bye_says_no_more_than_was_said_before() {
    let names = [&[][..], &[], &[], &["deleteStream"], &["FCUnpublish", "deleteStream"], &["FCUnpublish", "deleteStream"]];
    for (mut session, names) in everywhere().into_iter().zip(names) {
        let mut server = ChunkReader::default();
        server.feed(&said(kind::SET_CHUNK_SIZE, &(DEFAULT_CHUNK as u32).to_be_bytes()));
        session.close().unwrap();
        assert_eq!(command_names(&written(&mut session, &mut server)), names);
    }
}

#[test]
fn every_byte_is_counted() {
    let mut session = session();
    assert_eq!((session.written_total(), session.pending_len()), (1537, 1537));
    session.receive(&server_handshake()).unwrap();
    let connect = session.pending_len() - 3073;
    assert!(connect > 100);
    session.sent(3000);
    assert_eq!((session.written_total() as usize, session.pending_len()), (3073 + connect, 73 + connect));
}

#[test]
fn the_authorization_is_added_to_app_and_url() {
    let mut session = session();
    session.target.authorization = Some("authmod=adobe&user=u".into());
    session.sent(usize::MAX);
    session.receive(&server_handshake()).unwrap();
    session.sent(1536);
    let messages = written(&mut session, &mut ChunkReader::default());
    let values = decode(&messages[0].payload);
    assert_eq!(values[2].get("app"), Some(&Value::string("live?authmod=adobe&user=u")));
    assert_eq!(values[2].get("tcUrl"), Some(&Value::string("rtmp://example.com/live?authmod=adobe&user=u")));
}

#[test]
fn chunks_are_as_large_as_wished_within_limits() {
    for (wish, size) in [(0, 1), (128, 128), (65_536, 65_536), (1 << 20, 65_536)] {
        let target = session().target;
        let mut session = Session::with_options(target, SessionOptions { chunk_size: wish }).unwrap();
        session.receive(&server_handshake()).unwrap();
        session.sent(usize::MAX);
        session.receive(&result(1.0, Value::Null)).unwrap();
        let bytes = session.speech.drain();
        assert_eq!(bytes[..16], [&[2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0][..], &(size as u32).to_be_bytes()].concat());
    }
}

#[test]
fn a_server_that_speaks_in_larger_chunks_is_spoken_to_in_such() {
    for (theirs, ours) in [(128u32, 4096u32), (4096, 4096), (60_000, 60_000), (65_536, 65_536), (0x7FFF_FFFF, 65_536)] {
        let mut session = session();
        session.receive(&server_handshake()).unwrap();
        session.sent(usize::MAX);
        session.receive(&said(kind::SET_CHUNK_SIZE, &theirs.to_be_bytes())).unwrap();
        session.receive(&result(1.0, Value::Null)).unwrap();
        let bytes = session.speech.drain();
        assert_eq!(bytes[..16], [&[2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0][..], &ours.to_be_bytes()].concat());
    }
}

#[test]
fn a_reconnect_request_is_told_with_its_url() {
    for (url, told) in [(Value::string("/other"), Some("/other".to_owned())), (Value::Null, None)] {
        let mut session = live();
        let info = [
            ("level", Value::string("status")),
            ("code", Value::string("NetConnection.Connect.ReconnectRequest")),
            ("description", Value::string("secret-key must move")),
            ("tcUrl", url),
        ];
        let info = Value::Object(info.map(|(name, value)| (name.to_owned(), value)).into());
        session.receive(&said_command(&[Value::string("onStatus"), Value::Number(0.0), Value::Null, info])).unwrap();
        let wanted = Event::Reconnect { url: told, description: "*** must move".into() };
        assert_eq!((events(&mut session), session.step()), (vec![wanted], Step::Live));
    }
}

#[test]
fn a_refusal_is_told_with_its_kind_and_without_the_key() {
    let mut session = publishing();
    session.receive(&status("error", "NetStream.Publish.BadName")).unwrap();
    let [Event::Refused(refusal)] = &events(&mut session)[..] else { panic!("no refusal") };
    assert_eq!((refusal.kind, refusal.code.as_str()), (RefusalKind::Busy, "NetStream.Publish.BadName"));
    assert_eq!(refusal.description, "***");
}

#[test]
fn errors_to_connect_create_stream_and_publish_are_refusals() {
    for (mut session, transaction) in everywhere().into_iter().zip([0.0, 1.0, 2.0, 9.0, 5.0, 9.0]).skip(1) {
        events(&mut session);
        session.receive(&said_command(&[Value::string("_error"), Value::Number(transaction)])).unwrap();
        assert!(matches!(&events(&mut session)[..], [Event::Refused(Refusal { kind: RefusalKind::Unknown, .. })]));
    }
}

#[test]
fn the_end_of_a_live_stream_is_told() {
    for bytes in [status("status", "NetStream.Unpublish.Success"), said_command(&[Value::string("close")])] {
        let mut session = live();
        session.receive(&bytes).unwrap();
        assert!(matches!(&events(&mut session)[..], [Event::Refused(Refusal { kind: RefusalKind::Closing, .. })]));
    }
}

#[test]
fn pings_are_answered_and_other_control_events_passed_over() {
    let mut session = live();
    for event in [5u8, 23, 26, 27, 31, 32, 33, 255] {
        session.receive(&said(kind::USER_CONTROL, &[0, event, 1])).unwrap();
    }
    session.receive(&said(kind::USER_CONTROL, &[])).unwrap();
    assert!(!session.has_pending());
    session.receive(&said(kind::USER_CONTROL, &[0, 6, 1, 2, 3, 4])).unwrap();
    assert_eq!(session.speech.drain()[12..], [0, 7, 1, 2, 3, 4]);
}

#[test]
fn a_server_that_only_asks_is_left() {
    let mut session = live();
    let ping = said(kind::USER_CONTROL, &[0, 6, 1, 2, 3, 4]);
    let error = (0..=MAX_ANSWERS).find_map(|_| session.receive(&ping).err());
    assert!(matches!(error, Some(SessionError::Flood)));
}

#[test]
fn answers_that_are_written_do_not_count_though_media_waits() {
    let mut session = live();
    let ping = said(kind::USER_CONTROL, &[0, 6, 1, 2, 3, 4]);
    for _ in 0..10 * MAX_ANSWERS {
        session.receive(&ping).unwrap();
        let answered = session.pending_len();
        session.send_packet(&packet(Track::Audio, false, &[8]), 0).unwrap();
        session.sent(answered);
        assert!(session.has_pending());
    }
}

pub fn packet(track: Track, keyframe: bool, data: &[u8]) -> Packet {
    let video = VideoFormat {
        width: 1280,
        height: 720,
        framerate: FrameRate::new(30, 1).unwrap(),
        bitrate: BitRate::from_bps(4_000_000),
        avcc: Bytes::from_static(&[1, 2, 3]),
    };
    let audio =
        AudioFormat { rate: 48_000, channels: 2, bitrate: BitRate::from_bps(128_000), asc: Bytes::from_static(&[0x11, 0x90]) };
    let (time, format) = (MediaTime::ZERO, Arc::new(Format { video, audio }));
    Packet { track, time, duration: Duration::from_millis(33), keyframe, data: Bytes::copy_from_slice(data), format }
}

#[test]
fn media_goes_out_as_flv_bodies_after_its_format() {
    let mut session = live();
    session.target.started_at = Some("2026-01-02T03:04:05Z".into());
    let picture = packet(Track::Video, true, &[9; 5000]);
    session.send_format(&picture.format, 5000).unwrap();
    session.send_packet(&picture, 5000).unwrap();
    session.send_packet(&packet(Track::Audio, false, &[8]), 5010).unwrap();
    let mut server = ChunkReader::default();
    server.feed(&said(kind::SET_CHUNK_SIZE, &(DEFAULT_CHUNK as u32).to_be_bytes()));
    let messages = written(&mut session, &mut server);
    let kinds: Vec<u8> = messages.iter().map(|message| message.kind).collect();
    assert_eq!(kinds, [kind::DATA, kind::VIDEO, kind::AUDIO, kind::VIDEO, kind::AUDIO]);
    assert_eq!(messages[1].payload, [0x17, 0, 0, 0, 0, 1, 2, 3]);
    assert_eq!(messages[2].payload, [0xAF, 0, 0x11, 0x90]);
    assert_eq!(messages[3].payload[..6], [0x17, 1, 0, 0, 0, 9]);
    assert_eq!(messages[3].payload.len(), 5005);
    assert_eq!(messages[4].payload, [0xAF, 1, 8]);
    let metadata = &decode(&messages[0].payload)[2];
    assert_eq!(metadata.get("title"), Some(&Value::string("onair")));
    assert_eq!(metadata.get("creationdate"), Some(&Value::string("2026-01-02T03:04:05Z")));
}

#[test]
fn times_are_the_caller_s() {
    for time in [0, 0xFF_FFFE, 0xFF_FFFF, 0x100_0000, 1 << 31, u32::MAX, ((1u64 << 32) + 7) as u32] {
        let mut session = live();
        session.send_packet(&packet(Track::Audio, false, &[8]), time).unwrap();
        let bytes = session.speech.drain();
        let short = u32::from_be_bytes([0, bytes[1], bytes[2], bytes[3]]);
        assert_eq!(if short == 0xFF_FFFF { first_u32(&bytes[12..]).unwrap() } else { short }, time);
    }
}

#[test]
fn a_packet_s_bytes_are_not_copied() {
    let (mut session, picture) = (live(), packet(Track::Video, true, &[9; 5000]));
    session.send_packet(&picture, 0).unwrap();
    let mut slices = [IoSlice::new(&[]); 8];
    let count = session.pending_slices(&mut slices);
    let places: Vec<_> = slices[..count].iter().map(|slice| slice.as_ptr()).collect();
    let split = DEFAULT_CHUNK - 5;
    assert_eq!((count, places[1], places[3]), (4, picture.data.as_ptr(), picture.data[split..].as_ptr()));
    assert_eq!(slices[..count].iter().map(|slice| slice.len()).sum::<usize>(), session.pending_len());
}

proptest! {
    #[test]
    fn however_the_bytes_are_cut_events_and_output_are_the_same(cuts in prop::collection::vec(1usize..700, 1..20)) {
        let mut more = consent().concat();
        more.extend(said(kind::USER_CONTROL, &[0, 6, 1, 2, 3, 4]));
        more.extend(said(kind::ACKNOWLEDGEMENT, &[0, 1, 0, 0]));
        more.extend(status("error", "NetStream.Publish.Denied"));
        let (mut whole, mut cut, mut cuts) = (session(), session(), cuts.into_iter().cycle());
        for bytes in [welcome().concat(), more] {
            whole.receive(&bytes).unwrap();
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(cuts.next().unwrap()));
                cut.receive(now).unwrap();
                rest = later;
            }
            for session in [&mut whole, &mut cut] {
                let _ = session.publish();
            }
        }
        let events = events(&mut whole);
        prop_assert_eq!(events.len(), 4);
        prop_assert_eq!(self::events(&mut cut), events);
        prop_assert_eq!(cut.step(), whole.step());
        // The handshake's own bytes are random.
        let [whole, cut] = [whole, cut].map(|mut session| session.speech.drain().split_off(3073));
        prop_assert_eq!(whole, cut);
    }

    #[test]
    fn no_bytes_can_hurt(step in 0usize..6, bytes in prop::collection::vec(any::<u8>(), 0..1500)) {
        let mut session = everywhere().into_iter().nth(step).unwrap();
        for part in bytes.chunks(100) {
            if session.receive(part).is_err() {
                break;
            }
        }
    }

    #[test]
    fn no_message_can_hurt(step in 1usize..6, kind in 1u8..24, payload in prop::collection::vec(prop_oneof![0u8..18, any::<u8>()], 0..120)) {
        let mut session = everywhere().into_iter().nth(step).unwrap();
        let _ = session.receive(&said(kind, &payload));
    }
}
