//! Loops compiled for every kind of vector register, of which the widest that the processor has is used.

/// Code that is compiled once for every kind of vector register.
///
/// `run` and all in it that is to use the registers must be `#[inline(always)]`: only inlined code is compiled with
/// the instructions of its caller.
pub trait Work {
    /// What comes out.
    type Output;

    /// Do it.
    fn run(self) -> Self::Output;
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn with_avx512<W: Work>(work: W) -> W::Output {
    work.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn with_avx2<W: Work>(work: W) -> W::Output {
    work.run()
}

/// Do `work` with the widest vector registers of the processor.
///
/// No variant fuses a multiplication with an addition, so all give the same bits.
#[allow(unsafe_code)]
pub fn run_widest<W: Work>(work: W) -> W::Output {
    #[cfg(target_arch = "x86_64")]
    {
        let has_avx512 = std::arch::is_x86_feature_detected!("avx512f")
            && std::arch::is_x86_feature_detected!("avx512bw")
            && std::arch::is_x86_feature_detected!("avx512dq")
            && std::arch::is_x86_feature_detected!("avx512vl");
        if has_avx512 {
            // SAFETY: the processor has the instructions that the function was compiled for.
            return unsafe { with_avx512(work) };
        }
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has the instructions that the function was compiled for.
            return unsafe { with_avx2(work) };
        }
    }
    work.run()
}

/// What `work` gives plainly and with each kind of register that the processor has.
#[cfg(test)]
#[allow(unsafe_code)]
pub fn run_each<W: Work + Copy>(work: W) -> Vec<W::Output> {
    let mut outputs = vec![work.run(), run_widest(work)];
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has the instructions that the function was compiled for.
        outputs.push(unsafe { with_avx2(work) });
    }
    outputs
}
