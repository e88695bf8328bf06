//! Feeds arbitrary bytes to everything that reads executables and checks what must hold of any answer. Used by the
//! fuzz targets and by `tests/mutations.rs`.

use keel_ld_support::args::ExecArgs;
use keel_ld_support::binfmt_misc::{Command, Rule};
use keel_ld_support::elf::{ElfType, HEAD_SIZE, LoadPlan};
use keel_ld_support::script::Script;
use keel_ld_support::{PAGE_SIZE, TASK_SIZE};

/// The file as a program and as an interpreter, at several biases.
pub fn elf(file: &[u8]) {
    let head = &file[..file.len().min(HEAD_SIZE)];
    if let Ok(plan) = LoadPlan::program(head, file) {
        check_plan(&plan);
    }
    if let Ok(Ok(plan)) = LoadPlan::interpreter(file) {
        assert!(plan.interp.is_none());
        check_plan(&plan);
    }
}

fn check_plan(plan: &LoadPlan) {
    assert!(plan.align.is_power_of_two() && plan.align >= PAGE_SIZE);
    if let Ok(span) = plan.span() {
        assert!(span.len > 0 && span.len <= TASK_SIZE && (span.start | span.len) % PAGE_SIZE == 0);
    }
    let biases = match plan.elf_type {
        ElfType::Exec => vec![0],
        ElfType::Dyn => vec![
            plan.pie_bias(0x5555_5555_4aaa),
            plan.bias_at(0x7f00_0000_0000),
            plan.bias_at(0),
            plan.bias_at(TASK_SIZE - PAGE_SIZE),
        ],
    };
    for bias in biases {
        assert!(bias % PAGE_SIZE == 0);
        check_mappings(plan, bias);
        if let Ok(entry) = plan.entry(bias) {
            assert!(entry < TASK_SIZE);
        }
        plan.phdr_addr(bias);
        assert!(plan.marks(bias).start_brk.is_multiple_of(PAGE_SIZE));
    }
}

fn check_mappings(plan: &LoadPlan, bias: u64) {
    let Ok(maps) = plan.mappings(bias) else {
        return;
    };
    assert_eq!(maps.len(), plan.segments.len());
    for map in maps {
        let file = map.file.map(|file| (file.addr, file.len));
        let anon = map.anon.map(|anon| (anon.addr, anon.len));
        for (addr, len) in file.into_iter().chain(anon) {
            assert!(len > 0 && (addr | len) % PAGE_SIZE == 0);
            assert!(addr < TASK_SIZE && len <= TASK_SIZE - addr);
        }
        if let Some(file) = map.file {
            assert!(file.offset % PAGE_SIZE == 0 && file.offset.checked_add(file.len).is_some());
        }
        if let (Some((addr, len)), Some((next, _))) = (file, anon) {
            assert_eq!(addr + len, next);
        }
        if let Some(zero) = map.zero {
            let (addr, len) = file.expect("only file pages have a rest");
            assert!(zero.len > 0 && zero.len < PAGE_SIZE && zero.addr + zero.len == addr + len);
        }
    }
}

/// The bytes as the head of a script, with arguments to rewrite.
pub fn script(head: &[u8]) {
    let Ok(Some(script)) = Script::parse(head) else {
        return;
    };
    assert!(head.starts_with(b"#!"));
    assert!(
        !script
            .interp
            .iter()
            .any(|byte| matches!(byte, 0 | b' ' | b'\t' | b'\n'))
    );
    if let Some(arg) = &script.arg {
        assert!(!arg.iter().any(|byte| matches!(byte, 0 | b'\n')));
        assert!(!arg.starts_with(b" ") && !arg.starts_with(b"\t"));
    }
    let mut args = ExecArgs::new(b"/script", 1, 0, 8 << 20).expect("there is room");
    args.push_arg(b"first").expect("there is room");
    script
        .rewrite(b"/script", &mut args)
        .expect("there is room");
    let count = 2 + usize::from(script.arg.is_some());
    assert_eq!(
        (args.argv().count(), args.argv().offsets().count()),
        (count, count)
    );
}

/// The bytes as a binfmt_misc registration and, from the middle, as a file to match.
pub fn binfmt(bytes: &[u8]) {
    let _ = Command::parse(bytes);
    let (line, file) = bytes.split_at(bytes.len() / 2);
    for line in [bytes, line] {
        let Ok(rule) = Rule::parse(line) else {
            continue;
        };
        assert!(!rule.name.is_empty() && !rule.interpreter.is_empty());
        rule.matches(file, file);
        let mut text = String::new();
        rule.show(true, &mut text)
            .expect("a string takes everything");
        assert!(text.ends_with('\n'));
    }
}
