//! Where several threads write to different columns of one matrix, which no slice can say.

use std::slice;

/// A matrix whose rows stand `stride` apart, shared by threads that write to different places of it.
#[derive(Clone, Copy)]
pub(super) struct Target {
    pub first: *mut f32,
    pub stride: usize,
}

#[expect(unsafe_code, reason = "threads write to different columns of one matrix")]
// SAFETY: each task writes to places of its own only.
unsafe impl Send for Target {}
#[expect(unsafe_code, reason = "as above")]
// SAFETY: as above.
unsafe impl Sync for Target {}

impl Target {
    /// Where row `row` has its column `column`.
    pub fn at(self, row: usize, column: usize) -> *mut f32 {
        self.first.wrapping_add(row * self.stride + column)
    }

    /// `width` columns of a row, from `column` on.
    ///
    /// # Safety
    /// They lie inside the matrix, which lives and is borrowed exclusively for `'a`, and nobody else touches them meanwhile.
    #[expect(unsafe_code, reason = "as above")]
    pub unsafe fn row<'a>(self, row: usize, column: usize, width: usize) -> &'a mut [f32] {
        // SAFETY: as the caller promises.
        unsafe { slice::from_raw_parts_mut(self.at(row, column), width) }
    }
}
