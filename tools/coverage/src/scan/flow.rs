//! The data flow of one function: which numbers its `syscall` instructions are made with.
//!
//! Registers and stack slots are followed through the blocks until nothing changes. A number may come from the
//! function's caller; then the caller's calls of the function are looked at in turn ([`Callee`]).

use super::value::{Input, Value};
use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic,
    OpAccess, OpKind, Register,
};
use std::collections::{BTreeMap, HashMap};

/// Registers that a call leaves to the callee, by number: rax, rcx, rdx, rsi, rdi, r8 to r11.
const CLOBBERED: [usize; 9] = [0, 1, 2, 6, 7, 8, 9, 10, 11];
/// The stack pointer's number.
const RSP: usize = 4;
/// The registers that arguments are passed in, by number: rdi, rsi, rdx, rcx.
const ARGUMENTS: [usize; 4] = [7, 6, 2, 1];
/// Visits of one block after which its state is given up.
const MAX_VISITS: u32 = 60;

/// What a call goes to, as far as the flow needs to know it.
pub trait Callees {
    /// The inputs that the function at `address` makes system calls with.
    fn inputs(&self, address: u64) -> Vec<Input>;
    /// The same for the function that the instruction's memory operand or PLT entry leads to.
    fn inputs_of_import(&self, instruction: &Instruction) -> Vec<Input>;
}

#[derive(Clone, PartialEq, Eq)]
struct State {
    registers: [Value; 16],
    slots: BTreeMap<i32, Value>,
}

impl State {
    fn entry() -> Self {
        let mut number = 0_u8;
        let registers = [(); 16].map(|()| {
            number += 1;
            Value::input(Input::Register(number - 1))
        });
        let mut state = Self {
            registers,
            slots: BTreeMap::new(),
        };
        state.registers[RSP] = Value::on_stack(0);
        state
    }

    fn unknown() -> Self {
        Self {
            registers: [(); 16].map(|()| Value::unknown()),
            slots: BTreeMap::new(),
        }
    }

    fn merge(&mut self, other: &Self) -> bool {
        let mut changed = false;
        for (mine, theirs) in self.registers.iter_mut().zip(&other.registers) {
            changed |= mine.merge(theirs);
        }
        for (offset, value) in &mut self.slots {
            let theirs = other
                .slots
                .get(offset)
                .cloned()
                .unwrap_or_else(Value::unknown);
            changed |= value.merge(&theirs);
        }
        for offset in other.slots.keys() {
            if !self.slots.contains_key(offset) {
                // Written on one way only.
                self.slots.insert(*offset, Value::unknown());
                changed = true;
            }
        }
        changed
    }

    fn slot(&self, offset: i32) -> Value {
        match self.slots.get(&offset) {
            Some(value) => value.clone(),
            None if (8..72).contains(&offset) && offset % 8 == 0 => {
                Value::input(Input::Stack(u8::try_from(offset / 8 - 1).unwrap_or(0)))
            }
            None => Value::unknown(),
        }
    }
}

/// Follows the function in `code`, which starts at `start`. Returns what its system calls' numbers may be.
pub fn numbers(code: &[u8], start: u64, callees: &impl Callees) -> Value {
    let mut flow = Flow::new(code, start, callees);
    flow.run();
    flow.found
}

struct Flow<'a, C> {
    instructions: Vec<Instruction>,
    place: HashMap<u64, usize>,
    leader: Vec<bool>,
    callees: &'a C,
    states: HashMap<usize, State>,
    visits: HashMap<usize, u32>,
    queue: Vec<usize>,
    /// The state where an indirect jump was met: its targets are not known, but it is theirs.
    indirect: Option<State>,
    info: InstructionInfoFactory,
    found: Value,
}

