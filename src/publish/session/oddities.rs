//! What servers legally or commonly send and clients have been known to die of: each has a test by its name.

use super::tests::*;
use super::*;
use crate::media::packet::Track;
use crate::publish::amf0::{Value, decode, encode};
use crate::publish::chunk_reader::ChunkReader;
use crate::publish::command::RefusalKind;

const START: &str = "NetStream.Publish.Start";

/// An `onStatus` as its AMF0 bytes.
fn start() -> Vec<u8> {
    let info = Value::Object(vec![("level".into(), Value::string("status")), ("code".into(), Value::string(START))]);
    encode(&[Value::string("onStatus"), Value::Number(0.0), Value::Null, info])
}

/// A type 0 header on a chunk stream; the payload's first 128 bytes belong behind it.
fn header(chunk_stream: u8, kind: u8, payload: &[u8]) -> Vec<u8> {
    let [high, low] = (payload.len() as u16).to_be_bytes();
    vec![chunk_stream, 0, 0, 0, 0, high, low, kind, 0, 0, 0, 0]
}

fn goes_live(bytes: &[u8]) {
    let mut session = publishing();
    session.receive(bytes).unwrap();
    assert_eq!((session.step(), session.event()), (Step::Live, Some(Event::Publishing)));
}

/// Nothing happens, and the session goes on.
fn is_passed_over(bytes: &[u8]) {
    for mut session in everywhere().into_iter().skip(1) {
        let step = session.step();
        events(&mut session);
        session.receive(bytes).unwrap();
        assert_eq!((session.step(), session.event(), session.has_pending()), (step, None, false), "{bytes:?}");
    }
    goes_live(&[bytes, &said(kind::COMMAND, &start())].concat());
}

fn the_refusal(session: &mut Session) -> Refusal {
    match &events(session)[..] {
        [Event::Refused(refusal)] => refusal.clone(),
        other => panic!("no refusal but {other:?}"),
    }
}

#[test]
fn a_command_may_have_only_two_values_or_one_or_none() {
    for name in ["onFCPublish", "onBWDone", "onFCUnpublish", "_checkbw", "", "onStatus", "nonsense"] {
        is_passed_over(&said_command(&[Value::string(name), Value::Number(0.0)]));
        is_passed_over(&said_command(&[Value::string(name)]));
    }
    is_passed_over(&said_command(&[]));
    is_passed_over(&said(kind::AMF3_COMMAND, &[]));
}

#[test]
fn unknown_user_control_events_are_passed_over() {
    for event in (0..=255u8).filter(|event| *event != 6) {
        is_passed_over(&said(kind::USER_CONTROL, &[0, event, 0, 0, 0, 1]));
    }
    for short in [&[][..], &[0], &[0, 0], &[1, 6, 0, 0, 0, 1]] {
        is_passed_over(&said(kind::USER_CONTROL, short));
    }
}

#[test]
fn chunks_of_two_messages_may_interleave() {
    let (answer, other) = ([start(), vec![5; 60]].concat(), [7u8; 200]);
    assert!(answer.len() > 128 && answer.len() < 256);
    let mut bytes = [header(3, kind::COMMAND, &answer), answer[..128].to_vec()].concat();
    bytes.extend([header(5, kind::DATA, &other), other[..128].to_vec()].concat());
    bytes.push(0xC3);
    bytes.extend(&answer[128..]);
    bytes.push(0xC5);
    bytes.extend(&other[128..]);
    goes_live(&bytes);
}

#[test]
fn the_first_chunk_of_a_chunk_stream_may_be_of_any_type() {
    let answer = start();
    goes_live(&[vec![0x47, 0, 0, 0, 0, 0, answer.len() as u8, kind::COMMAND], answer.clone()].concat());
    for first in [&[0x87u8, 0, 0, 0][..], &[0xC7]] {
        goes_live(&[first, &header(7, kind::COMMAND, &answer), &answer].concat());
    }
}

#[test]
fn an_extended_time_may_be_small() {
    let answer = start();
    let short = [0x47, 0xFF, 0xFF, 0xFF, 0, 0, answer.len() as u8, kind::COMMAND, 0, 0, 0, 9];
    goes_live(&[&short[..], &answer].concat());
}

