//! Eight lanes in two registers, the width in which `scalar` counts.

use std::arch::aarch64::*;
use std::arch::asm;

/// `f(0)` and `f(1)`, in registers: `array::map` and iterators over arrays go through memory.
#[inline(always)]
pub(super) fn two<T>(f: impl Fn(usize) -> T) -> [T; 2] {
    [f(0), f(1)]
}

/// `f(0)` to `f(3)`, as [`two`].
#[inline(always)]
pub(super) fn four<T>(f: impl Fn(usize) -> T) -> [T; 4] {
    [f(0), f(1), f(2), f(3)]
}

/// Eight values in single precision.
#[derive(Clone, Copy)]
pub(super) struct Floats(pub(super) [float32x4_t; 2]);

/// Eight integers of 32 bits.
#[derive(Clone, Copy)]
pub(super) struct Ints(pub(super) [int32x4_t; 2]);

/// Methods that do the same in every lane.
macro_rules! lanewise {
    ($($doc:literal $name:ident($($arg:ident),*) => $f:ident;)*) => {$(
        #[doc = $doc]
        #[inline(always)]
        pub(super) fn $name(self, $($arg: Self),*) -> Self {
            // SAFETY: NEON, which every AArch64 with a standard library has.
            unsafe { Self([$f(self.0[0] $(, $arg.0[0])*), $f(self.0[1] $(, $arg.0[1])*)]) }
        }
    )*};
}

impl Floats {
    lanewise! {
        "Sum." plus(b) => vaddq_f32;
        "Difference." minus(b) => vsubq_f32;
        "Product." times(b) => vmulq_f32;
        "Quotient." over(b) => vdivq_f32;
        "`self + a · b`, rounded once." plus_product(a, b) => vfmaq_f32;
        "`self − a · b`, rounded once." minus_product(a, b) => vfmsq_f32;
        "The smaller one; what is not a number stays." at_most(b) => vminq_f32;
        "The larger one; what is not a number stays." at_least(b) => vmaxq_f32;
        "The larger one; what is not a number is passed over." max_number(b) => vmaxnmq_f32;
        "Without the sign." size() => vabsq_f32;
        "With the other sign." negated() => vnegq_f32;
        "The nearest whole number, of two the even one." rounded() => vrndnq_f32;
    }

    /// The same value in every lane.
    #[inline(always)]
    pub(super) fn splat(x: f32) -> Self {
        // SAFETY: NEON, which every AArch64 with a standard library has.
        unsafe { Self([vdupq_n_f32(x); 2]) }
    }

    /// Eight values.
    ///
    /// # Safety
    /// They exist.
    #[inline(always)]
    pub(super) unsafe fn load(p: *const f32) -> Self {
        // SAFETY: the caller's promise; NEON.
        unsafe { Self([vld1q_f32(p), vld1q_f32(p.add(4))]) }
    }

    /// Up to eight values, the missing ones `fill`.
    #[inline(always)]
    pub(super) fn some(x: &[f32], fill: f32) -> Self {
        let mut lanes = [fill; 8];
        lanes[..x.len()].copy_from_slice(x);
        // SAFETY: eight values.
        unsafe { Self::load(lanes.as_ptr()) }
    }

    /// Eight values in half precision, wherever they lie.
    ///
    /// # Safety
    /// The sixteen bytes exist.
    #[inline(always)]
    pub(super) unsafe fn halves(p: *const u8) -> Self {
        // SAFETY: the caller's promise; NEON.
        unsafe {
            let bits = vreinterpretq_u16_u8(vld1q_u8(p));
            Self([single(vget_low_u16(bits)), single(vget_high_u16(bits))])
        }
    }

    /// Eight values of which the upper halves are given.
    ///
    /// # Safety
    /// The sixteen bytes exist.
    #[inline(always)]
    pub(super) unsafe fn upper_halves(p: *const u8) -> Self {
        // SAFETY: the caller's promise; NEON.
        unsafe {
            let bits = vreinterpretq_u16_u8(vld1q_u8(p));
            Self([
                vreinterpretq_f32_u32(vshll_n_u16::<16>(vget_low_u16(bits))),
                vreinterpretq_f32_u32(vshll_high_n_u16::<16>(bits)),
            ])
        }
    }

    /// # Safety
    /// There is room for eight values.
    #[inline(always)]
    pub(super) unsafe fn store(self, p: *mut f32) {
        // SAFETY: the caller's promise; NEON.
        unsafe {
            vst1q_f32(p, self.0[0]);
            vst1q_f32(p.add(4), self.0[1]);
        }
    }

