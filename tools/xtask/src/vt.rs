//! A terminal's screen: what a person would see of a console's output.
//!
//! Understands what programs send to a vt100 or vt220 (ECMA-48 and DEC's scroll regions), which is enough for editors and
//! pagers; colours and character sets are taken in and ignored.

/// A screen of fixed size.
pub struct Screen {
    rows: usize,
    columns: usize,
    cells: Vec<Vec<char>>,
    row: usize,
    column: usize,
    /// The cursor stands behind the last column; the next character goes to the next line.
    wrap: bool,
    saved: (usize, usize),
    /// First and last line that scroll.
    region: (usize, usize),
    state: State,
}

enum State {
    Text,
    Escape,
    /// One more byte belongs to the escape sequence.
    EscapeMore,
    /// A control sequence, with its parameters so far.
    Control(String),
    /// An operating system command; ends with BEL or ESC \.
    Command,
}

impl Screen {
    /// An empty screen.
    pub fn new(rows: usize, columns: usize) -> Self {
        let (rows, columns) = (rows.max(1), columns.max(1));
        Self {
            rows,
            columns,
            cells: vec![vec![' '; columns]; rows],
            row: 0,
            column: 0,
            wrap: false,
            saved: (0, 0),
            region: (0, rows - 1),
            state: State::Text,
        }
    }

