//! The bench's own hands on the cards: vivid's controls, its place on the bus, and its buffers.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use v4l::Device;
use v4l::buffer::Type;
use v4l::control::{Control, Value};
use v4l::io::mmap::Stream;

use crate::support::{LIMIT, poll, tool};

const DRIVER: &str = "/sys/bus/platform/drivers/vivid";

/// Both cards sit in it.
const SLOT: &str = "vivid.0";

/// One card, by its stable name; its controls, by the names that v4l2-ctl gives them.
#[derive(Clone)]
pub struct Card {
    path: PathBuf,
    controls: HashMap<String, u32>,
    /// What is in the menu of each.
    menus: HashMap<String, Vec<(i64, String)>>,
}

impl Card {
    pub fn find(name: &str) -> Self {
        let path = Path::new("/dev/bench").join(name);
        poll(LIMIT, || path.exists().then_some(())).unwrap_or_else(|| panic!("{} never came", path.display()));
        let text = tool("v4l2-ctl", &["-d", path.to_str().unwrap(), "--list-ctrls-menus"]);
        let text = String::from_utf8_lossy(&text);
        Self { path, controls: controls(&text), menus: menus(&text) }
    }

    /// As soon as it is there.
    pub fn open(&self) -> Device {
        let device = poll(LIMIT, || Device::with_path(&self.path).ok());
        device.unwrap_or_else(|| panic!("{} cannot be opened", self.path.display()))
    }

    pub fn set(&self, control: &str, value: i64) {
        self.set_on(&self.open(), &[(control, value)]);
    }

    /// All in one call.
    pub fn set_all(&self, values: &[(&str, i64)]) {
        self.set_on(&self.open(), values);
    }

    pub fn set_on(&self, device: &Device, values: &[(&str, i64)]) {
        let id = |name: &str| *self.controls.get(name).unwrap_or_else(|| panic!("the card has no control {name}"));
        let values = values.iter().map(|&(name, value)| Control { id: id(name), value: Value::Integer(value) });
        device.set_controls(values.collect()).unwrap_or_else(|error| panic!("{}: {error}", self.path.display()));
    }

    /// The number of something in a control's menu, such as "1920x1080i25".
    pub fn item(&self, control: &str, name: &str) -> i64 {
        let menu = self.menus.get(control).map(Vec::as_slice).unwrap_or_default();
        let found = menu.iter().find(|(_, item)| item == name);
        found.unwrap_or_else(|| panic!("the card's {control} knows no {name}, only {menu:?}")).0
    }

    /// Cuts the card off; it comes back when nobody holds it any more.
    pub fn disconnect(&self) -> Device {
        let device = self.open();
        self.set_on(&device, &[("disconnect", 1)]);
        device
    }

    /// Takes the stream, if nobody has it.
    pub fn take(&self) -> Option<Stream<'static>> {
        let device = Device::with_path(&self.path).ok()?;
        Stream::with_buffers(&device, Type::VideoCapture, 3).ok()
    }
}

pub fn unbind() {
    fs::write(format!("{DRIVER}/unbind"), SLOT).unwrap();
}

pub fn bind() {
    fs::write(format!("{DRIVER}/bind"), SLOT).unwrap();
}

/// A line such as `  dv_timings_signal_mode 0x00f0f040 (menu)   : min=0 …`.
fn control(line: &str) -> Option<(String, u32)> {
    let (name, rest) = line.trim().split_once(' ')?;
    let number = rest.trim_start().strip_prefix("0x")?.split(' ').next()?;
    Some((name.to_owned(), u32::from_str_radix(number, 16).ok()?))
}

fn controls(text: &str) -> HashMap<String, u32> {
    text.lines().filter_map(control).collect()
}

/// Below each menu there are lines such as `    3: 720x576i25`.
fn menus(text: &str) -> HashMap<String, Vec<(i64, String)>> {
    let (mut menus, mut last) = (HashMap::<_, Vec<_>>::new(), String::new());
    for line in text.lines() {
        if let Some((name, _)) = control(line) {
            last = name;
        } else if let Some((number, item)) = line.trim().split_once(": ")
            && let Ok(number) = number.parse()
        {
            menus.entry(last.clone()).or_default().push((number, item.to_owned()));
        }
    }
    menus
}
