//! The daemon as the guest sees it: its answers on the control socket, as they are written there, and what it holds.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::diary::Footprint;

const SOCKET: &str = "/run/onaird/control.sock";
const PROCESSES: &str = "/sys/fs/cgroup/system.slice/onaird.service/cgroup.procs";

/// What a test wants to know of a moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    pub on_air: bool,
    pub live_legs: usize,
    pub input: String,
    pub shows: String,
    pub inputs: Vec<Input>,
    /// As "id: text".
    pub alarms: Vec<String>,
    /// Of the first input's sound.
    pub offset_ms: Option<f64>,
    pub drift_ppm: Option<f64>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Input {
    pub name: String,
    pub signal: String,
    pub mode: String,
    pub rolling: bool,
    pub last_error: String,
}

impl Input {
    fn of(input: &Value) -> Self {
        let text = |name: &str| input[name].as_str().unwrap_or_default().to_owned();
        let rolling = input["rolling"].as_bool().unwrap_or_default();
        Self { name: text("name"), signal: text("signal"), mode: text("mode"), rolling, last_error: text("last_error") }
    }
}

impl View {
    /// Nothing is wrong, and the input's picture is on air.
    pub fn is_well(&self) -> bool {
        let shown = self.inputs.iter().find(|input| input.name == self.input);
        let input_is_well = |input: &Input| input.signal == "locked" && input.rolling && input.last_error.is_empty();
        self.on_air && self.shows == "live" && shown.is_some_and(input_is_well)
    }

    pub fn signal(&self) -> &str {
        self.inputs.first().map_or("", |input| &input.signal)
    }

    /// The mode of the input on air.
    pub fn mode(&self) -> &str {
        self.inputs.iter().find(|input| input.name == self.input).map_or("", |input| &input.mode)
    }

    /// What is worth a line when it changes.
    pub fn words(&self) -> String {
        let Self { input, shows, inputs, alarms, live_legs, .. } = self;
        let told = |input: &Input| {
            let Input { name, signal, mode, rolling, last_error } = input;
            format!("{name}: {signal} [{mode}]{} {last_error}", if *rolling { " rolling" } else { "" })
        };
        let inputs: Vec<_> = inputs.iter().map(told).collect();
        format!("{shows} {input}; {}; {live_legs} legs live; alarms {alarms:?}", inputs.join("; "))
    }
}

/// `None` while it does not answer.
pub fn view() -> Option<View> {
    let answer = ask("status")?;
    let status = &answer["status"];
    let text = |pointer: &str| status.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let list = |name: &str| status[name].as_array().cloned().unwrap_or_default();
    let alarm = |alarm: &Value| format!("{}: {}", alarm["id"].as_str().unwrap_or("?"), alarm["text"].as_str().unwrap_or("?"));
    Some(View {
        on_air: status["on_air"].as_bool()?,
        live_legs: list("legs").iter().filter(|leg| leg["state"] == "live").count(),
        input: text("/program/input"),
        shows: text("/program/shows"),
        inputs: list("inputs").iter().map(Input::of).collect(),
        alarms: list("alarms").iter().map(alarm).collect(),
        offset_ms: status.pointer("/inputs/0/sound/offset_ms").and_then(Value::as_f64),
        drift_ppm: status.pointer("/inputs/0/sound/drift_ppm").and_then(Value::as_f64),
    })
}

/// One line to the control socket, and its answer; it costs no process.
pub fn ask(line: &str) -> Option<Value> {
    let mut stream = UnixStream::connect(PathBuf::from(SOCKET)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    stream.write_all(format!("{line}\n").as_bytes()).ok()?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).ok()?;
    serde_json::from_str(&answer).ok()
}

pub fn pid() -> Option<u32> {
    fs::read_to_string(PROCESSES).ok()?.lines().next()?.parse().ok()
}

pub fn footprint() -> Footprint {
    let process = PathBuf::from(format!("/proc/{}", pid().expect("the daemon runs")));
    let entries =
        |folder: &str| fs::read_dir(process.join(folder)).unwrap().flatten().map(|entry| entry.path()).collect::<Vec<_>>();
    let target = |path: &PathBuf| Some(plain(&fs::read_link(path).ok()?.to_string_lossy()));
    let name = |path: &PathBuf| Some(fs::read_to_string(path.join("comm")).ok()?.trim().to_owned());
    let mut descriptors: Vec<String> = entries("fd").iter().filter_map(target).collect();
    let mut threads: Vec<String> = entries("task").iter().filter_map(name).collect();
    descriptors.sort();
    threads.sort();
    Footprint { descriptors, threads, rss_kib: rss_kib(&fs::read_to_string(process.join("status")).unwrap()) }
}

/// "socket:[1234]" is a socket whatever its number, an archive's segment a segment whatever its name.
fn plain(target: &str) -> String {
    let target = target.split(":[").next().unwrap_or_default();
    let file = target.rsplit_once('/').filter(|_| target.contains("/archive/"));
    file.map_or(target, |(folder, _)| folder).to_owned()
}

fn rss_kib(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or_default()
}