impl<'a, C: Callees> Flow<'a, C> {
    fn new(code: &[u8], start: u64, callees: &'a C) -> Self {
        let instructions: Vec<Instruction> =
            Decoder::with_ip(64, code, start, DecoderOptions::NONE)
                .into_iter()
                .collect();
        let place: HashMap<u64, usize> = instructions
            .iter()
            .enumerate()
            .map(|(index, instruction)| (instruction.ip(), index))
            .collect();
        let mut leader = vec![false; instructions.len() + 1];
        for (index, instruction) in instructions.iter().enumerate() {
            if is_jump(instruction) {
                if let Some(target) = place.get(&instruction.near_branch_target()) {
                    leader[*target] = true;
                }
                leader[index + 1] = true;
            }
            if ends_flow(instruction) {
                leader[index + 1] = true;
            }
        }
        Self {
            instructions,
            place,
            leader,
            callees,
            states: HashMap::new(),
            visits: HashMap::new(),
            queue: Vec::new(),
            indirect: None,
            info: InstructionInfoFactory::new(),
            found: Value::default(),
        }
    }

    fn run(&mut self) {
        if self.instructions.is_empty() {
            return;
        }
        self.reach(0, &State::entry());
        let mut next = 0;
        loop {
            while let Some(index) = self.queue.pop() {
                self.block(index);
            }
            // What only an indirect jump, a table or an exception leads to; padding is never run.
            while next < self.instructions.len()
                && (!self.leader[next] || self.states.contains_key(&next))
            {
                next += 1;
            }
            if self
                .instructions
                .get(next)
                .is_some_and(|instruction| instruction.mnemonic() == Mnemonic::Nop)
            {
                self.leader[next] = false;
                self.leader[next + 1] = true;
                continue;
            }
            if next >= self.instructions.len() {
                return;
            }
            let state = self.indirect.clone().unwrap_or_else(State::unknown);
            self.reach(next, &state);
        }
    }

    fn reach(&mut self, index: usize, state: &State) {
        if index >= self.instructions.len() {
            return;
        }
        let visits = self.visits.entry(index).or_default();
        *visits += 1;
        let unknown = State::unknown();
        let state = if *visits > MAX_VISITS {
            &unknown
        } else {
            state
        };
        let changed = match self.states.get_mut(&index) {
            Some(known) => known.merge(state),
            None => {
                self.states.insert(index, state.clone());
                true
            }
        };
        if changed {
            self.queue.push(index);
        }
    }

    fn block(&mut self, start: usize) {
        let mut state = self.states[&start].clone();
        let mut index = start;
        while index < self.instructions.len() {
            let instruction = self.instructions[index];
            match instruction.flow_control() {
                FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch => {
                    match self.place.get(&instruction.near_branch_target()).copied() {
                        Some(target) => self.reach(target, &state),
                        None => self.called(&instruction, &state),
                    }
                    if instruction.flow_control() == FlowControl::UnconditionalBranch {
                        return;
                    }
                }
                FlowControl::IndirectBranch => {
                    self.called(&instruction, &state);
                    match &mut self.indirect {
                        Some(known) => {
                            known.merge(&state);
                        }
                        None => self.indirect = Some(state),
                    }
                    return;
                }
                FlowControl::Call | FlowControl::IndirectCall
                    if instruction.code() != Code::Syscall =>
                {
                    self.called(&instruction, &state);
                    for register in CLOBBERED {
                        state.registers[register] = Value::unknown();
                    }
                }
                FlowControl::Return | FlowControl::Exception | FlowControl::Interrupt => return,
                _ if instruction.code() == Code::Syscall => {
                    self.found.merge(&number(&state.registers[0]));
                    for register in [0, 1, 11] {
                        state.registers[register] = Value::unknown();
                    }
                }
                _ => self.apply(&instruction, &mut state),
            }
            index += 1;
            if self.leader[index] {
                self.reach(index, &state);
                return;
            }
        }
    }

    /// A call, or a jump out of the function: what the callee makes system calls with comes from here.
    fn called(&mut self, instruction: &Instruction, state: &State) {
        let direct = matches!(instruction.op0_kind(), OpKind::NearBranch64);
        let mut inputs = self.callees.inputs_of_import(instruction);
        if direct {
            inputs.extend(self.callees.inputs(instruction.near_branch_target()));
        }
        // A jump has no return address of its own on the stack.
        let depth = if instruction.flow_control() == FlowControl::Call {
            0
        } else {
            8
        };
        for input in inputs {
            let value = self.passed(input, state, depth);
            self.found.merge(&number(&value));
        }
        self.passed_function(state);
    }

