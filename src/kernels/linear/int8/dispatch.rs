//! Which kernel multiplies on this processor.

use std::sync::LazyLock;

use super::block::{Block, Shape};
use super::portable;
#[cfg(target_arch = "x86_64")]
use super::x86;

/// The kernels. A value says that this processor has the instructions of its kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kernel {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2(x86::Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(x86::Avx512),
    #[cfg(target_arch = "x86_64")]
    Vnni(x86::Vnni),
}

impl Kernel {
    /// The number of kernels for this kind of processor.
    #[cfg(test)]
    pub(super) const COUNT: usize = if cfg!(target_arch = "x86_64") { 4 } else { 1 };

    /// All that this processor has, the fastest first.
    pub(super) fn available() -> Vec<Self> {
        let mut kernels = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            kernels.extend(x86::Vnni::detect().map(Self::Vnni));
            kernels.extend(x86::Avx512::detect().map(Self::Avx512));
            kernels.extend(x86::Avx2::detect().map(Self::Avx2));
        }
        kernels.push(Self::Portable);
        kernels
    }

    /// The fastest one.
    pub(in crate::kernels::linear) fn of_this_processor() -> Self {
        static KERNEL: LazyLock<Kernel> =
            LazyLock::new(|| Kernel::available().into_iter().next().unwrap_or(Kernel::Portable));
        *KERNEL
    }

    /// How it packs a weight, in words that are part of the key of a file in `cache_dir`: other
    /// words have every file packed anew.
    pub fn packing(self) -> &'static str {
        match self {
            Self::Portable => "Portable",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => "Avx2(Avx2(()))",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => "Avx512(Avx512(()))",
            #[cfg(target_arch = "x86_64")]
            Self::Vnni(_) => "Vnni(Vnni(()))",
        }
    }

    pub(super) fn shape(self) -> Shape {
        match self {
            Self::Portable => portable::SHAPE,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => x86::Avx2::SHAPE,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => x86::Avx512::SHAPE,
            #[cfg(target_arch = "x86_64")]
            Self::Vnni(_) => x86::Vnni::SHAPE,
        }
    }

    pub(super) fn run(self, block: &mut Block<'_, '_>) {
        match self {
            Self::Portable => portable::run(block),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(avx2) => avx2.run(block),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(avx512) => avx512.run(block),
            #[cfg(target_arch = "x86_64")]
            Self::Vnni(vnni) => vnni.run(block),
        }
    }
}
