//! The figures as people read them: a line per round while the bench runs, a table at the end, and the same table in
//! `docs/recovery.md` between its two marks.

use std::time::Duration;

use super::compare::Compared;
use super::scenarios::Scenario;
use super::stage::Figures;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/recovery.md");
const BEGIN: &str = "<!-- table: written by make faults -->";
const END: &str = "<!-- end of the table -->";

const HEAD: &str = "| fault of leg a | rounds | media again after, ms: median / longest | goal | pictures missing, most | \
    pictures twice, most | GOPs left out, most | largest step of the other leg, ms |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n";

/// A scenario with what its rounds have shown, or why they have not.
pub struct Row {
    pub scenario: &'static Scenario,
    pub rounds: Vec<Result<Figures, String>>,
}

pub fn line(figures: &Figures) -> String {
    let compared = figures.compared.unwrap_or_default();
    let leg = figures.legs.first().cloned().unwrap_or_default();
    format!(
        "media after {} ms; missing {} pictures, {} sounds; {} pictures twice; other leg: {} ms, silent for {:.0} ms; \
         failovers {}, reconnects {}, GOPs dropped {}{}",
        figures.back.map_or("-".into(), |back| format!("{:.0}", millis(back))),
        compared.missing_pictures,
        compared.missing_sounds,
        compared.repeated_pictures,
        figures.other_picture_gap_ms,
        millis(figures.other_pause),
        leg.failovers,
        leg.reconnects,
        leg.dropped_gops,
        figures.faults.iter().map(|fault| format!("\n    fault: {fault}")).collect::<String>(),
    )
}

pub fn table(rows: &[Row]) -> String {
    HEAD.to_owned() + &rows.iter().map(row).collect::<String>()
}

fn row(Row { scenario, rounds }: &Row) -> String {
    let good: Vec<&Figures> = rounds.iter().flatten().collect();
    let compared =
        |figure: fn(&Compared) -> usize| most(good.iter().filter_map(|figures| Some(figure(&figures.compared?) as u64)));
    let other_gaps = good.iter().filter(|_| scenario.goal.other_leg).map(|figures| figures.other_picture_gap_ms as u64);
    let cells = [
        format!("{}: {}", scenario.name, scenario.what),
        good.len().to_string(),
        times(&good),
        goal(scenario),
        compared(|compared| compared.missing_pictures),
        compared(|compared| compared.repeated_pictures),
        most(good.iter().filter_map(|figures| Some(figures.legs.first()?.dropped_gops))),
        most(other_gaps),
    ];
    format!("| {} |\n", cells.join(" | "))
}

fn most(figures: impl Iterator<Item = u64>) -> String {
    figures.max().map_or("-".into(), |most| most.to_string())
}

/// Median and longest.
fn times(good: &[&Figures]) -> String {
    let mut times: Vec<Duration> = good.iter().filter_map(|figures| figures.back).collect();
    times.sort();
    match (times.get(times.len() / 2), times.last()) {
        (Some(median), Some(longest)) => format!("{:.0} / {:.0}", millis(*median), millis(*longest)),
        _ => "-".into(),
    }
}

fn goal(scenario: &Scenario) -> String {
    let goal = scenario.goal;
    let mut words: Vec<String> = goal.back.iter().map(|back| format!("≤ {:.0} ms", millis(*back))).collect();
    words.extend((goal.failovers == Some(0)).then(|| "stays".into()));
    words.extend(goal.nothing_missing.then(|| "0 missing".into()));
    words.join(", ")
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Puts the table into the page.
pub fn write(table: &str) {
    let page = std::fs::read_to_string(PAGE).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap_or_else(|| panic!("{PAGE} has no place for the table"));
    let (_, after) = rest.split_once(END).unwrap_or_else(|| panic!("{PAGE} does not say where the table ends"));
    std::fs::write(PAGE, format!("{before}{BEGIN}\n\n{table}\n{END}{after}")).unwrap();
}
