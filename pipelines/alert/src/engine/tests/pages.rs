//! What must never page: an outage with its backfill, and data that is not a patient's.

use super::{run, script, told};
use wardline_proto::codes::status;
use wardline_proto::v1::{AlarmKind, AlarmPhase};

/// Ten minutes without a network; then all that was measured comes at once, with a desaturation and fast minutes in it.
#[test]
fn ten_minutes_of_outage_and_their_backfill_page_for_the_silence_alone() {
    let out = run(&script(
        "0-60 spo2 97
         0-60 hr 80
         tick 95
         tick 300
         61-200 spo2 97 in661
         201-260 spo2 82 in661
         261-400 spo2 97 in661
         61-300 hr 80 in662
         301-330 hr 150 in662
         331-530 hr 80 in662
         401-530 spo2 97 in662
         661-700 spo2 97
         661-700 hr 80",
    ));
    let starts: Vec<_> = out.iter().filter(|t| t.phase == AlarmPhase::Start).collect();
    let physiological = starts.iter().filter(|t| t.alert.kind() == AlarmKind::Physiological).count();
    assert_eq!(physiological, 0, "{:?}", told(&out));
    let technical: Vec<_> = starts.iter().map(|t| t.alert.rule_id.as_str()).collect();
    assert_eq!(technical, ["spo2-missing", "hr-missing"], "silence, once for each metric");
    let ends = out.iter().filter(|t| t.reason == "data_resumed").count();
    let found: Vec<_> = out.iter().filter(|t| t.reason == "retrospective").collect();
    let findings: Vec<_> = found.iter().map(|t| t.alert.rule_id.as_str()).collect();
    assert_eq!((ends, findings), (2, vec!["late/spo2-low", "late/hr-high"]), "and what was missed is found");
    println!(
        "outage of 600 s with backfill: 0 physiological pages, technical {technical:?}, both ended; found {}",
        found.len()
    );
}

#[test]
fn nothing_that_is_not_a_patients_pages() {
    for bits in [status::INVALID, status::NOT_AVAILABLE, status::CALIBRATION, status::TEST, status::DEMO] {
        let text =
            format!("0-60 spo2 97\n61-120 spo2 70 s{bits}\n61-120 hr 200 s{bits}\n61-120 rr 60 s{bits}");
        let out = run(&script(&text));
        let pages = out.iter().filter(|t| t.alert.kind() == AlarmKind::Physiological).count();
        assert_eq!(pages, 0, "status {bits}: {:?}", told(&out));
    }
}
