//! What is known of a value in a register or stack slot: constants, the function's own inputs, an address on its stack.

/// Constants beyond this number are as good as not knowing.
const MAX_CONSTANTS: usize = 24;

/// Where a function's caller put a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Input {
    /// In this register, numbered as in instructions.
    Register(u8),
    /// In this 8-byte slot above the return address.
    Stack(u8),
    /// In memory, so far from where a register points.
    Field(u8, i32),
}

/// All that a value may be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Value {
    /// Numbers, ascending.
    pub constants: Vec<u64>,
    /// Inputs, ascending.
    pub inputs: Vec<Input>,
    /// The address this far from the stack pointer at the function's entry.
    pub stack: Option<i32>,
    /// Or anything else.
    pub unknown: bool,
}

impl Value {
    /// A value that nothing is known of.
    pub fn unknown() -> Self {
        Self {
            unknown: true,
            ..Self::default()
        }
    }

    /// A number.
    pub fn constant(number: u64) -> Self {
        Self {
            constants: vec![number],
            ..Self::default()
        }
    }

    /// What the caller passed.
    pub fn input(input: Input) -> Self {
        Self {
            inputs: vec![input],
            ..Self::default()
        }
    }

    /// An address on the stack.
    pub fn on_stack(offset: i32) -> Self {
        Self {
            stack: Some(offset),
            ..Self::default()
        }
    }

    /// One of two numbers.
    pub fn either(one: u64, other: u64) -> Self {
        let mut value = Self::constant(one);
        value.merge(&Self::constant(other));
        value
    }

    /// The one number it is.
    pub fn as_constant(&self) -> Option<u64> {
        match (
            &self.constants[..],
            &self.inputs[..],
            self.stack,
            self.unknown,
        ) {
            ([number], [], None, false) => Some(*number),
            _ => None,
        }
    }

    /// The one input it is.
    pub fn as_input(&self) -> Option<Input> {
        match (
            &self.constants[..],
            &self.inputs[..],
            self.stack,
            self.unknown,
        ) {
            ([], [input], None, false) => Some(*input),
            _ => None,
        }
    }

    /// Adds what `other` may be; tells whether that was new.
    pub fn merge(&mut self, other: &Self) -> bool {
        let before = (
            self.constants.len(),
            self.inputs.len(),
            self.stack,
            self.unknown,
        );
        for number in &other.constants {
            if let Err(place) = self.constants.binary_search(number) {
                self.constants.insert(place, *number);
            }
        }
        for input in &other.inputs {
            if let Err(place) = self.inputs.binary_search(input) {
                self.inputs.insert(place, *input);
            }
        }
        let empty = before == (0, 0, None, false);
        if self.stack != other.stack {
            if empty {
                self.stack = other.stack;
            } else {
                // Two places, or a place and a number: not followed.
                self.unknown = true;
                self.stack = None;
            }
        }
        self.unknown |= other.unknown;
        if self.constants.len() > MAX_CONSTANTS {
            self.constants.truncate(MAX_CONSTANTS);
            self.unknown = true;
        }
        before
            != (
                self.constants.len(),
                self.inputs.len(),
                self.stack,
                self.unknown,
            )
    }

    /// What an operation gives for each number of this and of `other`.
    pub fn combine(&self, other: &Self, operation: impl Fn(u64, u64) -> u64) -> Self {
        let mut value = Self::default();
        for left in &self.constants {
            value.merge(&other.map(|right| operation(*left, right)));
        }
        value.unknown |= self.map(|number| number).unknown || other.map(|number| number).unknown;
        value
    }

    /// Each number changed by `change`; inputs and addresses are lost.
    pub fn map(&self, change: impl Fn(u64) -> u64) -> Self {
        let mut constants: Vec<u64> = self
            .constants
            .iter()
            .map(|number| change(*number))
            .collect();
        constants.sort_unstable();
        constants.dedup();
        let unknown = self.unknown || !self.inputs.is_empty() || self.stack.is_some();
        Self {
            constants,
            inputs: Vec::new(),
            stack: None,
            unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_keeps_all_that_may_be() {
        let mut value = Value::constant(9);
        assert!(value.merge(&Value::constant(3)));
        assert!(!value.merge(&Value::constant(9)));
        assert!(value.merge(&Value::input(Input::Register(7))));
        assert_eq!(
            (value.constants.as_slice(), value.as_constant()),
            (&[3, 9][..], None)
        );
        assert!(!value.unknown);
        assert!(value.merge(&Value::on_stack(8)));
        assert!(value.unknown);
    }

    #[test]
    fn too_many_constants_are_unknown() {
        let mut value = Value::default();
        for number in 0..100 {
            value.merge(&Value::constant(number));
        }
        assert!(value.unknown && value.constants.len() == MAX_CONSTANTS);
    }
}
