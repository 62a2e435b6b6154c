//! Room `console`: the commands that a person or a script can give, and the doors to them.
//!
//! The socket is the one door for now. A command line is text: [`command`] is the rule that reads it, [`socket`] the shell
//! that listens, [`client`] the other end, as used by `onaird status` and `onaird ctl`.

pub mod client;
pub mod command;
pub mod socket;
