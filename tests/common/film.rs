//! A film of the window: what it shows, several times a second, with the pointer drawn in, as an animated GIF.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use gif::{Encoder, Frame, Repeat};
use image::imageops::{FilterType, resize};
use image::{Rgb, RgbImage, Rgba, RgbaImage};
use x11rb::connection::Connection;
use x11rb::protocol::xproto::{ConnectionExt, ImageFormat};

/// Pictures a second, at most.
const RATE: u32 = 4;
/// What stands still longer than this is cut.
const LONGEST: Duration = Duration::from_millis(1000);
/// By how many levels, over red, green and blue, a pixel has to change to be seen to change.
const VISIBLE: u32 = 24;
/// Width of the film, in pixels.
const WIDTH: u32 = 880;
/// The pointer: an arrow, its tip first, in pixels of the window.
const ARROW: [&str; 14] = [
    "#",
    "##",
    "#.#",
    "#..#",
    "#...#",
    "#....#",
    "#.....#",
    "#......#",
    "#.......#",
    "#....####",
    "#..#..#",
    "#.# #..#",
    "##  #..#",
    "#    ##",
];

/// A camera that runs until it is dropped.
pub struct Camera {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Camera {
    /// Films the part of the screen from its upper left corner to `size`, into the file at `path`.
    pub fn start(path: PathBuf, size: [u16; 2]) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&ends);
        let thread = std::thread::spawn(move || film(&path, size, &until));
        Self { ends, thread: Some(thread) }
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn film(path: &PathBuf, [width, height]: [u16; 2], ends: &AtomicBool) {
    let (display, screen) = x11rb::connect(None).expect("a display");
    let root = display.setup().roots[screen].root;
    let small = [WIDTH, WIDTH * u32::from(height) / u32::from(width)];
    let mut encoder =
        Encoder::new(File::create(path).expect("a file"), small[0] as u16, small[1] as u16, &[]).expect("a film");
    encoder.set_repeat(Repeat::Infinite).expect("a film");
    // What a viewer of the film sees so far.
    let mut shown = RgbImage::new(small[0], small[1]);
    let mut since = Instant::now();
    let mut waiting: Option<Frame<'static>> = None;
    while !ends.load(Ordering::Relaxed) {
        let begin = Instant::now();
        let asked = display.get_image(ImageFormat::Z_PIXMAP, root, 0, 0, width, height, !0);
        if let Some(bytes) = asked.ok().and_then(|asked| asked.reply().ok()).map(|reply| reply.data) {
            let mut picture = RgbImage::new(width.into(), height.into());
            for (to, from) in picture.pixels_mut().zip(bytes.chunks_exact(4)) {
                *to = Rgb([from[2], from[1], from[0]]);
            }
            if let Some(at) = display.query_pointer(root).ok().and_then(|asked| asked.reply().ok()) {
                point(&mut picture, [at.root_x.into(), at.root_y.into()]);
            }
            let picture = resize(&picture, small[0], small[1], FilterType::Triangle);
            if let Some(changed) = changes(&mut shown, &picture) {
                // A frame is written once it is known how long it was seen.
                if let Some(mut frame) = waiting.replace(changed) {
                    frame.delay = (since.elapsed().min(LONGEST).as_millis() / 10) as u16;
                    encoder.write_frame(&frame).expect("a frame");
                }
                since = Instant::now();
            }
        }
        sleep((Duration::from_secs(1) / RATE).saturating_sub(begin.elapsed()));
    }
    if let Some(mut frame) = waiting {
        frame.delay = (LONGEST.as_millis() / 10) as u16;
        encoder.write_frame(&frame).expect("a frame");
    }
}

/// Draws the pointer, which a photograph leaves out.
fn point(picture: &mut RgbImage, [x, y]: [i32; 2]) {
    for (row, line) in ARROW.iter().enumerate() {
        for (column, sign) in line.chars().enumerate().filter(|(_, sign)| *sign != ' ') {
            let level = if sign == '#' { 0 } else { 255 };
            for (right, down) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                let (x, y) = (x + (2 * column + right) as i32, y + (2 * row + down) as i32);
                if let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y))
                    && let Some(pixel) = picture.get_pixel_mut_checked(x, y)
                {
                    *pixel = Rgb([level; 3]);
                }
            }
        }
    }
}

/// What changes `shown` into `now` as far as one sees it, as a frame that lets the rest shine through; it is done to `shown`,
/// too.
fn changes(shown: &mut RgbImage, now: &RgbImage) -> Option<Frame<'static>> {
    let [mut left, mut top, mut right, mut bottom] = [u32::MAX, u32::MAX, 0, 0];
    let mut overlay = RgbaImage::new(now.width(), now.height());
    for ((x, y, to), from) in now.enumerate_pixels().zip(shown.pixels_mut()) {
        let apart = to.0.iter().zip(from.0).map(|(one, other)| u32::from(one.abs_diff(other))).sum::<u32>();
        if apart > VISIBLE {
            *from = *to;
            overlay.put_pixel(x, y, Rgba([to[0], to[1], to[2], 255]));
            (left, top, right, bottom) = (left.min(x), top.min(y), right.max(x), bottom.max(y));
        }
    }
    if left > right {
        return None;
    }
    let (width, height) = (right - left + 1, bottom - top + 1);
    let mut part = image::imageops::crop_imm(&overlay, left, top, width, height).to_image();
    let mut frame = Frame::from_rgba_speed(width as u16, height as u16, &mut part, 10);
    (frame.left, frame.top) = (left as u16, top as u16);
    Some(frame)
}
