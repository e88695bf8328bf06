//! The ratios as a chart: an SVG that stands on its own.

use crate::table::figure;
use crate::{Comparison, Row};
use std::fmt::Write;

const WIDTH: f64 = 980.0;
const LINE: f64 = 19.0;
const TOP: f64 = 74.0;
/// Where the bars' scale lies.
const LEFT: f64 = 240.0;
const RIGHT: f64 = 700.0;
/// The scale's ends; what lies beyond is cut off there and marked by its number.
const LEAST: f64 = 0.25;
const MOST: f64 = 8.0;

/// Draws the comparison. The scale is logarithmic; bars to the left of 1 are benchmarks where Keel is faster.
pub fn render(comparison: &Comparison) -> String {
    let rows: Vec<&Row> = comparison
        .rows
        .iter()
        .filter(|row| row.ratio.is_some())
        .collect();
    let groups = 1 + rows
        .windows(2)
        .filter(|pair| pair[0].group != pair[1].group)
        .count();
    let height = TOP + LINE * (rows.len() + groups * 2) as f64 + 20.0;
    let mut out = String::new();
    head(&mut out, comparison, height);
    scale(&mut out, height);
    let mut y = TOP;
    let mut group = "";
    for row in rows {
        if row.group != group {
            group = &row.group;
            y += LINE * 1.6;
            text(&mut out, 20.0, y - 5.0, "start", "group", group);
        }
        bar(&mut out, row, y);
        y += LINE;
    }
    out.push_str("</svg>\n");
    out
}

fn head(out: &mut String, comparison: &Comparison, height: f64) {
    let setting = &comparison.setting;
    let (mean, count) = comparison.mean_ratio();
    // Writing to a string does not fail.
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {WIDTH} {height:.0}\">\n<style>text{{font:12px system-ui,sans-serif;fill:#222}}\
         .title{{font-size:17px;font-weight:600}}.small{{fill:#666}}.group{{font-weight:600}}.number{{font-weight:600}}\
         .ahead{{fill:#2e8b57}}.near{{fill:#d9a227}}.behind{{fill:#c8443c}}.grid{{stroke:#ddd}}.one{{stroke:#222}}</style>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    let what = if setting.instructions {
        "instructions"
    } else {
        "time"
    };
    text(
        out,
        20.0,
        26.0,
        "start",
        "title",
        &format!("Keel's {what} over Linux's: geometric mean {mean:.2} of {count}"),
    );
    let about = format!(
        "{} on {} CPUs, {}, {}; Linux {}; {} rounds, medians",
        setting.image,
        setting.cpus,
        setting.memory,
        setting.accelerator,
        setting.linux,
        setting.rounds
    );
    text(out, 20.0, 46.0, "start", "small", &about);
}

fn scale(out: &mut String, height: f64) {
    for mark in [0.25, 0.5, 1.0, 2.0, 4.0, 8.0] {
        let x = place(mark);
        let class = if mark == 1.0 { "one" } else { "grid" };
        let _ = writeln!(
            out,
            "<line class=\"{class}\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{:.0}\"/>",
            height - 14.0
        );
        text(out, x, TOP - 6.0, "middle", "small", &format!("{mark}×"));
    }
}

fn bar(out: &mut String, row: &Row, y: f64) {
    let ratio = row.ratio.unwrap_or(1.0);
    let (from, to) = (place(1.0), place(ratio));
    let class = if ratio <= 1.0 {
        "ahead"
    } else if ratio <= 1.2 {
        "near"
    } else {
        "behind"
    };
    text(out, LEFT - 12.0, y + 12.0, "end", "", &row.name);
    let _ = writeln!(
        out,
        "<rect class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"2\"/>",
        from.min(to),
        y + 2.0,
        (to - from).abs().max(1.5),
        LINE - 6.0
    );
    text(
        out,
        RIGHT + 14.0,
        y + 12.0,
        "start",
        "number",
        &format!("{ratio:.2}"),
    );
    if let (Some(linux), Some(keel)) = (&row.linux, &row.keel) {
        let figures = format!(
            "{} → {}",
            figure(linux.median, row.unit),
            figure(keel.median, row.unit)
        );
        text(out, RIGHT + 62.0, y + 12.0, "start", "small", &figures);
    }
}

/// Where a ratio lies on the scale.
fn place(ratio: f64) -> f64 {
    let share = (ratio.clamp(LEAST, MOST) / LEAST).ln() / (MOST / LEAST).ln();
    LEFT + share * (RIGHT - LEFT)
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, class: &str, words: &str) {
    let words = words
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    let _ = writeln!(
        out,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Collector, Kernel, Setting, parse};

    #[test]
    fn a_bar_for_each_ratio_and_words_that_cannot_break_it() {
        let mut all = Collector::default();
        all.add(
            "ipc",
            Kernel::Linux,
            parse("R a<b ns 10 10 1\nR c ns 5 5 1\n"),
        );
        all.add("ipc", Kernel::Keel, parse("R a<b ns 30 30 1\n"));
        let svg = render(&all.finish(Setting::default()));
        assert_eq!(svg.matches("class=\"behind\"").count(), 1);
        assert!(svg.contains("a&lt;b") && svg.ends_with("</svg>\n"));
        assert!(place(1.0) > place(0.5) && place(100.0) == RIGHT);
    }
}
