//! The program in a window of its own on an X display: to be looked at, clicked into, typed into and closed.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use image::RgbImage;
use x11rb::connection::Connection;
use x11rb::protocol::xproto::{
    AtomEnum, ClientMessageEvent, ConnectionExt, EventMask, ImageFormat, InputFocus, MapState,
};
use x11rb::rust_connection::RustConnection;

/// How long anything may take; a machine that compiles beside it is slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// The running program. It ends with this; where the test has failed, what it said is shown.
pub struct Program {
    child: Child,
    said: PathBuf,
    display: RustConnection,
    screen: usize,
    root: u32,
    window: u32,
}

impl Program {
    /// Starts the program with all that it keeps in `home`, and waits for its window.
    pub fn start(home: &Path) -> Self {
        let (display, screen) = x11rb::connect(None)
            .unwrap_or_else(|error| panic!("there is no display ({error}); .ci/window brings one of its own"));
        let root = display.setup().roots[screen].root;
        let said = home.join("said");
        let said_file = || File::options().create(true).append(true).open(&said).expect("a file");
        let runtime = home.join("runtime");
        if !runtime.exists() {
            use std::os::unix::fs::DirBuilderExt;
            fs::DirBuilder::new().mode(0o700).create(&runtime).expect("a folder");
        }
        // A film is to show the program as people build it.
        let usual = || env!("CARGO_BIN_EXE_alignscope").into();
        let child = Command::new(std::env::var_os("ALIGNSCOPE_PROGRAM").unwrap_or_else(usual))
            .envs(["XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"].map(|name| (name, home)))
            .env("XDG_RUNTIME_DIR", runtime)
            .env("LIBGL_ALWAYS_SOFTWARE", "1")
            // A point is a pixel, whatever the display says of its millimetres.
            .env("WINIT_X11_SCALE_FACTOR", "1")
            // Neither another display nor another program's file dialogs.
            .env_remove("WAYLAND_DISPLAY")
            .env_remove("DBUS_SESSION_BUS_ADDRESS")
            .env("PATH", "")
            .stdin(Stdio::null())
            .stdout(said_file())
            .stderr(said_file())
            .spawn()
            .expect("the program starts");
        let mut program = Self { child, said, display, screen, root, window: 0 };
        program.window = program.wait_for("the window", Self::find);
        // Without a window manager nobody else gives it the keys.
        let focus = program.display.set_input_focus(InputFocus::PARENT, program.window, x11rb::CURRENT_TIME);
        focus.expect("a request").check().expect("the window takes keys");
        program
    }

    /// The visible window that belongs to the program.
    fn find(&mut self) -> Option<u32> {
        let wanted = self.child.id();
        let pid = self.atom("_NET_WM_PID");
        self.display.query_tree(self.root).ok()?.reply().ok()?.children.into_iter().find(|window| {
            // Windows of others may be gone by now.
            let shown = self.display.get_window_attributes(*window).ok().and_then(|asked| asked.reply().ok());
            let of = self.display.get_property(false, *window, pid, AtomEnum::CARDINAL, 0, 1).ok();
            let of = of.and_then(|asked| asked.reply().ok()).and_then(|reply| reply.value32()?.next());
            of == Some(wanted) && shown.is_some_and(|shown| shown.map_state == MapState::VIEWABLE)
        })
    }

    fn atom(&self, name: &str) -> u32 {
        self.display.intern_atom(false, name.as_bytes()).expect("a request").reply().expect("an atom").atom
    }

    /// Looks until there is something, as long as the program runs.
    pub fn wait_for<T>(&mut self, what: &str, mut look: impl FnMut(&mut Self) -> Option<T>) -> T {
        let begin = Instant::now();
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            if let Some(status) = self.child.try_wait().expect("the program's status") {
                panic!("the program stopped ({status}) before {what}");
            }
            assert!(begin.elapsed() < PATIENCE, "{what}: not within {} seconds", PATIENCE.as_secs());
            sleep(Duration::from_millis(100));
        }
    }

    /// The window's width and height, in pixels.
    pub fn size(&self) -> [u16; 2] {
        let geometry = self.display.get_geometry(self.window).expect("a request").reply().expect("a window");
        [geometry.width, geometry.height]
    }

    /// What the window shows, if it is still there.
    pub fn photograph(&self) -> Option<RgbImage> {
        let area = self.display.get_geometry(self.window).ok()?.reply().ok()?;
        let asked = self.display.get_image(ImageFormat::Z_PIXMAP, self.window, 0, 0, area.width, area.height, !0);
        let bytes = asked.ok()?.reply().ok()?.data;
        // Blue, green, red and a byte of nothing, as every screen of 24 bits has it.
        let mut levels = vec![0; bytes.len() / 4 * 3];
        for (to, from) in levels.chunks_exact_mut(3).zip(bytes.chunks_exact(4)) {
            to.copy_from_slice(&[from[2], from[1], from[0]]);
        }
        RgbImage::from_raw(area.width.into(), area.height.into(), levels)
    }

    /// Clicks at a pixel of the window.
    pub fn click(&self, [x, y]: [i32; 2]) {
        self.point([x, y]);
        xdotool(["click", "1"]);
    }

    /// Moves the pointer to a pixel of the window.
    pub fn point(&self, [x, y]: [i32; 2]) {
        let place = self.display.translate_coordinates(self.window, self.root, 0, 0);
        let place = place.expect("a request").reply().expect("a window");
        let (x, y) = (i32::from(place.dst_x) + x, i32::from(place.dst_y) + y);
        xdotool(["mousemove", &x.to_string(), &y.to_string()]);
    }

    /// Takes the pointer out of the window, to the last pixel of the screen.
    pub fn leave(&self) {
        let screen = &self.display.setup().roots[self.screen];
        let (x, y) = (screen.width_in_pixels - 1, screen.height_in_pixels - 1);
        xdotool(["mousemove", &x.to_string(), &y.to_string()]);
    }

    /// What the program has said so far.
    fn said(&self) -> String {
        fs::read_to_string(&self.said).unwrap_or_default()
    }

    /// Closes the window as a window manager does, and waits for the end.
    pub fn close(&mut self) {
        // xdotool of Debian and Ubuntu has no word for it.
        let data = [self.atom("WM_DELETE_WINDOW"), x11rb::CURRENT_TIME, 0, 0, 0];
        let message = ClientMessageEvent::new(32, self.window, self.atom("WM_PROTOCOLS"), data);
        let sent = self.display.send_event(false, self.window, EventMask::NO_EVENT, message);
        sent.expect("a request").check().expect("the window is there");
        self.ends();
    }

    /// Waits until the program has ended by itself, as it should.
    pub fn ends(&mut self) {
        let begin = Instant::now();
        let status: ExitStatus = loop {
            if let Some(status) = self.child.try_wait().expect("the program's status") {
                break status;
            }
            assert!(begin.elapsed() < PATIENCE, "the window doesn't close");
            sleep(Duration::from_millis(100));
        };
        assert!(status.success(), "the program ended with {status}");
    }

    /// Ends the program on the spot.
    pub fn kill(&mut self) {
        self.child.kill().expect("the program runs");
        self.child.wait().expect("the program's status");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the program said:\n{}", self.said());
        }
    }
}

/// What hands do.
pub fn xdotool<Word: AsRef<OsStr>>(words: impl IntoIterator<Item = Word>) {
    let status = Command::new("xdotool").args(words).status();
    let status = status.unwrap_or_else(|error| panic!("xdotool can't be run ({error}); apt-get install xdotool"));
    assert!(status.success(), "xdotool failed");
}
