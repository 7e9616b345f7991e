//! Plots as SVG: bars, and lines over a logarithmic axis.

use std::fmt::Write;

const WIDTH: f64 = 720.0;
const COLOURS: [&str; 6] = [
    "#2f6fdf", "#8a8f98", "#d9822b", "#3f9a5a", "#b0479b", "#c23b3b",
];

/// A name, and bars with theirs and their figures.
pub type Group = (String, Vec<(String, Option<f64>)>);

/// A row of bars for each group: of each the name and its figure.
pub fn bars(title: &str, groups: &[Group]) -> String {
    let row = 18.0;
    let rows: usize = groups.iter().map(|(_, bars)| bars.len() + 1).sum();
    let height = 48.0 + row * rows as f64 + 12.0 * groups.len() as f64;
    let mut out = head(title, height);
    let mut y = 48.0;
    for (name, bars) in groups {
        text(&mut out, 12.0, y, "start", "600", name);
        y += row;
        let largest = bars.iter().filter_map(|(_, figure)| *figure);
        let largest = largest.fold(0.0, f64::max);
        for (label, figure) in bars {
            text(&mut out, 210.0, y, "end", "400", label);
            let Some(figure) = figure else {
                text(&mut out, 222.0, y, "start", "400", "–");
                y += row;
                continue;
            };
            let colour = match label.starts_with("copresence") {
                true => COLOURS[0],
                false => COLOURS[1],
            };
            let length = (figure / largest * 410.0).max(1.0);
            let _ = writeln!(
                out,
                r#"<rect x="218" y="{:.1}" width="{length:.1}" height="12" rx="2" fill="{colour}"/>"#,
                y - 10.0
            );
            let shown = crate::compare::table::shown(*figure);
            text(&mut out, 226.0 + length, y, "start", "400", &shown);
            y += row;
        }
        y += 12.0;
    }
    out.push_str("</svg>\n");
    out
}

/// One line for each series, over an axis where each step is a multiplication.
pub fn lines(
    title: &str,
    x_axis: &str,
    y_axis: &str,
    series: &[(String, Vec<(f64, f64)>)],
) -> String {
    let (left, top, right, bottom) = (64.0, 56.0, WIDTH - 190.0, 340.0);
    let points = || series.iter().flat_map(|(_, points)| points.iter().copied());
    let x_min = points()
        .map(|(x, _)| x.max(1.0))
        .fold(f64::MAX, f64::min)
        .log10();
    let x_max = points()
        .map(|(x, _)| x.max(1.0))
        .fold(1.0, f64::max)
        .log10();
    let y_max = nice(points().map(|(_, y)| y).fold(0.0, f64::max));
    let place_x = |x: f64| {
        let share = (x.max(1.0).log10() - x_min) / (x_max - x_min).max(0.001);
        left + share * (right - left)
    };
    let place_y = |y: f64| bottom - y / y_max * (bottom - top);
    let mut out = head(title, 392.0);
    for step in 0..=4 {
        let value = y_max * f64::from(step) / 4.0;
        let y = place_y(value);
        let _ = writeln!(
            out,
            r##"<line x1="{left}" y1="{y:.1}" x2="{right}" y2="{y:.1}" stroke="#8a8f98" stroke-opacity="0.3"/>"##
        );
        let shown = crate::compare::table::shown(value);
        text(&mut out, left - 8.0, y + 4.0, "end", "400", &shown);
    }
    let mut ticks: Vec<f64> = points().map(|(x, _)| x).collect();
    ticks.sort_by(f64::total_cmp);
    ticks.dedup();
    let mut free_from = f64::MIN;
    for tick in ticks {
        let shown = crate::compare::table::count(tick);
        let half = 4.0 * shown.len() as f64;
        if free_from < place_x(tick) - half {
            text(
                &mut out,
                place_x(tick),
                bottom + 18.0,
                "middle",
                "400",
                &shown,
            );
            free_from = place_x(tick) + half;
        }
    }
    text(
        &mut out,
        f64::midpoint(left, right),
        bottom + 40.0,
        "middle",
        "400",
        x_axis,
    );
    text(&mut out, left - 52.0, top - 14.0, "start", "400", y_axis);
    for (number, (name, points)) in series.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let path: Vec<String> = points
            .iter()
            .map(|&(x, y)| format!("{:.1},{:.1}", place_x(x), place_y(y)))
            .collect();
        let _ = writeln!(
            out,
            r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2"/>"#,
            path.join(" ")
        );
        for &(x, y) in points {
            let _ = writeln!(
                out,
                r#"<circle cx="{:.1}" cy="{:.1}" r="3" fill="{colour}"/>"#,
                place_x(x),
                place_y(y)
            );
        }
        let y = top + 18.0 * number as f64;
        let _ = writeln!(
            out,
            r#"<rect x="{:.1}" y="{:.1}" width="10" height="10" fill="{colour}"/>"#,
            right + 14.0,
            y - 9.0
        );
        text(&mut out, right + 30.0, y, "start", "400", name);
    }
    out.push_str("</svg>\n");
    out
}

/// The next number above that looks good on an axis.
fn nice(largest: f64) -> f64 {
    let scale = 10_f64.powf(largest.max(1e-6).log10().floor());
    let steps = [1.0, 1.2, 1.6, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0];
    let fitting = steps.into_iter().find(|step| largest <= step * scale);
    fitting.unwrap_or(10.0) * scale
}

fn head(title: &str, height: f64) -> String {
    let mut out = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0}" font-family="system-ui, sans-serif" font-size="12">
<rect width="100%" height="100%" fill="white"/>
"#
    );
    text(&mut out, 12.0, 24.0, "start", "600", title);
    out
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, weight: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(
        out,
        r##"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" font-weight="{weight}" fill="#1d2129">{text}</text>"##
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers_above_the_largest() {
        assert_eq!(nice(0.0317), 0.04);
        assert_eq!(nice(97.0), 100.0);
        assert_eq!(nice(1.0), 1.0);
    }

    #[test]
    fn all_points_are_inside() {
        let series = [("a".to_owned(), vec![(10.0, 0.5), (10_000.0, 2.0)])];
        let plot = lines("A <plot>", "rooms", "µs", &series);
        assert!(plot.contains("A &lt;plot>"));
        assert!(plot.contains(r#"points="64.0,269.0 530.0,56.0""#), "{plot}");
    }
}
