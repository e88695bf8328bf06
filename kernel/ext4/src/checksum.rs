//! The checksums of the format: CRC-32C (metadata), CRC-16 (old group descriptors) and the big-endian
//! CRC-32 of version-1 journal checksums. Seeds go in and results come out without inversion, as the
//! format stores them.

const fn crc32c_tables() -> [[u32; 256]; 8] {
    let mut t = [[0u32; 256]; 8];
    let mut i = 0;
    while i < 256 {
        let mut c = i as u32;
        let mut k = 0;
        while k < 8 {
            c = if c & 1 != 0 {
                (c >> 1) ^ 0x82f6_3b78
            } else {
                c >> 1
            };
            k += 1;
        }
        t[0][i] = c;
        i += 1;
    }
    let mut s = 1;
    while s < 8 {
        let mut i = 0;
        while i < 256 {
            let prev = t[s - 1][i];
            t[s][i] = (prev >> 8) ^ t[0][(prev & 0xff) as usize];
            i += 1;
        }
        s += 1;
    }
    t
}

static CRC32C: [[u32; 256]; 8] = crc32c_tables();

/// CRC-32C of `data` continued from `crc`, eight bytes at a time.
pub(crate) fn crc32c(crc: u32, data: &[u8]) -> u32 {
    let mut crc = crc;
    let (chunks, rest) = data.as_chunks::<8>();
    for c in chunks {
        let lo = crc ^ u32::from_le_bytes([c[0], c[1], c[2], c[3]]);
        let [a, b, d, e] = lo.to_le_bytes();
        crc = CRC32C[7][usize::from(a)]
            ^ CRC32C[6][usize::from(b)]
            ^ CRC32C[5][usize::from(d)]
            ^ CRC32C[4][usize::from(e)]
            ^ CRC32C[3][usize::from(c[4])]
            ^ CRC32C[2][usize::from(c[5])]
            ^ CRC32C[1][usize::from(c[6])]
            ^ CRC32C[0][usize::from(c[7])];
    }
    for &b in rest {
        crc = (crc >> 8) ^ CRC32C[0][usize::from((crc as u8) ^ b)];
    }
    crc
}

const fn crc16_table() -> [u16; 256] {
    let mut t = [0u16; 256];
    let mut i = 0;
    while i < 256 {
        let mut c = i as u16;
        let mut k = 0;
        while k < 8 {
            c = if c & 1 != 0 {
                (c >> 1) ^ 0xa001
            } else {
                c >> 1
            };
            k += 1;
        }
        t[i] = c;
        i += 1;
    }
    t
}

static CRC16: [u16; 256] = crc16_table();

/// CRC-16 (polynomial 0x8005, reflected) of `data` continued from `crc`.
pub(crate) fn crc16(crc: u16, data: &[u8]) -> u16 {
    data.iter().fold(crc, |crc, &b| {
        (crc >> 8) ^ CRC16[usize::from((crc as u8) ^ b)]
    })
}

const fn crc32_be_table() -> [u32; 256] {
    let mut t = [0u32; 256];
    let mut i = 0;
    while i < 256 {
        let mut c = (i as u32) << 24;
        let mut k = 0;
        while k < 8 {
            c = if c & 0x8000_0000 != 0 {
                (c << 1) ^ 0x04c1_1db7
            } else {
                c << 1
            };
            k += 1;
        }
        t[i] = c;
        i += 1;
    }
    t
}

static CRC32_BE: [u32; 256] = crc32_be_table();

/// Big-endian CRC-32 of `data` continued from `crc`.
pub(crate) fn crc32_be(crc: u32, data: &[u8]) -> u32 {
    data.iter().fold(crc, |crc, &b| {
        (crc << 8) ^ CRC32_BE[usize::from((crc >> 24) as u8 ^ b)]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        assert_eq!(!crc32c(!0, b"123456789"), 0xe306_9283);
        assert_eq!(crc16(0, b"123456789"), 0xbb3d);
        assert_eq!(!crc32_be(!0, b"123456789"), 0xfc89_1918);
    }
}
