//! Length-prefixed gRPC messages.

/// An uncompressed message with its prefix.
///
/// # Panics
/// If the message has 4 GiB or more.
pub fn frame(message: &[u8]) -> Vec<u8> {
    frame_with(0, message.len(), message)
}

/// A message with any flag and any claimed length in its prefix.
///
/// # Panics
/// If the length is 4 GiB or more.
pub fn frame_with(flag: u8, claimed: usize, message: &[u8]) -> Vec<u8> {
    let claimed = u32::try_from(claimed).expect("lengths are below 4 GiB");
    [&[flag][..], &claimed.to_be_bytes(), message].concat()
}