    /// What the caller in `state` passes as `input`.
    fn passed(&self, input: Input, state: &State, depth: i32) -> Value {
        match input {
            Input::Register(register) => state.registers[usize::from(register)].clone(),
            Input::Stack(slot) => match state.registers[RSP].stack {
                Some(top) => state.slot(top + depth + 8 * i32::from(slot)),
                None => Value::unknown(),
            },
            Input::Field(register, offset) => {
                field(&state.registers[usize::from(register)], offset, state)
            }
        }
    }

    /// A function passed by address together with the address of a structure on the stack will be called with that.
    fn passed_function(&mut self, state: &State) {
        for register in ARGUMENTS {
            let Some(address) = state.registers[register].as_constant() else {
                continue;
            };
            if address < 0x1000 {
                continue;
            }
            for input in self.callees.inputs(address) {
                let Input::Field(_, offset) = input else {
                    continue;
                };
                let others = ARGUMENTS.iter().filter(|other| **other != register);
                for other in others {
                    if state.registers[*other].stack.is_some() {
                        let value = field(&state.registers[*other], offset, state);
                        self.found.merge(&number(&value));
                    }
                }
            }
        }
    }

    fn apply(&mut self, instruction: &Instruction, state: &mut State) {
        if !moves(instruction, state) {
            self.forget_written(instruction, state);
        }
    }

    /// Whatever else an instruction writes is not known afterwards.
    fn forget_written(&mut self, instruction: &Instruction, state: &mut State) {
        let info = self.info.info(instruction);
        let written = |access: OpAccess| {
            matches!(
                access,
                OpAccess::Write
                    | OpAccess::CondWrite
                    | OpAccess::ReadWrite
                    | OpAccess::ReadCondWrite
            )
        };
        for used in info.used_registers() {
            if written(used.access())
                && let Some(register) = general(used.register())
            {
                state.registers[register] = Value::unknown();
            }
        }
        for used in info.used_memory() {
            if written(used.access())
                && let Some(base) = general(used.base())
                && let Some(at) = state.registers[base].stack
                && used.index() == Register::None
            {
                state.slots.insert(
                    at.wrapping_add(used.displacement() as i32),
                    Value::unknown(),
                );
            }
        }
    }
}

/// What a structure's field holds, where the structure's address is `pointer`.
fn field(pointer: &Value, offset: i32, state: &State) -> Value {
    if let Some(at) = pointer.stack {
        return state.slot(at.wrapping_add(offset));
    }
    match pointer.as_input() {
        Some(Input::Register(register)) => Value::input(Input::Field(register, offset)),
        _ => Value::unknown(),
    }
}

/// A value as a system call's number: 32 bits, and no address.
fn number(value: &Value) -> Value {
    let mut value = value.clone();
    for constant in &mut value.constants {
        *constant &= 0xffff_ffff;
    }
    if value.stack.take().is_some() {
        value.unknown = true;
    }
    value
}

fn is_jump(instruction: &Instruction) -> bool {
    matches!(
        instruction.flow_control(),
        FlowControl::ConditionalBranch
            | FlowControl::UnconditionalBranch
            | FlowControl::IndirectBranch
    )
}

fn ends_flow(instruction: &Instruction) -> bool {
    matches!(
        instruction.flow_control(),
        FlowControl::Return | FlowControl::Exception | FlowControl::Interrupt
    )
}

/// A general register's number, for any of its parts.
fn general(register: Register) -> Option<usize> {
    let whole = register.full_register();
    whole.is_gpr64().then(|| whole.number())
}

fn wide(register: Register) -> Option<usize> {
    (register.is_gpr32() || register.is_gpr64()).then(|| register.number())
}

/// The stack offset that a memory operand names, if it is one.
fn stack_place(instruction: &Instruction, state: &State) -> Option<i32> {
    if instruction.memory_index() != Register::None {
        return None;
    }
    let base = wide(instruction.memory_base())?;
    let at = state.registers[base].stack?;
    Some(at.wrapping_add(instruction.memory_displacement64() as i32))
}

