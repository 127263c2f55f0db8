//! Undo and redo: states that were left, in their order.

use super::AppState;

/// States that are kept; beyond this many the oldest is forgotten, which keeps memory bounded (a state is a few kB).
const KEPT: usize = 10_000;

/// What goes on with a step: the drag of a slider or a word being typed is one step, however many commands it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gesture(pub &'static str, pub usize);

/// The states before and after the present one.
#[derive(Debug, Default)]
pub struct History {
    past: Vec<AppState>,
    future: Vec<AppState>,
    gesture: Option<Gesture>,
}

impl History {
    /// Takes down that `before` was left. With the same gesture as last time, the step goes on instead.
    pub fn left(&mut self, before: AppState, gesture: Option<Gesture>) {
        let goes_on = gesture.is_some() && gesture == self.gesture && !self.past.is_empty();
        self.gesture = gesture;
        self.future.clear();
        if goes_on {
            return;
        }
        if self.past.len() == KEPT {
            self.past.remove(0);
        }
        self.past.push(before);
    }

    /// Ends the present gesture: the next command begins a step of its own.
    pub fn settle(&mut self) {
        self.gesture = None;
    }

    /// Forgets the last step if it led from `present` to something that failed.
    pub fn take_back(&mut self, present: &AppState) {
        self.past.pop_if(|before| before == present);
    }

    /// The state before; `present` can be had back.
    pub fn undo(&mut self, present: &AppState) -> Option<AppState> {
        self.settle();
        let before = self.past.pop()?;
        self.future.push(present.clone());
        Some(before)
    }

    /// The state after, if the last thing done was to undo.
    pub fn redo(&mut self, present: &AppState) -> Option<AppState> {
        self.settle();
        let after = self.future.pop()?;
        self.past.push(present.clone());
        Some(after)
    }

    /// Whether there is something to undo.
    #[must_use]
    pub fn can_undo(&self) -> bool {
        !self.past.is_empty()
    }

    /// Whether there is something to redo.
    #[must_use]
    pub fn can_redo(&self) -> bool {
        !self.future.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(sentence: &str) -> AppState {
        AppState { sentence: sentence.into(), ..AppState::default() }
    }

    #[test]
    fn a_gesture_is_one_step() {
        let mut history = History::default();
        let drag = || Some(Gesture("opacity", 0));
        history.left(state("a"), drag());
        history.left(state("b"), drag());
        history.settle();
        history.left(state("c"), drag());
        assert_eq!(history.undo(&state("d")), Some(state("c")));
        assert_eq!(history.undo(&state("c")), Some(state("a")));
        assert_eq!(history.undo(&state("a")), None);
        assert_eq!(history.redo(&state("a")), Some(state("c")));
        history.left(state("c"), None);
        assert!(!history.can_redo() && history.can_undo());
    }
}
