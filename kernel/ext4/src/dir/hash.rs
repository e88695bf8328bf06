//! The hashes of indexed directories: legacy, half-MD4 and TEA, each with signed or unsigned characters.

/// Hash function and seed of a directory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hasher {
    /// `dx_root_info.hash_version`: 0 legacy, 1 half-MD4, 2 TEA.
    pub version: u8,
    pub unsigned: bool,
    pub seed: [u32; 4],
}

impl Hasher {
    /// Major (lowest bit clear) and minor hash of a name; `None` for an unknown version.
    pub fn hash(&self, name: &[u8]) -> Option<(u32, u32)> {
        let mut buf = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
        if self.seed != [0; 4] {
            buf = self.seed;
        }
        let (hash, minor) = match self.version {
            0 => (self.legacy(name), 0),
            1 => {
                let mut rest = name;
                let mut words = [0; 8];
                while !rest.is_empty() {
                    self.fill(rest, &mut words);
                    half_md4(&mut buf, &words);
                    rest = rest.get(32..).unwrap_or(&[]);
                }
                (buf[1], buf[2])
            }
            2 => {
                let mut rest = name;
                let mut words = [0; 4];
                while !rest.is_empty() {
                    self.fill(rest, &mut words);
                    tea(&mut buf, &words);
                    rest = rest.get(16..).unwrap_or(&[]);
                }
                (buf[0], buf[1])
            }
            _ => return None,
        };
        let hash = hash & !1;
        // The highest value marks the end of a directory.
        Some((
            if hash == 0xffff_fffe {
                0xffff_fffc
            } else {
                hash
            },
            minor,
        ))
    }

    fn widen(&self, c: u8) -> u32 {
        if self.unsigned {
            u32::from(c)
        } else {
            i32::from(c as i8) as u32
        }
    }

    fn legacy(&self, name: &[u8]) -> u32 {
        let (mut h0, mut h1) = (0x12a3_fe2du32, 0x37ab_e8f9u32);
        for &c in name {
            let mut h = h1.wrapping_add(h0 ^ self.widen(c).wrapping_mul(7_152_373));
            if h & 0x8000_0000 != 0 {
                h = h.wrapping_sub(0x7fff_ffff);
            }
            h1 = h0;
            h0 = h;
        }
        h0 << 1
    }

    /// Packs a name into words, padded with its length.
    fn fill(&self, name: &[u8], words: &mut [u32]) {
        let len = name.len() as u32;
        let pad = len | len << 8;
        let pad = pad | pad << 16;
        let used = name.len().min(words.len() * 4);
        words.fill(pad);
        let mut val = pad;
        for (i, &c) in name[..used].iter().enumerate() {
            val = self.widen(c).wrapping_add(val << 8);
            if i % 4 == 3 {
                words[i / 4] = val;
                val = pad;
            }
        }
        if !used.is_multiple_of(4) {
            words[used / 4] = val;
        }
    }
}

fn half_md4(buf: &mut [u32; 4], input: &[u32; 8]) {
    let f = |x: u32, y: u32, z: u32| z ^ (x & (y ^ z));
    let g = |x: u32, y: u32, z: u32| (x & y).wrapping_add((x ^ y) & z);
    let h = |x: u32, y: u32, z: u32| x ^ y ^ z;
    let [mut a, mut b, mut c, mut d] = *buf;
    let mut round =
        |func: &dyn Fn(u32, u32, u32) -> u32, order: [usize; 8], k: u32, s: [u32; 4]| {
            for (i, &w) in order.iter().enumerate() {
                let t = a
                    .wrapping_add(func(b, c, d))
                    .wrapping_add(input[w])
                    .wrapping_add(k)
                    .rotate_left(s[i % 4]);
                (a, b, c, d) = (d, t, b, c);
            }
        };
    round(&f, [0, 1, 2, 3, 4, 5, 6, 7], 0, [3, 7, 11, 19]);
    round(&g, [1, 3, 5, 7, 0, 2, 4, 6], 0x5a82_7999, [3, 5, 9, 13]);
    round(&h, [3, 7, 2, 6, 1, 5, 0, 4], 0x6ed9_eba1, [3, 9, 11, 15]);
    for (v, add) in buf.iter_mut().zip([a, b, c, d]) {
        *v = v.wrapping_add(add);
    }
}

fn tea(buf: &mut [u32; 4], k: &[u32; 4]) {
    let (mut b0, mut b1) = (buf[0], buf[1]);
    let mut sum = 0u32;
    for _ in 0..16 {
        sum = sum.wrapping_add(0x9e37_79b9);
        b0 = b0.wrapping_add(
            (b1 << 4).wrapping_add(k[0]) ^ b1.wrapping_add(sum) ^ (b1 >> 5).wrapping_add(k[1]),
        );
        b1 = b1.wrapping_add(
            (b0 << 4).wrapping_add(k[2]) ^ b0.wrapping_add(sum) ^ (b0 >> 5).wrapping_add(k[3]),
        );
    }
    buf[0] = buf[0].wrapping_add(b0);
    buf[1] = buf[1].wrapping_add(b1);
}