/// Carries out instructions whose result can be told; returns whether it was one.
fn moves(instruction: &Instruction, state: &mut State) -> bool {
    let into = (instruction.op0_kind() == OpKind::Register)
        .then(|| wide(instruction.op0_register()))
        .flatten();
    match instruction.mnemonic() {
        Mnemonic::Mov | Mnemonic::Movsxd => match (into, operand(instruction, 1, state)) {
            (Some(into), Some(value)) => state.registers[into] = value,
            (None, Some(value)) if instruction.op0_kind() == OpKind::Memory => {
                match stack_place(instruction, state) {
                    Some(place) => {
                        state.slots.insert(place, value);
                    }
                    None => return instruction.memory_base() != Register::None,
                }
            }
            _ => return false,
        },
        Mnemonic::Lea => {
            let Some(into) = into else { return false };
            state.registers[into] = address(instruction, state);
        }
        Mnemonic::Xor | Mnemonic::Sub if same_register(instruction) => {
            let Some(into) = into else { return false };
            state.registers[into] = Value::constant(0);
        }
        Mnemonic::Sbb if same_register(instruction) => {
            let Some(into) = into else { return false };
            state.registers[into] = Value::either(0, u64::MAX);
        }
        Mnemonic::Add | Mnemonic::Sub if immediate(instruction, 1).is_some() => {
            let (Some(into), Some(by)) = (into, immediate(instruction, 1)) else {
                return false;
            };
            let by = if instruction.mnemonic() == Mnemonic::Add {
                by
            } else {
                by.wrapping_neg()
            };
            state.registers[into] = shifted(&state.registers[into], by);
        }
        Mnemonic::Add
        | Mnemonic::Sub
        | Mnemonic::And
        | Mnemonic::Or
        | Mnemonic::Xor
        | Mnemonic::Shl => {
            let (Some(into), Some(by)) = (into, operand(instruction, 1, state)) else {
                return false;
            };
            let change: fn(u64, u64) -> u64 = match instruction.mnemonic() {
                Mnemonic::Add => u64::wrapping_add,
                Mnemonic::Sub => u64::wrapping_sub,
                Mnemonic::And => |left, right| left & right,
                Mnemonic::Or => |left, right| left | right,
                Mnemonic::Xor => |left, right| left ^ right,
                _ => |left, right| left << (right & 63),
            };
            // Or with all ones is how -1 is made.
            let all_ones =
                instruction.mnemonic() == Mnemonic::Or && by.as_constant() == Some(u64::MAX);
            state.registers[into] = if all_ones {
                by
            } else {
                state.registers[into].combine(&by, change)
            };
        }
        Mnemonic::Neg | Mnemonic::Not => {
            let Some(into) = into else { return false };
            let negate = instruction.mnemonic() == Mnemonic::Neg;
            state.registers[into] = state.registers[into].map(|number| {
                if negate {
                    number.wrapping_neg()
                } else {
                    !number
                }
            });
        }
        Mnemonic::Movzx => {
            let (Some(into), OpKind::Register) = (into, instruction.op1_kind()) else {
                return false;
            };
            let Some(from) = general(instruction.op1_register()) else {
                return false;
            };
            let mask = if instruction.op1_register().size() == 1 {
                0xff
            } else {
                0xffff
            };
            state.registers[into] = state.registers[from].map(|number| number & mask);
        }
        // The register was cleared before, or is widened afterwards.
        _ if is_condition_byte(instruction.mnemonic()) => {
            let register = general(instruction.op0_register())
                .filter(|_| instruction.op0_kind() == OpKind::Register);
            let Some(register) = register else {
                return false;
            };
            state.registers[register] = Value::either(0, 1);
        }
        Mnemonic::Push => {
            let value = operand(instruction, 0, state).unwrap_or_else(Value::unknown);
            state.registers[RSP] = shifted(&state.registers[RSP], 8_u64.wrapping_neg());
            if let Some(top) = state.registers[RSP].stack {
                state.slots.insert(top, value);
            }
        }
        Mnemonic::Pop => {
            let value = state.registers[RSP]
                .stack
                .map_or_else(Value::unknown, |top| state.slot(top));
            state.registers[RSP] = shifted(&state.registers[RSP], 8);
            match into {
                Some(into) => state.registers[into] = value,
                None => return false,
            }
        }
        Mnemonic::Leave => {
            let frame = state.registers[5].stack;
            state.registers[5] = frame.map_or_else(Value::unknown, |frame| state.slot(frame));
            state.registers[RSP] =
                frame.map_or_else(Value::unknown, |frame| Value::on_stack(frame + 8));
        }
        Mnemonic::Cmova
        | Mnemonic::Cmovae
        | Mnemonic::Cmovb
        | Mnemonic::Cmovbe
        | Mnemonic::Cmove
        | Mnemonic::Cmovg
        | Mnemonic::Cmovge
        | Mnemonic::Cmovl
        | Mnemonic::Cmovle
        | Mnemonic::Cmovne
        | Mnemonic::Cmovs
        | Mnemonic::Cmovns => {
            let (Some(into), Some(value)) = (into, operand(instruction, 1, state)) else {
                return false;
            };
            state.registers[into].merge(&value);
        }
        // The number stays what it is, or becomes another one that cannot be told.
        Mnemonic::Cmp | Mnemonic::Test | Mnemonic::Nop | Mnemonic::Endbr64 => {}
        _ => return false,
    }
    true
}

