//! Puts the calling thread behind all others, for the processor and for the disk. Whatever the system refuses is left as it is: the
//! thread's pace is bounded anyway.
//!
//! `unsafe` is for these two system calls, setpriority(2) and ioprio_set(2), which take numbers alone; the second has no name in libc.
#![allow(unsafe_code)]

use nix::libc;

const NICE: i32 = 19;

/// linux/ioprio.h: of one thread; served when nobody else wants the disk.
const IOPRIO_WHO_PROCESS: libc::c_int = 1;
const IOPRIO_IDLE: libc::c_int = 3 << 13;

/// For the calling thread alone: to Linux these ids are those of threads, and 0 is the caller.
pub fn step_back() {
    // SAFETY: both take integers and touch no memory.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, NICE);
        libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0 as libc::c_int, IOPRIO_IDLE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_thread_and_no_other() {
        let nice = || unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
        let before = nice();
        let then = std::thread::spawn(move || {
            step_back();
            nice()
        });
        assert_eq!((then.join().unwrap(), nice()), (NICE, before));
    }
}
