//! Every boundary of the chart, from both sides, and what is not known.

use super::{Band, Parameter, SpO2Scale, Vitals};

/// A patient who scores nothing.
fn well() -> Vitals {
    Vitals {
        respiration: Some(16.0),
        spo2: Some(97.0),
        on_oxygen: Some(false),
        systolic: Some(120.0),
        pulse: Some(70.0),
        is_alert: Some(true),
        temperature: Some(37.0),
    }
}

fn check(parameter: Parameter, table: &[(f64, u8)]) {
    for (value, points) in table {
        let mut vitals = well();
        match parameter {
            Parameter::Respiration => vitals.respiration = Some(*value),
            Parameter::Spo2 => vitals.spo2 = Some(*value),
            Parameter::Systolic => vitals.systolic = Some(*value),
            Parameter::Pulse => vitals.pulse = Some(*value),
            Parameter::Temperature => vitals.temperature = Some(*value),
            Parameter::Oxygen | Parameter::Consciousness => unreachable!("no number"),
        }
        let score = vitals.score(SpO2Scale::One);
        assert_eq!(score.of(parameter), Some(*points), "{parameter} {value}");
        assert_eq!(score.total(), Some(*points), "{parameter} {value}");
    }
}

#[test]
fn every_boundary_of_scale_1() {
    check(
        Parameter::Respiration,
        &[
            (0.0, 3),
            (8.0, 3),
            (9.0, 1),
            (11.0, 1),
            (12.0, 0),
            (20.0, 0),
            (21.0, 2),
            (24.0, 2),
            (25.0, 3),
            (60.0, 3),
        ],
    );
    check(
        Parameter::Spo2,
        &[(70.0, 3), (91.0, 3), (92.0, 2), (93.0, 2), (94.0, 1), (95.0, 1), (96.0, 0), (100.0, 0)],
    );
    check(
        Parameter::Systolic,
        &[
            (60.0, 3),
            (90.0, 3),
            (91.0, 2),
            (100.0, 2),
            (101.0, 1),
            (110.0, 1),
            (111.0, 0),
            (219.0, 0),
            (220.0, 3),
        ],
    );
    check(
        Parameter::Pulse,
        &[
            (30.0, 3),
            (40.0, 3),
            (41.0, 1),
            (50.0, 1),
            (51.0, 0),
            (90.0, 0),
            (91.0, 1),
            (110.0, 1),
            (111.0, 2),
            (130.0, 2),
            (131.0, 3),
        ],
    );
    check(
        Parameter::Temperature,
        &[
            (34.0, 3),
            (35.0, 3),
            (35.1, 1),
            (36.0, 1),
            (36.1, 0),
            (38.0, 0),
            (38.1, 1),
            (39.0, 1),
            (39.1, 2),
            (41.0, 2),
        ],
    );
}

#[test]
fn every_boundary_of_scale_2() {
    let either = [(83.0, 3), (84.0, 2), (85.0, 2), (86.0, 1), (87.0, 1), (88.0, 0), (92.0, 0)];
    let air = [(93.0, 0), (94.0, 0), (95.0, 0), (96.0, 0), (97.0, 0), (100.0, 0)];
    let oxygen = [(93.0, 1), (94.0, 1), (95.0, 2), (96.0, 2), (97.0, 3), (100.0, 3)];
    let of = |value, on_oxygen| {
        Vitals { spo2: Some(value), on_oxygen, ..well() }.score(SpO2Scale::Two).of(Parameter::Spo2)
    };
    for (value, points) in either {
        for on_oxygen in [None, Some(false), Some(true)] {
            assert_eq!(of(value, on_oxygen), Some(points), "{value} {on_oxygen:?}");
        }
    }
    for ((value, on_air), (_, on_oxygen)) in air.into_iter().zip(oxygen) {
        assert_eq!(of(value, Some(false)), Some(on_air), "{value} on air");
        assert_eq!(of(value, Some(true)), Some(on_oxygen), "{value} on oxygen");
        assert_eq!(of(value, None), None, "{value}, not known what is breathed");
    }
}

#[test]
fn values_are_rounded_to_the_chart_first() {
    check(Parameter::Respiration, &[(8.4, 3), (8.5, 1), (24.49, 2), (24.5, 3)]);
    check(Parameter::Spo2, &[(95.4, 1), (95.5, 0)]);
    check(Parameter::Temperature, &[(35.04, 3), (35.06, 1), (38.04, 0), (38.06, 1), (39.04, 1), (39.06, 2)]);
    check(Parameter::Systolic, &[(219.4, 0), (219.5, 3), (90.5, 2)]);
}

#[test]
fn oxygen_and_consciousness() {
    let score = Vitals { on_oxygen: Some(true), ..well() }.score(SpO2Scale::One);
    assert_eq!((score.total(), score.band()), (Some(2), Some(Band::Low)));
    let score = Vitals { is_alert: Some(false), ..well() }.score(SpO2Scale::One);
    assert_eq!((score.total(), score.band()), (Some(3), Some(Band::LowMedium)));
}

#[test]
fn bands_follow_the_total_and_a_single_three() {
    let bands = [
        (Vitals::default(), Band::None),
        (Vitals { pulse: Some(100.0), ..well() }, Band::Low),
        (Vitals { pulse: Some(120.0), respiration: Some(22.0), ..well() }, Band::Low),
        (Vitals { pulse: Some(131.0), ..well() }, Band::LowMedium),
        (Vitals { pulse: Some(131.0), respiration: Some(10.0), ..well() }, Band::LowMedium),
        (Vitals { pulse: Some(131.0), respiration: Some(22.0), ..well() }, Band::Medium),
        (Vitals { pulse: Some(131.0), respiration: Some(25.0), ..well() }, Band::Medium),
        (Vitals { pulse: Some(131.0), respiration: Some(25.0), systolic: Some(105.0), ..well() }, Band::High),
    ];
    for (vitals, band) in bands {
        assert_eq!(vitals.score(SpO2Scale::One).known_band(), band, "{vitals:?}");
    }
}

#[test]
fn what_is_missing_leaves_no_total() {
    let all = well();
    let without = [
        (Vitals { respiration: None, ..all }, Parameter::Respiration),
        (Vitals { spo2: None, ..all }, Parameter::Spo2),
        (Vitals { on_oxygen: None, ..all }, Parameter::Oxygen),
        (Vitals { systolic: None, ..all }, Parameter::Systolic),
        (Vitals { pulse: Some(f64::NAN), ..all }, Parameter::Pulse),
        (Vitals { is_alert: None, ..all }, Parameter::Consciousness),
        (Vitals { temperature: Some(f64::INFINITY), ..all }, Parameter::Temperature),
    ];
    for (vitals, missing) in without {
        let score = vitals.score(SpO2Scale::One);
        assert_eq!((score.total(), score.band()), (None, None), "{missing}");
        assert_eq!(score.missing().collect::<Vec<_>>(), [missing]);
        assert_eq!(score.known(), 0);
    }
}
