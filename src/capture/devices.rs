//! Capture devices as a list for people: what is there, and what is on its cable.

use v4l::Device;
use v4l::capability::Flags;
use v4l::context;

use crate::capture::signal;

/// One line per device that can capture, in the order of their numbers.
pub fn list() -> Vec<String> {
    let mut nodes = context::enum_devices();
    nodes.sort_by_key(v4l::context::Node::index);
    nodes.iter().filter_map(|node| describe(node.path())).collect()
}

/// The first device that can capture.
pub fn first() -> Option<std::path::PathBuf> {
    let mut nodes = context::enum_devices();
    nodes.sort_by_key(v4l::context::Node::index);
    nodes.iter().map(|node| node.path().to_path_buf()).find(|path| describe(path).is_some())
}

fn describe(path: &std::path::Path) -> Option<String> {
    let caps = Device::with_path(path).ok()?.query_caps().ok()?;
    if !caps.capabilities.intersects(Flags::VIDEO_CAPTURE | Flags::VIDEO_CAPTURE_MPLANE) {
        return None;
    }
    let look = signal::look(path);
    let mode = look.mode.map(|mode| format!(", {mode}")).unwrap_or_default();
    Some(format!("{}  {} ({}), {}{mode}", path.display(), caps.card, caps.bus, look.signal))
}
