//! Tables of what was measured: on the screen, as Markdown, as comma-separated values.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::contenders::Failure;
use crate::machine::Machine;
use crate::plot;
use crate::stats::{Cell, Figures};
use crate::targets::Target;
use crate::workload::MAIN;

const HEADERS: [&str; 7] =
    ["contender", "per second", "of best peer", "p50 µs", "p99 µs", "p99.9 µs", "best setting"];

/// One contender in its best setting, as the tables show it.
fn row(cell: &Cell, title: &str, best: &Figures) -> [String; 7] {
    let ratio = cell.best_peer().map_or_else(|| "-".to_owned(), |peer| format!("{:.2}", best.rate / peer));
    [
        title.to_owned(),
        thousands(best.rate),
        ratio,
        micros(best.tail.p50),
        micros(best.tail.p99),
        micros(best.tail.p999),
        best.setting.clone(),
    ]
}

fn rows(cell: &Cell) -> Vec<[String; 7]> {
    cell.standings.iter().map(|standing| row(cell, standing.title, standing.best())).collect()
}

fn title(cell: &Cell) -> String {
    format!("{}, {} caller{}", cell.workload, cell.callers, if cell.callers == 1 { "" } else { "s" })
}

fn micros(latency: f64) -> String {
    if latency.is_nan() { "-".to_owned() } else { format!("{latency:.0}") }
}

/// 1234567 as 1,234,567.
fn thousands(rate: f64) -> String {
    let digits = format!("{rate:.0}");
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A cell as a table for the screen.
pub fn table(cell: &Cell) -> String {
    let rows = rows(cell);
    let widths: Vec<usize> = (0..HEADERS.len())
        .map(|column| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.chain([HEADERS[column].chars().count()]).max().unwrap_or(0)
        })
        .collect();
    let line = |cells: [&str; 7]| {
        let mut line = String::new();
        for (column, (text, width)) in cells.into_iter().zip(&widths).enumerate() {
            let padding = " ".repeat(width - text.chars().count());
            let (before, after) =
                if is_text(column) { ("", padding.as_str()) } else { (padding.as_str(), "") };
            line += &format!("{before}{text}{after}  ");
        }
        line.trim_end().to_owned() + "\n"
    };
    let mut text = format!("\n{}\n", title(cell));
    text += &line(HEADERS);
    for row in &rows {
        text += &line(row.each_ref().map(String::as_str));
    }
    text
}

fn is_text(column: usize) -> bool {
    column == 0 || column + 1 == HEADERS.len()
}

fn markdown_table(cell: &Cell) -> String {
    let rule = (0..HEADERS.len()).map(|column| if is_text(column) { "---" } else { "---:" });
    let mut text = format!("### {}\n\n", title(cell));
    text += &markdown_line(HEADERS);
    text += &markdown_line(rule);
    for row in rows(cell) {
        text += &markdown_line(row);
    }
    text + "\n"
}

fn markdown_line(cells: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    cells.into_iter().fold("|".to_owned(), |line, cell| line + " " + cell.as_ref() + " |") + "\n"
}

fn markdown(machine: &Machine, cells: &[Cell], targets: &[Target], warning: Option<&str>) -> String {
    let mut text = "# cachex beside other Redis clients\n\n".to_owned();
    text += "Written by `benches/peers`, whose [README](../../benches/peers/README.md) says what is measured and how.\n\n";
    if let Some(warning) = warning {
        text += &format!("**{warning}**\n\n");
    }
    text += "Operations per second and latencies are medians over interleaved rounds. Each contender is shown in the setting that \
             was fastest in that cell; *of best peer* compares it with the fastest client that is not cachex, in its best \
             setting. All settings are in [redis-peers.csv](redis-peers.csv).\n\n";
    if cells.iter().any(|cell| cell.workload == MAIN) {
        text += "![GETs per second](redis-peers-get.svg)\n\n";
    }
    text += "## The run\n\n| | |\n|---|---|\n";
    for (name, value) in &machine.lines {
        text += &markdown_line([*name, value]);
    }
    text += "\n## Targets\n\n| | bound | measured | |\n|---|---|---|---|\n";
    for target in targets {
        let figure = target.found.as_ref().map_or("-", |found| found.figure.as_str());
        text += &markdown_line([target.what.as_str(), target.bound.as_str(), figure, target.verdict()]);
    }
    text += "\n## Figures\n\n";
    for cell in cells {
        text += &markdown_table(cell);
    }
    text.trim_end().to_owned() + "\n"
}

fn csv(cells: &[Cell]) -> String {
    let mut text =
        "workload,callers,contender,setting,per_second,slowest,fastest,p50_us,p99_us,p999_us\n".to_owned();
    for cell in cells {
        for standing in &cell.standings {
            for Figures { setting, rate, slowest, fastest, tail, .. } in &standing.settings {
                // Writing to a string does not fail.
                let _ = writeln!(
                    text,
                    "{},{},{},\"{setting}\",{rate:.0},{slowest:.0},{fastest:.0},{:.1},{:.1},{:.1}",
                    cell.workload.name(),
                    cell.callers,
                    standing.id,
                    tail.p50,
                    tail.p99,
                    tail.p999,
                );
            }
        }
    }
    text
}

/// Writes all three files.
pub fn write(
    folder: &Path,
    machine: &Machine,
    cells: &[Cell],
    targets: &[Target],
    warning: Option<&str>,
) -> Result<(), Failure> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join("redis-peers.md"), markdown(machine, cells, targets, warning))?;
    fs::write(folder.join("redis-peers.csv"), csv(cells))?;
    let main: Vec<&Cell> = cells.iter().filter(|cell| cell.workload == MAIN).collect();
    if !main.is_empty() {
        plot::draw(&folder.join("redis-peers-get.svg"), &main)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_parted() {
        for (rate, text) in [(0.4, "0"), (999.0, "999"), (1_000.0, "1,000"), (1_234_567.4, "1,234,567")] {
            assert_eq!(thousands(rate), text);
        }
    }
}