    /// The lines, without the blanks at their ends, each followed by a newline.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for line in &self.cells {
            let line: String = line.iter().collect();
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    /// Takes output. Bytes beyond ASCII show as one `?` each.
    pub fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.take(*byte);
        }
    }

    fn take(&mut self, byte: u8) {
        match std::mem::replace(&mut self.state, State::Text) {
            State::Text => self.plain(byte),
            State::EscapeMore => {}
            State::Escape => self.escape(byte),
            State::Command => {
                self.state = match byte {
                    0x07 => State::Text,
                    0x1b => State::Escape,
                    _ => State::Command,
                };
            }
            State::Control(mut parameters) => match byte {
                0x40..=0x7e => self.control(byte, &parameters),
                0x20..=0x3f => {
                    parameters.push(char::from(byte));
                    self.state = State::Control(parameters);
                }
                _ => {
                    self.plain(byte);
                    self.state = State::Control(parameters);
                }
            },
        }
    }

    fn plain(&mut self, byte: u8) {
        match byte {
            0x1b => self.state = State::Escape,
            b'\r' => self.move_to(self.row, 0),
            b'\n' | 0x0b | 0x0c => self.line_feed(),
            0x08 => self.move_to(self.row, self.column.saturating_sub(1)),
            b'\t' => self.move_to(self.row, (self.column / 8 + 1) * 8),
            0x20..=0x7e => self.put(char::from(byte)),
            0x80.. => self.put('?'),
            _ => {}
        }
    }

    fn put(&mut self, character: char) {
        if self.wrap {
            self.column = 0;
            self.line_feed();
        }
        self.cells[self.row][self.column] = character;
        if self.column + 1 < self.columns {
            self.column += 1;
        } else {
            self.wrap = true;
        }
    }

    fn move_to(&mut self, row: usize, column: usize) {
        self.row = row.min(self.rows - 1);
        self.column = column.min(self.columns - 1);
        self.wrap = false;
    }

    fn line_feed(&mut self) {
        self.wrap = false;
        if self.row == self.region.1 {
            self.scroll_up(self.region.0, 1);
        } else {
            self.row = (self.row + 1).min(self.rows - 1);
        }
    }

    /// Moves the lines from `top` to the region's end up; blank lines come in below.
    fn scroll_up(&mut self, top: usize, count: usize) {
        for _ in 0..count.min(self.rows) {
            if top <= self.region.1 {
                self.cells.remove(top);
                self.cells.insert(self.region.1, vec![' '; self.columns]);
            }
        }
    }

    /// Moves the lines from `top` to the region's end down; blank lines come in above.
    fn scroll_down(&mut self, top: usize, count: usize) {
        for _ in 0..count.min(self.rows) {
            if top <= self.region.1 {
                self.cells.remove(self.region.1);
                self.cells.insert(top, vec![' '; self.columns]);
            }
        }
    }

    fn escape(&mut self, byte: u8) {
        match byte {
            b'[' => self.state = State::Control(String::new()),
            b']' | b'P' | b'_' | b'^' => self.state = State::Command,
            b'(' | b')' | b'*' | b'+' | b'#' | b'%' | b' ' => self.state = State::EscapeMore,
            b'7' => self.saved = (self.row, self.column),
            b'8' => self.move_to(self.saved.0, self.saved.1),
            b'D' => self.line_feed(),
            b'E' => {
                self.column = 0;
                self.line_feed();
            }
            b'M' if self.row == self.region.0 => self.scroll_down(self.region.0, 1),
            b'M' => self.move_to(self.row.saturating_sub(1), self.column),
            b'c' => *self = Self::new(self.rows, self.columns),
            _ => {}
        }
    }

    fn control(&mut self, end: u8, parameters: &str) {
        if parameters.starts_with(['?', '>', '=']) {
            return;
        }
        let numbers: Vec<usize> = parameters
            .split(';')
            .map(|number| number.parse().unwrap_or(0))
            .collect();
        let number = |index: usize| numbers.get(index).copied().unwrap_or(0);
        let count = number(0).max(1);
        match end {
            b'A' => self.move_to(self.row.saturating_sub(count), self.column),
            b'B' | b'e' => self.move_to(self.row + count, self.column),
            b'C' | b'a' => self.move_to(self.row, self.column + count),
            b'D' => self.move_to(self.row, self.column.saturating_sub(count)),
            b'G' | b'`' => self.move_to(self.row, count - 1),
            b'd' => self.move_to(count - 1, self.column),
            b'H' | b'f' => self.move_to(count - 1, number(1).max(1) - 1),
            b'J' => self.erase_screen(number(0)),
            b'K' => self.erase_line(number(0)),
            b'L' => self.scroll_down(self.row, count),
            b'M' => self.scroll_up(self.row, count),
            b'S' => self.scroll_up(self.region.0, count),
            b'T' => self.scroll_down(self.region.0, count),
            b'P' => self.shift_line(count, false),
            b'@' => self.shift_line(count, true),
            b'X' => self.blank(self.row, self.column, self.column + count),
            b'r' => self.set_region(number(0), number(1)),
            _ => {}
        }
    }

    fn set_region(&mut self, top: usize, bottom: usize) {
        let top = top.max(1) - 1;
        let bottom = if bottom == 0 {
            self.rows
        } else {
            bottom.min(self.rows)
        } - 1;
        if top < bottom {
            self.region = (top, bottom);
            self.move_to(0, 0);
        }
    }

    fn blank(&mut self, row: usize, from: usize, to: usize) {
        let to = to.min(self.columns);
        if from < to {
            self.cells[row][from..to].fill(' ');
        }
    }

    fn erase_line(&mut self, what: usize) {
        match what {
            0 => self.blank(self.row, self.column, self.columns),
            1 => self.blank(self.row, 0, self.column + 1),
            _ => self.blank(self.row, 0, self.columns),
        }
    }

    fn erase_screen(&mut self, what: usize) {
        let lines = match what {
            0 => self.row + 1..self.rows,
            1 => 0..self.row,
            _ => 0..self.rows,
        };
        lines.for_each(|row| self.blank(row, 0, self.columns));
        if what < 2 {
            self.erase_line(what);
        }
    }

    /// Deletes characters at the cursor, or makes room for some.
    fn shift_line(&mut self, count: usize, insert: bool) {
        let (column, columns) = (self.column, self.columns);
        let line = &mut self.cells[self.row];
        for _ in 0..count.min(columns) {
            if insert {
                line.pop();
                line.insert(column, ' ');
            } else {
                line.remove(column);
                line.push(' ');
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let mut screen = Screen::new(4, 10);
        screen.feed(text.as_bytes());
        screen.text()
    }

    #[test]
    fn lines_wrap_and_scroll() {
        assert_eq!(
            shown("one\r\ntwo\r\nthree\r\nfour\r\nfive"),
            "two\nthree\nfour\nfive\n"
        );
        assert_eq!(shown("0123456789ab"), "0123456789\nab\n\n\n");
        assert_eq!(shown("abc\u{8}\u{8}X\rY"), "YXc\n\n\n\n");
    }

    #[test]
    fn the_cursor_moves_and_erases() {
        assert_eq!(
            shown("aaaa\x1b[3;2Hb\x1b[1;3H\x1b[K\x1b[?25l\x1b[1mz"),
            "aaz\n\n b\n\n"
        );
        assert_eq!(shown("a\r\nb\r\nc\x1b[2;1H\x1b[J"), "a\n\n\n\n");
        assert_eq!(shown("abcdef\x1b[1;2H\x1b[2P\x1b[1@"), "a def\n\n\n\n");
    }

    #[test]
    fn a_region_scrolls_alone() {
        assert_eq!(
            shown("a\r\nb\r\nc\r\nd\x1b[2;3r\x1b[3;1H\nx\x1b[r"),
            "a\nc\nx\nd\n"
        );
        assert_eq!(shown("a\r\nb\x1b[1;1H\x1bMz"), "z\na\nb\n\n");
        assert_eq!(shown("\x1b]0;title\x07a\x1b(Bb"), "ab\n\n\n\n");
    }
}
