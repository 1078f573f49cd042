//! Taking binary forms apart from their front, whatever the bytes are.

/// Takes `N` bytes; `None` where fewer are left.
pub fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, left) = rest.split_first_chunk()?;
    *rest = left;
    Some(*taken)
}

/// Takes a little-endian u32 count and that many items of `size` bytes.
pub fn take_counted<'a>(rest: &mut &'a [u8], size: usize) -> Option<&'a [u8]> {
    let count = u32::from_le_bytes(take(rest)?) as usize;
    let (taken, left) = rest.split_at_checked(count.checked_mul(size)?)?;
    *rest = left;
    Some(taken)
}
