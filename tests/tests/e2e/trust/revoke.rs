//! Revoked by the command line, far from the gateway or beside it: a live session of somebody else's software is cut.

use super::load::session;
use crate::archive::block_on;
use crate::process::run;
use crate::stand::{Stand, TENANT};
use anyhow::{Context, ensure};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// SEC-2, from the moment that the command is started.
const CUT: Duration = Duration::from_secs(2);

/// An MQTT session of `openssl s_client`; killed when it is dropped.
struct Client(Child);

impl Client {
    fn open(stand: &Stand, certs: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-quiet", "-connect", &format!("127.0.0.1:{}", stand.mqtt)]);
        command.arg("-CAfile").arg(certs.join("ca.pem")).arg("-verify_return_error");
        command.arg("-cert").arg(certs.join("cert.pem")).arg("-key").arg(certs.join("key.pem"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut client = Self(command.spawn().context("openssl")?);
        let connect = [0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 60, 0, 0];
        client.0.stdin.as_mut().context("stdin")?.write_all(&connect)?;
        let mut connack = [0; 4];
        client.0.stdout.as_mut().context("stdout")?.read_exact(&mut connack)?;
        ensure!(connack == [0x20, 2, 0, 0], "{connack:?}");
        Ok(client)
    }

    /// Waits until the gateway has ended the session.
    fn ended(&mut self) -> anyhow::Result<()> {
        let read = self.0.stdout.as_mut().context("stdout")?.read(&mut [0])?;
        ensure!(read == 0, "it said something instead");
        Ok(())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ended = (self.0.kill(), self.0.wait());
    }
}

/// Returns how long the session lived on after the command was started.
fn cut_by(command: &mut Command, client: &mut Client) -> anyhow::Result<Duration> {
    let started = Instant::now();
    println!("{}", run(command)?.trim());
    client.ended()?;
    Ok(started.elapsed())
}

#[test]
fn the_commands_cut_a_live_session_within_two_seconds() -> anyhow::Result<()> {
    let mut stand = Stand::new()?;
    let certs = ["far", "beside", "stays"].map(|device| stand.device(device));
    let [far, beside, stays] = certs;
    let (far, beside, stays) = (far?, beside?, stays?);
    stand.start()?;
    let mut clients =
        [Client::open(&stand, &far)?, Client::open(&stand, &beside)?, Client::open(&stand, &stays)?];
    let words = ["cert", "revoke", "--tenant", TENANT, "--device", "far", "--reason", "stolen"];
    let by_grpc = cut_by(&mut stand.operator(&words)?, &mut clients[0])?;
    let words = ["device", "revoke", "--tenant", TENANT, "--device", "beside"];
    let by_file = cut_by(&mut stand.on_data(&words)?, &mut clients[1])?;
    println!("cut after {by_grpc:?} over gRPC, {by_file:?} beside the gateway");
    ensure!(by_grpc < CUT && by_file < CUT, "SEC-2: {by_grpc:?} {by_file:?}");
    block_on(async {
        for (certs, device) in [(&far, "far"), (&beside, "beside")] {
            let refused = session(&stand, certs, device).await;
            ensure!(refused.is_err_and(|error| format!("{error:#}").contains("code: 5")), "{device} gets in");
        }
        Ok(())
    })?;
    for device in ["/device/far", "/device/beside"] {
        stand.until_audited("session_closed", "WL-ID-002", device)?;
        stand.until_audited("refused", "WL-ID-002", device)?;
    }
    ensure!(matches!(clients[2].0.try_wait(), Ok(None)), "the neighbour's session goes on");
    stand.stop()
}
