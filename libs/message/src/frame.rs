//! gRPC's frames: a flag, four bytes of length, and a message; one after the other in a body.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

/// A flag and a length, before each message.
pub const HEAD_BYTES: usize = 5;

/// Why a stream of frames is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A message is compressed, and would have to be inflated to be decided on.
    #[error("must not be compressed")]
    Compressed,
    /// The flag is none of those of gRPC.
    #[error("must have frames of gRPC")]
    Flag,
    /// A message is longer than it may be.
    #[error("must be messages of at most {0} bytes")]
    Long(usize),
    /// The body ends within a frame.
    #[error("must end behind a whole message")]
    Half,
}

/// Takes frames out of a body as its pieces come. Holds one message at most, and no more of it than has come.
#[derive(Debug)]
pub struct Frames {
    held: BytesMut,
    max: usize,
}

impl Frames {
    /// Frames of messages of at most `max` bytes.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self {
            held: BytesMut::new(),
            max,
        }
    }

    /// Takes a piece of the body.
    pub fn push(&mut self, piece: &[u8]) {
        self.held.extend_from_slice(piece);
    }

    /// The next whole message, if it has come.
    ///
    /// # Errors
    /// The rule that the frame breaks, as soon as its head has come.
    pub fn take(&mut self) -> Result<Option<Bytes>, Refused> {
        let mut head = self.held.as_ref();
        if head.len() < HEAD_BYTES {
            return match head.first() {
                Some(flag) if *flag > 1 => Err(Refused::Flag),
                Some(_) | None => Ok(None),
            };
        }
        match head.get_u8() {
            0 => {}
            1 => return Err(Refused::Compressed),
            _ => return Err(Refused::Flag),
        }
        let length = usize::try_from(head.get_u32()).unwrap_or(usize::MAX);
        if length > self.max {
            return Err(Refused::Long(self.max));
        }
        if head.len() < length {
            return Ok(None);
        }
        self.held.advance(HEAD_BYTES);
        Ok(Some(self.held.split_to(length).freeze()))
    }

    /// Says that the body has ended.
    ///
    /// # Errors
    /// [`Refused::Half`], when it ended within a frame.
    pub fn end(&self) -> Result<(), Refused> {
        if self.held.is_empty() {
            Ok(())
        } else {
            Err(Refused::Half)
        }
    }
}

/// The frame of a message, uncompressed.
///
/// # Errors
/// [`Refused::Long`], for what four bytes cannot count.
pub fn framed(message: &[u8]) -> Result<Bytes, Refused> {
    let too_long = |_| Refused::Long(usize::try_from(u32::MAX).unwrap_or(usize::MAX));
    let length = u32::try_from(message.len()).map_err(too_long)?;
    let mut frame = BytesMut::with_capacity(HEAD_BYTES + message.len());
    frame.put_u8(0);
    frame.put_u32(length);
    frame.put_slice(message);
    Ok(frame.freeze())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_frame_that_breaks_a_rule_is_refused_by_its_head() {
        for (head, refused) in [
            (&[1, 0, 0, 0, 1][..], Refused::Compressed),
            (&[2][..], Refused::Flag),
            (&[0, 0, 0, 0, 11], Refused::Long(10)),
            (&[0, 255, 255, 255, 255], Refused::Long(10)),
        ] {
            let mut frames = Frames::new(10);
            frames.push(head);
            assert_eq!(frames.take(), Err(refused));
        }
        let mut frames = Frames::new(10);
        frames.push(&[0, 0, 0, 0, 2, 7]);
        assert_eq!(frames.take(), Ok(None));
        assert_eq!(frames.end(), Err(Refused::Half));
    }

    proptest! {
        #[test]
        fn messages_come_out_whole_however_the_body_is_cut(
            messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 0..8),
            cut in 1usize..9,
        ) {
            let body: Vec<u8> = messages.iter().flat_map(|message| framed(message).expect("short")).collect();
            let mut frames = Frames::new(20);
            let mut taken = Vec::new();
            for piece in body.chunks(cut) {
                frames.push(piece);
                while let Some(message) = frames.take().expect("good frames") {
                    taken.push(message.to_vec());
                }
            }
            prop_assert_eq!(frames.end(), Ok(()));
            prop_assert_eq!(taken, messages);
        }
    }
}