fn same_register(instruction: &Instruction) -> bool {
    instruction.op1_kind() == OpKind::Register
        && instruction.op0_register() == instruction.op1_register()
}

fn is_condition_byte(mnemonic: Mnemonic) -> bool {
    use Mnemonic::{Seta, Setae, Setb, Setbe, Sete, Setg, Setge, Setl, Setle, Setne, Setns, Sets};
    matches!(
        mnemonic,
        Seta | Setae | Setb | Setbe | Sete | Setg | Setge | Setl | Setle | Setne | Setns | Sets
    )
}

/// The value of an operand of 32 or 64 bits, if it is a register, a number or memory.
fn operand(instruction: &Instruction, index: u32, state: &State) -> Option<Value> {
    if let Some(number) = immediate(instruction, index) {
        return Some(Value::constant(number));
    }
    match instruction.op_kind(index) {
        OpKind::Register => {
            let register = instruction.op_register(index);
            let value = state.registers[wide(register)?].clone();
            Some(
                if register.is_gpr32() && value.constants.iter().any(|number| *number > 0xffff_ffff)
                {
                    value.map(|number| number & 0xffff_ffff)
                } else {
                    value
                },
            )
        }
        OpKind::Memory => match stack_place(instruction, state) {
            Some(place) => Some(state.slot(place)),
            None if instruction.memory_index() == Register::None => {
                let base = wide(instruction.memory_base());
                let pointer = base.map(|base| &state.registers[base]);
                Some(pointer.map_or_else(Value::unknown, |pointer| {
                    field(pointer, instruction.memory_displacement64() as i32, state)
                }))
            }
            None => Some(Value::unknown()),
        },
        _ => None,
    }
}

fn immediate(instruction: &Instruction, index: u32) -> Option<u64> {
    if index >= instruction.op_count() {
        return None;
    }
    match instruction.op_kind(index) {
        OpKind::Immediate8
        | OpKind::Immediate8to32
        | OpKind::Immediate8to64
        | OpKind::Immediate32
        | OpKind::Immediate32to64
        | OpKind::Immediate64 => Some(instruction.immediate(index)),
        _ => None,
    }
}

/// What `lea` gives.
fn address(instruction: &Instruction, state: &State) -> Value {
    if instruction.is_ip_rel_memory_operand() {
        return Value::constant(instruction.ip_rel_memory_address());
    }
    let displacement = instruction.memory_displacement64();
    if let Some(index) = wide(instruction.memory_index()) {
        let scale = u64::from(instruction.memory_index_scale());
        let scaled = state.registers[index]
            .map(|number| number.wrapping_mul(scale).wrapping_add(displacement));
        return match wide(instruction.memory_base()) {
            Some(base) if base == index => state.registers[index]
                .map(|number| number.wrapping_mul(scale + 1).wrapping_add(displacement)),
            Some(base) => scaled.combine(&state.registers[base], u64::wrapping_add),
            None => scaled,
        };
    }
    match wide(instruction.memory_base()) {
        Some(base) => shifted(&state.registers[base], displacement),
        None => Value::constant(displacement),
    }
}

