//! What an origin can say to a leg beside yes: go elsewhere, who are you, and a yes that is taken back.

use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};
use onaird::config::{self, Login};
use onaird::publish::amf0::Value;
use onaird::secret::Secret;
use onaird::status::{self, LegState};
use tracing_subscriber::fmt::MakeWriter;

use super::fake::Act::{self, Ask, Close, HalfClose, Reply, Reset, Say, Sleep};
use super::fake::Cue::{Command, Packet};
use super::fake::{COMMAND, Fake, Script, message, object, on_status, start, status_object};
use super::judge::{assert_whole, tape};
use super::legs::*;

fn reconnect_to(url: &str) -> Act {
    let properties =
        [("level", "status"), ("code", "NetConnection.Connect.ReconnectRequest"), ("description", "service"), ("tcUrl", url)];
    Say(message(3, COMMAND, &on_status(object(&properties))))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leg_that_is_asked_to_reconnect_elsewhere_goes_there_and_loses_nothing() {
    let there = Origin::start().await;
    let here = Fake::start(Script::friendly().after(Packet(80), reconnect_to(&there.config().url.to_string()))).await;
    let clip = Clip::lasting("1M", 30);
    let mut studio = Studio::open();
    let home = origin(here.port, "live");
    let leg = studio.simple_leg(vec![home.clone()]);
    let feeder = feed(&studio.hub, &studio.clock, clip.clone());
    studio.goes_live(leg, &home).await;
    let mut status = studio.status.subscribe();
    let watch = tokio::spawn(async move {
        let interrupted = status.wait_for(|status| status.legs[leg].state != LegState::Live).await;
        interrupted.map(|status| status.events.clone()).unwrap_or_default()
    });
    eventually("the new place records", || !there.recordings().is_empty()).await;
    eventually("the end of the old connection", || here.seen().open == 0).await;
    let (seen, figures) = (here.seen(), studio.figures(leg));
    assert!(seen.commands.ends_with(&["FCUnpublish".into(), "deleteStream".into()]), "it said good-bye: {seen:?}");
    assert_eq!((seen.connections, seen.fault, figures.state), (1, None, LegState::Live), "{figures:?}");
    assert!(!watch.is_finished(), "the leg was live all the time: {:?}", watch.await);
    watch.abort();
    seconds(2).await;
    studio.close().await;
    feeder.abort();
    let recorded = there.recording();
    assert_decodable(&recorded);
    let old = tape(&here.samples());
    assert!(old.len() > 80, "{}", old.len());
    assert_whole(&clip, &[old, recorded], 75);
}

/// Two legs with one key are sent to one place: who comes second stays where it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_legs_are_not_sent_to_one_place_with_one_key() {
    let there = Origin::start().await;
    let script = || Script::friendly().after(Packet(80), reconnect_to(&there.config().url.to_string()));
    let here = [Fake::start(script()).await, Fake::start(script()).await];
    let mut studio = Studio::open();
    let homes = [0, 1].map(|index| origin(here[index].port, "live"));
    let legs = homes.clone().map(|home| studio.simple_leg(vec![home]));
    let feeder = feed(&studio.hub, &studio.clock, Clip::lasting("1M", 30));
    for (leg, home) in legs.into_iter().zip(&homes) {
        studio.goes_live(leg, home).await;
    }
    eventually("one has gone", || here.iter().any(|fake| fake.seen().open == 0)).await;
    seconds(2).await;
    let open: usize = here.iter().map(|fake| fake.seen().open).sum();
    assert_eq!((open, there.recordings().len()), (1, 1), "one is there, one stayed");
    legs.iter().for_each(|leg| assert_eq!(studio.figures(*leg).state, LegState::Live));
    studio.close().await;
    feeder.abort();
}

/// As a refused connect says it: code 302 and a URL within "ex".
fn moved_to(url: &str) -> Script {
    let ex = Value::Object(vec![("code".into(), Value::Number(302.0)), ("redirect".into(), Value::string(url))]);
    let info = [("level", Value::string("error")), ("code", Value::string("NetConnection.Connect.Rejected")), ("ex", ex)];
    let info = Value::Object(info.into_iter().map(|(name, value)| (name.to_owned(), value)).collect());
    Script::friendly().instead(Command("connect"), vec![Reply(COMMAND, "_error", vec![Value::Null, info]), Close])
}

#[tokio::test]
async fn a_leg_that_is_sent_elsewhere_at_connect_goes_there() {
    let there = Origin::start().await;
    let door = Fake::start(moved_to(&there.config().url.to_string())).await;
    let other_door = Fake::start(moved_to(&format!("rtmp://127.0.0.1:{}/live", door.port))).await;
    let circle = Fake::start(moved_to("/round")).await;
    let clip = Clip::make("1M");
    let mut studio = Studio::open();
    let [home, nowhere] = [&other_door, &circle].map(|fake| origin(fake.port, "live"));
    let (leg, lost) = (studio.simple_leg(vec![home.clone()]), studio.simple_leg(vec![nowhere]));
    let feeder = feed(&studio.hub, &studio.clock, clip.clone());
    studio.goes_live(leg, &home).await;
    for door in [&door, &other_door] {
        assert_eq!((door.seen().connections, &door.seen().commands[..]), (1, &["connect".to_owned()][..]));
    }
    let told = |leg: &status::Leg| leg.last_error.as_ref().is_some_and(|error| error.contains("sends us to another"));
    println!("{:?}", studio.reaches(lost, "words about it", told).await.last_error);
    let tried = circle.seen().apps;
    assert_eq!(tried[..4], ["live", "round", "round", "round"]);
    assert!(tried.get(4).is_none_or(|app| app == "live"), "three hops in one attempt, no more: {tried:?}");
    seconds(1).await;
    studio.close().await;
    feeder.abort();
    assert_whole(&clip, &[there.recording()], 20);
}

