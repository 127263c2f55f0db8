//! Chat templates, and a conversation by them.
#![cfg_attr(fuzzing, no_main)]

use alignscope::models::chat::{ChatTemplate, Message, Role};
use alignscope_fuzz::sentence;

/// What is done with a file that holds `data`.
pub fn take(data: &[u8]) {
    let Ok(source) = std::str::from_utf8(data) else { return };
    let Some(template) = sentence(ChatTemplate::new(source)) else { return };
    let said = [
        Message::new(Role::System, 0, "be kind"),
        Message::new(Role::User, 2, "what is there?"),
        Message::new(Role::Assistant, 0, "a cat"),
    ];
    for go_on in [true, false] {
        sentence(template.render(&said, "<image>", go_on));
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| take(data));
