//! Special disks for scenarios about bad input: nothing on them, no init, a program of another architecture.

use crate::cache::remove_tree;
use crate::image::disk::make_ext4;
use anyhow::{Result, bail};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Size of the special disks, in bytes.
const SIZE: u64 = 16 << 20;

/// The names that [`make`] knows.
pub const NAMES: [&str; 4] = ["blank", "damaged", "no-init", "foreign"];

/// Makes the special disk `name` in `folder`.
pub fn make(name: &str, folder: &Path) -> Result<PathBuf> {
    let disk = folder.join(format!("{name}.img"));
    let tree = folder.join("special");
    remove_tree(&tree)?;
    for dir in ["dev", "proc", "sys", "sbin", "tmp"] {
        fs::create_dir_all(tree.join(dir))?;
    }
    match name {
        "blank" => fs::File::create(&disk)?.set_len(SIZE)?,
        "no-init" => make_ext4(&disk, SIZE, &tree, name, None)?,
        "foreign" => {
            let init = tree.join("sbin/init");
            fs::write(&init, arm_program())?;
            fs::set_permissions(&init, PermissionsExt::from_mode(0o755))?;
            make_ext4(&disk, SIZE, &tree, name, None)?;
        }
        "damaged" => {
            make_ext4(&disk, SIZE, &tree, name, None)?;
            damage(&disk)?;
        }
        other => bail!("there is no special disk {other}"),
    }
    remove_tree(&tree)?;
    Ok(disk)
}

/// Overwrites the group descriptors and what follows; the superblock still looks right.
fn damage(disk: &Path) -> Result<()> {
    use std::os::unix::fs::FileExt;
    let file = fs::OpenOptions::new().write(true).open(disk)?;
    file.write_all_at(&[0xff; 1 << 18], 2048)?;
    Ok(())
}

/// The smallest ELF executable for AArch64: a header and one loadable segment.
fn arm_program() -> Vec<u8> {
    let mut elf = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let half = |elf: &mut Vec<u8>, value: u16| elf.extend(value.to_le_bytes());
    let long = |elf: &mut Vec<u8>, value: u64| elf.extend(value.to_le_bytes());
    half(&mut elf, 2); // ET_EXEC
    half(&mut elf, 183); // EM_AARCH64
    elf.extend(1_u32.to_le_bytes());
    long(&mut elf, 0x40_0078); // entry
    long(&mut elf, 64); // program headers
    long(&mut elf, 0); // section headers
    elf.extend(0_u32.to_le_bytes());
    for value in [64, 56, 1, 64, 0, 0] {
        half(&mut elf, value);
    }
    elf.extend(1_u32.to_le_bytes()); // PT_LOAD
    elf.extend(5_u32.to_le_bytes()); // read, execute
    for value in [0, 0x40_0000, 0x40_0000, 0x7c, 0x7c, 0x1000] {
        long(&mut elf, value);
    }
    elf.extend(0xd400_0001_u32.to_le_bytes()); // svc #0
    elf
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_foreign_program_is_one() {
        let elf = arm_program();
        assert_eq!(elf.len(), 64 + 56 + 4);
        assert_eq!(&elf[18..20], &183_u16.to_le_bytes());
    }
}
