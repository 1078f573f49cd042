//! Binary forms, put together and taken apart from their front, whatever the bytes are.

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

/// Adds a little-endian u32 length and these bytes, as [`take_counted`] takes them.
pub fn push_counted(bytes: &mut Vec<u8>, counted: &[u8]) {
    let count = u32::try_from(counted.len()).expect("what is kept in one piece is far below 4 GiB");
    bytes.extend_from_slice(&count.to_le_bytes());
    bytes.extend_from_slice(counted);
}
