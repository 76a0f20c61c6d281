use super::*;

const MONITOR: &str = include_str!("../../../../docs/profiles/bedside-monitor.toml");
const OXIMETER: &str = include_str!("../../../../docs/profiles/pulse-oximeter.toml");

/// Lints the oximeter with one text put in the place of another, which must be there.
fn changed(from: &str, to: &str) -> Linted {
    assert!(OXIMETER.contains(from), "{from}");
    lint(&OXIMETER.replacen(from, to, 1))
}

fn codes(linted: &Linted) -> Vec<&str> {
    linted.findings.iter().map(|f| f.code).collect()
}

#[test]
fn the_shipped_profiles_have_no_finding() {
    for text in [MONITOR, OXIMETER] {
        let linted = lint(text);
        assert_eq!(linted.findings, [], "not even a warning");
        assert!(linted.profile.is_some());
    }
}

#[test]
fn what_is_read_is_what_is_written() {
    let profile = lint(OXIMETER).profile.unwrap();
    assert_eq!((profile.model.as_str(), profile.version), ("example-oximeter", 1));
    assert_eq!(profile.connection.offline_hours, 168);
    let spo2 = profile.measurement(150_456).unwrap();
    assert_eq!(spo2.cadence.unwrap().longest_us(), 4_500_000);
    assert_eq!(spo2.alarms.len(), 1);
    assert_eq!(profile.measurement(150_364).unwrap().cadence, None);
}

#[test]
fn each_mistake_has_its_code_and_its_line() {
    let cases = [
        ("version = 1", "version = ", "WL-PRF-001"),
        ("version = 1", "version = \"1\"", "WL-PRF-002"),
        ("version = 1", "version = 1\nverison = 2", "WL-PRF-002"),
        ("display_name = \"Example home pulse oximeter\"\n", "", "WL-PRF-002"),
        ("mdc_code = 150456", "mdc_code = 150457", "WL-PRF-003"),
        ("loinc = \"59408-5\"", "loinc = \"59408-6\"", "WL-PRF-003"),
        ("mdc_code = 196670", "mdc_code = 196671", "WL-PRF-003"),
        ("unit = \"/min\"", "unit = \"1/min\"", "WL-PRF-004"),
        ("version = 1", "version = 0", "WL-PRF-005"),
        ("model = \"example-oximeter\"", "model = \"Example\"", "WL-PRF-005"),
        ("09521234543220", "09521234543221", "WL-PRF-005"),
        ("sync = \"gateway\"", "sync = \"gps\"", "WL-PRF-005"),
        ("max_skew_s = 10", "max_skew_s = nan", "WL-PRF-005"),
        ("keep_alive_s = 60", "keep_alive_s = 4", "WL-PRF-005"),
        ("tolerance_ms = 500", "tolerance_ms = 4000", "WL-PRF-005"),
        ("episodic = true", "episodic = true\ninterval_ms = 5", "WL-PRF-005"),
        ("high = 30\n", "high = 101\n", "WL-PRF-005"),
        ("low = 20", "low = 250", "WL-PRF-005"),
        ("resolution = 0.1", "resolution = 0", "WL-PRF-005"),
        ("below = 90", "below = 90\nabove = 95", "WL-PRF-006"),
        ("below = 90", "below = 50", "WL-PRF-006"),
        ("hysteresis = 2", "hysteresis = 20", "WL-PRF-006"),
    ];
    for (from, to, code) in cases {
        let linted = changed(from, to);
        assert_eq!(codes(&linted), [code], "{to}: {:?}", linted.findings);
        assert_eq!(linted.profile, None, "{to}");
        let line = OXIMETER[..OXIMETER.find(from).unwrap()].lines().count() as u32 + 1;
        // A missing key is told on the table's line, an unknown one on its own.
        assert!(linted.findings[0].line.abs_diff(line) <= 6, "{to}: {:?}", linted.findings);
    }
}

#[test]
fn lines_are_exact() {
    let linted = changed("mdc_code = 150456", "mdc_code = 150457");
    let line = OXIMETER.lines().position(|l| l == "mdc_code = 150456").unwrap() as u32 + 1;
    assert_eq!(linted.findings[0].line, line);
    assert_eq!(linted.findings[0].place, "MDC_PULS_OXIM_SAT_O2.mdc_code");
    assert!(linted.findings[0].message.contains("150456"), "says what would be right");
}

