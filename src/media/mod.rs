//! What flows from room to room: raw frames from capture to the program, packets from the program to legs and archive.

pub mod canvas;
pub mod dmabuf;
pub mod flv;
pub mod hub;
pub mod interleave;
pub mod meter;
pub mod packet;
pub mod raw;
pub mod stamp;
