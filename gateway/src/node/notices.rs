//! From the archive to the device: which of its frames went to the quarantine, and why.
//!
//! ```text
//! wl/1/{tenant}/{device}/down/notice   {"code":"WL-Q-003","lane":"numerics","epoch":1,"seq":7}
//! ```
//! `lane`, `epoch` and `seq` are left out for a message without a position. Nothing of the message's content is said.

use crate::front::DownlinkHandle;
use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use wardline_archive::QuarantineNotice;
use wardline_proto::v1::Lane;

/// Passes notices on until it is told to stop. One that finds no room is dropped: the quarantine has the frame.
pub(super) async fn run(
    mut notices: mpsc::Receiver<QuarantineNotice>,
    downlink: DownlinkHandle,
    mut stop: watch::Receiver<bool>,
) -> Result<(), String> {
    loop {
        let notice = tokio::select! {
            _gone = stop.wait_for(|stop| *stop) => return Ok(()),
            notice = notices.recv() => notice,
        };
        let Some(notice) = notice else { return Ok(()) };
        if downlink.notify(&notice.key, words(&notice)).is_err() {
            tracing::debug!(device = %notice.key, "a notice found no room");
        }
    }
}

fn words(notice: &QuarantineNotice) -> Bytes {
    let code = notice.why.code();
    let text = match notice.position {
        Some((lane, epoch, seq)) => {
            let lane = lane_name(lane);
            format!(r#"{{"code":"{code}","lane":"{lane}","epoch":{epoch},"seq":{seq}}}"#)
        }
        None => format!(r#"{{"code":"{code}"}}"#),
    };
    Bytes::from(text)
}

fn lane_name(lane: Lane) -> &'static str {
    match lane {
        Lane::Alarm => "alarm",
        Lane::Numerics => "numerics",
        Lane::Waveforms => "waveforms",
        Lane::Events => "events",
        Lane::Unspecified => "any",
    }
}
