//! Large blocks of memory in huge pages, as numpy asks for its own arrays: a 256 MB image is then handed over by the kernel
//! in 128 pieces instead of 65 536, each of which costs as much as some 2000 pixels.

use std::alloc::{GlobalAlloc, Layout, System};

/// Blocks from this size on [bytes]: the C library maps each of them by itself. Smaller ones may lie in a heap that is cut
/// and grown again and again, for which huge pages would be filled with zeros every time.
const LARGE: usize = 1 << 25;

struct HugePages;

#[global_allocator]
static MEMORY: HugePages = HugePages;

/// Ask for huge pages; a kernel that has none goes on without them.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn in_huge_pages(block: *mut u8, size: usize) -> *mut u8 {
    const PAGE: usize = 4096;
    if size >= LARGE && !block.is_null() {
        let offset = block.align_offset(PAGE);
        // SAFETY: from the first whole page on the range lies in the block, and the advice leaves its bytes alone.
        unsafe {
            libc::madvise(
                block.wrapping_add(offset).cast(),
                size - offset,
                libc::MADV_HUGEPAGE,
            );
        }
    }
    block
}

#[cfg(not(target_os = "linux"))]
fn in_huge_pages(block: *mut u8, _: usize) -> *mut u8 {
    block
}

// SAFETY: every block is the system's own.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for HugePages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        in_huge_pages(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        in_huge_pages(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        in_huge_pages(unsafe { System.realloc(block, layout, size) }, size)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        unsafe { System.dealloc(block, layout) }
    }
}
