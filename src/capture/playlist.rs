//! Which file of a list comes next. A rule: what the list means at the moment is looked up by others, at the begin of each round.

use std::path::PathBuf;

use crate::config::Played;

#[derive(Clone, Debug)]
pub struct Playlist {
    /// As configured; what they mean is looked up at the begin of each round.
    listed: Vec<Played>,
    looped: bool,
    /// The files of this round; empty before the first one, and while there is none to play.
    round: Vec<PathBuf>,
    next: usize,
}

impl Playlist {
    /// `listed` is not empty (the configuration sees to it).
    pub fn new(listed: Vec<Played>, looped: bool) -> Self {
        Self { listed, looped, round: Vec::new(), next: 0 }
    }

    /// What was configured.
    pub fn listed(&self) -> &[Played] {
        &self.listed
    }

    /// How many files this round has.
    pub fn files(&self) -> usize {
        self.round.len()
    }

    /// Begins anew.
    pub fn rewind(&mut self) {
        self.round.clear();
        self.next = 0;
    }

    /// Whether a new round must be begun before the next file is known.
    pub fn wants_round(&self) -> bool {
        self.round.is_empty() || self.looped && self.next >= self.round.len()
    }

    /// With the files of the list as they are now.
    pub fn begin(&mut self, round: Vec<PathBuf>) {
        (self.round, self.next) = (round, 0);
    }

    /// Nothing is left to play.
    pub fn is_over(&self) -> bool {
        !self.looped && !self.round.is_empty() && self.next >= self.round.len()
    }

    /// The next file; `None` after the last one of a list that is not looped, and of a round without any.
    pub fn advance(&mut self) -> Option<PathBuf> {
        let path = self.round.get(self.next).cloned();
        self.next += usize::from(path.is_some());
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes out of a list whose rounds are these.
    fn played(looped: bool, rounds: &[&[&str]], count: usize) -> Vec<Option<String>> {
        let mut playlist = Playlist::new(vec![Played::File("listed".into())], looped);
        let mut rounds = rounds.iter();
        let mut next = || {
            if playlist.wants_round() {
                playlist.begin(rounds.next().expect("another round").iter().map(PathBuf::from).collect());
            }
            playlist.advance().map(|path| path.display().to_string())
        };
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn a_loop_never_ends_and_a_list_does() {
        let some = |name: &str| Some(name.to_string());
        let round: &[&str] = &["a", "b"];
        assert_eq!(played(true, &[round, round, round], 5), ["a", "b", "a", "b", "a"].map(some));
        assert_eq!(played(false, &[round], 4), [some("a"), some("b"), None, None]);
    }

    #[test]
    fn every_round_plays_what_there_is_by_then() {
        let some = |name: &str| Some(name.to_string());
        let rounds: &[&[&str]] = &[&[], &["a"], &["a", "b"], &["b"]];
        assert_eq!(played(true, rounds, 5), [None, some("a"), some("a"), some("b"), some("b")]);
        assert_eq!(played(false, rounds, 3), [None, some("a"), None], "a list without anything to play is not over");
    }

    #[test]
    fn a_list_is_over_only_after_its_last_file() {
        let mut playlist = Playlist::new(vec![Played::File("listed".into())], false);
        assert!(!playlist.is_over());
        playlist.begin(vec!["a".into()]);
        assert!(!playlist.is_over());
        playlist.advance();
        assert!(playlist.is_over());
        playlist.rewind();
        assert!(!playlist.is_over() && playlist.wants_round());
    }
}
