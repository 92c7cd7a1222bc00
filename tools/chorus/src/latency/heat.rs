//! A heat map as SVG: a cell for each pair of regions, as dark as what is added to the network's own time.

use std::fmt::Write as _;

const LEFT: f64 = 110.0;
const TOP: f64 = 84.0;
const CELL: (f64, f64) = (150.0, 72.0);
const BOTTOM: f64 = 76.0;
/// What is added, in ms, from which a cell has the next colour.
const BOUNDS_MS: [f64; 4] = [2.0, 5.0, 10.0, 20.0];
/// The cells' colours from little to much: sequential, with black text, on any ground.
const COLOURS: [&str; 5] = ["#e3f1f7", "#b5dbe9", "#82c0d8", "#fbd08a", "#f19c79"];

/// A cell: p50 and p99 of what was measured and the network's own time, in ms.
pub(crate) struct Cell {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) network: f64,
}

/// The map; rows are where a comment is written, columns where it is shown.
pub(crate) fn map(title: &str, names: &[String], cells: &[Vec<Cell>]) -> String {
    let count = names.len() as f64;
    let (width, height) = (
        (LEFT + count * CELL.0 + 20.0).max(560.0),
        TOP + count * CELL.1 + BOTTOM,
    );
    let mut body = String::new();
    for (index, name) in names.iter().enumerate() {
        let x = LEFT + CELL.0 * (index as f64 + 0.5);
        let y = TOP + CELL.1 * (index as f64 + 0.5);
        body += &text((x, TOP - 10.0), "middle", 13.0, &format!("shown in {name}"));
        body += &text((LEFT - 10.0, y + 4.0), "end", 13.0, &format!("from {name}"));
    }
    for (row, cells) in cells.iter().enumerate() {
        for (column, cell) in cells.iter().enumerate() {
            let (x, y) = (LEFT + CELL.0 * column as f64, TOP + CELL.1 * row as f64);
            let added = cell.p50 - cell.network;
            let _ = writeln!(
                body,
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"4\" fill=\"{}\"/>",
                x + 2.0,
                y + 2.0,
                CELL.0 - 4.0,
                CELL.1 - 4.0,
                colour(added)
            );
            let middle = x + CELL.0 / 2.0;
            let lines = [
                (24.0, 17.0, format!("{:.1} ms", cell.p50)),
                (
                    43.0,
                    11.5,
                    format!("network {:.1}, added {added:.1}", cell.network),
                ),
                (59.0, 11.5, format!("p99 {:.1}", cell.p99)),
            ];
            for (down, size, words) in lines {
                let place = (middle, y + down);
                body +=
                    &text(place, "middle", size, &words).replacen("<text", "<text class=\"in\"", 1);
            }
        }
    }
    let y = TOP + count * CELL.1 + 22.0;
    let wide = 96.0;
    for (index, colour) in COLOURS.iter().enumerate() {
        let x = LEFT + wide * index as f64 - 60.0;
        let _ = writeln!(
            body,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"14\" rx=\"3\" fill=\"{colour}\"/>",
            wide - 6.0
        );
        let words = match index {
            0 => format!("under {:.0} ms", BOUNDS_MS[0]),
            index if index == BOUNDS_MS.len() => format!("over {:.0} ms", BOUNDS_MS[index - 1]),
            index => format!("{:.0} to {:.0} ms", BOUNDS_MS[index - 1], BOUNDS_MS[index]),
        };
        body += &text((x + wide / 2.0 - 3.0, y + 30.0), "middle", 11.0, &words);
    }
    let legend = "added to the network's own time at p50";
    body += &text((width / 2.0, y + 48.0), "middle", 11.0, legend);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         font-family=\"sans-serif\">\n<style>.ground{{fill:#ffffff}}text{{fill:#222222}}\
         @media (prefers-color-scheme:dark){{.ground{{fill:#0d1117}}text{{fill:#e6edf3}}}}text.in{{fill:#222222}}</style>\n\
         <rect class=\"ground\" width=\"100%\" height=\"100%\"/>\n{}{}{body}</svg>\n",
        text((width / 2.0, 26.0), "middle", 15.0, "Post → shown, p50"),
        text((width / 2.0, 46.0), "middle", 12.0, title),
    )
}

fn colour(added: f64) -> &'static str {
    let above = BOUNDS_MS.iter().filter(|bound| added >= **bound);
    COLOURS[above.count().min(COLOURS.len() - 1)]
}

fn text((x, y): (f64, f64), anchor: &str, size: f64, words: &str) -> String {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    format!(
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\">{words}</text>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_as_dark_as_what_is_added_and_names_are_escaped() {
        let cell = |p50| Cell {
            p50,
            p99: p50 + 5.0,
            network: 60.0,
        };
        let names = ["a&b".to_owned()];
        let light = map("t", &names, &[vec![cell(61.0)]]);
        assert!(light.contains("from a&amp;b") && light.contains("network 60.0, added 1.0"));
        assert_eq!(
            light.matches(COLOURS[0]).count(),
            2,
            "the cell and the legend"
        );
        let dark = map("t", &names, &[vec![cell(90.0)]]);
        assert_eq!(dark.matches(COLOURS[4]).count(), 2);
    }
}