#[test]
fn a_waveform_needs_a_rate_and_has_no_limits_and_no_loinc() {
    let find = |from: &str, to: &str| {
        assert!(MONITOR.contains(from), "{from}");
        lint(&MONITOR.replacen(from, to, 1)).findings
    };
    assert_eq!(find("sample_rate_hz = 250\n", "")[0].code, "WL-PRF-002");
    assert_eq!(find("sample_rate_hz = 250\n", "sample_rate_hz = 0.5\n")[0].code, "WL-PRF-005");
    let loinc = find("mdc_code = 131330\n", "mdc_code = 131330\nloinc = \"8867-4\"\n");
    assert_eq!(loinc[0].code, "WL-PRF-003");
    let alarm = "sample_rate_hz = 125\n\n[[measurement.alarm]]\nbelow = 0\npriority = \"low\"\n\
                 onset_delay_s = 0\nhysteresis = 1\nsource = \"none\"\n";
    assert_eq!(find("sample_rate_hz = 125\n", alarm)[0].code, "WL-PRF-006");
    let numeric =
        find("sample_rate_hz = 250\n", "").len() + find("kind = \"waveform\"", "kind = \"numeric\"").len();
    assert!(numeric >= 3);
}

#[test]
fn a_second_entry_is_told() {
    let second = OXIMETER.replace("mdc_code = 149530", "mdc_code = 150456");
    let second =
        second.replace("MDC_PULS_OXIM_PULS_RATE", "MDC_PULS_OXIM_SAT_O2").replace("\"/min\"", "\"%\"");
    let second = second.replace("high = 250", "high = 90").replace("8867-4", "59408-5");
    assert_eq!(codes(&lint(&second)), ["WL-PRF-007"]);
    let limit = "[[measurement.alarm]]\nbelow = 85\npriority = \"low\"\nonset_delay_s = 4\nhysteresis = 1\n\
                 source = \"x\"\n\n[[measurement.alarm]]\nbelow = 90";
    assert_eq!(codes(&changed("[[measurement.alarm]]\nbelow = 90", limit)), ["WL-PRF-007"]);
}

#[test]
fn warnings_do_not_fail_a_profile() {
    let cases = [
        ("offline_hours = 168", "offline_hours = 24"),
        ("hysteresis = 2", "hysteresis = 0"),
        ("onset_delay_s = 10", "onset_delay_s = 1"),
        ("loinc = \"59408-5\"\n", ""),
        ("loinc = \"59408-5\"", "loinc = \"2708-6\""),
        ("udi_di = \"09521234543220\" ", ""),
    ];
    for (from, to) in cases {
        let linted = changed(from, to);
        assert_eq!(codes(&linted), ["WL-PRF-009"], "{to}: {:?}", linted.findings);
        assert!(linted.profile.is_some(), "{to}");
        assert_eq!((linted.count(Severity::Error), linted.count(Severity::Warning)), (0, 1));
    }
}

#[test]
fn every_error_is_told_in_order_of_lines() {
    let bad = OXIMETER
        .replace("version = 1", "version = 0")
        .replace("max_skew_s = 10", "max_skew_s = -1")
        .replace("unit = \"%\"", "unit = \"1\"")
        .replace("[[measurement.alarm]]", "[[measurement.alarm]]\ncolour = \"red\"");
    let linted = lint(&bad);
    assert_eq!(
        codes(&linted),
        ["WL-PRF-005", "WL-PRF-005", "WL-PRF-004", "WL-PRF-002", "WL-PRF-004", "WL-PRF-004"]
    );
    assert!(linted.findings.is_sorted_by_key(|f| f.line));
}

#[test]
fn an_empty_and_a_huge_file_are_told() {
    assert_eq!(codes(&lint("")).len(), 4);
    assert_eq!(codes(&lint(&"#\n".repeat(PROFILE_BYTES_MAX))), ["WL-PRF-001"]);
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_or_told(cut in 0_usize..2600, insert in "[ -~\\n]{0,12}") {
        let at = OXIMETER.char_indices().map(|(at, _)| at).nth(cut).unwrap_or(OXIMETER.len());
        let linted = lint(&format!("{}{insert}{}", &OXIMETER[..at], &OXIMETER[at..]));
        proptest::prop_assert_eq!(linted.profile.is_none(), linted.count(Severity::Error) > 0);
    }
}