#[test]
fn every_amf0_marker_may_stand_in_an_answer() {
    let head = encode(&[Value::string("onStatus"), Value::Number(0.0), Value::Null]);
    let info = start()[head.len()..].to_vec();
    let date = [11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let table: [&[u8]; 6] =
        [&date, &[12, 0, 0, 0, 1, b'x'], &[7, 0, 1], &[13], &[16, 0, 1, b'T', 0, 1, b'a', 5, 0, 0, 9], &[15, 0, 0, 0, 1, b'x']];
    for odd in table {
        goes_live(&said(kind::COMMAND, &[&head, odd, &info].concat()));
        let inside = [&head[..], &[3, 0, 1, b'o'], odd, &info[1..]].concat();
        goes_live(&said(kind::COMMAND, &inside));
    }
    goes_live(&said(kind::COMMAND, &[&head[..], &info, &[17, 1, 2, 3]].concat()));
    goes_live(&said(kind::AMF3_COMMAND, &[&[0], &start()[..]].concat()));
    goes_live(&said(kind::AMF3_COMMAND, &start()));
}

#[test]
fn on_status_may_have_no_object_or_one_without_a_code() {
    for info in [Value::Null, Value::Undefined, Value::Object(vec![]), Value::EcmaArray(vec![]), Value::Number(1.0)] {
        is_passed_over(&said_command(&[Value::string("onStatus"), Value::Number(0.0), Value::Null, info]));
    }
    let text = |name: &str, value: &str| (name.to_owned(), Value::string(value));
    let early = Value::EcmaArray(vec![text("code", START), text("level", "status")]);
    goes_live(&said_command(&[Value::string("onStatus"), early]));
}

#[test]
fn a_second_start_changes_nothing() {
    let mut session = live();
    session.receive(&said(kind::COMMAND, &start()).repeat(3)).unwrap();
    assert_eq!((session.step(), session.event()), (Step::Live, None));
}

#[test]
fn media_and_unknown_messages_of_the_server_are_passed_over() {
    for kind in [kind::AUDIO, kind::VIDEO, kind::DATA, 15, 16, 19, 22, 0, 7, 99, 255] {
        is_passed_over(&said(kind, &[1, 2, 3]));
        is_passed_over(&said(kind, &[]));
    }
}

#[test]
fn short_and_odd_control_messages_are_passed_over() {
    for kind in [kind::ACKNOWLEDGEMENT, kind::WINDOW, kind::SET_CHUNK_SIZE, kind::ABORT] {
        for length in 0..4 {
            is_passed_over(&said(kind, &vec![0; length]));
        }
    }
}

#[test]
fn a_bandwidth_of_any_kind_is_answered_with_our_window() {
    for bandwidth in [&[0, 0x4C, 0x4B, 0x40, 3][..], &[0, 0, 0, 0, 2], &[0, 1], &[]] {
        for mut session in everywhere().into_iter().skip(1) {
            session.receive(&said(kind::PEER_BANDWIDTH, bandwidth)).unwrap();
            let answer = session.speech.drain();
            let wanted = [&[2, 0, 0, 0, 0, 0, 4, 5, 0, 0, 0, 0][..], &WINDOW.to_be_bytes()].concat();
            let due = session.step() > Step::Connect;
            assert_eq!(answer, if due { wanted } else { vec![] });
        }
    }
}

#[test]
fn what_ends_a_stream_is_told_with_the_server_s_words() {
    let table = [
        ("error", "NetStream.Publish.BadName", RefusalKind::Busy),
        ("status", "NetStream.Publish.BadName", RefusalKind::Busy),
        ("status", "NetStream.Unpublish.Success", RefusalKind::Closing),
        ("", "NetConnection.Connect.Closed", RefusalKind::Closing),
        ("error", "NetStream.Publish.Odd", RefusalKind::Unknown),
    ];
    for (level, code, kind) in table {
        for mut session in [publishing(), live()] {
            session.receive(&status(level, code)).unwrap();
            let refusal = the_refusal(&mut session);
            assert_eq!((refusal.kind, refusal.code.as_str(), refusal.description.as_str()), (kind, code, "***"));
        }
    }
    for level in ["status", "warning", "", "error"] {
        let mut session = live();
        session.receive(&status(level, "NetStream.Publish.Idle")).unwrap();
        assert_eq!(session.event().is_some(), level == "error");
    }
}

#[test]
fn an_error_to_connect_keeps_its_code_words_and_redirection() {
    let text = |name: &str, value: &str| (name.to_owned(), Value::string(value));
    let ex = Value::Object(vec![("code".into(), Value::Number(302.0)), text("redirect", "rtmp://b.example/live")]);
    let info = vec![
        text("level", "error"),
        text("code", "NetConnection.Connect.Rejected"),
        text("description", "[ AccessManager.Reject ] : [ code=403 need auth; authmod=adobe ] : "),
    ];
    let moved = [info.clone(), vec![("ex".to_owned(), ex)]].concat();
    for (info, redirect) in [(info, None), (moved, Some("rtmp://b.example/live".to_owned()))] {
        for name in ["_error", "_result"] {
            let mut session = everywhere().into_iter().nth(1).unwrap();
            let info = Value::Object(info.clone());
            session.receive(&said_command(&[Value::string(name), Value::Number(1.0), Value::Null, info])).unwrap();
            let refusal = the_refusal(&mut session);
            assert_eq!((refusal.code.as_str(), &refusal.redirect), ("NetConnection.Connect.Rejected", &redirect));
            assert!(refusal.challenge.unwrap().contains("need auth; authmod=adobe"));
        }
    }
}

#[test]
fn an_error_to_create_stream_keeps_its_words() {
    let mut session = everywhere().into_iter().nth(2).unwrap();
    let info = Value::Object(vec![("description".into(), Value::string("no streams left"))]);
    session.receive(&said_command(&[Value::string("_error"), Value::Number(2.0), Value::Null, info])).unwrap();
    assert_eq!(the_refusal(&mut session).description, "no streams left");
}

#[test]
fn answers_to_the_two_optional_commands_do_not_matter() {
    for transaction in [3.0, 4.0] {
        for name in ["_error", "_result"] {
            let info = Value::Object(vec![("level".into(), Value::string("error")), ("code".into(), Value::string("Failed"))]);
            let answer = said_command(&[Value::string(name), Value::Number(transaction), Value::Null, info]);
            goes_live(&[answer, said(kind::COMMAND, &start())].concat());
        }
    }
    goes_live(&said(kind::COMMAND, &start()));
}

#[test]
fn transaction_numbers_may_be_wrong() {
    let mut session = session();
    session.receive(&server_handshake()).unwrap();
    session.receive(&result(0.0, Value::Null)).unwrap();
    session.receive(&result(1.0, Value::Null)).unwrap();
    assert_eq!(session.step(), Step::CreateStream, "connect answered twice");
    session.receive(&result(77.0, Value::Number(3.0))).unwrap();
    assert_eq!((session.step(), session.stream), (Step::Ready, 3));
}

#[test]
fn acknowledgements_carry_the_total() {
    let (mut session, mut server) = (live(), ChunkReader::default());
    session.receive(&said(kind::WINDOW, &2000u32.to_be_bytes())).unwrap();
    session.sent(usize::MAX);
    let mut last = 0;
    for _ in 0..5 {
        session.receive(&said(kind::DATA, &[0; 1000])).unwrap();
        server.feed(&session.speech.drain());
        let message = server.message().unwrap().unwrap();
        let total = first_u32(&message.payload).unwrap();
        assert!(message.kind == kind::ACKNOWLEDGEMENT && total >= last + 1000, "{total} after {last}");
        last = total;
    }
}

#[test]
fn chunks_of_0_bytes_are_an_error_in_words() {
    let error = live().receive(&said(kind::SET_CHUNK_SIZE, &[0; 4])).unwrap_err();
    assert!(error.to_string().contains("0 bytes"));
}

#[test]
fn the_size_of_chunks_may_change_within_a_message() {
    let answer = [start(), vec![5; 200]].concat();
    let mut bytes = [header(3, kind::COMMAND, &answer), answer[..128].to_vec()].concat();
    bytes.extend([2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0, 0, 40]);
    for part in answer[128..].chunks(40) {
        bytes.push(0xC3);
        bytes.extend(part);
    }
    goes_live(&bytes);
}

#[test]
fn no_message_begins_with_a_compressed_header() {
    let mut session = live();
    let sounds: Vec<_> = (0..4).map(|_| packet(Track::Audio, false, &[1, 2, 3])).collect();
    for (sound, time) in sounds.iter().zip([20, 40, 60, 30]) {
        session.send_packet(sound, time).unwrap();
    }
    session.send_packet(&packet(Track::Audio, false, &[]), 80).unwrap();
    let mut wanted = Vec::new();
    for time in [20, 40, 60, 30] {
        wanted.extend([4, 0, 0, time, 0, 0, 5, 8, 1, 0, 0, 0, 0xAF, 1, 1, 2, 3]);
    }
    wanted.extend([4, 0, 0, 80, 0, 0, 2, 8, 1, 0, 0, 0, 0xAF, 1]);
    assert_eq!(session.speech.drain(), wanted);
}

#[test]
fn the_properties_of_connect_have_one_order() {
    let properties = || {
        let mut session = everywhere().into_iter().next().unwrap();
        session.receive(&server_handshake()).unwrap();
        session.sent(1536);
        let mut server = ChunkReader::default();
        let messages = written(&mut session, &mut server);
        decode(&messages[0].payload)
    };
    assert_eq!(properties(), properties());
}
