//! The status area: the bottom lines of the screen, out of the way of what
//! scrolls. Pure: it makes the text that is to be written.
//!
//! The terminal scrolls only the lines above (DECSTBM, set top and bottom
//! margins), so neither the line editor nor anything printed knows of it. Each
//! change is one text for one write, which leaves the cursor where it was; so
//! it may come at any moment while a line is edited.

use std::fmt::Write;

/// Saves the cursor with its attributes (DECSC), and brings it back (DECRC).
const SAVE: &str = "\x1b7";
const RESTORE: &str = "\x1b8";
/// Margins at the edges of the screen. Moves the cursor.
const NO_MARGINS: &str = "\x1b[r";
/// One line down, in the same column; scrolls at the bottom. A line feed would
/// be made a line end by the terminal driver.
const DOWN: &str = "\x0b";

/// What must be written if the program ends in an unforeseen way: margins off,
/// cursor visible, and what the line editor switches on (bracketed paste) off.
pub const RESET: &str = "\x1b7\x1b[r\x1b8\x1b[?7h\x1b[?25h\x1b[?2004l";

/// The size of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Size {
    /// Lines.
    pub rows: usize,
    /// Characters in a line.
    pub columns: usize,
}

/// The lines kept free at the bottom.
#[derive(Debug, Default)]
pub struct Area {
    height: usize,
    size: Size,
    shown: Vec<String>,
}

impl Area {
    /// The text that makes the area show these lines; empty if there is
    /// nothing to do.
    pub fn paint(&mut self, lines: Vec<String>, size: Size) -> String {
        let lines: Vec<String> = lines.into_iter().take(size.rows.saturating_sub(2)).collect();
        if lines.is_empty() && self.height == 0 {
            self.size = size;
            return String::new();
        }
        let mut text = String::from("\x1b[?25l");
        let resized = size != self.size && self.height > 0;
        self.size = size;
        if resized {
            self.make_anew(&mut text);
        }
        self.resize(lines.len(), &mut text);
        text.push_str(SAVE);
        // Nothing may wrap into the next line.
        text.push_str("\x1b[?7l");
        for (index, line) in lines.iter().enumerate() {
            let row = size.rows - lines.len() + index + 1;
            write!(text, "\x1b[{row};1H{line}\x1b[0m\x1b[K").ok();
        }
        text.push_str("\x1b[?7h");
        text.push_str(RESTORE);
        text.push_str("\x1b[?25h");
        self.shown = lines;
        text
    }

    /// Terminals drop margins, or move what is on them, when their size
    /// changes. What is left of the area is below the cursor, and goes.
    fn make_anew(&mut self, text: &mut String) {
        let height = std::mem::take(&mut self.height).min(self.size.rows.saturating_sub(2));
        text.extend([SAVE, NO_MARGINS, RESTORE]);
        if self.size.rows > 1 {
            // A line below the cursor there must be: at the bottom, and at a
            // margin too, the line of the cursor itself would be erased.
            make_room(height.max(1), text);
            text.extend([SAVE, "\x1b[E\x1b[J", RESTORE]);
        }
        self.resize(height, text);
    }

    /// Grows or shrinks the area.
    fn resize(&mut self, height: usize, text: &mut String) {
        let more = height.saturating_sub(self.height);
        if more > 0 {
            make_room(more, text);
        }
        if height == self.height {
            return;
        }
        text.push_str(SAVE);
        for row in (self.size.rows + 1).saturating_sub(self.height)..=self.size.rows - height {
            write!(text, "\x1b[{row};1H\x1b[2K").ok();
        }
        if height == 0 {
            text.push_str(NO_MARGINS);
        } else {
            write!(text, "\x1b[1;{}r", self.size.rows - height).ok();
        }
        text.push_str(RESTORE);
        self.height = height;
    }

    /// The terminal may have moved the area; it is made anew when it is next
    /// painted.
    pub fn distrust(&mut self) {
        self.size = Size::default();
    }

    /// Forgets the area: something else has put the screen back.
    pub fn forget(&mut self) {
        *self = Self { size: self.size, ..Self::default() };
    }
}

/// Lines below the cursor: at the bottom everything scrolls up.
fn make_room(lines: usize, text: &mut String) {
    text.push_str(&DOWN.repeat(lines));
    write!(text, "\x1b[{lines}A").ok();
}

#[cfg(test)]
mod tests {
    use std::num::NonZero;

    use super::*;

    fn size(rows: usize, columns: usize) -> Size {
        Size { rows, columns }
    }

