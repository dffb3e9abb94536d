//! A layer's blob on its way to the disk: digests of the packed and the plain bytes are taken
//! while it is unpacked, in one pass.

use std::io::{self, BufReader, Read};
use std::os::fd::BorrowedFd;

use super::digest::Hashing;
use super::unpack::{self, Limits, UnpackError, Unpacked};
use super::{Digest, ImageError};

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Largest zstd window, as a power of two: 128 MiB of memory for one layer.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// What a layer must turn out to be.
pub(crate) struct Expected {
    /// Of the blob as it is stored; a docker archive does not say.
    pub(crate) blob: Option<(Digest, u64)>,
    /// Of the plain tar stream.
    pub(crate) diff_id: Digest,
}

impl Expected {
    fn name(&self) -> String {
        self.blob.map_or(self.diff_id, |(digest, _)| digest).to_string()
    }
}

/// Unpacks `reader` below `root` and checks every digest and length.
pub(crate) fn unpack(
    reader: impl Read,
    expected: &Expected,
    root: BorrowedFd<'_>,
    limits: &Limits,
) -> Result<Unpacked, ImageError> {
    let object = || format!("the layer {}", expected.name());
    let mut packed = Hashing::new(reader);
    let unpacked = unpack_plain(&mut packed, root, limits);
    // What is wrong with a damaged blob is its digest, not where the unpacking stumbled; so the
    // rest is read even after an error.
    let rest_max = expected.blob.map_or(limits.bytes_max, |(_, size)| size);
    let rest = io::copy(&mut (&mut packed).take(rest_max), &mut io::sink());
    rest.map_err(|source| ImageError::Source { object: object(), source })?;
    let (found, bytes) = packed.finish();
    if let Some((digest, size)) = expected.blob {
        if found != digest {
            return Err(ImageError::Digest { object: object(), expected: digest, found });
        }
        if bytes != size {
            return Err(ImageError::Size { object: object(), expected: size, found: bytes });
        }
    }
    let layer = expected.name();
    let (unpacked, diff_id) = unpacked.map_err(|source| ImageError::Layer { layer, source })?;
    if diff_id != expected.diff_id {
        let expected = expected.diff_id;
        let object = format!("{} (unpacked)", object());
        return Err(ImageError::Digest { object, expected, found: diff_id });
    }
    Ok(unpacked)
}

fn unpack_plain(
    packed: &mut impl Read,
    root: BorrowedFd<'_>,
    limits: &Limits,
) -> Result<(Unpacked, Digest), UnpackError> {
    let kernel = |source| UnpackError::Kernel { step: "read", entry: String::new(), source };
    let plain = decompress(packed).map_err(kernel)?;
    let capped = Capped { inner: plain, left: limits.bytes_max, bytes_max: limits.bytes_max };
    let (unpacked, mut plain) = unpack::unpack(Hashing::new(capped), root, limits)?;
    io::copy(&mut plain, &mut io::sink()).map_err(kernel)?;
    let (diff_id, _) = plain.finish();
    Ok((unpacked, diff_id))
}

/// Whether the stream begins like one of the known compressions.
pub(crate) fn is_compressed(reader: &mut impl Read) -> io::Result<bool> {
    let head = head(reader)?;
    Ok(head.starts_with(&GZIP) || head.starts_with(&ZSTD))
}

/// The plain bytes of a gzip, zstd or plain stream. Its first bytes decide, not its media type,
/// which is wrong often enough in the wild.
pub(crate) fn decompress<'a>(mut reader: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let head = head(&mut reader)?;
    let gzip = head.starts_with(&GZIP);
    let zstd = head.starts_with(&ZSTD);
    let whole = BufReader::with_capacity(64 * 1024, io::Cursor::new(head).chain(reader));
    if gzip {
        return Ok(Box::new(flate2::bufread::MultiGzDecoder::new(whole)));
    }
    if zstd {
        let mut decoder = zstd::stream::read::Decoder::with_buffer(whole)?;
        decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
        return Ok(Box::new(decoder));
    }
    Ok(Box::new(whole))
}

fn head(reader: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    reader.take(4).read_to_end(&mut head)?;
    Ok(head)
}

/// Fails where more than `bytes_max` bytes come, so that a small blob can't unpack for ever.
struct Capped<R> {
    inner: R,
    left: u64,
    bytes_max: u64,
}

impl<R: Read> Read for Capped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        match self.left.checked_sub(count as u64) {
            Some(left) => self.left = left,
            None => {
                let why = format!("the archive is larger than {} bytes", self.bytes_max);
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
            }
        }
        Ok(count)
    }
}