    /// The values in order.
    #[inline(always)]
    pub(super) fn array(self) -> [f32; 8] {
        let mut lanes = [0.0; 8];
        // SAFETY: room for eight values.
        unsafe { self.store(lanes.as_mut_ptr()) };
        lanes
    }

    /// The sum of the lanes, in the scalar set's order.
    #[inline(always)]
    pub(super) fn fold(self) -> f32 {
        // SAFETY: NEON, which every AArch64 with a standard library has.
        unsafe {
            let four = vaddq_f32(self.0[0], self.0[1]);
            vpadds_f32(vadd_f32(vget_low_f32(four), vget_high_f32(four)))
        }
    }

    /// The nearest integers, of two the even one; too large ones saturate, what is not a number becomes zero.
    #[inline(always)]
    pub(super) fn to_ints(self) -> Ints {
        // SAFETY: NEON, which every AArch64 with a standard library has.
        unsafe { Ints([vcvtnq_s32_f32(self.0[0]), vcvtnq_s32_f32(self.0[1])]) }
    }
}

impl Ints {
    lanewise! {
        "Sum." plus(b) => vaddq_s32;
        "Difference." minus(b) => vsubq_s32;
        "Product." times(b) => vmulq_s32;
        "`self + a · b`." plus_product(a, b) => vmlaq_s32;
        "Every bit that both have." and(b) => vandq_s32;
        "Every bit that one has." or(b) => vorrq_s32;
        "Moved up by `places`, down where these are negative; the sign moves along." moved(places) => vshlq_s32;
    }

    /// The same value in every lane.
    #[inline(always)]
    pub(super) fn splat(x: i32) -> Self {
        // SAFETY: NEON, which every AArch64 with a standard library has.
        unsafe { Self([vdupq_n_s32(x); 2]) }
    }

    /// Eight unsigned bytes.
    ///
    /// # Safety
    /// They exist.
    #[inline(always)]
    pub(super) unsafe fn bytes(p: *const u8) -> Self {
        // SAFETY: the caller's promise; NEON.
        unsafe {
            let wide = vreinterpretq_s16_u16(vmovl_u8(vld1_u8(p)));
            Self([vmovl_s16(vget_low_s16(wide)), vmovl_high_s16(wide)])
        }
    }

    /// Eight signed bytes.
    ///
    /// # Safety
    /// They exist.
    #[inline(always)]
    pub(super) unsafe fn signed_bytes(p: *const i8) -> Self {
        // SAFETY: the caller's promise; NEON.
        unsafe {
            let wide = vmovl_s8(vld1_s8(p));
            Self([vmovl_s16(vget_low_s16(wide)), vmovl_high_s16(wide)])
        }
    }

    /// The values in order.
    #[inline(always)]
    pub(super) fn to_array(self) -> [i32; 8] {
        let mut lanes = [0; 8];
        // SAFETY: NEON; room for eight values.
        unsafe {
            vst1q_s32(lanes.as_mut_ptr(), self.0[0]);
            vst1q_s32(lanes.as_mut_ptr().add(4), self.0[1]);
        }
        lanes
    }

    /// These values.
    #[inline(always)]
    pub(super) fn from_array(lanes: [i32; 8]) -> Self {
        // SAFETY: NEON; eight values.
        unsafe { Self([vld1q_s32(lanes.as_ptr()), vld1q_s32(lanes.as_ptr().add(4))]) }
    }

    /// In single precision.
    #[inline(always)]
    pub(super) fn to_floats(self) -> Floats {
        // SAFETY: NEON, which every AArch64 with a standard library has.
        unsafe { Floats([vcvtq_f32_s32(self.0[0]), vcvtq_f32_s32(self.0[1])]) }
    }

    /// The bits as values in single precision.
    #[inline(always)]
    pub(super) fn as_floats(self) -> Floats {
        // SAFETY: NEON, which every AArch64 with a standard library has.
        unsafe { Floats([vreinterpretq_f32_s32(self.0[0]), vreinterpretq_f32_s32(self.0[1])]) }
    }
}

/// Half precision to single, exactly. The standard library's intrinsic is younger than the oldest compiler we support.
#[inline(always)]
fn single(halves: uint16x4_t) -> float32x4_t {
    let singles;
    // SAFETY: NEON; touches nothing but the registers named.
    unsafe {
        asm!(
            "fcvtl {singles:v}.4s, {halves:v}.4h",
            singles = out(vreg) singles,
            halves = in(vreg) halves,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    singles
}
