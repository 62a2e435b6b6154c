//! What a session tells its owner, in a queue that no server can make grow. Pure.

use std::collections::VecDeque;

use super::command::Refusal;

/// Acknowledgements that may wait to be taken; they are taken after every read.
const MAX_ACKNOWLEDGEMENTS: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The server has a stream for us; `Session::publish` goes on.
    Ready,
    /// The server waits for media.
    Publishing,
    /// The server says how many bytes it has got; how it counts differs between servers.
    Acknowledged(u32),
    /// The connection is of no more use.
    Refused(Refusal),
    /// The server wants us elsewhere, soon: at `url`, which may be relative to the present one (see
    /// [`resolve`](super::redirect::resolve)), or at the present one again.
    Reconnect { url: Option<String>, description: String },
}

#[derive(Debug, Default)]
pub struct EventQueue {
    events: VecDeque<Event>,
}

impl EventQueue {
    /// Of refusals only the first counts and of reconnect requests the last; more acknowledgements than anybody needs replace
    /// each other. So nothing is lost that matters.
    pub fn push(&mut self, event: Event) {
        match &event {
            Event::Refused(_) if self.count(is_refusal) > 0 => return,
            Event::Reconnect { .. } => self.events.retain(|event| !is_reconnect(event)),
            Event::Acknowledged(_) if self.count(is_acknowledgement) >= MAX_ACKNOWLEDGEMENTS => {
                let last = self.events.iter().rposition(is_acknowledgement);
                last.map(|index| self.events.remove(index));
            }
            _ => {}
        }
        self.events.push_back(event);
    }

    pub fn pop(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn count(&self, which: fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|event| which(event)).count()
    }
}

fn is_refusal(event: &Event) -> bool {
    matches!(event, Event::Refused(_))
}

fn is_reconnect(event: &Event) -> bool {
    matches!(event, Event::Reconnect { .. })
}

fn is_acknowledgement(event: &Event) -> bool {
    matches!(event, Event::Acknowledged(_))
}

#[cfg(test)]
mod tests {
    use super::super::command::Info;
    use super::*;
    use crate::secret::Secret;

    #[test]
    fn it_is_bounded_and_nothing_that_matters_is_lost() {
        let refusal = |round: u32| Refusal::new(&Info { description: round.to_string(), ..Info::default() }, &Secret::new(""));
        let mut queue = EventQueue::default();
        queue.push(Event::Publishing);
        for round in 0..500 {
            queue.push(Event::Acknowledged(round));
            queue.push(Event::Reconnect { url: None, description: round.to_string() });
            queue.push(Event::Refused(refusal(round)));
        }
        let events: Vec<Event> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(events.len(), 1 + MAX_ACKNOWLEDGEMENTS + 2);
        assert_eq!(events[0], Event::Publishing);
        assert!(events.contains(&Event::Acknowledged(0)) && events.contains(&Event::Acknowledged(499)));
        assert!(events.contains(&Event::Reconnect { url: None, description: "499".into() }));
        assert!(events.contains(&Event::Refused(refusal(0))));
    }
}
