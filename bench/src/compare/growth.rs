//! Whether a delivery costs more with more rooms, older documents, or more people gone.

use std::time::Duration;

use anyhow::Result;

use copresence::limits::APPLY_WITHIN;

use crate::compare::Bench;
use crate::compare::contestant::Contestant;
use crate::compare::crowd::{Crowd, Load, Pace, Until, What};
use crate::compare::plot;
use crate::compare::table::{count, shown};

/// A table of points, and its plot.
pub struct Growth {
    pub name: &'static str,
    pub markdown: String,
    pub svg: String,
}

type Series = Vec<(String, Vec<(f64, f64)>)>;

/// Changes a second, over all rooms.
const CHANGES_PER_SECOND: f64 = 5_000.0;
const EDITS_MAX: u64 = 1_000_000;
const EDITS_MAX_QUICK: u64 = 100_000;
/// How long each number of rooms is measured: whatever the relay puts off is in it.
const ROOMS_LASTING: Duration = APPLY_WITHIN.saturating_add(Duration::from_secs(10));
/// Edits that make one point.
const EDITS_PER_POINT: u64 = 10_000;

/// By the number of rooms, at the same number of changes a second.
pub fn rooms(bench: &Bench) -> Result<Growth> {
    let most = bench.sockets_max() / 2;
    let steps = [10, 100, 1_000, 10_000.min(most)];
    let mut series = Series::new();
    for contestant in bench.contestants(&[Contestant::Relay, Contestant::Floor]) {
        let mut points = Vec::new();
        for rooms in steps {
            eprintln!("growth by rooms: {}, {rooms}", contestant.name());
            let load = Load {
                rooms,
                members: 2,
                writers: 2,
                what: What::Typing,
                pace: Pace::PerSecond(CHANGES_PER_SECOND / (2 * rooms) as f64),
            };
            let server = bench.programs.start(contestant)?;
            let mut crowd = Crowd::gather(&server, contestant, load)?;
            let (warm_up, lasting) = bench.lasting();
            let lasting = match bench.is_quick {
                true => lasting,
                false => ROOMS_LASTING,
            };
            let figures = crowd.measure(&server, warm_up, Until::Elapsed(lasting))?;
            points.push((rooms as f64, figures.cost()));
        }
        series.push((plain(contestant), points));
    }
    Ok(growth(
        "growth-rooms",
        "Cost of a delivery by the number of rooms",
        "rooms of two; 5,000 characters a second over all",
        series,
    ))
}

/// By how often a document has been edited.
pub fn age(bench: &Bench) -> Result<Growth> {
    let most = if bench.is_quick {
        EDITS_MAX_QUICK
    } else {
        EDITS_MAX
    };
    let load = Load {
        rooms: 1,
        members: 2,
        writers: 1,
        what: What::Writing,
        pace: Pace::Window(64),
    };
    let mut series = Series::new();
    for contestant in bench.contestants(&[Contestant::Relay, Contestant::Floor]) {
        eprintln!("growth by age: {}", contestant.name());
        let server = bench.programs.start(contestant)?;
        let mut crowd = Crowd::gather(&server, contestant, load)?;
        let (mut points, mut edits) = (Vec::new(), 0);
        while edits < most {
            // Points are as far apart as on the axis, and what lies between goes into them.
            let next = (edits * 13 / 10).max(edits + EDITS_PER_POINT).min(most);
            let until = Until::Sent(next - edits);
            let figures = crowd.measure(&server, Duration::ZERO, until)?;
            edits += figures.sent;
            points.push((edits as f64, figures.cost()));
        }
        series.push((plain(contestant), points));
    }
    Ok(growth(
        "growth-age",
        "Cost of a delivery by the age of the document",
        "edits so far, one writer and one reader, as fast as it goes",
        series,
    ))
}

/// By how many people have been in a room and left.
pub fn departed(bench: &Bench) -> Result<Growth> {
    let steps: &[u64] = match bench.is_quick {
        true => &[1, 100, 1_000],
        false => &[1, 100, 1_000, 10_000],
    };
    let mut series = Series::new();
    for (name, what) in [("typing", What::Typing), ("cursors", What::Cursors)] {
        let contestant = Contestant::Relay;
        let load = Load {
            rooms: 1,
            members: 20,
            writers: 20,
            what,
            pace: Pace::PerSecond(20.0),
        };
        let server = bench.programs.start(contestant)?;
        let mut crowd = Crowd::gather(&server, contestant, load)?;
        let (mut points, mut gone) = (Vec::new(), 0);
        for &people in steps {
            eprintln!("growth by departed: {name}, {people}");
            crowd.visit(people - gone)?;
            gone = people;
            let (warm_up, lasting) = bench.lasting();
            let figures = crowd.measure(&server, warm_up, Until::Elapsed(lasting))?;
            points.push((people as f64, figures.cost()));
        }
        series.push((format!("copresence, {name}"), points));
    }
    Ok(growth(
        "growth-departed",
        "Cost of a delivery by the people who have left",
        "people who came and left; one room of 20, each 20 changes a second",
        series,
    ))
}

fn plain(contestant: Contestant) -> String {
    match contestant {
        Contestant::Floor => "floor".to_owned(),
        _ => "copresence".to_owned(),
    }
}

fn growth(name: &'static str, title: &str, x_axis: &str, series: Series) -> Growth {
    let mut markdown = format!("### {title}\n\n![{title}](images/{name}.svg)\n\n");
    markdown.push_str(&format!(
        "CPU seconds per million deliveries; {x_axis}.\n\n"
    ));
    let all = series.iter().flat_map(|(_, points)| points);
    let mut at: Vec<f64> = all.map(|(x, _)| *x).collect();
    at.sort_unstable_by(f64::total_cmp);
    at.dedup();
    // Many points are for the plot only.
    if 8 < at.len() {
        let last = at.len() - 1;
        at = (0..8).map(|step| at[step * last / 7]).collect();
    }
    let head: Vec<String> = at.iter().map(|x| count(*x)).collect();
    markdown.push_str(&format!("| | {} |\n", head.join(" | ")));
    markdown.push_str(&format!("| --- |{}\n", " ---: |".repeat(at.len())));
    for (name, points) in &series {
        let cells: Vec<String> = at
            .iter()
            .map(|x| {
                let point = points.iter().find(|(other, _)| other == x);
                point.map_or_else(String::new, |(_, y)| shown(*y))
            })
            .collect();
        markdown.push_str(&format!("| {name} | {} |\n", cells.join(" | ")));
    }
    let svg = plot::lines(title, x_axis, "CPU s per million deliveries", &series);
    Growth {
        name,
        markdown,
        svg,
    }
}
