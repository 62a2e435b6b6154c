//! Asks a card about its connectors and analogue standards, and sets them. A shell; what the answers mean is in
//! [`analogue`](crate::capture::analogue).
//!
//! `unsafe` is for the ioctls of linux/videodev2.h that the `v4l` crate does not offer: ENUMINPUT, G_INPUT, S_INPUT, QUERYSTD,
//! G_STD, S_STD, G_CTRL.
#![allow(unsafe_code)]

use std::os::fd::RawFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollTimeout, poll};
use v4l::v4l_sys::{V4L2_CID_DV_RX_POWER_PRESENT, V4L2_IN_CAP_DV_TIMINGS, V4L2_IN_CAP_STD, v4l2_control, v4l2_input};

use crate::capture::analogue::{Answers, Entrance, Found, look, named, set_for, trial_order};
use crate::capture::video::calls::timings_of;
use crate::capture::video::format::verdict;
use crate::config::Connector;
use crate::status::Signal;

nix::ioctl_read!(get_standard, b'V', 23, u64);
nix::ioctl_write_ptr!(set_standard, b'V', 24, u64);
nix::ioctl_readwrite!(enumerate_input, b'V', 26, v4l2_input);
nix::ioctl_readwrite!(get_control, b'V', 27, v4l2_control);
nix::ioctl_read!(get_input, b'V', 38, i32);
nix::ioctl_readwrite!(set_input, b'V', 39, i32);
nix::ioctl_read!(query_standard, b'V', 63, u64);

/// How long a receiver may take to lock to a connector that was just selected, and how often it is asked.
const SETTLE: Duration = Duration::from_millis(700);
const ASK: Duration = Duration::from_millis(50);

/// No card has as many; a driver that never says "no more" ends here.
const MOST_CONNECTORS: u32 = 64;

/// All connectors of a card; empty if it has none to choose from.
pub fn entrances(fd: RawFd) -> Vec<Entrance> {
    (0..MOST_CONNECTORS).map_while(|number| input(fd, number).ok()).map(|input| entrance(&input)).collect()
}

/// The connector in use; none if there is nothing to choose.
pub fn current(fd: RawFd) -> Option<u32> {
    let mut number = 0;
    // SAFETY: `fd` is open for the length of this call and the driver writes one int.
    unsafe { get_input(fd, &mut number) }.ok()?;
    number.try_into().ok()
}

/// Takes the connector that is configured; on "auto", the first one with a signal, else the one that was in use.
///
/// Trying a connector takes up to [`SETTLE`], so that "auto" is for the start and not for every loss of a signal. Another process
/// that streams makes the driver say EBUSY.
pub fn select(fd: RawFd, connector: &Connector) -> Result<Option<u32>, String> {
    let entrances = entrances(fd);
    let current = current(fd);
    let take = |number: u32| match current_is(fd, number) {
        true => Ok(()),
        false => {
            use_connector(fd, number).map_err(|errno| format!("`connector`: {number} cannot be selected ({})", errno.desc()))
        }
    };
    if let Some(number) = named(connector, &entrances)? {
        return take(number).map(|()| Some(number));
    }
    let Some(current) = current.filter(|_| entrances.len() > 1) else { return Ok(current) };
    let locks = |number: &u32| take(*number).is_ok() && settles(fd);
    match trial_order(&entrances, current).into_iter().find(locks) {
        Some(number) => Ok(Some(number)),
        None => take(current).map(|()| Some(current)),
    }
}

/// What is on the current connector if it is an analogue one; none if it is not.
pub fn look_analogue(fd: RawFd) -> Option<Found> {
    let input = current_input(fd).filter(|input| entrance(input).analogue)?;
    Some(look(&answers(fd, &input)))
}

/// Makes the card follow the standard that it receives; the standard it was given, if it had to be.
///
/// To be called before buffers are asked for: their size depends on it, and with buffers the driver says EBUSY.
pub fn follow_standard(fd: RawFd) -> Result<Option<u64>, Errno> {
    let Some(input) = current_input(fd).filter(|input| entrance(input).analogue) else { return Ok(None) };
    let Some(set) = set_for(&answers(fd, &input), input.std) else { return Ok(None) };
    // SAFETY: `fd` is open for the length of this call and the driver reads one 64-bit set.
    unsafe { set_standard(fd, &set) }.map(|_| Some(set))
}

