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
        assert!(found.iter().any(|f| f.ends_with(expected)), "{to}: {found:?}");
    }
    let misspelt = findings(&GOOD.replacen("hysteresis", "hysterisis", 1));
    assert!(misspelt[0].contains("unknown field `hysterisis`"), "{misspelt:?}");
}

#[test]
fn two_limits_on_one_side_are_refused_unless_they_are_for_others() {
    let rule = GOOD.split_once("[[threshold]]").unwrap().1;
    let second = format!("{GOOD}\n[[threshold]]{}", rule.replace("spo2-low", "spo2-very-low"));
    let twice =
        "line 17, column 1: WL-RUL-007 spo2-very-low: watches the same side of the same metric as spo2-low";
    assert_eq!(findings(&second), [twice]);
    let apart = format!(
        "{}\ntenants = [\"a\"]\n[[threshold]]{}\ntenants = [\"b\"]",
        GOOD,
        rule.replace("-low", "-b")
    );
    assert_eq!(findings(&apart), [""; 0]);
    let twice = format!("{GOOD}\n[[threshold]]{rule}");
    assert!(findings(&twice).iter().any(|f| f.ends_with("spo2-low: a second rule with this id")));
}

#[test]
fn each_mistake_has_a_code_and_a_place() {
    let table = [
        ("[[threshold]]", "[[threshold", "WL-RUL-001", 3),
        ("hysteresis", "hysterisis", "WL-RUL-002", 9),
        ("below = 88", "", "WL-RUL-002", 4),
        ("version = 1", "version = 2", "WL-RUL-002", 2),
        ("150456", "150448", "WL-RUL-003", 6),
        ("\"%\"", "\"1\"", "WL-RUL-003", 7),
        ("below = 88", "below = 0", "WL-RUL-004", 8),
        ("max_gap_s = 5", "max_gap_s = 0", "WL-RUL-005", 12),
        ("\"high\"", "\"urgent\"", "WL-RUL-005", 13),
        ("\"ward 7\"", "\" \"", "WL-RUL-006", 14),
        (
            "\"ward 7\"",
            "\"x\"\n[[suppress]]\ncause = \"spo2-low\"\nrules = [\"no-rule\"]\nsettle_s = 1\nsource = \"x\"",
            "WL-RUL-008",
            16,
        ),
    ];
    for (from, to, code, line) in table {
        let found = findings(&GOOD.replacen(from, to, 1));
        let wanted = format!("line {line}, column ");
        assert!(found.iter().any(|f| f.starts_with(&wanted) && f.contains(code)), "{to}: {found:?}");
    }
    let column = findings(&GOOD.replacen("max_gap_s = 5", "  max_gap_s = 0", 1));
    assert!(column[0].starts_with("line 12, column 3: "), "{column:?}");
}

#[test]
fn every_default_says_where_it_comes_from() {
    let file: toml::Table = Rules::defaults_text().parse().unwrap();
    let mut rules = 0;
    for rule in file.values().filter_map(toml::Value::as_array).flatten() {
        let source = rule["source"].as_str().unwrap();
        let cites = ["WHO", "RCP", "BTS", "Ours"].iter().any(|who| source.contains(who));
        assert!(cites && source.len() > 20, "{source}");
        rules += 1;
    }
    assert_eq!(rules, Rules::defaults().unwrap().count());
}

/// The schema knows the keys that the grammar knows, and wants those that it wants.
#[test]
fn the_schema_is_the_grammars() {
    let schema: serde_json::Value = serde_json::from_str(crate::rules::schema()).unwrap();
    let root = schema["properties"].as_object().unwrap();
    assert_eq!(keys_of("version = 1\nno_such_key = 1"), names(root.keys()));
    for (kind, told) in root.iter().filter(|(kind, _)| *kind != "version") {
        let is_list = told["type"] == "array";
        let to = if is_list { &told["items"]["$ref"] } else { &told["$ref"] };
        let table = &schema["$defs"][to.as_str().unwrap().trim_start_matches("#/$defs/")];
        let head =
            if is_list { format!("version = 1\n[[{kind}]]\n") } else { format!("version = 1\n[{kind}]\n") };
        let keys = table["properties"].as_object().unwrap();
        assert_eq!(keys_of(&format!("{head}no_such_key = 1")), names(keys.keys()), "{kind}");
        let required: Vec<&str> =
            table["required"].as_array().unwrap().iter().filter_map(|k| k.as_str()).collect();
        for left_out in keys.keys() {
            let others = keys.iter().filter(|(key, _)| *key != left_out);
            let lines = others.map(|(key, told)| format!("{key} = {}\n", sample(told)));
            let found = findings(&format!("{head}{}", lines.collect::<String>()));
            let missed = found.iter().any(|f| f.contains(&format!("missing field `{left_out}`")));
            assert_eq!(missed, required.contains(&left_out.as_str()), "{kind}.{left_out}: {found:?}");
        }
    }
}

/// Returns the keys that the grammar would have known.
fn keys_of(text: &str) -> Vec<String> {
    let found = findings(text);
    let (_, expected) = found[0].split_once("expected").unwrap_or_else(|| panic!("{found:?}"));
    names(expected.split('`').skip(1).step_by(2))
}

fn names(keys: impl Iterator<Item = impl AsRef<str>>) -> Vec<String> {
    let mut names: Vec<String> = keys.map(|key| key.as_ref().to_owned()).collect();
    names.sort();
    names
}

fn sample(told: &serde_json::Value) -> &'static str {
    match (told["type"].as_str(), told["format"].as_str()) {
        (Some("integer"), _) => "1",
        (Some("number"), _) => "1.5",
        (Some("boolean"), _) => "true",
        (Some("array"), _) => "[]",
        (_, Some("date-time")) => "2026-11-21T08:00:00Z",
        _ => "\"x\"",
    }
}
