//! Server-sent events from a byte stream that may be cut anywhere.

/// The largest event taken; a server that sends more in one is not streaming tokens.
const MAX_EVENT_BYTES: usize = 16 << 20;

/// An event larger than this parser takes.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("an event of over {} MiB", MAX_EVENT_BYTES >> 20)]
pub(super) struct TooLarge;

/// Splits a stream into the `data` of its events, copying only what a cut between reads forces it to.
///
/// It works on bytes: a character split between two reads is whole again before anyone decodes it.
#[derive(Default)]
pub(super) struct SseParser {
    /// The line that the last read left unfinished.
    line: Vec<u8>,
    /// `data` lines of the event under way.
    data: Vec<u8>,
    has_data: bool,
    /// The last byte was a carriage return, so a line feed that follows belongs to it.
    after_cr: bool,
}

impl SseParser {
    /// Takes what one read brought and hands each finished event's data to `event`, stopping at its first error.
    pub(super) fn feed<E: From<TooLarge>>(
        &mut self,
        mut bytes: &[u8],
        mut event: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.after_cr && bytes.first() == Some(&b'\n') {
            bytes = &bytes[1..];
        }
        if !bytes.is_empty() {
            self.after_cr = false;
        }
        while let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            let (head, tail) = bytes.split_at(end);
            bytes = match tail {
                [b'\r', b'\n', rest @ ..] => rest,
                [b'\r'] => {
                    self.after_cr = true;
                    &[]
                }
                [_, rest @ ..] => rest,
                [] => &[],
            };
            if !self.line.is_empty() {
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(head);
                let taken = self.line(&line, &mut event);
                line.clear();
                self.line = line;
                taken?;
                continue;
            }
            // Nearly all events are one line and the blank one after it, in one read: pass those on uncopied.
            if !self.has_data
                && let Some(data) = data_of(head)
                && let Some(rest) = bytes.strip_prefix(b"\n").or_else(|| bytes.strip_prefix(b"\r\n"))
            {
                bytes = rest;
                event(data)?;
                continue;
            }
            self.line(head, &mut event)?;
        }
        if self.line.len() + bytes.len() > MAX_EVENT_BYTES {
            return Err(TooLarge.into());
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    /// Takes the end of the stream. An event whose blank line never came still counts: some servers leave it out.
    pub(super) fn finish<E: From<TooLarge>>(
        &mut self,
        mut event: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.line(&line, &mut event)?;
        }
        self.line(b"", &mut event)
    }

    fn line<E: From<TooLarge>>(
        &mut self,
        line: &[u8],
        event: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        if line.is_empty() {
            if std::mem::take(&mut self.has_data) {
                let mut data = std::mem::take(&mut self.data);
                let taken = event(&data);
                data.clear();
                self.data = data;
                return taken;
            }
            return Ok(());
        }
        let Some(data) = data_of(line) else { return Ok(()) };
        if self.data.len() + data.len() > MAX_EVENT_BYTES {
            return Err(TooLarge.into());
        }
        if self.has_data {
            self.data.push(b'\n');
        }
        self.has_data = true;
        self.data.extend_from_slice(data);
        Ok(())
    }
}

/// The value of a `data` line; comments and other fields carry nothing that is measured.
fn data_of(line: &[u8]) -> Option<&[u8]> {
    let value = line.strip_prefix(b"data")?;
    match value {
        [] => Some(value),
        [b':', b' ', value @ ..] | [b':', value @ ..] => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

    use proptest::prelude::*;

    use super::*;

    fn events<'a>(reads: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
        let mut parser = SseParser::default();
        let mut seen = Vec::new();
        let mut keep = |data: &[u8]| -> Result<(), TooLarge> {
            seen.push(String::from_utf8(data.to_vec()).unwrap());
            Ok(())
        };
        for read in reads {
            parser.feed(read, &mut keep).unwrap();
        }
        parser.finish(&mut keep).unwrap();
        seen
    }

    const STREAM: &str = ": ping\r\n\r\ndata: {\"a\":\"é😀\"}\n\ndata:two\r\n\r\nevent: x\nid: 7\ndata: l1\ndata: l2\n\n\
                          data: cr\r\rdata\n\ndata: [DONE]";
    const DATA: [&str; 6] = ["{\"a\":\"é😀\"}", "two", "l1\nl2", "cr", "", "[DONE]"];

    #[test]
    fn one_read_holds_several_events() {
        assert_eq!(events([STREAM.as_bytes()]), DATA);
    }

    #[test]
    fn every_byte_may_be_its_own_read() {
        assert_eq!(events(STREAM.as_bytes().chunks(1)), DATA);
    }

    #[test]
    fn an_endless_line_is_refused() {
        let mut parser = SseParser::default();
        let block = vec![b'x'; 1 << 20];
        let fed = (0..20).try_for_each(|_| parser.feed(&block, |_| Ok::<(), TooLarge>(())));
        assert_eq!(fed, Err(TooLarge));
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(cuts in proptest::collection::vec(0..STREAM.len(), 0..12)) {
            let mut cuts = cuts;
            cuts.extend([0, STREAM.len()]);
            cuts.sort_unstable();
            prop_assert_eq!(events(cuts.windows(2).map(|w| &STREAM.as_bytes()[w[0]..w[1]])), DATA);
        }

        #[test]
        fn any_bytes_are_survived(reads in proptest::collection::vec(any::<Vec<u8>>(), 0..8)) {
            let mut parser = SseParser::default();
            for read in &reads {
                parser.feed(read, |_| Ok::<(), TooLarge>(())).unwrap();
            }
        }
    }
}