/// Whether a source puts its 5 V on the HDMI cable; none if the receiver cannot tell.
pub fn power_present(fd: RawFd) -> Option<bool> {
    let mut control = v4l2_control { id: V4L2_CID_DV_RX_POWER_PRESENT, value: 0 };
    // SAFETY: `fd` is open for the length of this call and the driver writes one struct of the size that the request encodes.
    unsafe { get_control(fd, &mut control) }.ok()?;
    // One bit for each connector of the receiver.
    Some(control.value != 0)
}

fn current_is(fd: RawFd, number: u32) -> bool {
    current(fd) == Some(number)
}

fn use_connector(fd: RawFd, number: u32) -> Result<(), Errno> {
    let mut number = number as i32;
    // SAFETY: `fd` is open for the length of this call and the driver reads and writes one int.
    unsafe { set_input(fd, &mut number) }.map(drop)
}

/// Waits until the current connector has a signal; false if it has none in time.
fn settles(fd: RawFd) -> bool {
    let times = SETTLE.as_millis() / ASK.as_millis();
    (0..times).any(|_| {
        let locked = has_signal(fd);
        if !locked {
            // A pause on the input's own thread; no descriptor to watch, for not every driver sends events.
            let _ = poll(&mut [], PollTimeout::try_from(ASK).unwrap_or(PollTimeout::ZERO));
        }
        locked
    })
}

fn has_signal(fd: RawFd) -> bool {
    match look_analogue(fd) {
        Some(found) => found.signal == Signal::Locked,
        None => timings_of(fd).map_or_else(verdict, |_| Signal::Locked) == Signal::Locked,
    }
}

fn current_input(fd: RawFd) -> Option<v4l2_input> {
    input(fd, current(fd)?).ok()
}

fn input(fd: RawFd, number: u32) -> Result<v4l2_input, Errno> {
    // SAFETY: all-zero is a valid value of this plain C struct.
    let mut input: v4l2_input = unsafe { std::mem::zeroed() };
    input.index = number;
    // SAFETY: `fd` is open for the length of this call and the driver writes one struct of the size that the request encodes.
    unsafe { enumerate_input(fd, &mut input) }.map(|_| input)
}

fn entrance(input: &v4l2_input) -> Entrance {
    let end = input.name.iter().position(|byte| *byte == 0).unwrap_or(input.name.len());
    Entrance {
        number: input.index,
        name: String::from_utf8_lossy(&input.name[..end]).trim().to_owned(),
        status: input.status,
        analogue: input.capabilities & V4L2_IN_CAP_STD != 0,
        digital: input.capabilities & V4L2_IN_CAP_DV_TIMINGS != 0,
    }
}

fn answers(fd: RawFd, input: &v4l2_input) -> Answers {
    let (mut detected, mut present) = (0, 0);
    // SAFETY: `fd` is open for the length of this call and the driver writes one 64-bit set.
    let detected = unsafe { query_standard(fd, &mut detected) }.map(|_| detected);
    // SAFETY: as above.
    let present = unsafe { get_standard(fd, &mut present) }.map_or(0, |_| present);
    let detected = match detected {
        Ok(detected) => Some(detected),
        // What drivers say instead of an empty set.
        Err(Errno::ENOLINK | Errno::ENOLCK) => Some(0),
        Err(_) => None,
    };
    Answers { status: input.status, detected, present }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn what_is_no_card_has_nothing_to_choose() {
        let null = std::fs::File::open("/dev/null").unwrap();
        let fd = null.as_raw_fd();
        assert_eq!((entrances(fd), current(fd), power_present(fd)), (vec![], None, None));
        assert_eq!((look_analogue(fd), follow_standard(fd)), (None, Ok(None)));
        assert_eq!(select(fd, &Connector::Auto), Ok(None));
        assert!(select(fd, &Connector::Number(1)).unwrap_err().contains("remove the key"));
    }
}