/// A value and a number added.
fn shifted(value: &Value, by: u64) -> Value {
    match value.stack {
        Some(offset) => Value::on_stack(offset.wrapping_add(by as i32)),
        None if by == 0 => value.clone(),
        None => value.map(|number| number.wrapping_add(by)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Callees at fixed addresses.
    struct Known(Vec<(u64, Input)>);

    impl Callees for Known {
        fn inputs(&self, address: u64) -> Vec<Input> {
            self.0
                .iter()
                .filter(|(at, _)| *at == address)
                .map(|(_, input)| *input)
                .collect()
        }
        fn inputs_of_import(&self, _: &Instruction) -> Vec<Input> {
            Vec::new()
        }
    }

    fn follow(code: &[u8], callees: Vec<(u64, Input)>) -> Value {
        numbers(code, 0x1000, &Known(callees))
    }

    #[test]
    fn both_ways_to_one_instruction_count() {
        // test edi,edi; je +7; mov eax,1; jmp +5; mov eax,2; syscall; ret
        let code = [
            0x85, 0xff, 0x74, 0x07, 0xb8, 1, 0, 0, 0, 0xeb, 0x05, 0xb8, 2, 0, 0, 0, 0x0f, 0x05,
            0xc3,
        ];
        let value = follow(&code, vec![]);
        assert_eq!((value.constants, value.unknown), (vec![1, 2], false));
    }

    #[test]
    fn an_argument_is_the_callers_matter() {
        // mov rax,rdi; syscall; ret
        let value = follow(&[0x48, 0x89, 0xf8, 0x0f, 0x05, 0xc3], vec![]);
        assert_eq!(value.as_input(), Some(Input::Register(7)));
        // mov edi,39; call 0x2000; ret
        let code = [0xbf, 39, 0, 0, 0, 0xe8, 0xf6, 0x0f, 0, 0, 0xc3];
        let value = follow(&code, vec![(0x2000, Input::Register(7))]);
        assert_eq!(value.as_constant(), Some(39));
    }

    #[test]
    fn a_number_survives_on_the_stack_over_a_call() {
        // push rdi; call 0x3000; pop rax; syscall; ret
        let code = [0x57, 0xe8, 0xfa, 0x1f, 0, 0, 0x58, 0x0f, 0x05, 0xc3];
        assert_eq!(follow(&code, vec![]).as_input(), Some(Input::Register(7)));
        // mov rax,[rsp+8]; syscall (Go's assembly functions)
        let code = [0x48, 0x8b, 0x44, 0x24, 0x08, 0x0f, 0x05, 0xc3];
        assert_eq!(follow(&code, vec![]).as_input(), Some(Input::Stack(0)));
    }

    #[test]
    fn a_field_of_the_callers_structure_is_found() {
        // mov eax,[rdi+4]; syscall; ret
        assert_eq!(
            follow(&[0x8b, 0x47, 0x04, 0x0f, 0x05, 0xc3], vec![]).as_input(),
            Some(Input::Field(7, 4))
        );
        // sub rsp,24; mov dword [rsp+4],105; mov rdi,rsp; call 0x2000
        let code = [
            0x48, 0x83, 0xec, 0x18, 0xc7, 0x44, 0x24, 0x04, 105, 0, 0, 0, 0x48, 0x89, 0xe7, 0xe8,
            0xec, 0x0f, 0, 0,
        ];
        let value = follow(&code, vec![(0x2000, Input::Field(7, 4))]);
        assert_eq!(value.as_constant(), Some(105));
    }

    #[test]
    fn a_choice_made_by_arithmetic_is_both() {
        // xor eax,eax; cmp edi,5; setle al; lea eax,[rax+rax+102]; syscall
        let code = [
            0x31, 0xc0, 0x83, 0xff, 0x05, 0x0f, 0x9e, 0xc0, 0x8d, 0x44, 0x00, 0x66, 0x0f, 0x05,
        ];
        let value = follow(&code, vec![]);
        assert_eq!((value.constants, value.unknown), (vec![102, 104], false));
        // sbb eax,eax; and eax,-2; add eax,104; syscall
        let code = [0x19, 0xc0, 0x83, 0xe0, 0xfe, 0x83, 0xc0, 0x68, 0x0f, 0x05];
        assert_eq!(follow(&code, vec![]).constants, [102, 104]);
    }

    #[test]
    fn a_computed_number_is_unknown() {
        // mov eax,[rip+0]; syscall
        let value = follow(&[0x8b, 0x05, 0, 0, 0, 0, 0x0f, 0x05], vec![]);
        assert!(value.unknown && value.constants.is_empty());
    }
}