    fn lines(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn cells(number: u16) -> NonZero<u16> {
        NonZero::new(number).unwrap()
    }

    /// A terminal of 8 lines with an area.
    struct Screen {
        terminal: vt100::Parser,
        area: Area,
    }

    impl Screen {
        fn new() -> Self {
            Self { terminal: vt100::Parser::new(cells(8), cells(40), 0), area: Area::default() }
        }

        fn write(&mut self, text: &str) {
            self.terminal.process(text.as_bytes());
        }

        fn paint(&mut self, texts: &[&str]) {
            let (rows, columns) = self.terminal.screen().size();
            let text = self.area.paint(lines(texts), size(rows.get().into(), columns.get().into()));
            assert!(!text.contains('\n'));
            self.write(&text);
        }

        fn rows(&self) -> Vec<String> {
            self.terminal.screen().contents().lines().map(str::to_owned).collect()
        }
    }

    #[test]
    fn nothing_is_written_for_nothing() {
        assert_eq!(Area::default().paint(vec![], size(24, 80)), "");
    }

    #[test]
    fn lines_stay_at_the_bottom_while_the_rest_scrolls() {
        let mut screen = Screen::new();
        screen.write("> half a li");
        screen.paint(&["one", "two"]);
        screen.write("ne");
        assert_eq!(screen.rows(), ["> half a line", "", "", "", "", "", "one", "two"]);
        for number in 0..20 {
            screen.write(&format!("\r\n{number}"));
        }
        assert_eq!(screen.rows(), ["14", "15", "16", "17", "18", "19", "one", "two"]);
    }

    #[test]
    fn a_full_screen_makes_room_and_gets_it_back() {
        let mut screen = Screen::new();
        screen.write(&(0..7).map(|n| format!("{n}\r\n")).collect::<String>());
        screen.write("> typ");
        screen.paint(&["one", "two"]);
        screen.write("ed");
        assert_eq!(screen.rows(), ["2", "3", "4", "5", "6", "> typed", "one", "two"]);
        screen.paint(&["one"]);
        assert_eq!(screen.rows(), ["2", "3", "4", "5", "6", "> typed", "", "one"]);
        screen.paint(&["one", "two", "three"]);
        assert_eq!(screen.rows(), ["3", "4", "5", "6", "> typed", "one", "two", "three"]);
        screen.paint(&[]);
        screen.write("!");
        assert_eq!(screen.rows(), ["3", "4", "5", "6", "> typed!"]);
        // The margins are gone: the whole screen scrolls.
        screen.write(&"\r\nx".repeat(8));
        assert_eq!(screen.rows(), ["x"; 8]);
    }

    #[test]
    fn a_new_size_makes_a_new_area() {
        let mut screen = Screen::new();
        screen.write("> typ");
        screen.paint(&["one", "two"]);
        for rows in [12, 6, 4, 9] {
            screen.terminal.screen_mut().set_size(cells(rows), cells(40));
            screen.paint(&["one", "two"]);
            let shown = screen.rows();
            assert_eq!(shown.len(), usize::from(rows));
            assert_eq!(shown[usize::from(rows) - 2..], ["one", "two"], "{shown:?}");
            assert_eq!(shown.iter().filter(|row| *row == "one").count(), 1, "{shown:?}");
            assert!(shown.contains(&"> typ".to_owned()), "{shown:?}");
        }
        screen.write("ed");
        assert!(screen.rows().contains(&"> typed".to_owned()));
    }

    #[test]
    fn a_prompt_at_the_bottom_survives_new_sizes() {
        let mut screen = Screen::new();
        screen.write(&"\r\nx".repeat(20));
        screen.write("\r\n> typ");
        screen.paint(&["one", "two"]);
        assert_eq!(screen.rows(), ["x", "x", "x", "x", "x", "> typ", "one", "two"]);
        // The emulator drops lines at the bottom and keeps the margins.
        for (rows, columns) in [(8, 50), (8, 30), (7, 30), (6, 30), (6, 40), (12, 40), (8, 40)] {
            screen.terminal.screen_mut().set_size(cells(rows), cells(columns));
            screen.paint(&["one", "two"]);
            let shown = screen.rows();
            assert_eq!(shown.len(), usize::from(rows));
            assert_eq!(shown[usize::from(rows) - 2..], ["one", "two"], "{shown:?}");
            assert_eq!(shown.iter().filter(|row| *row == "one").count(), 1, "{shown:?}");
            assert!(shown.contains(&"> typ".to_owned()), "{shown:?}");
        }
        screen.write("ed");
        assert!(screen.rows().contains(&"> typed".to_owned()));
        // It may have changed and changed back before anyone looked.
        screen.write("\x1b7\x1b[r\x1b8");
        screen.area.distrust();
        screen.paint(&["one", "two"]);
        screen.write(&"\r\nx".repeat(8));
        assert_eq!(screen.rows(), ["x", "x", "x", "x", "x", "x", "one", "two"]);
    }

    #[test]
    fn nothing_is_erased_at_the_end_if_nothing_is_shown() {
        let mut screen = Screen::new();
        screen.write("> typed\r\n");
        screen.paint(&["one"]);
        screen.paint(&[]);
        screen.write("\x1b7below\x1b8");
        screen.paint(&[]);
        assert_eq!(screen.rows(), ["> typed", "below"]);
    }

    #[test]
    fn a_tiny_terminal_stays_a_terminal() {
        for rows in 0..5 {
            let mut area = Area::default();
            area.paint(lines(&["one", "two", "three"]), size(rows, 10));
            assert!(area.height <= rows.saturating_sub(2));
            area.paint(lines(&["one"]), size(4 - rows, 10));
        }
    }
}
