//! The instructions themselves, which Rust has no names for yet.

use super::{Line, PANEL, SIDE};

/// Whether this processor has tiles and the system lets the program use them.
pub fn available() -> bool {
    use std::sync::OnceLock;
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(ask)
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn ask() -> bool {
    use std::arch::x86_64::{__cpuid_count, __get_cpuid_max};
    // Leaf 7 of CPUID: tiles, and products of 16-bit numbers with them.
    const BF16: u32 = 1 << 22;
    const TILES: u32 = 1 << 24;
    // arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA): tiles make what the system keeps of a thread larger, so they are asked for.
    const ASK_FOR_STATE: libc::c_int = 0x1023;
    const TILE_DATA: libc::c_ulong = 18;
    let has_tiles = __get_cpuid_max(0).0 >= 7 && __cpuid_count(7, 0).edx & (BF16 | TILES) == BF16 | TILES;
    #[expect(unsafe_code, reason = "the system's own call, which only gives or refuses a permission")]
    // SAFETY: the call takes two numbers and touches no memory of the program.
    has_tiles
        .then(|| unsafe { libc::syscall(libc::SYS_arch_prctl, ASK_FOR_STATE, TILE_DATA) })
        .is_some_and(|refused| refused == 0)
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
fn ask() -> bool {
    false
}

/// This thread's tiles while they are in use.
pub struct Tiles {
    height: usize,
}

/// How many rows and bytes each tile has, as the processor reads it.
#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// Two blocks of rows of the left matrix and a panel of the right one, over some of the inner axis.
pub struct Part<'a> {
    /// The two blocks, `[steps, parts, height]`.
    pub left: [&'a [Line]; 2],
    /// The panel, `[steps, parts, two tiles, pairs of rows]`.
    pub right: &'a [Line],
    /// Whether there are low parts.
    pub split: bool,
}

/// Where sums begin.
#[derive(Clone, Copy)]
pub enum Begin<'a> {
    /// Each row at these.
    Row(&'a [f32; PANEL]),
    /// At what is there.
    Present,
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[expect(unsafe_code, reason = "tiles are only to be had in assembler; all bounds are checked before")]
impl Tiles {
    /// Sets the tiles up for left matrices in blocks of `height` rows.
    ///
    /// # Panics
    /// If the processor has no tiles, which is a defect of the caller.
    pub fn new(height: usize) -> Self {
        assert!(available() && (1..=SIDE).contains(&height), "tiles of {height} rows");
        let mut config = Config { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
        // 0 to 3 hold sums, 4 and 5 the left matrix, 6 and 7 the right one.
        for tile in 0..8 {
            config.row_bytes[tile] = 64;
            config.rows[tile] = if tile < 6 { height as u8 } else { SIDE as u8 };
        }
        // SAFETY: the processor has the instruction, and `config` is what it reads, 64 bytes.
        unsafe { std::arch::asm!("ldtilecfg [{}]", in(reg) &raw const config, options(nostack, readonly)) };
        Self { height }
    }

    /// Adds up a part of the product into `sums`, `[two blocks, height, PANEL]` with rows `stride` numbers apart.
    ///
    /// # Panics
    /// If the lengths of a part don't fit, which is a defect of the caller.
    ///
    /// # Safety
    /// All of the sums must be the caller's to write, and to read where they go on from what is there.
    pub unsafe fn add(&mut self, part: &Part<'_>, begin: Begin<'_>, sums: *mut f32, stride: usize) {
        use std::arch::asm;
        let height = self.height;
        let of_a_step = if part.split { 4 * SIDE } else { 2 * SIDE };
        let steps = part.right.len() / of_a_step;
        let parts = if part.split { 2 } else { 1 };
        let fits = |left: &[Line]| left.len() == steps * parts * height;
        assert!(
            steps > 0 && part.right.len() == steps * of_a_step && part.left.iter().all(|left| fits(left)),
            "the parts of a product fit"
        );
        let [first, second] = part.left.map(<[Line]>::as_ptr);
        let tile = height * size_of::<Line>(); // bytes of a tile of the left matrix
        let stride = stride * size_of::<f32>();
        // SAFETY: the tiles were set up by `new` on this thread, since `Tiles` can't be sent to another one. What is read of the
        // slices lies within them: the assertion above gives their lengths, each step reads `parts` tiles of both blocks and
        // `of_a_step` lines of the panel. The caller answers for the sums: `height` rows of two tiles side by side, and as many again.
        unsafe {
            let (upper, lower) = (sums.cast::<u8>(), sums.cast::<u8>().add(height * stride));
            // A row that is its own next one stands for all.
            let (first_row, second_row, apart) = match begin {
                Begin::Row(row) => (row.as_ptr().cast::<u8>(), row.as_ptr().cast::<u8>(), 0),
                Begin::Present => (upper.cast_const(), lower.cast_const(), stride),
            };
            asm!(
                "tileloadd tmm0, [{upper} + {apart}]",
                "tileloadd tmm1, [{upper} + {apart} + 64]",
                "tileloadd tmm2, [{lower} + {apart}]",
                "tileloadd tmm3, [{lower} + {apart} + 64]",
                upper = in(reg) first_row, lower = in(reg) second_row, apart = in(reg) apart,
                options(nostack, readonly),
            );
            if part.split {
                asm!(
                    "2:",
                    // high high
                    "tileloadd tmm6, [{right} + {row}]",
                    "tileloadd tmm4, [{first} + {row}]",
                    "tileloadd tmm7, [{right} + {row} + 1024]",
                    "tileloadd tmm5, [{second} + {row}]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                    // low high
                    "add {first}, {tile}",
                    "add {second}, {tile}",
                    "tileloadd tmm4, [{first} + {row}]",
                    "tileloadd tmm5, [{second} + {row}]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                    // high low
                    "sub {first}, {tile}",
                    "sub {second}, {tile}",
                    "tileloadd tmm6, [{right} + {row} + 2048]",
                    "tileloadd tmm4, [{first} + {row}]",
                    "tileloadd tmm7, [{right} + {row} + 3072]",
                    "tileloadd tmm5, [{second} + {row}]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                    "lea {first}, [{first} + 2 * {tile}]",
                    "lea {second}, [{second} + 2 * {tile}]",
                    "add {right}, 4096",
                    "dec {steps}",
                    "jnz 2b",
                    first = inout(reg) first => _, second = inout(reg) second => _, right = inout(reg) part.right.as_ptr() => _,
                    steps = inout(reg) steps => _, tile = in(reg) tile, row = in(reg) size_of::<Line>(),
                    options(nostack, readonly),
                );
            } else {
                asm!(
                    "2:",
                    "tileloadd tmm6, [{right} + {row}]",
                    "tileloadd tmm4, [{first} + {row}]",
                    "tileloadd tmm7, [{right} + {row} + 1024]",
                    "tileloadd tmm5, [{second} + {row}]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                    "add {first}, {tile}",
                    "add {second}, {tile}",
                    "add {right}, 2048",
                    "dec {steps}",
                    "jnz 2b",
                    first = inout(reg) first => _, second = inout(reg) second => _, right = inout(reg) part.right.as_ptr() => _,
                    steps = inout(reg) steps => _, tile = in(reg) tile, row = in(reg) size_of::<Line>(),
                    options(nostack, readonly),
                );
            }
            asm!(
                "tilestored [{upper} + {stride}], tmm0",
                "tilestored [{upper} + {stride} + 64], tmm1",
                "tilestored [{lower} + {stride}], tmm2",
                "tilestored [{lower} + {stride} + 64], tmm3",
                upper = in(reg) upper, lower = in(reg) lower, stride = in(reg) stride,
                options(nostack),
            );
        }
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
impl Drop for Tiles {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "tiles are only to be had in assembler")]
        // SAFETY: the processor has the instruction; nothing of the program is left in the tiles.
        unsafe {
            std::arch::asm!("tilerelease", options(nostack, nomem));
        }
    }
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
impl Tiles {
    pub fn new(_height: usize) -> Self {
        unreachable!("there are no tiles here")
    }

    pub unsafe fn add(&mut self, _part: &Part<'_>, _begin: Begin<'_>, _sums: *mut f32, _stride: usize) {}
}
