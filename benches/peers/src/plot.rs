//! The main workload as a picture: a panel for each number of callers, a bar for each contender.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::contenders::{Failure, Kind};
use crate::stats::{Cell, Standing};

const WIDTH: u32 = 1_000;
const PANEL: u32 = 300;
const TOP: u32 = 50;
const COLUMNS: usize = 2;

/// Where bars begin and end within a panel, in pixels; names stand before, figures after.
const BARS: (i32, i32) = (240, 430);
const BAR: i32 = 22;
const HEADING: i32 = 36;

const INK: RGBColor = RGBColor(0x33, 0x33, 0x33);

fn colour(kind: Kind) -> RGBColor {
    match kind {
        Kind::Plain => RGBColor(0x1f, 0x77, 0xb4),
        Kind::Sealed => RGBColor(0x7f, 0xb3, 0xd5),
        Kind::Peer => RGBColor(0xb0, 0xb0, 0xb0),
    }
}

/// Draws one panel for each cell.
pub fn draw(path: &Path, cells: &[&Cell]) -> Result<(), Failure> {
    let lines = cells.len().div_ceil(COLUMNS);
    let height = TOP + PANEL * u32::try_from(lines)?;
    let area = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    area.fill(&WHITE)?;
    let heading = text_style(20, HPos::Left, VPos::Top);
    area.draw_text("GETs of 128 bytes per second, each client in its best setting", &heading, (16, 14))?;
    let (_, panels) = area.split_vertically(TOP);
    for (panel, cell) in panels.split_evenly((lines, COLUMNS)).iter().zip(cells) {
        draw_cell(panel, cell)?;
    }
    area.present()?;
    Ok(())
}

fn draw_cell(panel: &DrawingArea<SVGBackend<'_>, Shift>, cell: &Cell) -> Result<(), Failure> {
    let heading = format!("{} caller{}", cell.callers, if cell.callers == 1 { "" } else { "s" });
    panel.draw_text(&heading, &text_style(16, HPos::Left, VPos::Top), (16, 8))?;
    let mut standings: Vec<&Standing> = cell.standings.iter().collect();
    standings.sort_by(|a, b| b.best().rate.total_cmp(&a.best().rate));
    let longest = standings.first().map_or(1.0, |standing| standing.best().rate);
    for (place, standing) in (0..).zip(standings) {
        draw_bar(panel, HEADING + place * BAR, standing, longest)?;
    }
    Ok(())
}

fn draw_bar(
    panel: &DrawingArea<SVGBackend<'_>, Shift>,
    top: i32,
    standing: &Standing,
    longest: f64,
) -> Result<(), Failure> {
    let rate = standing.best().rate;
    let (from, to) = BARS;
    // Never wider than the panel: the longest bar is the highest rate.
    let end = from + (f64::from(to - from) * rate / longest).round() as i32;
    let middle = top + BAR / 2;
    panel.draw(&Rectangle::new([(from, top + 3), (end, top + BAR - 3)], colour(standing.kind).filled()))?;
    panel.draw_text(standing.title, &text_style(12, HPos::Right, VPos::Center), (from - 8, middle))?;
    panel.draw_text(&figure(rate), &text_style(12, HPos::Left, VPos::Center), (end + 6, middle))?;
    Ok(())
}

/// 1234567 as 1.23M.
fn figure(rate: f64) -> String {
    if rate >= 1e6 { format!("{:.2}M", rate / 1e6) } else { format!("{:.0}k", rate / 1e3) }
}

/// `size` is the height of the letters in pixels, for which the backend writes a smaller font size.
fn text_style(size: i32, across: HPos, down: VPos) -> TextStyle<'static> {
    ("sans-serif", f64::from(size) * 1.24).into_font().color(&INK).pos(Pos::new(across, down))
}
