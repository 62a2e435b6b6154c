//! Proof of air against real origins: what comes back over RTMP and HLS is known again, what is another's or does not come is
//! an alarm, and no leg is cut for it.

mod support;

use std::path::Path;

use onaird::demo::child::{self, Child};
use onaird::demo::origin::{Origin, Wishes};
use onaird::status::{Proof, ProofState, Status};
use support::{Daemon, judge, poll, record_of, recorder};

const PROGRAM: &str = "version = 1\n[device]\nname = \"test\"\n[program]\nwidth = 640\nheight = 360\nframerate = \"30\"\n\
    video_bitrate = \"1M\"\nkeyframe_interval = 1\n[archive]\nenabled = false\n[[input]]\nname = \"test\"\nkind = \"test\"\n";

fn leg(name: &str, url: &str, verify: &str) -> String {
    let origin = format!("url = \"{url}\"\nstream_key = \"SECRET-{name}\"\nverify = \"{verify}\"");
    format!("[[leg]]\nname = \"{name}\"\n[[leg.origin]]\n{origin}\n")
}

fn proof<'s>(status: &'s Status, leg: &str) -> Option<&'s Proof> {
    status.legs.iter().find(|found| found.name == leg)?.proof.as_ref()
}

fn is(status: &Status, leg: &str, state: ProofState) -> bool {
    proof(status, leg).is_some_and(|proof| proof.state == state)
}

fn alarms(status: &Status) -> Vec<&str> {
    status.alarms.iter().map(|alarm| alarm.id.as_str()).filter(|id| id.ends_with(".proof")).collect()
}

fn assert_untouched(status: &Status) {
    assert!(status.legs.iter().all(|leg| support::is_live(leg) && leg.reconnects == 0), "{:#?}", status.legs);
}

/// Somebody else's stream.
fn publisher(folder: &Path, origin: &Origin, key: &str) -> Child {
    let mut command = child::command(Path::new("ffmpeg"));
    let source = "-nostdin -v error -re -f lavfi -i testsrc2=size=320x180:rate=30 -c:v libx264 -preset ultrafast -g 30 -f flv";
    command.args(source.split(' ')).arg(origin.rtmp_url(key));
    let child = Child::spawn(&mut command, &folder.join("ffmpeg.log")).unwrap();
    assert!(poll(support::LIMIT, || origin.records(key).first().cloned()).is_some(), "the other stream is there");
    child
}

#[test]
fn what_comes_back_is_known_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut rtmp = recorder(&folder.path().join("1"));
    let hls = Origin::start(&folder.path().join("2"), Wishes { hls: true, record: false }).unwrap();
    let legs = [leg("a", &rtmp.url(), &rtmp.rtmp_url("SECRET-a")), leg("b", &hls.url(), &hls.hls_url("SECRET-b"))].concat();
    let mut daemon = Daemon::start(folder.path(), &[PROGRAM, &legs].concat());
    daemon.all_live();
    daemon.wait_until("both proofs", |status| is(status, "a", ProofState::Seen) && is(status, "b", ProofState::Seen));
    // Longer than the limit of a proof: each is found again and again.
    let status = daemon.frames(30 * 25);
    for (leg, most_ms) in [("a", 3000), ("b", 9000)] {
        let proof = proof(&status, leg).unwrap();
        println!("{leg}: {proof:?}");
        assert!(proof.state == ProofState::Seen && proof.age_s.unwrap() <= 20, "{proof:?}");
        assert!((1..most_ms).contains(&proof.delay_ms.unwrap()), "{proof:?}");
    }
    assert_eq!(alarms(&status), Vec::<&str>::new());
    assert_untouched(&status);
    assert!(!serde_json::to_string(&status).unwrap().contains("SECRET"), "a stream key is shown");
    assert!(!daemon.stop().log.contains("SECRET"), "a stream key is in the log");
    judge::decodes(&record_of(&mut rtmp, "SECRET-a"));
}

#[test]
fn what_does_not_come_back_is_an_alarm_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let origin = recorder(&folder.path().join("1"));
    let _other = publisher(folder.path(), &origin, "SECRET-other");
    let legs = [
        leg("other", &origin.url(), &origin.rtmp_url("SECRET-other")).replace("SECRET-other\"\nverify", "SECRET-1\"\nverify"),
        leg("silent", &origin.url(), &origin.rtmp_url("SECRET-nobody")),
        leg("absent", &origin.url(), "http://127.0.0.1:9/SECRET-absent.m3u8"),
    ];
    let mut daemon = Daemon::start(folder.path(), &[PROGRAM, &legs.concat()].concat());
    daemon.all_live();
    let status = daemon.wait_until("three alarms", |status| alarms(status).len() == 3);
    status.alarms.iter().for_each(|alarm| println!("{}: {} {}", alarm.id, alarm.text, alarm.remedy));
    assert!(is(&status, "other", ProofState::Mismatch) && is(&status, "silent", ProofState::Missing));
    assert!(is(&status, "absent", ProofState::Missing));
    assert_untouched(&status);
    assert!(!serde_json::to_string(&status).unwrap().contains("SECRET"), "a stream key is shown");
    assert!(!daemon.stop().log.contains("SECRET"), "a stream key is in the log");
}
