//! The rules file: what the linter says.

use crate::rules::{Rules, RulesError};

const GOOD: &str = r#"
version = 1
[[threshold]]
id = "spo2-low"
metric = "MDC_PULS_OXIM_SAT_O2"
mdc_code = 150456
unit = "%"
below = 88
hysteresis = 2
onset_delay_s = 5
clear_delay_s = 3
max_gap_s = 5
priority = "high"
source = "ward 7"
"#;

fn findings(text: &str) -> Vec<String> {
    match Rules::parse(text) {
        Ok(_) => Vec::new(),
        Err(RulesError::Invalid(findings)) => findings.iter().map(ToString::to_string).collect(),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn the_defaults_pass_the_linter() {
    assert_eq!(findings(Rules::defaults_text()), [""; 0]);
    assert_eq!(findings(GOOD), [""; 0]);
}

#[test]
fn each_mistake_is_named() {
    let table = [
        ("version = 1", "version = 2", "file: version is 2, this build reads 1"),
        ("150456", "150448", "spo2-low: MDC_PULS_OXIM_SAT_O2 is 150456, not 150448"),
        ("\"%\"", "\"1\"", "spo2-low: unit is \"1\", MDC_PULS_OXIM_SAT_O2 has \"%\""),
        ("below = 88", "", "spo2-low: give either below or above"),
        ("below = 88", "below = 88\nabove = 99", "spo2-low: give either below or above"),
        ("below = 88", "below = 0", "spo2-low: no plausible value crosses and clears this limit"),
        ("below = 88", "below = 99", "spo2-low: no plausible value crosses and clears this limit"),
        ("hysteresis = 2", "hysteresis = -1", "spo2-low: hysteresis must be a number of at least 0"),
        ("max_gap_s = 5", "max_gap_s = 0", "spo2-low: max_gap_s must be at least 1"),
        ("onset_delay_s = 5", "onset_delay_s = 90000", "spo2-low: onset_delay_s is more than 86400"),
        ("\"high\"", "\"urgent\"", "spo2-low: priority is low, medium or high, not \"urgent\""),
        ("\"ward 7\"", "\" \"", "spo2-low: source is empty: say where the limit comes from"),
        ("\"ward 7\"", "\"x\"\ntenants = [\"A\"]", "spo2-low: \"A\" is no id"),
    ];
    for (from, to, expected) in table {
        let found = findings(&GOOD.replacen(from, to, 1));
        assert!(found.iter().any(|f| f == expected), "{to}: {found:?}");
    }
    let misspelt = findings(&GOOD.replacen("hysteresis", "hysterisis", 1));
    assert!(misspelt[0].contains("unknown field `hysterisis`"), "{misspelt:?}");
}

#[test]
fn two_limits_on_one_side_are_refused_unless_they_are_for_others() {
    let rule = GOOD.split_once("[[threshold]]").unwrap().1;
    let second = format!("{GOOD}\n[[threshold]]{}", rule.replace("spo2-low", "spo2-very-low"));
    assert_eq!(findings(&second), ["spo2-very-low: watches the same side of the same metric as spo2-low"]);
    let apart = format!(
        "{}\ntenants = [\"a\"]\n[[threshold]]{}\ntenants = [\"b\"]",
        GOOD,
        rule.replace("-low", "-b")
    );
    assert_eq!(findings(&apart), [""; 0]);
    let twice = format!("{GOOD}\n[[threshold]]{rule}");
    assert!(findings(&twice).iter().any(|f| f == "spo2-low: a second rule with this id"));
}
