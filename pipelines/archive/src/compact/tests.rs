use super::*;

/// The group that is merged first.
fn choose(options: &ArchiveOptions, files: Vec<FileRow>, today: Day) -> Option<(Table, Vec<FileRow>)> {
    worth(options, files, today).into_iter().next()
}

fn file(day: &str, bytes: u64, name: u64) -> FileRow {
    FileRow {
        path: format!("numerics/demo/{day}/0/{name}.parquet"),
        table: "numerics".into(),
        tenant: "demo".into(),
        day: day.into(),
        partition: 0,
        rows: 10,
        bytes,
        sha256: vec![],
        time_min_us: 0,
        time_max_us: 0,
        offset_first: name,
        offset_last: name,
    }
}

fn options() -> ArchiveOptions {
    ArchiveOptions { compact_files_min: 4, compact_bytes: 1000, ..ArchiveOptions::default() }
}

#[test]
fn a_day_that_goes_on_waits_for_enough_files_and_one_that_is_over_does_not() {
    let today = Day::parse("2026-02-02").unwrap();
    let of = |day: &str, count: u64| (0..count).map(|name| file(day, 100, name)).collect::<Vec<_>>();
    assert!(choose(&options(), of("2026-02-02", 3), today).is_none());
    assert_eq!(choose(&options(), of("2026-02-02", 4), today).unwrap().1.len(), 4);
    assert_eq!(choose(&options(), of("2026-02-01", 2), today).unwrap().1.len(), 2);
    assert!(choose(&options(), of("2026-02-01", 1), today).is_none());
}

#[test]
fn a_row_is_written_again_once_a_tier() {
    const COMMITS: u64 = 17_280;
    const ROWS: u64 = 20;
    // A commit takes 5 s, and a look for what to merge 20 s.
    const LOOK_EVERY: u64 = 4;
    let options = ArchiveOptions::default();
    let today = Day::parse("2026-02-02").unwrap();
    let of = |rows: u64, name: u64| FileRow { rows, ..file("2026-02-02", 20_000 + rows, name) };
    let (mut files, mut rewritten, mut most) = (Vec::new(), 0, 0);
    for commit in 0..COMMITS {
        files.push(of(ROWS, commit));
        most = most.max(files.len());
        if commit % LOOK_EVERY != 0 {
            continue;
        }
        while let Some((_, chosen)) = choose(&options, files.clone(), today) {
            let rows: u64 = chosen.iter().map(|file| file.rows).sum();
            files.retain(|file| chosen.iter().all(|gone| gone.offset_first != file.offset_first));
            files.push(of(rows, chosen[0].offset_first));
            rewritten += rows;
        }
    }
    let amplification = rewritten as f64 / (COMMITS * ROWS) as f64;
    println!(
        "a day of {COMMITS} commits: each row written again {amplification:.2} times, {most} files at most"
    );
    assert!(amplification <= 3.0 && most <= 4 * options.compact_files_min);
    assert_eq!(files.iter().map(|file| file.rows).sum::<u64>(), COMMITS * ROWS);
}

#[test]
fn large_files_are_left_and_a_merge_stays_within_its_bounds() {
    let today = Day::parse("2026-02-02").unwrap();
    let mut files: Vec<_> = (0..20).map(|name| file("2026-02-02", 100, name)).collect();
    files.push(file("2026-02-02", 500, 99));
    let (_, chosen) = choose(&options(), files.clone(), today).unwrap();
    assert_eq!(chosen.len(), 10, "1000 bytes");
    assert!(chosen.iter().all(|file| file.bytes == 100));
    let few = ArchiveOptions { compact_rows_max: 35, ..options() };
    assert_eq!(choose(&few, files, today).unwrap().1.len(), 3);
}

#[test]
fn files_that_fit_into_none_together_do_not_stand_in_the_way() {
    let today = Day::parse("2026-02-02").unwrap();
    let of = |day: &str, rows: u64, name: u64| FileRow { rows, ..file(day, 100, name) };
    let few = ArchiveOptions { compact_rows_max: 35, ..options() };
    let mut files: Vec<_> = (0..3).map(|name| of("2026-02-01", 30, name)).collect();
    assert!(choose(&few, files.clone(), today).is_none());
    files.extend([of("2026-01-31", 20, 4), of("2026-01-31", 10, 5)]);
    let (_, chosen) = choose(&few, files, today).unwrap();
    assert_eq!(chosen.iter().map(|file| file.offset_first).collect::<Vec<_>>(), [4, 5]);
}

#[test]
fn waveforms_that_fill_a_merge_are_not_looked_at_again() {
    let options = ArchiveOptions::default();
    let of = |table: &str, bytes| FileRow { table: table.into(), ..file("2026-02-01", bytes, 1) };
    for (table, mebibytes, expected) in
        [("waveforms", 3, true), ("waveforms", 4, false), ("numerics", 15, true)]
    {
        assert_eq!(is_small(&options, &of(table, mebibytes << 20)), expected, "{table} of {mebibytes} MiB");
    }
}

#[test]
fn a_merge_packs_hardest_what_is_not_merged_again() {
    let (yesterday, today) = ("2026-02-01", "2026-02-02");
    for (held, day, expected) in [
        (50, today, Effort::Merge),
        (51, today, Effort::Last),
        (1, yesterday, Effort::Last),
        (51, yesterday, Effort::Last),
    ] {
        assert_eq!(effort((held, 100), (day, today)), expected, "{held} of {day}");
    }
}
