//! `alarms` and `events`: what devices raised and what happened to them.

use super::Added;
use super::columns::{Terms, number, optional, terms};
use super::common::{Common, Origin, ROW_BYTES, lane_name};
use crate::intake::Arrived;
use arrow_array::ArrayRef;
use arrow_array::builder::{Float64Builder, StringBuilder, UInt32Builder, UInt64Builder};
use arrow_schema::{DataType, Field};
use std::sync::Arc;
use wardline_proto::codes::by_code;
use wardline_proto::v1::{AlarmKind, AlarmPhase, DeviceAlarm, DeviceEvent, Priority};

const OWN_BYTES: usize = 96;

pub(super) fn alarm_fields() -> Vec<Field> {
    vec![
        number("condition_id", DataType::Utf8),
        number("mdc_code", DataType::UInt32),
        optional(number("source_mdc_code", DataType::UInt32)),
        optional(terms("source_ref_id")),
        terms("kind"),
        terms("priority"),
        terms("phase"),
        optional(number("value", DataType::Float64)),
        optional(number("limit", DataType::Float64)),
        optional(terms("ucum_unit")),
    ]
}

#[derive(Debug, Default)]
pub(crate) struct AlarmBuilder {
    common: Common,
    condition: StringBuilder,
    mdc_code: UInt32Builder,
    source: UInt32Builder,
    source_ref_id: Terms,
    kind: Terms,
    priority: Terms,
    phase: Terms,
    value: Float64Builder,
    limit: Float64Builder,
    unit: Terms,
}

impl AlarmBuilder {
    pub(super) fn push(&mut self, origin: &Origin<'_>, arrived: &Arrived, alarm: &DeviceAlarm) -> Added {
        self.common.push(origin, alarm.at_us, arrived.time.status_of(alarm.at_us));
        self.condition.append_value(&alarm.condition_id);
        self.mdc_code.append_value(alarm.mdc_code);
        self.source.append_option((alarm.source_mdc_code != 0).then_some(alarm.source_mdc_code));
        self.source_ref_id.push(by_code(alarm.source_mdc_code).map(|m| m.ref_id));
        self.kind.push(Some(kind_name(alarm.kind())));
        self.priority.push(Some(priority_name(alarm.priority())));
        self.phase.push(Some(phase_name(alarm.phase())));
        self.value.append_option(alarm.value);
        self.limit.append_option(alarm.limit);
        self.unit.push((!alarm.ucum_unit.is_empty()).then_some(&alarm.ucum_unit));
        Added::rows(1, ROW_BYTES + OWN_BYTES, alarm.at_us, alarm.at_us)
    }

    pub(super) fn finish(mut self) -> Vec<ArrayRef> {
        self.common.finish(vec![
            Arc::new(self.condition.finish()),
            Arc::new(self.mdc_code.finish()),
            Arc::new(self.source.finish()),
            self.source_ref_id.finish(),
            self.kind.finish(),
            self.priority.finish(),
            self.phase.finish(),
            Arc::new(self.value.finish()),
            Arc::new(self.limit.finish()),
            self.unit.finish(),
        ])
    }
}

fn kind_name(kind: AlarmKind) -> &'static str {
    match kind {
        AlarmKind::Unspecified => "unspecified",
        AlarmKind::Physiological => "physiological",
        AlarmKind::Technical => "technical",
        AlarmKind::Advisory => "advisory",
    }
}

fn priority_name(priority: Priority) -> &'static str {
    match priority {
        Priority::Unspecified => "unspecified",
        Priority::Low => "low",
        Priority::Medium => "medium",
        Priority::High => "high",
    }
}

fn phase_name(phase: AlarmPhase) -> &'static str {
    match phase {
        AlarmPhase::Unspecified => "unspecified",
        AlarmPhase::Start => "start",
        AlarmPhase::Continue => "continue",
        AlarmPhase::Update => "update",
        AlarmPhase::End => "end",
        AlarmPhase::Escalate => "escalate",
        AlarmPhase::Deescalate => "deescalate",
    }
}

pub(super) fn event_fields() -> Vec<Field> {
    vec![
        terms("name"),
        number("detail", DataType::Utf8),
        optional(terms("gap_lane")),
        optional(number("gap_first_seq", DataType::UInt64)),
        optional(number("gap_last_seq", DataType::UInt64)),
    ]
}

#[derive(Debug, Default)]
pub(crate) struct EventBuilder {
    common: Common,
    name: Terms,
    detail: StringBuilder,
    gap_lane: Terms,
    gap_first: UInt64Builder,
    gap_last: UInt64Builder,
}

impl EventBuilder {
    pub(super) fn push(&mut self, origin: &Origin<'_>, arrived: &Arrived, event: &DeviceEvent) -> Added {
        self.common.push(origin, event.at_us, arrived.time.status_of(event.at_us));
        self.name.push(Some(&event.name));
        self.detail.append_value(&event.detail);
        self.gap_lane.push(event.spool_gap.and_then(|gap| lane_name(gap.lane())));
        self.gap_first.append_option(event.spool_gap.map(|gap| gap.first_seq));
        self.gap_last.append_option(event.spool_gap.map(|gap| gap.last_seq));
        Added::rows(1, ROW_BYTES + OWN_BYTES + event.detail.len(), event.at_us, event.at_us)
    }

    pub(super) fn finish(mut self) -> Vec<ArrayRef> {
        self.common.finish(vec![
            self.name.finish(),
            Arc::new(self.detail.finish()),
            self.gap_lane.finish(),
            Arc::new(self.gap_first.finish()),
            Arc::new(self.gap_last.finish()),
        ])
    }
}