const USER: &str = "broadcaster";
const PASSWORD: &str = "correct-horse-battery-staple";
const SALT: &str = "c2FsdA==";
const OPAQUE: &str = "b3BhcXVl";

fn hash(text: String) -> String {
    STANDARD.encode(Md5::digest(text))
}

/// A server that wants `authmod=adobe`: asks for the user, then for proof of the password, and believes in no other.
fn bouncer(app: &str) -> Vec<Act> {
    let refused = |text: String| {
        let info = [("level", "error"), ("code", "NetConnection.Connect.Rejected"), ("description", &text)];
        vec![Reply(COMMAND, "_error", vec![Value::Null, object(&info)]), Close]
    };
    let query = app.split_once('?').map_or("", |(_, query)| query);
    let value =
        |name: &str| query.split('&').filter_map(|part| part.split_once('=')).find(|(key, _)| *key == name).map(|(_, v)| v);
    let head = "[ AccessManager.Reject ] : [ authmod=adobe ] :";
    match (value("authmod"), value("user"), value("challenge"), value("response")) {
        (Some("adobe"), Some(USER), None, None) => {
            refused(format!("{head} ?reason=needauth&user={USER}&salt={SALT}&challenge={OPAQUE}&opaque={OPAQUE}"))
        }
        (Some("adobe"), Some(USER), Some(theirs), Some(response)) => {
            let secret = hash(format!("{USER}{SALT}{PASSWORD}"));
            match response == hash(format!("{secret}{OPAQUE}{theirs}")) && value("opaque") == Some(OPAQUE) {
                true => vec![Reply(COMMAND, "_result", vec![Value::Null, status_object("NetConnection.Connect.Success")])],
                false => refused(format!("{head} ?reason=authfailed&opaque={OPAQUE}")),
            }
        }
        _ => refused("[ AccessManager.Reject ] : [ code=403 need auth; authmod=adobe ] : ".into()),
    }
}

/// All that is logged in this process from now on, at every level.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn begin() -> Self {
        static LOG: OnceLock<Log> = OnceLock::new();
        let log = LOG.get_or_init(|| {
            let log = Self::default();
            tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(log.clone()).init();
            log
        });
        log.clone()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn a_password_is_proven_and_never_shown() {
    const WRONG: &str = "wrong-horse-battery-staple";
    let log = Log::begin();
    let script = || Script::friendly().instead(Command("connect"), vec![Ask(bouncer)]);
    let [right, wrong, none] = [Fake::start(script()).await, Fake::start(script()).await, Fake::start(script()).await];
    let with = |fake: &Fake, password: &str| {
        let login = Some(Login { user: USER.into(), password: Secret::new(password) });
        config::Origin { login, ..origin(fake.port, "live") }
    };
    let mut studio = Studio::open();
    let feeder = feed(&studio.hub, &studio.clock, Clip::make("200k"));
    let welcome = studio.simple_leg(vec![with(&right, PASSWORD)]);
    let unwelcome = studio.simple_leg(vec![with(&wrong, WRONG)]);
    let unknown = studio.simple_leg(vec![origin(none.port, "live")]);
    studio.goes_live(welcome, &with(&right, PASSWORD)).await;
    assert_eq!(right.seen().apps.len(), 3, "asked, challenged, believed");
    for (leg, words) in [(unwelcome, "refuses the user name or the password"), (unknown, "wants a user name and a password")] {
        let told = |leg: &status::Leg| leg.state == LegState::Rejected && leg.last_error.is_some();
        let error = studio.reaches(leg, words, told).await.last_error.unwrap();
        println!("{error}");
        assert!(error.contains(words), "{error}");
    }
    assert_eq!((wrong.seen().apps.len(), none.seen().apps.len()), (3, 1));
    studio.close().await;
    feeder.abort();
    let shown = serde_json::to_string(&*studio.status.borrow()).unwrap();
    let (log, said) = (log.text(), [right.seen().apps, wrong.seen().apps].concat().join(" "));
    assert!(log.contains(&with(&right, PASSWORD).url.to_string()), "the log was seen:\n{log}");
    for password in [PASSWORD, WRONG] {
        assert!(![&shown, &log, &said].iter().any(|text| text.contains(password)), "a password is shown");
    }
}

/// As servers do that find out a moment later that the key is in use.
#[tokio::test]
async fn a_yes_that_is_taken_back_is_a_busy_key_and_the_spare_is_taken() {
    let ends = [vec![Say(start()), HalfClose, Sleep], vec![Say(start()), Close], vec![Say(start()), Reset]];
    let mut studio = Studio::open();
    let feeder = feed(&studio.hub, &studio.clock, Clip::make("1M"));
    let mut cases = Vec::new();
    for end in ends {
        let (busy, spare) = (Fake::start(Script::friendly().instead(Command("publish"), end)).await, Origin::start().await);
        let alone = studio.simple_leg(vec![origin(busy.port, "live")]);
        let spared = studio.simple_leg(vec![origin(busy.port, "live"), spare.config()]);
        cases.push((busy, spare, alone, spared));
    }
    for (busy, spare, alone, spared) in &cases {
        let told = |leg: &status::Leg| leg.last_error.is_some() && leg.state == LegState::Rejected;
        let error = studio.reaches(*alone, "rejected", told).await.last_error.unwrap();
        println!("{error}");
        assert!(error.contains("closed at once"), "{error}");
        let figures = studio.goes_live(*spared, &spare.config()).await;
        assert!(figures.last_error.as_ref().is_some_and(|error| error.contains("closed at once")), "{figures:?}");
        eventually("another try", || busy.seen().connections >= 3).await;
    }
    studio.close().await;
    feeder.abort();
}
