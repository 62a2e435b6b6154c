//! Switching, as the room's actor sees it: the order to the ticker, and what a person is told of it.

use crate::control::{Chooser, Reply};
use crate::program::Room;
use crate::program::ticker::Figures;

impl Room {
    pub(super) fn switch(&mut self, input: &str, fade: Option<u32>, by: Chooser) -> Reply {
        let Some(index) = self.channels.iter().position(|channel| channel.name == input) else {
            let names: Vec<_> = self.channels.iter().map(|channel| channel.name.as_str()).collect();
            return Err(format!("there is no input called \"{input}\"; the inputs are: {}", names.join(", ")));
        };
        let frames = fade.unwrap_or(self.setup.config.fade);
        self.desk.switch(index, u64::from(frames));
        self.selected = input.into();
        let automatic = by == Chooser::List;
        self.report.update(|program| (program.selected, program.automatic) = (input.into(), automatic));
        if by == Chooser::Operator {
            self.events.add(format!("switching to input {input}"));
        }
        let done = match frames {
            0 => format!("switching to {input}"),
            _ => format!("fading to {input} in {frames} frames"),
        };
        let held = if self.has_list() { "; it stays until its picture is lost, or until `auto`" } else { "" };
        Ok(done + held)
    }

    /// The conductor chooses again.
    pub(super) fn give_back(&mut self) -> Reply {
        if !self.has_list() {
            return Err(
                "there is nothing to choose from; list several inputs, such as `input = [\"hdmi1\", \"promo\"]` in [program]"
                    .into(),
            );
        }
        let list = self.setup.config.input.join(", ");
        self.report.update(|program| program.automatic = true);
        self.events.add(format!("the choice of the input is automatic again: {list}"));
        Ok(format!("the first of these that has a picture: {list}"))
    }

    /// Whether there is anything to choose without a person.
    pub(super) fn has_list(&self) -> bool {
        self.setup.config.input.len() > 1
    }

    /// What is shown, as soon as it is another: the conductor waits for it.
    pub(super) fn report_picture(&self) {
        let Figures { input, fading_out, shows, .. } = self.desk.look();
        let name = |index: usize| self.channels[index].name.clone();
        self.report.update(|program| {
            program.input = input.map(name).unwrap_or_default();
            program.fading_out = fading_out.into_iter().map(name).collect();
            program.shows = shows;
        });
    }
}
