//! Checks a JPEG file's header before its first scan, where the decoder trusts the file too much.

/// Refuses CMYK, and colours sampled in a way that no camera writes (normally the first,
/// brightness, is the finest), which makes zune-jpeg 0.5 panic. Walks the segments of the header
/// (ITU T.81, annex B): 0xff, a marker, a length, its contents.
pub(super) fn check(bytes: &[u8]) -> Result<(), String> {
    let mut rest = bytes.strip_prefix(&[0xff, 0xd8]).ok_or("not a JPEG file")?;
    let mut frames = 0;
    loop {
        rest = rest.strip_prefix(&[0xff]).ok_or("it is damaged before its first scan")?;
        let filled = rest.iter().take_while(|&&b| b == 0xff).count();
        let (&marker, after) =
            rest[filled..].split_first().ok_or("it ends before its first scan")?;
        let len = after.first_chunk().map_or(0, |n| usize::from(u16::from_be_bytes(*n)));
        let contents = after.get(2..len).ok_or("it is cut off or damaged before its first scan")?;
        match marker {
            // Start of frame: all but three of these sixteen markers, which are tables and an
            // extension.
            0xc0..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc) => {
                frame(contents)?;
                frames += 1;
            }
            0xda => break,
            0x01 | 0xd0..=0xd9 => return Err("it is damaged before its first scan".into()),
            _ => {}
        }
        rest = &after[len..];
    }
    if frames != 1 {
        return Err(format!("it has {frames} image headers; 1 is read"));
    }
    Ok(())
}

/// Precision, height, width, number of components; then for each its name, its sampling factors,
/// its table.
fn frame(contents: &[u8]) -> Result<(), String> {
    let components = contents.get(6..).ok_or("its header is cut off")?;
    let count = usize::from(contents[5]);
    if count == 4 {
        return Err("its colours are CMYK; convert it to RGB".into());
    }
    if !matches!(count, 1 | 3) {
        return Err(format!("it has {count} colour components; 1 and 3 are read"));
    }
    if components.len() != 3 * count {
        return Err("its header is damaged".into());
    }
    let sampled = |at: usize| (components[3 * at + 1] >> 4, components[3 * at + 1] & 15);
    let (h, v) = sampled(0);
    for (own_h, own_v) in (0..count).map(sampled) {
        if !((1..=4).contains(&own_h)
            && (1..=4).contains(&own_v)
            && h % own_h == 0
            && v % own_v == 0)
        {
            return Err(format!(
                "its colours are sampled {own_h}×{own_v} beside a brightness of {h}×{v}; save it again with another program"
            ));
        }
    }
    Ok(())
}
