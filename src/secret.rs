//! Stream keys and passwords: a type that cannot be printed by accident.
//!
//! It has neither `Debug` nor `Display` nor `Serialize`; whoever needs the text says `expose()`, which is easy to find.

/// Text that must never reach a log, a status or a screen.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself; the caller promises to hand it to its peer and to nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
