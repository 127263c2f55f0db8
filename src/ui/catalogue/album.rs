//! What can be done with a folder of pictures.

use super::{Entry, List, Menu};
use crate::app::{Ask, Command};
use crate::ui::texts::album as said;

impl List<'_> {
    pub(super) fn album(&mut self) {
        let app = self.app;
        let menu = Menu::File;
        let is_open = app.state.album.folder.is_some();
        self.put(menu, said::OPEN, Command::Ask(Ask::Album), Entry::apart);
        self.put(menu, said::AGAIN, Command::ReadAlbum, |entry| entry.enabled(is_open));
        self.put(menu, said::CLOSE, Command::CloseAlbum, |entry| entry.enabled(is_open));
    }
}
