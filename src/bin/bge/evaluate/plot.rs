//! A picture of the scores of positives and of negatives, as two histograms.

use std::fmt::Write;

const BINS: usize = 40;
/// The area of the bars, within margins for the words.
const PLANE: (f64, f64) = (600.0, 260.0);

/// Two histograms over the same scores, each with its name, below the lines of a title.
pub(super) fn svg(title: [&str; 2], axis: &str, sides: &[(String, Vec<f32>); 2]) -> String {
    let all = || sides.iter().flat_map(|(_, scores)| scores).copied().filter(|s| s.is_finite());
    let (low, high) =
        (all().fold(f32::INFINITY, f32::min), all().fold(f32::NEG_INFINITY, f32::max));
    let span = if high > low { high - low } else { 1.0 };
    let fractions = sides.each_ref().map(|(_, scores)| {
        let mut counts = [0.0; BINS];
        for score in scores.iter().filter(|score| score.is_finite()) {
            let bin = ((score - low) / span * BINS as f32) as usize;
            counts[bin.min(BINS - 1)] += 1.0 / scores.len() as f64;
        }
        counts
    });
    let top = fractions.iter().flatten().copied().fold(f64::MIN_POSITIVE, f64::max);
    let (width, height) = PLANE;
    let mut out = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"-60 -66 700 386\" font-family=\"sans-serif\" \
         font-size=\"13\">\n<rect x=\"-60\" y=\"-66\" width=\"700\" height=\"386\" fill=\"white\"/>\n",
    );
    // Writing into a String cannot fail.
    for (line, y) in title.iter().zip([-46.0, -30.0]) {
        // In small type, since paths are long.
        let _ = writeln!(out, "<text x=\"0\" y=\"{y}\" font-size=\"10\">{}</text>", escaped(line));
    }
    let mut text = |x: f64, y: f64, anchor: &str, words: &str| {
        let words = escaped(words);
        let _ = writeln!(out, "<text x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\">{words}</text>");
    };
    text(width / 2.0, height + 45.0, "middle", axis);
    for tick in 0..=4 {
        let at = f64::from(tick) / 4.0;
        text(
            at * width,
            height + 20.0,
            "middle",
            &format!("{:.3}", f64::from(low) + at * f64::from(span)),
        );
    }
    text(-6.0, 10.0, "end", &format!("{:.0} %", top * 100.0));
    text(-6.0, height, "end", "0 %");
    for (side, (name, scores)) in sides.iter().enumerate() {
        text(
            width / 2.0 * side as f64 + 20.0,
            -8.0,
            "start",
            &format!("{name} ({})", scores.len()),
        );
    }
    for (side, (fractions, color)) in fractions.iter().zip(["#1b7837", "#c2410c"]).enumerate() {
        let x = width / 2.0 * side as f64;
        let _ = writeln!(
            out,
            "<rect x=\"{x}\" y=\"-18\" width=\"12\" height=\"12\" fill=\"{color}\"/>"
        );
        let bar = width / BINS as f64;
        for (bin, fraction) in fractions.iter().enumerate().filter(|(_, fraction)| **fraction > 0.0)
        {
            let tall = fraction / top * height;
            let _ = writeln!(
                out,
                "<rect x=\"{:.2}\" y=\"{:.2}\" width=\"{bar:.2}\" height=\"{tall:.2}\" fill=\"{color}\" \
                 fill-opacity=\"0.55\"/>",
                bin as f64 * bar,
                height - tall
            );
        }
    }
    let _ =
        writeln!(out, "<path d=\"M0 0V{height}H{width}\" fill=\"none\" stroke=\"black\"/>\n</svg>");
    out
}

fn escaped(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;")
}
