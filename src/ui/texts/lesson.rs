//! What is said around lessons.

use super::Text;

texts! {
    /// Menu of lessons.
    LEARN = "learn";
    /// One step back.
    BACK = "lesson-back";
    /// One step on.
    NEXT = "lesson-next";
    /// The lesson behind this one.
    NEXT_LESSON = "lesson-next-lesson";
    /// Closes the lesson.
    CLOSE = "lesson-close";
    /// Over a question whose answer the model gives.
    PREDICT = "lesson-predict";
    /// The guess was right.
    RIGHT = "lesson-right";
    /// It wasn't.
    SURPRISE = "lesson-surprise";
    /// The models say nothing of it.
    NO_ANSWER = "lesson-no-answer";
    /// Over what the models show.
    MEASURED = "lesson-measured";
    /// Opens a lesson.
    OPEN = "lesson-open";
    /// In the menu.
    NEXT_STEP = "lesson-next-step";
    /// In the menu.
    STEP_BEFORE = "lesson-step-before";
    /// In the menu.
    CLOSE_LESSON = "lesson-close-lesson";
}
