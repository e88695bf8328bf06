//! Stacks as a flame graph: an SVG that stands on its own.

use std::collections::BTreeMap;
use std::fmt::Write;

const WIDTH: f64 = 1400.0;
const LINE: f64 = 18.0;
const TOP: f64 = 40.0;
/// Narrower boxes are left out.
const NARROWEST: f64 = 1.0;
/// Width of a letter, about.
const LETTER: f64 = 6.6;

/// Stacks that share their outer functions.
#[derive(Default)]
pub struct Tree {
    count: u64,
    inner: BTreeMap<String, Tree>,
}

impl Tree {
    /// Adds a stack, outermost function first, seen `count` times.
    pub fn add(&mut self, names: &[String], count: u64) {
        self.count += count;
        if let Some((first, rest)) = names.split_first() {
            self.inner
                .entry(first.clone())
                .or_default()
                .add(rest, count);
        }
    }

    fn depth(&self) -> usize {
        1 + self.inner.values().map(Tree::depth).max().unwrap_or(0)
    }

    /// Draws it: the outermost functions on top, each as wide as the time spent in it.
    pub fn render(&self) -> String {
        let height = TOP + LINE * (self.depth() as f64) + 12.0;
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height:.0}\" \
             viewBox=\"0 0 {WIDTH} {height:.0}\">\n<style>text{{font:11px ui-monospace,monospace;fill:#222}}\
             .title{{font:600 15px system-ui,sans-serif}}rect{{stroke:#fff;stroke-width:.6}}</style>\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
             <text class=\"title\" x=\"10\" y=\"24\">Keel, time in the kernel: {} samples</text>\n",
            self.count
        );
        let scale = (WIDTH - 20.0) / self.count.max(1) as f64;
        self.boxes(&mut out, 10.0, TOP, scale, self.count);
        out.push_str("</svg>\n");
        out
    }

    fn boxes(&self, out: &mut String, x: f64, y: f64, scale: f64, all: u64) {
        let mut x = x;
        for (name, inner) in &self.inner {
            let width = inner.count as f64 * scale;
            if width >= NARROWEST {
                one_box(out, name, inner.count, all, [x, y, width]);
                inner.boxes(out, x, y + LINE, scale, all);
            }
            x += width;
        }
    }
}

fn one_box(out: &mut String, name: &str, count: u64, all: u64, [x, y, width]: [f64; 3]) {
    let letters = ((width - 6.0) / LETTER).max(0.0) as usize;
    let label: String = if letters >= 4 {
        short(name).chars().take(letters).collect()
    } else {
        String::new()
    };
    let share = count as f64 * 100.0 / all.max(1) as f64;
    // Writing to a string does not fail.
    let _ = writeln!(
        out,
        "<g><title>{}: {count} samples, {share:.1} %</title><rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" \
         height=\"{LINE}\" rx=\"2\" fill=\"{}\"/><text x=\"{:.1}\" y=\"{:.1}\">{}</text></g>",
        escape(name),
        colour(name),
        x + 3.0,
        y + 13.0,
        escape(&label)
    );
}

/// The end of a path, which says most: `keel::fs::namei::lookup` as `namei::lookup`.
fn short(name: &str) -> &str {
    if name.contains(['<', ' ']) {
        return name;
    }
    match name.rmatch_indices("::").nth(1) {
        Some((at, _)) => &name[at + 2..],
        None => name,
    }
}

/// A warm colour that is always the same for a name.
fn colour(name: &str) -> String {
    let hash = name.bytes().fold(5381u32, |hash, byte| {
        hash.wrapping_mul(33) ^ u32::from(byte)
    });
    format!(
        "hsl({},{}%,{}%)",
        10 + hash % 45,
        70 + hash / 64 % 20,
        62 + hash / 2048 % 14
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_that_begin_alike_share_their_boxes() {
        let mut tree = Tree::default();
        let stack = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        tree.add(&stack(&["a", "b"]), 3);
        tree.add(&stack(&["a", "<c>"]), 1);
        let svg = tree.render();
        assert_eq!(svg.matches("<g>").count(), 3);
        assert!(svg.contains("a: 4 samples, 100.0 %") && svg.contains("&lt;c&gt;: 1 samples"));
        assert_eq!(short("keel::fs::namei::lookup"), "namei::lookup");
    }
}
